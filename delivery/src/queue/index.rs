//! What waits on this node, for all its cores: of which senders to which nodes, so that newer mail goes behind it; and how
//! much, for the status port.
//!
//! A core asks at the end of a transaction for another node's account; while nothing waits at all that is one atomic load.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A sender, for the order of its mail: a hash of its address. Two that share one wait for each other, which harms nobody.
pub(super) type Sender = u64;

/// `None` for the null sender, whose messages have nothing to do with each other.
pub(super) fn sender(reverse_path: &str) -> Option<Sender> {
    if reverse_path.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    reverse_path.hash(&mut hasher);
    Some(hasher.finish())
}

/// See the module.
#[derive(Debug, Default)]
pub struct QueueIndex {
    /// Of all destinations: messages that hold their senders' order, and those of which the sender is not known yet.
    holding: AtomicU64,
    destinations: Mutex<BTreeMap<String, Destination>>,
}

#[derive(Debug, Default)]
struct Destination {
    /// Messages of this life by their senders, as long as newer mail goes behind them; those of the null sender until they were
    /// looked at.
    senders: HashMap<Option<Sender>, u32>,
    /// Sum of these.
    entered: u64,
    /// So many of them cannot be read: nobody can tell any more of whom they are.
    lost: u64,
    /// By volume: messages of an earlier life that nobody has looked at yet. Any sender may be among theirs.
    unread: BTreeMap<usize, u64>,
    gauges: BTreeMap<usize, QueueGauge>,
}

/// What waits in one volume for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueGauge {
    /// Queued messages.
    pub messages: u64,
    /// Their bytes, envelopes included.
    pub bytes: u64,
    /// When the oldest was taken, seconds since the Unix epoch.
    pub oldest: Option<i64>,
    /// Nothing of it is brought for now, because the volume cannot note what was; the text says why.
    pub held: Option<Arc<str>>,
}

impl QueueIndex {
    /// Whether mail of `sender` waits for `destination`, or may.
    pub(super) fn waits(&self, destination: &str, sender: Option<Sender>) -> bool {
        let Some(sender) = sender else { return false };
        if self.holding.load(Ordering::Acquire) == 0 {
            return false;
        }
        let all = self.all();
        all.get(destination).is_some_and(|there| {
            there.senders.contains_key(&Some(sender)) || there.unread.values().any(|count| *count > 0)
        })
    }

    /// A message of `sender` waits from now on.
    pub(super) fn enter(&self, destination: &str, sender: Option<Sender>) {
        let mut all = self.all();
        let there = of(&mut all, destination);
        *there.senders.entry(sender).or_insert(0) += 1;
        there.entered += 1;
        self.holding.fetch_add(1, Ordering::Release);
    }

