//! Logins with the same credentials at the same time, on all cores: one is checked, the others wait for what it finds out.
//!
//! Whoever waits looks into the node's memory afterwards, so a check that ended without a result (its client has gone, the
//! pool was full) makes the next one check, and nobody waits for somebody who is not there any more.

use super::memory::Tag;
use futures_util::lock::{Mutex as Turn, OwnedMutexGuard};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Checks that are going on. Bounded by the sessions of the node.
#[derive(Default)]
pub(super) struct Flights {
    turns: Mutex<HashMap<Tag, Arc<Turn<()>>>>,
}

/// The right to check these credentials, until it is dropped.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    tag: Tag,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    /// Waits until nobody else checks the credentials of this MAC. Also whether there was somebody.
    pub(super) async fn join(&self, tag: Tag) -> (Flight<'_>, bool) {
        let turn = self.turns().entry(tag).or_default().clone();
        // From here on the place in the table goes with it, whether its turn comes or not.
        let mut flight = Flight {
            flights: self,
            tag,
            turn: None,
        };
        let (guard, waited) = match turn.clone().try_lock_owned() {
            Some(guard) => (guard, false),
            None => (turn.lock_owned().await, true),
        };
        flight.turn = Some(guard);
        (flight, waited)
    }

    /// Held for a look at the table, never across a wait.
    fn turns(&self) -> MutexGuard<'_, HashMap<Tag, Arc<Turn<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut turns = self.flights.turns();
        // The next one has its turn; the last one leaves nothing behind. Clones are only made under the table's lock.
        drop(self.turn.take());
        if let Entry::Occupied(entry) = turns.entry(self.tag)
            && Arc::strong_count(entry.get()) == 1
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use std::pin::pin;
    use std::task::{Context, Poll};

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let flights = Flights::default();
        let (first, waited) = flights.join([1; 32]).now_or_never().expect("nobody is there");
        assert!(!waited);
        let (other, waited) = flights.join([2; 32]).now_or_never().expect("nobody is there");
        assert!(!waited);
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let mut second = pin!(flights.join([1; 32]));
        assert!(second.as_mut().poll(&mut context).is_pending());
        {
            // One whose client goes while it waits.
            let mut third = pin!(flights.join([1; 32]));
            assert!(third.as_mut().poll(&mut context).is_pending());
        }
        drop(first);
        let Poll::Ready((second, waited)) = second.as_mut().poll(&mut context) else {
            panic!("its turn has come");
        };
        assert!(waited);
        assert_eq!(flights.turns().len(), 2);
        drop((second, other));
        assert_eq!(flights.turns().len(), 0);
    }
}
