//! The deadlines of a core's connections: a wheel of 64 buckets, one for each 250 ms of the next 16 seconds.
//!
//! A connection has at most one place in the wheel, no later than its deadline; a deadline that moves away leaves the place
//! where it is, so the usual case, a deadline pushed back with every command, costs a comparison. When a place comes up and
//! the deadline has not passed, the connection gets a new one. Idle connections are looked at once in 16 seconds, and no
//! timer of the executor is taken for any of them.

use super::ConnectionState;
use crate::runtime;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Resolution of deadlines.
const TICK: Duration = Duration::from_millis(250);

/// Buckets; also how many ticks ahead a connection is put at most, less one.
const BUCKETS: u64 = 64;

/// Where a connection stands in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The tick at which it comes up; `u64::MAX` when it stands nowhere.
    tick: u64,
    index: u32,
}

impl Place {
    /// Nowhere.
    pub(super) const NONE: Place = Place {
        tick: u64::MAX,
        index: 0,
    };
}

/// See the module.
pub(super) struct Wheel {
    start: Instant,
    /// The last tick that was handled.
    tick: u64,
    buckets: Vec<Vec<Rc<ConnectionState>>>,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            start: runtime::now(),
            tick: 0,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
        }
    }
}

impl Wheel {
    fn tick_of(&self, time: Instant) -> u64 {
        let ticks = time
            .saturating_duration_since(self.start)
            .as_nanos()
            .div_ceil(TICK.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Sees to it that `state` comes up no later than `deadline`, by the wheel's resolution.
    fn watch(&mut self, state: &Rc<ConnectionState>, deadline: Instant) {
        let tick = self.tick_of(deadline).clamp(self.tick + 1, self.tick + BUCKETS - 1);
        if state.place.get().tick <= tick {
            return;
        }
        self.remove(state);
        let bucket = &mut self.buckets[bucket_of(tick)];
        let index = u32::try_from(bucket.len()).expect("descriptors end before 2^32 connections");
        bucket.push(state.clone());
        state.place.set(Place { tick, index });
    }

    /// Takes `state` out, wherever it stands.
    pub(super) fn remove(&mut self, state: &ConnectionState) {
        let place = state.place.replace(Place::NONE);
        if place == Place::NONE {
            return;
        }
        let bucket = &mut self.buckets[bucket_of(place.tick)];
        drop(bucket.swap_remove(place.index as usize));
        if let Some(moved) = bucket.get(place.index as usize) {
            moved.place.set(Place {
                index: place.index,
                ..moved.place.get()
            });
        }
    }

    /// Everything that comes up by `now`.
    fn due(&mut self, now: Instant) -> Vec<Rc<ConnectionState>> {
        let elapsed = now.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos();
        let current = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let mut due = Vec::new();
        // After a long sleep, once around is enough.
        self.tick = self.tick.max(current.saturating_sub(BUCKETS));
        while self.tick < current {
            self.tick += 1;
            due.append(&mut self.buckets[bucket_of(self.tick)]);
        }
        due.iter().for_each(|state| state.place.set(Place::NONE));
        due
    }
}

fn bucket_of(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS).expect("below 64")
}

/// Has the wheel look after a connection's deadline.
pub(super) fn watch(state: &Rc<ConnectionState>, deadline: Instant) {
    runtime::with(|core| {
        let mut wheel = core.network.wheel.borrow_mut();
        wheel.watch(state, deadline);
    });
}

/// Starts the task that turns the core's wheel. It goes on while the wheel is empty: the executor wants to be woken now and
/// then (see `runtime::driver`), and four times a second costs nothing.
pub(crate) fn start() {
    let core = runtime::with(Rc::clone);
    drop(runtime::spawn(async move {
        loop {
            runtime::sleep(TICK).await;
            let now = runtime::now();
            let due = core.network.wheel.borrow_mut().due(now);
            for state in due {
                match state.deadline.get() {
                    None => {}
                    Some(deadline) if deadline <= now => {
                        core.counters().deadlines.add(1);
                        state.wake();
                    }
                    Some(deadline) => core.network.wheel.borrow_mut().watch(&state, deadline),
                }
            }
        }
    }));
}

#[cfg(test)]
mod tests;
