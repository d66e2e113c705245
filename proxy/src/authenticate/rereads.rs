//! How often the directory is asked once more before a password is refused, and how long that takes.
//!
//! Bounded for each name and for the node, so that whoever guesses passwords here does not guess at the directory's cost. Names
//! without an account take part as the others do, and wait for as long as the others usually do, so that neither the
//! answer nor its time tells them apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one name at once, and how long one more takes. Guesses: a person who has changed the password types it wrong twice.
const NAME_MAX: u32 = 3;
const NAME_EVERY: Duration = Duration::from_secs(10);
/// Of the node.
const NODE_MAX: u32 = 100;
const NODE_EVERY: Duration = Duration::from_millis(50);

/// Who may ask now.
pub(super) struct Rereads {
    node: Bucket,
    /// By a MAC of the name. The node's bound keeps it small: in the time in which a name is forgotten, 700 can come.
    names: HashMap<[u8; 32], Bucket>,
}

/// What is left to somebody.
#[derive(Clone, Copy)]
struct Bucket {
    left: u32,
    /// Since when the next one has been coming.
    since: Instant,
}

impl Bucket {
    fn full(left: u32, now: Instant) -> Bucket {
        Bucket { left, since: now }
    }

    /// Adds what has come meanwhile.
    fn fill(&mut self, max: u32, every: Duration, now: Instant) {
        let come = now.saturating_duration_since(self.since).as_nanos() / every.as_nanos();
        let come = u32::try_from(come).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(come);
        if self.left >= max {
            *self = Bucket::full(max, now);
        } else {
            self.since += every * come;
        }
    }
}

impl Rereads {
    /// Nobody has asked yet.
    pub(super) fn new(now: Instant) -> Rereads {
        Rereads {
            node: Bucket::full(NODE_MAX, now),
            names: HashMap::new(),
        }
    }

    /// Whether there is one for this name.
    pub(super) fn take(&mut self, name: [u8; 32], now: Instant) -> bool {
        self.node.fill(NODE_MAX, NODE_EVERY, now);
        let mut bucket = self.names.get(&name).copied().unwrap_or(Bucket::full(NAME_MAX, now));
        bucket.fill(NAME_MAX, NAME_EVERY, now);
        if self.node.left == 0 || bucket.left == 0 {
            return false;
        }
        self.node.left -= 1;
        bucket.left -= 1;
        self.names.insert(name, bucket);
        if self.names.len() > 2 * 1024 {
            self.names.retain(|_, bucket| {
                bucket.fill(NAME_MAX, NAME_EVERY, now);
                bucket.left < NAME_MAX
            });
        }
        true
    }
}

/// How long something usually takes: an average in which the last ones count most.
#[derive(Default)]
pub(super) struct Pace {
    microseconds: AtomicU64,
}

impl Pace {
    /// It took so long.
    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let before = self.microseconds.load(Ordering::Relaxed);
        // One that is lost between two cores does no harm.
        let now = if before == 0 {
            took
        } else {
            (before / 8).saturating_mul(7).saturating_add(took / 8)
        };
        self.microseconds.store(now.max(1), Ordering::Relaxed);
    }

    /// About so long. Zero before the first.
    pub(super) fn usual(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_and_one_every_ten_seconds() {
        let start = Instant::now();
        let mut rereads = Rereads::new(start);
        let mut taken = |name: u8, seconds| rereads.take([name; 32], start + Duration::from_secs(seconds));
        assert_eq!(
            [0, 0, 0, 0, 9].map(|seconds| taken(1, seconds)),
            [true, true, true, false, false]
        );
        assert!(taken(2, 9), "others have theirs");
        assert_eq!(
            [10, 10, 19, 20].map(|seconds| taken(1, seconds)),
            [true, false, false, true]
        );
        assert_eq!([1000; 4].map(|seconds| taken(1, seconds)), [true, true, true, false]);
    }

    #[test]
    fn the_node_is_bounded_and_so_is_the_memory() {
        let start = Instant::now();
        let mut rereads = Rereads::new(start);
        let name = |number: u32| {
            let mut name = [0; 32];
            name[..4].copy_from_slice(&number.to_le_bytes());
            name
        };
        let taken = (0..1000).filter(|number| rereads.take(name(*number), start)).count();
        assert_eq!(taken, 100);
        // For ten minutes, as fast as it goes.
        let taken = (0..12_000).filter(|number| {
            let now = start + Duration::from_millis(50) * (number + 1);
            rereads.take(name(1000 + number), now)
        });
        assert_eq!(taken.count(), 12_000);
        assert!(rereads.names.len() <= 2 * 1024 + 1, "{}", rereads.names.len());
    }

    #[test]
    fn the_pace_follows() {
        let pace = Pace::default();
        assert_eq!(pace.usual(), Duration::ZERO);
        pace.note(Duration::from_millis(8));
        assert_eq!(pace.usual(), Duration::from_millis(8));
        (0..100).for_each(|_| pace.note(Duration::from_millis(80)));
        assert!((Duration::from_millis(70)..=Duration::from_millis(80)).contains(&pace.usual()));
    }
}
