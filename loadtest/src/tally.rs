//! What the units came to: counts, latencies, failures.

use crate::command_line::Fault;
use crate::failure::Failure;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest latency that is told apart, in microseconds: an hour.
const LATENCY_MAX: u64 = 3_600_000_000;

/// Of one core, or of all.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Units that succeeded.
    pub(crate) done: u64,
    /// Their latencies, microseconds from when they were due.
    pub(crate) latencies: Histogram<u64>,
    /// Units that did not.
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// Octets of messages, in either direction.
    pub(crate) message_bytes: u64,
}

impl Tally {
    /// Tells latencies apart that differ by a thousandth; about 190 KiB.
    pub(crate) fn new() -> Tally {
        Tally::with_digits(3)
    }

    /// One of many: tells latencies apart that differ by a hundredth, in about 30 KiB.
    pub(crate) fn coarse() -> Tally {
        Tally::with_digits(2)
    }

    fn with_digits(digits: u8) -> Tally {
        Tally {
            done: 0,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX, digits).expect("bounds and digits are allowed ones"),
            failures: BTreeMap::new(),
            message_bytes: 0,
        }
    }

    /// What its latencies take, bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.latencies.distinct_values() * std::mem::size_of::<u64>()
    }

    /// A unit that ended `latency` after it was due, and carried so many octets of messages.
    pub(crate) fn add(&mut self, outcome: Result<u64, Failure>, latency: Duration) {
        match outcome {
            Ok(bytes) => {
                self.done += 1;
                self.message_bytes += bytes;
                let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX);
                self.latencies.saturating_record(micros.max(1));
            }
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    /// A unit that was done has come to this after all. What it took stays among the latencies.
    pub(crate) fn undo(&mut self, failure: Failure) {
        self.done = self.done.saturating_sub(1);
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        self.done += other.done;
        self.message_bytes += other.message_bytes;
        self.latencies
            .add(&other.latencies)
            .expect("both have the same bounds and digits");
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Seen while it runs, warm-up included.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Units that succeeded.
    pub(crate) done: AtomicU64,
    /// Units that did not.
    pub(crate) failed: AtomicU64,
    /// Sessions that are held.
    pub(crate) held: AtomicU64,
    /// Clients that misbehaved, by kind.
    misbehaved: [AtomicU64; 4],
    /// Those that came to no session in which they could.
    never_misbehaved: [AtomicU64; 4],
}

impl Live {
    pub(crate) fn add(&self, succeeded: bool) {
        let counter = if succeeded { &self.done } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Clients of these kinds that have misbehaved, in words; empty without.
    pub(crate) fn misbehaving(&self, faults: &[(Fault, u32)]) -> String {
        let each = |(fault, _): &(Fault, u32)| {
            let never = match self.never_misbehaved(*fault).load(Ordering::Relaxed) {
                0 => String::new(),
                never => format!(" ({never} could not begin)"),
            };
            let begun = self.misbehaved(*fault).load(Ordering::Relaxed);
            format!(", {} {begun}{never}", fault.name())
        };
        faults.iter().map(each).collect()
    }

    /// All units so far.
    pub(crate) fn units(&self) -> u64 {
        self.done.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// How many have misbehaved so.
    pub(crate) fn misbehaved(&self, fault: Fault) -> &AtomicU64 {
        &self.misbehaved[fault as usize]
    }

    /// How many could not even begin to.
    pub(crate) fn never_misbehaved(&self, fault: Fault) -> &AtomicU64 {
        &self.never_misbehaved[fault as usize]
    }

    /// Sessions that are held now.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_merge() {
        let (mut one, mut two) = (Tally::new(), Tally::new());
        one.add(Ok(10), Duration::from_millis(2));
        two.add(Ok(5), Duration::from_millis(4));
        two.add(Err(Failure::Timeout), Duration::from_secs(9));
        two.add(Ok(1), Duration::from_secs(1 << 40));
        one.merge(&two);
        assert_eq!((one.done, one.failed(), one.message_bytes), (3, 1, 16));
        one.undo(Failure::Closed);
        assert_eq!((one.done, one.failures.get(&Failure::Closed)), (2, Some(&1)));
        assert!((3_990..4_010).contains(&one.latencies.value_at_quantile(0.5)));
    }
}
