//! Which queued message is tried next: pure, without a clock of its own.
//!
//! Invariants:
//! - Of the messages of one sender that were never answered, only the oldest is tried; the others wait behind it. Other senders'
//!   overtake. A message that the node has answered with "later" holds nobody up from then on.
//! - Of a long queue only the oldest messages are known, a bounded number of them.

use super::index::Sender;
use pigeon_store::Uid;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The most messages that are known at a time, without those that were told to come later; and with them.
pub(super) const WINDOW_MAX: usize = 4096;
const KNOWN_MAX: usize = 16 * WINDOW_MAX;

/// Between two looks whether a node that does not answer is back; with the random part below two seconds.
const PROBE_FIRST: Duration = Duration::from_millis(250);
const PROBE_LAST: Duration = Duration::from_millis(1400);
/// Between two tries of a message at which its node breaks off, from the second time on; after so many it gives up its order.
const BROKEN_FIRST: Duration = Duration::from_secs(1);
const BROKEN_HOLDS_MAX: u32 = 4;
/// Between two tries of a message that was answered with "later".
const LATER_FIRST: Duration = Duration::from_secs(30);
const LATER_LAST: Duration = Duration::from_secs(30 * 60);

/// A message of the queue.
#[derive(Clone, Copy, Debug)]
struct Entry {
    sender: Option<Sender>,
    /// When it was taken, seconds since the Unix epoch.
    received_at: i64,
    /// Tries that were answered with "later".
    deferrals: u32,
    /// Tries at which its node broke off.
    broken: u32,
    /// Its sender's newer mail goes behind it.
    holds: bool,
    /// It is the first of its sender that does.
    first: bool,
    /// Its life is over, and it has been tried as that.
    expired: bool,
    /// Since then its node may have it: the answer to a try was lost. Seconds since the Unix epoch.
    unsure_since: Option<i64>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Schedule {
    entries: BTreeMap<Uid, Entry>,
    /// May be tried; ascending but for those that come back.
    ready: BTreeSet<Uid>,
    /// Those behind the first of each sender that holds.
    behind: HashMap<Sender, VecDeque<Uid>>,
    later: BTreeSet<(Instant, Uid)>,
    trying: BTreeSet<Uid>,
}

impl Schedule {
    pub(super) fn is_full(&self) -> bool {
        // Those that come later keep the window from nobody, up to a bound of their own.
        let waiting = self.entries.len().saturating_sub(self.later.len());
        waiting >= WINDOW_MAX || self.entries.len() >= KNOWN_MAX
    }

    /// A message that is above all known ones.
    pub(super) fn add(&mut self, uid: Uid, sender: Option<Sender>, received_at: i64) {
        let entry = Entry {
            sender,
            received_at,
            deferrals: 0,
            broken: 0,
            expired: false,
            unsure_since: None,
            holds: sender.is_some(),
            first: sender.is_some_and(|sender| !self.behind.contains_key(&sender)),
        };
        self.entries.insert(uid, entry);
        match sender.map(|sender| self.behind.get_mut(&sender).ok_or(sender)) {
            Some(Ok(behind)) => behind.push_back(uid),
            Some(Err(sender)) => {
                self.behind.insert(sender, VecDeque::new());
                self.ready.insert(uid);
            }
            None => {
                self.ready.insert(uid);
            }
        }
    }

    /// The next to be tried, which is so from now on.
    pub(super) fn next(&mut self, now: Instant) -> Option<Uid> {
        while let Some((until, uid)) = self.later.first().copied()
            && until <= now
        {
            self.later.pop_first();
            self.ready.insert(uid);
        }
        let uid = self.ready.pop_first()?;
        self.trying.insert(uid);
        Some(uid)
    }

    /// It was not reached: it is the next again.
    pub(super) fn unreached(&mut self, uid: Uid) {
        if self.trying.remove(&uid) {
            self.ready.insert(uid);
        }
    }

    /// Its node was there, and broke off: after the first time there is a pause, which grows, so that a message that a node cannot
    /// take keeps neither it nor others busy. Gives the sender whose mail it held until now.
    pub(super) fn broken_off(&mut self, uid: Uid, now: Instant, chance: u8) -> Option<Sender> {
        let is_trying = self.trying.remove(&uid);
        let entry = self.entries.get_mut(&uid)?;
        let before = entry.broken;
        entry.broken = before.saturating_add(1);
        if before == 0 {
            if is_trying {
                self.ready.insert(uid);
            }
            return None;
        }
        let pause = varied(doubled(BROKEN_FIRST, LATER_LAST, before - 1), chance);
        self.later.insert((now + pause, uid));
        if entry.broken < BROKEN_HOLDS_MAX {
            return None;
        }
        let left = *entry;
        (entry.holds, entry.first) = (false, false);
        self.left(left)
    }

