//! Bodies read or delivered not long ago, so that a message fetched soon after it came costs no read: whole ones, and the chunks
//! of those that are streamed once they have been read. A body that would take much of the room is left out.
//!
//! Reading whole mailboxes must not drive out what is in use: what comes of that (`Keeping::Offered`) is taken when there is room, or
//! when it was offered before and not more than the cache holds since. So a mailbox that fits is here after it was read twice, and
//! one that does not leaves the rest alone, however often it is read.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use pigeon_store_format::LogPosition;

/// How what was read goes into the cache.
#[derive(Clone, Copy)]
pub(crate) enum Keeping {
    Not,
    /// Somebody reads many messages: they must not drive out what is in use.
    Offered,
    Kept,
}

/// Payloads of records of bodies by position. What was used longest ago goes first.
pub(crate) struct BodyCache {
    bytes_max: usize,
    state: RefCell<State>,
    pub(crate) hits: Cell<u64>,
    pub(crate) misses: Cell<u64>,
}

#[derive(Default)]
struct State {
    bodies: HashMap<LogPosition, (Bytes, u64)>,
    /// Uses in order; an item whose number is not the body's last use is out of date.
    uses: VecDeque<(LogPosition, u64)>,
    last_use: u64,
    bytes: usize,
    passed: Passed,
}

/// What was offered and not taken, and how much that was: the last of it, up to as many bytes as the cache holds.
#[derive(Default)]
struct Passed {
    /// With the number of the last offer.
    offers: HashMap<LogPosition, u64>,
    /// Offers in order; one whose number is not the last of its position is out of date.
    order: VecDeque<(LogPosition, u64, usize)>,
    last_offer: u64,
    bytes: usize,
}

impl BodyCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: RefCell::default(),
            hits: Cell::new(0),
            misses: Cell::new(0),
        }
    }

    pub(crate) fn insert(&self, position: LogPosition, payload: &[u8]) {
        if payload.len() <= self.bytes_max / 4 {
            self.insert_bytes(position, Bytes::copy_from_slice(payload));
        }
    }

    fn insert_bytes(&self, position: LogPosition, payload: Bytes) {
        if payload.len() > self.bytes_max / 4 {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        let now = state.next_use(position);
        state.bytes += payload.len();
        if let Some((old, _)) = state.bodies.insert(position, (payload, now)) {
            state.bytes -= old.len();
        }
        while state.bytes > self.bytes_max {
            let Some((position, used)) = state.uses.pop_front() else {
                break;
            };
            if state.bodies.get(&position).is_some_and(|(_, last)| *last == used)
                && let Some((old, _)) = state.bodies.remove(&position)
            {
                state.bytes -= old.len();
            }
        }
        state.forget_old_uses();
    }

    /// What was read from the disk.
    pub(crate) fn keep(&self, position: LogPosition, payload: Bytes, keeping: Keeping) {
        match keeping {
            Keeping::Not => {}
            Keeping::Offered => self.offer(position, payload),
            Keeping::Kept => self.insert_bytes(position, payload),
        }
    }

    /// Whether it is here, without a use of it.
    pub(crate) fn holds(&self, position: LogPosition) -> bool {
        self.state.borrow().bodies.contains_key(&position)
    }

    fn offer(&self, position: LogPosition, payload: Bytes) {
        if payload.len() > self.bytes_max / 4 {
            return;
        }
        let is_taken = {
            let state = &mut *self.state.borrow_mut();
            state.bytes + payload.len() <= self.bytes_max || state.passed.again(position, payload.len(), self.bytes_max)
        };
        if is_taken {
            self.insert_bytes(position, payload);
        }
    }

    /// Whether the chunks of a streamed body of so many bytes are to be kept: several such bodies fit.
    pub(crate) fn keeps_streamed(&self, size: u64) -> bool {
        size <= (self.bytes_max / 8) as u64
    }

    pub(crate) fn find(&self, position: LogPosition) -> Option<Bytes> {
        let state = &mut *self.state.borrow_mut();
        if !state.bodies.contains_key(&position) {
            self.misses.set(self.misses.get() + 1);
            return None;
        }
        self.hits.set(self.hits.get() + 1);
        let now = state.next_use(position);
        let (payload, used) = state.bodies.get_mut(&position)?;
        *used = now;
        let payload = payload.clone();
        state.forget_old_uses();
        Some(payload)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.state.borrow().bytes
    }
}

