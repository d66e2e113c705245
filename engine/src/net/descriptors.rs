//! How near the limit of open files is: told by the number of a descriptor, which is the lowest that is free.
//!
//! So nobody has to count who has which: whoever gets a number from the last ones knows that hardly any is left, and can say so
//! in its own words, while there are still some for files and for those words.

use rustix::fd::{AsFd, AsRawFd};
use rustix::process::{Resource, getrlimit};

/// Kept free for others than connections, of so many one; but not fewer than `KEPT_MIN`. Guesses.
const KEPT_PART: u64 = 32;
const KEPT_MIN: u64 = 32;

/// The limit in force, less what is kept free.
pub(super) struct Descriptors {
    end: u64,
}

impl Default for Descriptors {
    fn default() -> Self {
        Descriptors::within(getrlimit(Resource::Nofile).current)
    }
}

impl Descriptors {
    fn within(limit: Option<u64>) -> Descriptors {
        let end = limit.map_or(u64::MAX, |limit| limit.saturating_sub(KEPT_MIN.max(limit / KEPT_PART)));
        Descriptors { end }
    }

    /// Whether this one is of those that are to be kept free.
    pub(super) fn is_beyond(&self, descriptor: &impl AsFd) -> bool {
        u64::try_from(descriptor.as_fd().as_raw_fd()).is_ok_and(|number| number >= self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_numbers_are_kept() {
        let ends = [None, Some(20_000), Some(256), Some(16)].map(|limit| Descriptors::within(limit).end);
        assert_eq!(ends, [u64::MAX, 19_375, 224, 0]);
        let descriptor = rustix::pipe::pipe().unwrap().0;
        assert!(!Descriptors::within(None).is_beyond(&descriptor));
        assert!(Descriptors::within(Some(16)).is_beyond(&descriptor));
    }
}