    /// Later, it was said. Gives the sender whose mail it held until now. `chance` is a random byte.
    pub(super) fn deferred(&mut self, uid: Uid, now: Instant, chance: u8) -> Option<Sender> {
        self.trying.remove(&uid);
        let entry = self.entries.get_mut(&uid)?;
        let pause = varied(doubled(LATER_FIRST, LATER_LAST, entry.deferrals), chance);
        entry.deferrals = entry.deferrals.saturating_add(1);
        let left = *entry;
        (entry.holds, entry.first) = (false, false);
        self.later.insert((now + pause, uid));
        self.left(left)
    }

    /// It is over with it. Gives the sender whose mail it held until now.
    pub(super) fn done(&mut self, uid: Uid) -> Option<Sender> {
        self.trying.remove(&uid);
        let entry = self.entries.remove(&uid)?;
        self.left(entry)
    }

    fn left(&mut self, entry: Entry) -> Option<Sender> {
        let sender = entry.sender.filter(|_| entry.holds)?;
        if entry.first {
            self.release(sender);
        }
        Some(sender)
    }

    fn release(&mut self, sender: Sender) {
        let next = self.behind.get_mut(&sender).and_then(VecDeque::pop_front);
        match next {
            Some(uid) => {
                self.ready.insert(uid);
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.first = true;
                }
            }
            None => {
                self.behind.remove(&sender);
            }
        }
    }

    /// Takes those that were taken before `oldest`, and are not being tried, out of their order: they are tried now. At most so
    /// many. One that could not be ended then comes later in its turn, as `is_expired`, and leaves others theirs.
    pub(super) fn expire(&mut self, oldest: i64, most: usize) -> Vec<Uid> {
        let expired = |(uid, entry): (&Uid, &Entry)| {
            let is = entry.received_at < oldest && !entry.expired && !self.trying.contains(uid);
            is.then_some(*uid)
        };
        let expired: Vec<Uid> = self.entries.iter().filter_map(expired).take(most).collect();
        for uid in &expired {
            self.ready.remove(uid);
            self.later.retain(|(_, later)| later != uid);
            self.behind.values_mut().for_each(|behind| {
                behind.retain(|waits| waits != uid);
            });
            self.trying.insert(*uid);
            if let Some(entry) = self.entries.get_mut(uid) {
                entry.expired = true;
            }
        }
        expired
    }

    /// Its life is over, as `expire` found.
    pub(super) fn is_expired(&self, uid: Uid) -> bool {
        self.entries.get(&uid).is_some_and(|entry| entry.expired)
    }

