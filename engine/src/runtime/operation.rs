//! Waiting for an operation of the ring that completes once.

use super::core::Core;
use crate::ring::{Finished, OperationKey, Payload};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// An operation that somebody waits for; abandoned when dropped before its end. Its memory stays with the ring until the
/// kernel is done with it.
struct Waiting {
    core: Rc<Core>,
    key: Option<OperationKey>,
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
    let core = super::with(Rc::clone);
    let key = core.ring.borrow_mut().start_single(payload);
    let mut waiting = Waiting { core, key: Some(key) };
    poll_fn(|context| {
        let finished = waiting.core.ring.borrow_mut().poll_single(key, context.waker());
        finished.map_or(Poll::Pending, |finished| {
            waiting.key = None;
            Poll::Ready(finished)
        })
    })
    .await
}
