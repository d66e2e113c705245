//! When a peer is not asked: after some failures in a row nobody waits for it, but one task that tries it now and then, so that
//! a node that is down costs its senders nothing, and is used again within a second or so when it is back.

use std::cell::Cell;
use std::time::Duration;

/// Failures in a row; one may be a restart, or a connection that had just ended.
const FAILURES_MAX: u32 = 3;
/// Between two attempts, with a random quarter more or less, so that cores and nodes do not come at once.
const PAUSE: Duration = Duration::from_millis(1000);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: Cell<u32>,
}

impl Breaker {
    /// Nobody should ask but who finds out whether it is back.
    pub(super) fn is_open(&self) -> bool {
        self.failures.get() >= FAILURES_MAX
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        self.failures.set(0);
    }

    /// It did not, or broke off; `hung`: it let the time for an answer pass, which is as telling as several failures. Whether
    /// that opens it: somebody has to find out when it is back.
    pub(super) fn failed(&self, hung: bool) -> bool {
        let was_open = self.is_open();
        let more = if hung { FAILURES_MAX } else { 1 };
        self.failures.set(self.failures.get().saturating_add(more));
        self.is_open() && !was_open
    }

    /// Before the next attempt; `chance` is a random byte.
    pub(super) fn pause(chance: u8) -> Duration {
        PAUSE.mul_f64(0.75 + 0.5 * f64::from(chance) / 255.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_is_left_alone() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert!(!breaker.failed(false) && !breaker.is_open());
        }
        assert!(breaker.failed(false) && breaker.is_open());
        assert!(!breaker.failed(false) && !breaker.failed(true), "told once");
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert!(!breaker.failed(false) && !breaker.is_open(), "one failure is not many");
        assert!(breaker.failed(true), "but to hang is enough");
        assert_eq!(Breaker::pause(0), Duration::from_millis(750));
        assert_eq!(Breaker::pause(255), Duration::from_millis(1250));
    }
}
