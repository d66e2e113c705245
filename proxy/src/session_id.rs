//! The name of a session in every log line, in Received headers and with the commit.

use std::cell::Cell;
use std::fmt;

/// Unique on the node for longer than anybody keeps logs; printed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Gives out the ids of one core.
#[derive(Debug)]
pub struct SessionIds {
    core: u64,
    next: Cell<u64>,
}

impl SessionIds {
    /// `core` is the core's index, `start` the time of the node's start in milliseconds since the Unix epoch: counting
    /// begins there, so that a restart does not give out the ids of the run before (it would have to have had more than
    /// a thousand sessions a second on one core, for all of its life).
    pub fn new(core: u16, start: u64) -> SessionIds {
        SessionIds {
            core: u64::from(core) << 48,
            next: Cell::new(start),
        }
    }

    /// One that was not given out before.
    pub fn next(&self) -> SessionId {
        let counter = self.next.get();
        self.next.set(counter.wrapping_add(1));
        SessionId(self.core | counter & ((1 << 48) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_between_sessions_and_cores() {
        let (first, second) = (
            SessionIds::new(0, 1_700_000_000_000),
            SessionIds::new(3, 1_700_000_000_000),
        );
        let ids = [first.next(), first.next(), second.next(), second.next()];
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id));
        }
        assert_eq!(ids[2].to_string(), "0003018bcfe56800");
    }

    #[test]
    fn the_counter_stays_below_the_core() {
        let ids = SessionIds::new(1, u64::MAX);
        assert_eq!(ids.next().to_string(), "0001ffffffffffff");
        assert_eq!(ids.next().to_string(), "0001000000000000");
    }
}
