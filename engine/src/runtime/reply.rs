//! One value from any thread to a waiting task, on a core or in tokio.
//!
//! A task of a core is not woken through its executor's own queue for foreign wakers, which the executor looks at only
//! when it polls its rings: the key of the waiting task is put into the core's reply queue, which the driver reads every
//! turn. That queue needs no bound: an entry in it was paid for by a task that waits, and each waits for one reply.

use super::inbox::CoreShared;
use slab::Slab;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Names a waiting task of one core: index and generation, so that a late reply wakes nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaiterKey {
    index: u32,
    generation: u32,
}

/// The tasks of one core that wait for replies.
#[derive(Default)]
pub(crate) struct Waiters {
    slots: Slab<(u32, Waker)>,
    next_generation: u32,
}

impl Waiters {
    fn insert(&mut self, waker: Waker) -> WaiterKey {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.slots.insert((generation, waker));
        WaiterKey {
            index: u32::try_from(index).expect("memory ends before 2^32 waiters"),
            generation,
        }
    }

    fn waker(&mut self, key: WaiterKey) -> Option<&mut Waker> {
        self.slots
            .get_mut(key.index as usize)
            .and_then(|(generation, waker)| (*generation == key.generation).then_some(waker))
    }

    fn remove(&mut self, key: WaiterKey) {
        if self.waker(key).is_some() {
            self.slots.remove(key.index as usize);
        }
    }

    /// Wakes the task that `key` names, if it still waits.
    pub(super) fn wake(&mut self, key: WaiterKey) {
        if let Some(waker) = self.waker(key) {
            waker.wake_by_ref();
        }
    }
}

/// Who waits.
enum Waiter {
    /// A task of a core.
    Task { home: Arc<CoreShared>, key: WaiterKey },
    /// A task of another executor.
    Foreign(Waker),
}

struct State<T> {
    value: Option<T>,
    waiter: Option<Waiter>,
    sender_gone: bool,
    receiver_gone: bool,
}

/// Gives the value; dropped without, the receiver gets `None`.
pub(crate) struct Sender<T> {
    state: Arc<Mutex<State<T>>>,
}

/// A future of the value.
pub(crate) struct Receiver<T> {
    state: Arc<Mutex<State<T>>>,
    key: Option<WaiterKey>,
}

/// A pair.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State {
        value: None,
        waiter: None,
        sender_gone: false,
        receiver_gone: false,
    };
    let state = Arc::new(Mutex::new(state));
    (Sender { state: state.clone() }, Receiver { state, key: None })
}

/// The state is consistent whenever the lock is free, a panic in between included.
fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Hands over `value` and wakes the receiver. Says whether anybody waits for it.
    pub(crate) fn send(self, value: T) -> bool {
        let mut state = lock(&self.state);
        state.value = Some(value);
        !state.receiver_gone
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiter = {
            let mut state = lock(&self.state);
            state.sender_gone = true;
            state.waiter.take()
        };
        match waiter {
            Some(Waiter::Task { home, key }) => home.reply(key),
            Some(Waiter::Foreign(waker)) => waker.wake(),
            None => {}
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let receiver = &mut *self;
        let mut state = lock(&receiver.state);
        if state.value.is_some() || state.sender_gone {
            return Poll::Ready(state.value.take());
        }
        let known = super::try_with(|core| {
            let mut waiters = core.waiters.borrow_mut();
            if let Some(waker) = receiver.key.and_then(|key| waiters.waker(key)) {
                waker.clone_from(context.waker());
            } else {
                let key = waiters.insert(context.waker().clone());
                receiver.key = Some(key);
                state.waiter = Some(Waiter::Task {
                    home: core.shared().clone(),
                    key,
                });
            }
        });
        if known.is_none() {
            state.waiter = Some(Waiter::Foreign(context.waker().clone()));
        }
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        lock(&self.state).receiver_gone = true;
        if let Some(key) = self.key {
            super::try_with(|core| core.waiters.borrow_mut().remove(key));
        }
    }
}
