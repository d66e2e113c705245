//! What was found out about messages by reading them: their structure and their ENVELOPE, kept for a while, because clients
//! ask again and again and in small pieces.
//!
//! One cache a core, bounded in bytes. Two halves: what is used goes to the young one; when that is full, it becomes the old
//! one, and what was in the old one and not used since is forgotten.

use pigeon_proto::message::Structure;
use pigeon_store::{BodyReference, LogPosition, VolumeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A message's bytes, which never change: a position of a volume's journal is never used twice, and the entry tells apart
/// what stands in front of them for each recipient.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SummaryKey {
    volume: VolumeId,
    position: LogPosition,
    entry: u16,
}

impl SummaryKey {
    pub(super) fn new(volume: VolumeId, body: BodyReference) -> Self {
        Self {
            volume,
            position: body.position,
            entry: body.entry,
        }
    }
}

/// What is known of a message.
#[derive(Clone, Default)]
pub(super) struct Summary {
    pub(super) structure: Option<Rc<Structure>>,
    /// The value of ENVELOPE as it is written.
    pub(super) envelope: Option<Rc<[u8]>>,
}

impl Summary {
    fn bytes(&self) -> usize {
        /// Of an entry of the map with its key, about.
        const ENTRY_BYTES: usize = 96;
        let structure = self.structure.as_ref().map_or(0, |structure| structure.memory_bytes());
        ENTRY_BYTES + structure + self.envelope.as_ref().map_or(0, |envelope| envelope.len())
    }
}

/// See the module's documentation.
pub struct SummaryCache {
    halves: RefCell<Halves>,
    half_bytes_max: usize,
}

#[derive(Default)]
struct Halves {
    young: HashMap<SummaryKey, Summary>,
    young_bytes: usize,
    old: HashMap<SummaryKey, Summary>,
}

impl SummaryCache {
    /// Holds at most about `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            halves: RefCell::default(),
            half_bytes_max: bytes_max / 2,
        }
    }

    /// What is known of a message; nothing, when nothing is.
    pub(super) fn find(&self, key: SummaryKey) -> Summary {
        let mut halves = self.halves.borrow_mut();
        if let Some(summary) = halves.young.get(&key) {
            return summary.clone();
        }
        match halves.old.remove(&key) {
            Some(summary) => {
                self.insert(&mut halves, key, summary.clone());
                summary
            }
            None => Summary::default(),
        }
    }

    /// Remembers, beside what is known.
    pub(super) fn remember(&self, key: SummaryKey, found: Summary) {
        let mut summary = self.find(key);
        summary.structure = found.structure.or(summary.structure);
        summary.envelope = found.envelope.or(summary.envelope);
        self.insert(&mut self.halves.borrow_mut(), key, summary);
    }

    fn insert(&self, halves: &mut Halves, key: SummaryKey, summary: Summary) {
        let bytes = summary.bytes();
        if bytes > self.half_bytes_max / 4 {
            // One message must not push out all others.
            return;
        }
        if halves.young_bytes + bytes > self.half_bytes_max {
            halves.old = std::mem::take(&mut halves.young);
            halves.young_bytes = 0;
        }
        halves.young_bytes += bytes;
        if let Some(before) = halves.young.insert(key, summary) {
            halves.young_bytes -= before.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(position: u64) -> SummaryKey {
        SummaryKey::new(
            VolumeId([0; 16]),
            BodyReference {
                position: LogPosition(position),
                ..BodyReference::default()
            },
        )
    }

    fn summary(length: usize) -> Summary {
        Summary {
            structure: None,
            envelope: Some(vec![b'x'; length].into()),
        }
    }

    fn knows(cache: &SummaryCache, position: u64) -> bool {
        cache.find(key(position)).envelope.is_some()
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = SummaryCache::new(4000);
        for position in 1..200 {
            cache.remember(key(position), summary(100));
            assert!(knows(&cache, 1), "at {position}");
        }
        assert!(!knows(&cache, 100));
        assert!(knows(&cache, 199));
        let halves = cache.halves.borrow();
        assert!(halves.young.len() + halves.old.len() <= 4000 / 196 + 2);
    }

    #[test]
    fn both_kinds_are_kept_side_by_side_and_large_ones_not_at_all() {
        let cache = SummaryCache::new(80_000);
        cache.remember(key(1), summary(10));
        let structure = Some(Rc::new(Structure::of(b"Subject: x\r\n\r\nhello\r\n")));
        cache.remember(
            key(1),
            Summary {
                structure,
                envelope: None,
            },
        );
        let found = cache.find(key(1));
        assert!(found.structure.is_some() && found.envelope.is_some());
        cache.remember(key(2), summary(50_000));
        assert!(!knows(&cache, 2) && knows(&cache, 1));
    }
}
