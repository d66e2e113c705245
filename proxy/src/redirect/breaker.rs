//! How often a backend that fails is tried, as values: the time is passed in.
//!
//! After some failures in a row nobody waits for it any more but one attempt now and then; after its return connections are
//! let through at a bounded rate, so that all its users do not fall upon it at once.

use std::time::Duration;

/// Failures in a row after which the backend counts as gone.
const FAILURES_MAX: u32 = 3;
/// The first pause between attempts; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest: a backend that is back is found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Connections a second that one core opens to one backend. A guess: a login costs a backend some tenths of a millisecond.
const RATE: u32 = 1000;
/// So many at once.
const BURST: u32 = 500;
/// Whoever would wait longer for a turn is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// One backend, as one core sees it.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    try_at: Duration,
    /// When the next connection may be opened; in the past by as much as there is of the burst.
    turn: Duration,
}

/// Whether to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// After this wait.
    After(Duration),
    /// It is gone, or so many wait for it that a client should come again.
    No,
}

impl Breaker {
    pub(super) fn new() -> Breaker {
        Breaker {
            failures: 0,
            try_at: Duration::ZERO,
            turn: Duration::ZERO,
        }
    }

    /// Asks for one attempt. `now` is a monotonic time.
    pub(super) fn permit(&mut self, now: Duration) -> Permit {
        if self.is_open() {
            if now < self.try_at {
                return Permit::No;
            }
            // One tries; the others are told meanwhile.
            self.try_at = now.saturating_add(self.pause());
        }
        let each = Duration::from_secs(1) / RATE;
        let earliest = now.saturating_sub(each * BURST);
        let turn = self.turn.max(earliest);
        let wait = turn.saturating_sub(now);
        if wait > WAIT_MAX {
            return Permit::No;
        }
        self.turn = turn.saturating_add(each);
        Permit::After(wait)
    }

    /// Whether it counts as gone.
    pub(super) fn is_open(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// It answered.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It could not be reached, or did not answer. Says whether it counts as gone from now on.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.try_at = now.saturating_add(self.pause());
        self.failures == FAILURES_MAX
    }

    fn pause(&self) -> Duration {
        let beyond = self.failures.saturating_sub(FAILURES_MAX).min(8);
        PAUSE.saturating_mul(1 << beyond).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_gone_is_tried_by_one_now_and_then() {
        let mut breaker = Breaker::new();
        let mut now = Duration::from_secs(100);
        for count in 1..=FAILURES_MAX {
            assert_eq!(breaker.permit(now), Permit::After(Duration::ZERO));
            assert_eq!(breaker.failed(now), count == FAILURES_MAX);
        }
        let mut tries = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            if breaker.permit(now) != Permit::No {
                assert_eq!(breaker.permit(now), Permit::No, "one at a time");
                assert!(!breaker.failed(now));
                tries += 1;
            }
        }
        // In ten seconds: some short pauses, then one a second.
        assert!((10..=15).contains(&tries), "{tries}");
        now += PAUSE_MAX;
        assert_ne!(breaker.permit(now), Permit::No);
        breaker.succeeded();
        assert_ne!(breaker.permit(now), Permit::No);
        assert_ne!(breaker.permit(now), Permit::No);
    }

    #[test]
    fn many_at_once_wait_for_their_turn_and_too_many_come_again() {
        let mut breaker = Breaker::new();
        let now = Duration::from_secs(100);
        let waits: Vec<Permit> = (0..BURST + RATE * 6).map(|_| breaker.permit(now)).collect();
        assert!(
            waits[..BURST as usize]
                .iter()
                .all(|permit| *permit == Permit::After(Duration::ZERO))
        );
        let last = waits
            .iter()
            .rposition(|permit| *permit != Permit::No)
            .expect("some go through");
        assert_eq!(waits[last], Permit::After(WAIT_MAX));
        assert!(waits[last + 1..].iter().all(|permit| *permit == Permit::No));
        // What was refused has taken nobody's turn.
        assert_eq!(
            breaker.permit(now + WAIT_MAX + Duration::from_secs(1)),
            Permit::After(Duration::ZERO)
        );
    }
}
