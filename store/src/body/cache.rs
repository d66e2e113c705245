//! Bodies read or delivered not long ago, so that a message fetched soon after it came costs no read: whole ones, and the chunks
//! of those that are streamed once they have been read. A body that would take much of the room is left out.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use pigeon_store_format::LogPosition;

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

    pub(crate) fn insert_bytes(&self, position: LogPosition, payload: Bytes) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