impl State {
    fn next_use(&mut self, position: LogPosition) -> u64 {
        self.last_use += 1;
        self.uses.push_back((position, self.last_use));
        self.last_use
    }

    /// Keeps the list of uses within twice what is held.
    fn forget_old_uses(&mut self) {
        if self.uses.len() > 2 * self.bodies.len() + 64 {
            let bodies = &self.bodies;
            self.uses
                .retain(|(position, used)| bodies.get(position).is_some_and(|(_, last)| last == used));
        }
    }
}

/// Each offer counts as so much at least: what is noted of one takes memory, too.
const OFFER_BYTES_MIN: usize = 1024;

impl Passed {
    /// Whether this was offered before; else it is noted.
    fn again(&mut self, position: LogPosition, bytes: usize, bytes_max: usize) -> bool {
        if self.offers.remove(&position).is_some() {
            return true;
        }
        self.last_offer += 1;
        let bytes = bytes.max(OFFER_BYTES_MIN);
        self.offers.insert(position, self.last_offer);
        self.order.push_back((position, self.last_offer, bytes));
        self.bytes += bytes;
        while self.bytes > bytes_max {
            let Some((position, number, bytes)) = self.order.pop_front() else {
                break;
            };
            self.bytes -= bytes;
            if self.offers.get(&position) == Some(&number) {
                self.offers.remove(&position);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these were found; those that were not are offered.
    fn read_through(cache: &BodyCache, positions: std::ops::Range<u64>) -> usize {
        positions
            .filter(|position| {
                let position = LogPosition(*position);
                let found = cache.find(position).is_some();
                if !found {
                    cache.offer(position, Bytes::from(vec![0; 1024]));
                }
                found
            })
            .count()
    }

    #[test]
    fn what_is_read_through_again_and_again_is_kept_if_it_fits_and_drives_nothing_out_if_not() {
        let cache = BodyCache::new(100 * 1024);
        for position in 0..100 {
            cache.insert(LogPosition(position), &[0; 1024]);
        }
        for _ in 0..5 {
            assert_eq!(read_through(&cache, 1000..1500), 0);
            assert_eq!(read_through(&cache, 0..100), 100, "all that was in use is there");
        }
        assert!(
            cache.state.borrow().passed.offers.len() <= 100,
            "what is noted is bounded"
        );
        for expected in [0, 0, 80, 80] {
            assert_eq!(read_through(&cache, 2000..2080), expected);
        }
    }

    #[test]
    fn keeps_what_was_used_last_within_its_bytes() {
        let cache = BodyCache::new(1000);
        for position in 1..=10 {
            cache.insert(LogPosition(position), &[0; 100]);
        }
        assert!(cache.find(LogPosition(1)).is_some());
        cache.insert(LogPosition(11), &[0; 100]);
        assert!(cache.find(LogPosition(1)).is_some(), "used last");
        assert!(cache.find(LogPosition(2)).is_none(), "used longest ago");
        for round in 0..10_000 {
            cache.find(LogPosition(1));
            cache.insert(LogPosition(20 + round % 50), &[0; 90]);
        }
        assert!(cache.bytes() <= 1000);
        assert!(cache.state.borrow().uses.len() < 200);
        cache.insert(LogPosition(12), &[0; 251]);
        assert!(cache.find(LogPosition(12)).is_none(), "too big for it");
    }
}
