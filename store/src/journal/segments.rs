//! The segment files of a volume, and how many of their bytes are still of use.
//!
//! A segment is ready (made ahead, nothing in it), or used; a used one leaves when compaction has emptied it. Counts of live
//! bytes choose what to compact and never decide what is deleted: compaction looks at every record itself.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use pigeon_store_format::{LogPosition, Message, SegmentBytes, SegmentUse};

use crate::disk::DiskFile;

/// One segment file.
pub(crate) struct Segment {
    /// Position divided by the bytes of a segment.
    pub(crate) number: u64,
    /// Open as long as anyone holds the segment, also after the file was removed.
    pub(crate) file: Rc<dyn DiskFile>,
    /// Bytes of records still of use, about.
    pub(crate) live_bytes: Cell<u64>,
    /// Where the last batch in it ends.
    pub(crate) written_bytes: Cell<u64>,
    /// Compaction met something here that it must not touch: left alone until the volume is opened again.
    pub(crate) stuck: Cell<bool>,
}

impl Segment {
    pub(crate) fn new(number: u64, file: Rc<dyn DiskFile>) -> Rc<Segment> {
        Rc::new(Segment {
            number,
            file,
            live_bytes: Cell::new(0),
            written_bytes: Cell::new(0),
            stuck: Cell::new(false),
        })
    }
}

/// All segments of a volume.
pub(crate) struct Segments {
    segment_bytes: u64,
    used: RefCell<BTreeMap<u64, Rc<Segment>>>,
    ready: RefCell<VecDeque<Rc<Segment>>>,
    /// Bytes that came to be of no use, ever.
    discharged_bytes: Cell<u64>,
}

const NAME_DIGITS: usize = 16;
const NAME_END: &str = ".log";

/// The file name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{NAME_END}")
}

/// The number in a segment's file name; `None` for other names.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_END)?;
    if digits.len() < NAME_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

impl Segments {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            used: RefCell::default(),
            ready: RefCell::default(),
            discharged_bytes: Cell::new(0),
        }
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The number of the segment that holds a position.
    pub(crate) fn number_of(&self, position: LogPosition) -> u64 {
        position.0 / self.segment_bytes
    }

    /// Where a position is within its segment.
    pub(crate) fn offset_of(&self, position: LogPosition) -> u64 {
        position.0 % self.segment_bytes
    }

    /// Where a segment begins.
    pub(crate) fn start_of(&self, number: u64) -> LogPosition {
        LogPosition(number.saturating_mul(self.segment_bytes))
    }

    pub(crate) fn used(&self, number: u64) -> Option<Rc<Segment>> {
        self.used.borrow().get(&number).cloned()
    }

    /// The segment that holds a position.
    pub(crate) fn at(&self, position: LogPosition) -> Option<Rc<Segment>> {
        self.used(self.number_of(position))
    }

    pub(crate) fn add_used(&self, segment: Rc<Segment>) {
        self.used.borrow_mut().insert(segment.number, segment);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.used.borrow_mut().clear();
        self.ready.borrow_mut().clear();
    }

    pub(crate) fn remove_used(&self, number: u64) {
        self.used.borrow_mut().remove(&number);
    }

    pub(crate) fn add_ready(&self, segment: Rc<Segment>) {
        self.ready.borrow_mut().push_back(segment);
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Puts the ready segment `number` to use.
    pub(crate) fn use_ready(&self, number: u64) -> Option<Rc<Segment>> {
        let mut ready = self.ready.borrow_mut();
        if ready.front()?.number != number {
            return None;
        }
        let segment = ready.pop_front()?;
        self.add_used(segment.clone());
        Some(segment)
    }

    /// The number that the next segment made gets: behind all there are.
    pub(crate) fn next_number(&self) -> u64 {
        let ready = self.ready.borrow().back().map(|segment| segment.number);
        let used = self.used.borrow().last_key_value().map(|(number, _)| *number);
        ready.or(used).map_or(0, |last| last + 1)
    }

    /// Files there are, used and ready.
    pub(crate) fn file_count(&self) -> u64 {
        (self.used.borrow().len() + self.ready.borrow().len()) as u64
    }

    /// Used segments, ascending.
    pub(crate) fn all_used(&self) -> Vec<Rc<Segment>> {
        self.used.borrow().values().cloned().collect()
    }

    /// For the checkpoint.
    pub(crate) fn uses(&self) -> Vec<SegmentUse> {
        let used = self.used.borrow();
        let uses = used.values().map(|segment| SegmentUse {
            number: segment.number,
            live_bytes: segment.live_bytes.get(),
            written_bytes: segment.written_bytes.get(),
        });
        uses.collect()
    }

    /// Bytes that came to be of use. Of a segment that is gone: nothing to count.
    pub(crate) fn charge(&self, list: &[SegmentBytes]) {
        let used = self.used.borrow();
        for item in list {
            if let Some(segment) = used.get(&item.segment) {
                segment
                    .live_bytes
                    .set(segment.live_bytes.get().saturating_add(item.bytes));
            }
        }
    }

    /// Bytes that are of no more use.
    pub(crate) fn discharge(&self, list: &[SegmentBytes]) {
        let used = self.used.borrow();
        for item in list {
            if let Some(segment) = used.get(&item.segment) {
                segment
                    .live_bytes
                    .set(segment.live_bytes.get().saturating_sub(item.bytes));
                self.discharged_bytes
                    .set(self.discharged_bytes.get().wrapping_add(item.bytes));
            }
        }
    }

    /// Bytes that came to be of no use since opening.
    pub(crate) fn discharged_bytes(&self) -> u64 {
        self.discharged_bytes.get()
    }

    /// Adds one message's share of its body to `list`. `start` is where the chunks of a streamed body begin.
    pub(crate) fn add_share(&self, list: &mut Vec<SegmentBytes>, message: &Message, start: Option<LogPosition>) {
        // Frame, fields and one entry of a body's record: what a small message takes beside its own bytes.
        const RECORD_OVERHEAD: u64 = 66;
        let share = (u64::from(message.size) + RECORD_OVERHEAD) / u64::from(message.body.sharers.max(1));
        let last = self.number_of(message.body.position);
        let first = start.map_or(last, |start| self.number_of(start)).min(last);
        // A streamed body is written in one go and moved in one go, so it lies in few neighbouring segments.
        let count = last - first + 1;
        for number in first..=last {
            add_bytes(list, number, share / count);
        }
    }
}

/// Adds to the segment's item of the list.
pub(crate) fn add_bytes(list: &mut Vec<SegmentBytes>, segment: u64, bytes: u64) {
    match list.iter_mut().find(|item| item.segment == segment) {
        Some(item) => item.bytes = item.bytes.saturating_add(bytes),
        None => list.push(SegmentBytes { segment, bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(segment_name(12), "0000000000000012.log");
        for (name, number) in [
            ("0000000000000012.log", Some(12)),
            ("00000000000000012.log", None),
            ("12.log", None),
            ("0000000000000012", None),
            ("000000000000001x.log", None),
            ("+000000000000001.log", None),
            ("18446744073709551616.log", None),
            ("18446744073709551615.log", Some(u64::MAX)),
            ("checkpoint", None),
        ] {
            assert_eq!(segment_number(name), number, "{name}");
        }
    }
}