    /// The answer to a try was lost at this time, or before.
    pub(super) fn unsure(&mut self, uid: Uid, at: i64) {
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.unsure_since.get_or_insert(at);
        }
    }

    /// When an answer was lost first, in this life of the node.
    pub(super) fn unsure_since(&self, uid: Uid) -> Option<i64> {
        self.entries.get(&uid).and_then(|entry| entry.unsure_since)
    }

    /// When the next one is due that was told to come later.
    pub(super) fn due(&self) -> Option<Instant> {
        self.later.first().map(|(until, _)| *until)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

/// Before the next look whether the node is back, after so many in vain.
pub(super) fn probe_pause(tries: u32, chance: u8) -> Duration {
    varied(doubled(PROBE_FIRST, PROBE_LAST, tries), chance)
}

fn doubled(first: Duration, last: Duration, times: u32) -> Duration {
    first
        .saturating_mul(1u32.checked_shl(times.min(20)).unwrap_or(u32::MAX))
        .min(last)
}

/// A quarter more or less, so that cores and nodes do not come at once.
fn varied(pause: Duration, chance: u8) -> Duration {
    pause.mul_f64(0.75 + 0.5 * f64::from(chance) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: Option<Sender> = Some(1);
    const EVE: Option<Sender> = Some(2);

    fn all(schedule: &mut Schedule, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| schedule.next(now)).map(|uid| uid.0).collect()
    }

    fn schedule(senders: &[Option<Sender>]) -> Schedule {
        let mut schedule = Schedule::default();
        for (index, sender) in (1..).zip(senders) {
            schedule.add(Uid(index), *sender, i64::from(index));
        }
        schedule
    }

    #[test]
    fn a_senders_mail_keeps_its_order_and_others_overtake() {
        let now = Instant::now();
        let mut schedule = schedule(&[BOB, BOB, EVE, None, None, BOB]);
        assert_eq!(all(&mut schedule, now), [1, 3, 4, 5]);
        schedule.unreached(Uid(1));
        schedule.unreached(Uid(3));
        assert_eq!(all(&mut schedule, now), [1, 3]);
        assert_eq!(schedule.done(Uid(1)), BOB);
        assert_eq!(schedule.done(Uid(4)), None);
        assert_eq!(all(&mut schedule, now), [2]);
        assert_eq!(schedule.done(Uid(2)), BOB);
        assert_eq!(all(&mut schedule, now), [6]);
        assert_eq!(schedule.done(Uid(6)), BOB);
        schedule.add(Uid(7), BOB, 7);
        assert_eq!(all(&mut schedule, now), [7], "nobody is before it");
    }

    #[test]
    fn who_is_told_to_come_later_holds_nobody_up() {
        let now = Instant::now();
        let mut schedule = schedule(&[BOB, BOB]);
        assert_eq!(all(&mut schedule, now), [1]);
        assert_eq!(schedule.deferred(Uid(1), now, 0), BOB);
        assert_eq!(all(&mut schedule, now), [2]);
        assert_eq!(schedule.due(), Some(now + LATER_FIRST.mul_f64(0.75)));
        let soon = now + LATER_FIRST.mul_f64(0.75);
        assert_eq!(all(&mut schedule, soon), [1]);
        // It has given its order up already.
        assert_eq!(schedule.deferred(Uid(1), soon, 255), None);
        assert_eq!(schedule.due(), Some(soon + LATER_FIRST.mul_f64(2.5)));
        assert_eq!(all(&mut schedule, soon), []);
        assert_eq!(all(&mut schedule, soon + LATER_LAST), [1]);
        assert_eq!(schedule.done(Uid(1)), None);
        assert_eq!(schedule.done(Uid(2)), BOB);
        assert!(!schedule.has_ready() && schedule.due().is_none());
    }

    #[test]
    fn a_message_that_breaks_its_node_off_has_growing_pauses() {
        let now = Instant::now();
        let mut schedule = schedule(&[BOB, BOB]);
        assert_eq!(all(&mut schedule, now), [1]);
        assert_eq!(schedule.broken_off(Uid(1), now, 0), None);
        assert_eq!(all(&mut schedule, now), [1], "once may be the end of the node");
        assert_eq!(schedule.broken_off(Uid(1), now, 0), None);
        assert_eq!(all(&mut schedule, now), [], "it keeps its order, and waits");
        let mut now = schedule.due().expect("it comes later");
        for _ in 0..2 {
            assert_eq!(all(&mut schedule, now), [1]);
            if let Some(sender) = schedule.broken_off(Uid(1), now, 0) {
                assert_eq!(Some(sender), BOB);
                assert_eq!(all(&mut schedule, now), [2], "it holds nobody up any more");
                return;
            }
            let due = schedule.due().expect("it comes later");
            assert!(due > now + BROKEN_FIRST);
            now = due;
        }
        panic!("it never gave up its order");
    }

    #[test]
    fn whose_time_is_over_is_tried_now_wherever_it_waits() {
        let now = Instant::now();
        let mut schedule = schedule(&[BOB, BOB, BOB, EVE, None]);
        assert_eq!(schedule.next(now), Some(Uid(1)));
        assert_eq!(schedule.expire(4, 9), [Uid(2), Uid(3)], "the first is being tried");
        schedule.unreached(Uid(1));
        assert_eq!(schedule.expire(5, 9), [Uid(1), Uid(4)]);
        // What cannot be reported now has its pause, and is tried as what it is.
        schedule.deferred(Uid(4), now, 0);
        assert_eq!(schedule.expire(5, 9), []);
        assert_eq!(schedule.next(now + LATER_LAST), Some(Uid(4)));
        assert!(schedule.is_expired(Uid(4)));
        assert_eq!(schedule.done(Uid(2)), BOB);
        assert_eq!(schedule.done(Uid(1)), BOB);
        assert_eq!(all(&mut schedule, now), [5]);
        for uid in [3, 4, 5] {
            schedule.done(Uid(uid));
        }
        assert!(schedule.entries.is_empty() && schedule.behind.is_empty() && schedule.trying.is_empty());
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        assert_eq!(probe_pause(0, 0), PROBE_FIRST.mul_f64(0.75));
        assert!(probe_pause(40, 255) < Duration::from_secs(2));
        assert_eq!(doubled(LATER_FIRST, LATER_LAST, 1), Duration::from_secs(60));
        assert_eq!(doubled(LATER_FIRST, LATER_LAST, 99), LATER_LAST);
    }
}