    /// It does not any more, or holds nobody up any more.
    pub(super) fn leave(&self, destination: &str, sender: Option<Sender>) {
        let mut all = self.all();
        let there = of(&mut all, destination);
        let Some(count) = there.senders.get_mut(&sender) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            there.senders.remove(&sender);
        }
        there.entered -= 1;
        self.holding.fetch_sub(1, Ordering::Release);
        self.forget_lost(there);
    }

    /// A message that was entered cannot be read, so that nobody can say of which sender it is. That sender's newer mail goes on
    /// going behind, until all others have left: what is left then is what was lost.
    pub(super) fn lose(&self, destination: &str) {
        let mut all = self.all();
        let there = of(&mut all, destination);
        there.lost += 1;
        self.forget_lost(there);
    }

    fn forget_lost(&self, there: &mut Destination) {
        if there.lost > 0 && there.entered <= there.lost {
            self.holding.fetch_sub(there.entered, Ordering::Release);
            there.senders.clear();
            (there.entered, there.lost) = (0, 0);
        }
    }

    /// So many messages of an earlier life are still to be looked at.
    pub(super) fn set_unread(&self, volume: usize, destination: &str, count: u64) {
        let mut all = self.all();
        let unread = &mut of(&mut all, destination).unread;
        let before = unread.insert(volume, count).unwrap_or(0);
        // In this order there is no moment at which nothing seems to wait.
        self.holding.fetch_add(count, Ordering::Release);
        self.holding.fetch_sub(before, Ordering::Release);
    }

    /// For the status port.
    pub(super) fn publish(&self, volume: usize, destination: &str, gauge: QueueGauge) {
        of(&mut self.all(), destination).gauges.insert(volume, gauge);
    }

    /// What waits, by destination and volume; also where nothing waits any more.
    pub fn gauges(&self) -> Vec<(String, usize, QueueGauge)> {
        let all = self.all();
        let gauges = all.iter().flat_map(|(destination, there)| {
            let volumes = there.gauges.iter();
            volumes.map(|(volume, gauge)| (destination.clone(), *volume, gauge.clone()))
        });
        gauges.collect()
    }

    /// Bytes of what waits and of what is kept: in this volume, and in all of them. As last published, which is a moment ago.
    pub fn bytes(&self, volume: usize) -> (u64, u64) {
        let all = self.all();
        let gauges = all.values().flat_map(|there| &there.gauges);
        gauges.fold((0, 0), |(here, all), (place, gauge)| {
            let here = if *place == volume { gauge.bytes } else { 0 }.saturating_add(here);
            (here, gauge.bytes.saturating_add(all))
        })
    }

    /// Held for the length of a look: never across a wait.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Destination>> {
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of<'a>(all: &'a mut BTreeMap<String, Destination>, destination: &str) -> &'a mut Destination {
    if !all.contains_key(destination) {
        all.insert(destination.to_owned(), Destination::default());
    }
    all.get_mut(destination).expect("it has just been made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_of_a_sender_that_waits_holds_its_other_mail() {
        let index = QueueIndex::default();
        let (bob, eve) = (sender("bob@example.org"), sender("eve@example.org"));
        assert!(!index.waits("n2", bob));
        index.enter("n2", bob);
        index.enter("n2", bob);
        assert!(index.waits("n2", bob) && !index.waits("n2", eve) && !index.waits("n3", bob));
        index.leave("n2", bob);
        assert!(index.waits("n2", bob));
        index.leave("n2", bob);
        assert!(!index.waits("n2", bob));
        // The null sender never waits, and whoever was not there does no harm.
        index.enter("n2", sender(""));
        index.leave("n2", eve);
        assert!(!index.waits("n2", sender("")) && !index.waits("n2", eve));
    }

    #[test]
    fn what_cannot_be_read_holds_its_sender_until_all_others_have_left() {
        let index = QueueIndex::default();
        let (bob, eve) = (sender("bob@example.org"), sender("eve@example.org"));
        for of in [bob, eve, None] {
            index.enter("n2", of);
        }
        index.enter("n3", bob);
        // Bob's, but nobody can tell.
        index.lose("n2");
        index.leave("n2", eve);
        assert!(index.waits("n2", bob), "the one of nobody may be the one that is lost");
        index.leave("n2", None);
        assert!(!index.waits("n2", bob) && index.waits("n3", bob));
        index.leave("n3", bob);
        assert_eq!(index.holding.load(Ordering::Relaxed), 0);
        // It counts from the beginning.
        index.enter("n2", bob);
        assert!(index.waits("n2", bob));
        index.leave("n2", bob);
        assert!(!index.waits("n2", bob));
    }

    #[test]
    fn what_nobody_has_looked_at_may_be_anybodys() {
        let index = QueueIndex::default();
        let bob = sender("bob@example.org");
        index.set_unread(0, "n2", 2);
        assert!(index.waits("n2", bob) && !index.waits("n3", bob));
        index.set_unread(0, "n2", 0);
        assert!(!index.waits("n2", bob));
        assert_eq!(index.holding.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn gauges_are_by_destination_and_volume() {
        let index = QueueIndex::default();
        let gauge = QueueGauge {
            messages: 1,
            bytes: 2,
            oldest: Some(3),
            held: None,
        };
        index.publish(1, "n2", gauge.clone());
        index.publish(1, "n3", gauge.clone());
        index.publish(0, "n2", QueueGauge::default());
        let gauges = index.gauges();
        assert_eq!(gauges[1], ("n2".to_owned(), 1, gauge));
        assert_eq!(gauges.len(), 3);
        assert_eq!((index.bytes(0), index.bytes(1)), ((0, 4), (4, 4)));
    }
}
