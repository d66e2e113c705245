//! A wake-up for any number of waiting tasks.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Wakes all tasks that wait. A notification with nobody waiting is not remembered: check the condition, make the
/// `Notified` future, check again (it counts from its creation), then await it.
#[derive(Default)]
pub struct Notify {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    epoch: u64,
    wakers: Vec<Waker>,
}

impl Notify {
    /// One with nobody waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes every waiting task.
    pub fn notify_all(&self) {
        let wakers = {
            let mut state = self.state.borrow_mut();
            state.epoch += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends at the first `notify_all` after this call.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            epoch: self.state.borrow().epoch,
        }
    }
}

/// See `Notify::notified`.
pub struct Notified<'a> {
    notify: &'a Notify,
    epoch: u64,
}

impl Future for Notified<'_> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.state.borrow_mut();
        if state.epoch != self.epoch {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            if state.wakers.is_empty() {
                // Mostly one waits, and there is one of these for each session.
                state.wakers.reserve_exact(1);
            }
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
