//! Waiting for an operation of the ring that completes once.

use super::core::Core;
use crate::ring::{Finished, OperationKey, Payload};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// An operation that somebody waits for; abandoned when dropped before its end. Its memory stays with the ring until the
/// kernel is done with it.
pub(crate) struct Waiting {
    core: Rc<Core>,
    key: Option<OperationKey>,
}

impl Waiting {
    /// Starts the operation that `payload` describes.
    pub(crate) fn start(payload: Payload) -> Waiting {
        let core = super::with(Rc::clone);
        let key = core.ring.borrow_mut().start_single(payload);
        Waiting { core, key: Some(key) }
    }

    /// Its outcome, once.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finished> {
        let Some(key) = self.key else { return Poll::Pending };
        let finished = self.core.ring.borrow_mut().poll_single(key, context.waker());
        finished.map_or(Poll::Pending, |finished| {
            self.key = None;
            Poll::Ready(finished)
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.core.ring.borrow_mut().abandon_single(key);
        }
    }
}

/// Runs the operation that `payload` describes. Dropping the future cancels it.
pub(crate) async fn single(payload: Payload) -> Finished {
    let mut waiting = Waiting::start(payload);
    poll_fn(|context| waiting.poll(context)).await
}
