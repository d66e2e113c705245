//! What one core remembers of passwords that were right a moment ago: the way that costs neither a thread nor a lock.
//!
//! Invariant: what is remembered here counts no longer than the node remembers it.

use super::memory::Tag;
use std::collections::HashMap;
use std::time::Instant;

/// Credentials that one core remembers: about a third of a megabyte.
const TAGS_MAX: usize = 4_096;

/// The memory of one core.
#[derive(Default)]
pub(super) struct Verified {
    until: HashMap<Tag, Instant>,
}

impl Verified {
    /// Whether the credentials of this MAC were right.
    pub(super) fn contains(&self, tag: &Tag, now: Instant) -> bool {
        self.until.get(tag).is_some_and(|until| now < *until)
    }

    /// They are right, and count until then.
    pub(super) fn insert(&mut self, tag: Tag, until: Instant, now: Instant) {
        if self.until.len() >= TAGS_MAX && !self.until.contains_key(&tag) {
            self.until.retain(|_, until| now < *until);
            if self.until.len() >= TAGS_MAX {
                return;
            }
        }
        self.until.insert(tag, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_life_ends_and_memory_is_bounded() {
        let (now, mut verified) = (Instant::now(), Verified::default());
        let until = now + Duration::from_secs(10);
        let tag = |number: usize| {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&number.to_le_bytes());
            tag
        };
        (0..=TAGS_MAX).for_each(|number| verified.insert(tag(number), until, now));
        assert!(verified.contains(&tag(TAGS_MAX - 1), now) && !verified.contains(&tag(TAGS_MAX), now));
        assert!(!verified.contains(&tag(0), until));
        verified.insert(tag(TAGS_MAX), until + Duration::from_secs(1), until);
        assert!(verified.contains(&tag(TAGS_MAX), until) && verified.until.len() == 1);
    }
}
