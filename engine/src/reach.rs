//! Which places answer, as the connections of a core have found them: breakers, as values with the time passed in, and one
//! for each address that everybody on the core shares.
//!
//! After some failures in a row nobody waits for a place any more but one attempt now and then; after its return connections are
//! let through at a bounded rate, so that all who want it do not fall upon it at once. What a protocol answers is the business
//! of that protocol's breaker; whether a machine answers at all is everybody's ([`Reach`]).

use crate::names::Names;
use crate::net::Connection;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Failures in a row after which a place counts as gone; one may be a restart, or a connection that had just ended.
const FAILURES_MAX: u32 = 3;
/// The first pause between attempts; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest: a place that is back is found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Connections a second that one core opens to one place. A guess: a login costs a backend some tenths of a millisecond.
const RATE: u32 = 1000;
/// So many at once.
const BURST: u32 = 500;
/// Whoever would wait longer for a turn is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// What nobody has tried for so long is not known to be gone any more.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// Addresses that are remembered.
const PLACES_MAX: usize = 4096;

/// One place, as one core sees it.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    failed_at: Duration,
    try_at: Duration,
    /// When the next connection may be opened; in the past by as much as there is of the burst.
    turn: Duration,
}

/// Whether to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// After this wait.
    After(Duration),
    /// It is gone, or so many wait for it that one should come again.
    No,
}

impl Breaker {
    /// Asks for one attempt. `now` is a monotonic time, here and below.
    pub fn permit(&mut self, now: Duration) -> Permit {
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
    pub fn is_open(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// Whether it is known to be gone: somebody has found that a moment ago. What nobody tries may be back for long.
    pub fn is_known_gone(&self, now: Duration) -> bool {
        self.is_open() && now.saturating_sub(self.failed_at) < KNOWN_FOR
    }

    /// It answered.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It could not be reached, or did not answer; `hung`: it let the time for an answer pass, which is as telling as several
    /// failures. Says whether it counts as gone from now on.
    pub fn failed(&mut self, now: Duration, hung: bool) -> bool {
        let was_open = self.is_open();
        let more = if hung { FAILURES_MAX } else { 1 };
        self.failures = self.failures.saturating_add(more);
        self.failed_at = now;
        self.try_at = now.saturating_add(self.pause());
        self.is_open() && !was_open
    }

    fn pause(&self) -> Duration {
        let beyond = self.failures.saturating_sub(FAILURES_MAX).min(8);
        PAUSE.saturating_mul(1 << beyond).min(PAUSE_MAX)
    }
}

/// The machines at the addresses of nodes, for all that a core has to do with them: whoever finds that one does not answer spares
/// the others the wait, whatever they want there, and whoever finds that it does lets them on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reach {
    names: Names,
    start: Instant,
    /// By node and host.
    places: Rc<RefCell<HashMap<(String, String), Breaker>>>,
}

impl Reach {
    /// Of this core, which looks names up by these.
    pub fn new(names: Names) -> Reach {
        Reach {
            names,
            start: crate::now(),
            places: Rc::default(),
        }
    }

    /// The time that breakers are told: it only grows.
    pub fn now(&self) -> Duration {
        crate::now().saturating_duration_since(self.start)
    }

