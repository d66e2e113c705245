//! One value from any thread to a waiting task, on a core or in tokio.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_gone: bool,
}

/// Gives the value; dropped without, the receiver gets `None`.
pub(crate) struct Sender<T> {
    state: Arc<Mutex<State<T>>>,
}

/// A future of the value.
pub(crate) struct Receiver<T> {
    state: Arc<Mutex<State<T>>>,
}

/// A pair.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State {
        value: None,
        waker: None,
        sender_gone: false,
    }));
    (Sender { state: state.clone() }, Receiver { state })
}

/// The state is consistent whenever the lock is free, a panic in between included. The lock is held for a few
/// instructions, and is contended only when the value comes just as the receiver looks for it.
fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Hands over `value` and wakes the receiver.
    pub(crate) fn send(self, value: T) {
        lock(&self.state).value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.state);
            state.sender_gone = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.state);
        if state.value.is_some() || state.sender_gone {
            return Poll::Ready(state.value.take());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