    /// Connects to `host`, a name or an address of `node`, from `source` where it is given, until the deadline: at most, for a
    /// machine that did not answer a moment ago is not asked (`ErrorKind::NotConnected`). Of several addresses of a name, the first that answers.
    pub async fn connect(
        &self,
        node: &str,
        (host, port): (&str, u16),
        source: Option<IpAddr>,
        deadline: Instant,
    ) -> io::Result<Connection> {
        if !self.may_try(node, host, self.now()) {
            let why = format!("{host} did not answer a moment ago");
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        let addresses = self.names.find(host, port, deadline).await?;
        let mut connected = Err(io::Error::from(io::ErrorKind::TimedOut));
        for (place, address) in addresses.iter().enumerate() {
            // Each has its part of the time: one that is silent leaves some to the next.
            let now = crate::now();
            let left = u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
            let until = now + deadline.saturating_duration_since(now) / left;
            connected = Connection::connect_from(source, *address, until).await;
            if connected.is_ok() {
                break;
            }
        }
        self.tried(node, host, self.now(), &connected);
        connected
    }

    /// Whether to try to connect to `host`, an address of `node`. A rate is the protocol's business.
    fn may_try(&self, node: &str, host: &str, now: Duration) -> bool {
        self.with(node, host, |breaker| {
            !breaker.is_open() || breaker.permit(now) != Permit::No
        })
    }

    /// What came of an attempt. Who refuses a connection is there.
    fn tried<T>(&self, node: &str, host: &str, now: Duration, connected: &io::Result<T>) {
        self.with(node, host, |breaker| match connected {
            Ok(_) => breaker.succeeded(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => breaker.succeeded(),
            Err(error) if says_nobody_is_there(error) => drop(breaker.failed(now, false)),
            // A name that is not known, a lack of this node's.
            Err(_) => {}
        });
    }

    fn with<T>(&self, node: &str, host: &str, work: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut places = self.places.borrow_mut();
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        work(places.entry((node.to_owned(), host.to_owned())).or_default())
    }
}

fn says_nobody_is_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_gone_is_tried_by_one_now_and_then() {
        let mut breaker = Breaker::default();
        let mut now = Duration::from_secs(100);
        for count in 1..=FAILURES_MAX {
            assert_eq!(breaker.permit(now), Permit::After(Duration::ZERO));
            assert_eq!(breaker.failed(now, false), count == FAILURES_MAX);
        }
        let mut tries = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            if breaker.permit(now) != Permit::No {
                assert_eq!(breaker.permit(now), Permit::No, "one at a time");
                assert!(!breaker.failed(now, false));
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
        assert!(
            !breaker.failed(now, false) && !breaker.is_open(),
            "one failure is not many"
        );
        assert!(breaker.failed(now, true), "but to hang is enough");
    }

    #[test]
    fn what_nobody_tries_is_not_known_to_be_gone() {
        let mut breaker = Breaker::default();
        let now = Duration::from_secs(100);
        breaker.failed(now, true);
        assert!(breaker.is_known_gone(now) && breaker.is_known_gone(now + KNOWN_FOR / 2));
        assert!(breaker.is_open() && !breaker.is_known_gone(now + KNOWN_FOR));
        breaker.failed(now + KNOWN_FOR, false);
        assert!(breaker.is_known_gone(now + KNOWN_FOR));
        breaker.succeeded();
        assert!(!breaker.is_known_gone(now + KNOWN_FOR));
    }

    #[test]
    fn many_at_once_wait_for_their_turn_and_too_many_come_again() {
        let mut breaker = Breaker::default();
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

    #[test]
    fn who_finds_a_machine_silent_spares_the_others_the_wait() {
        let pool = crate::blocking::BlockingPool::new("names", 1, 1, None);
        let mail = Reach {
            names: Names::new(pool),
            start: Instant::now(),
            places: Rc::default(),
        };
        let logins = mail.clone();
        let now = Duration::from_secs(100);
        let failed = |kind: io::ErrorKind| Err::<(), _>(io::Error::from(kind));
        for _ in 0..FAILURES_MAX {
            assert!(logins.may_try("n2", "10.0.0.2", now));
            mail.tried("n2", "10.0.0.2", now, &failed(io::ErrorKind::TimedOut));
        }
        assert!(!logins.may_try("n2", "10.0.0.2", now));
        assert!(logins.may_try("n2", "10.0.1.2", now) && logins.may_try("n3", "10.0.0.2", now));
        // One tries now and then, and finds it: who refuses is there.
        let later = now + PAUSE_MAX;
        assert!(mail.may_try("n2", "10.0.0.2", later) && !logins.may_try("n2", "10.0.0.2", later));
        mail.tried("n2", "10.0.0.2", later, &failed(io::ErrorKind::ConnectionRefused));
        assert!(logins.may_try("n2", "10.0.0.2", later));
        // What is the fault of nobody there says nothing.
        for _ in 0..9 {
            mail.tried("n2", "10.0.0.2", later, &failed(io::ErrorKind::AddrNotAvailable));
        }
        assert!(logins.may_try("n2", "10.0.0.2", later));
    }
}
