//! How those who put records into a batch learn what became of it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::StoreError;

/// What became of a batch; shared by everyone in it.
#[derive(Default)]
pub(crate) struct Outcome {
    result: RefCell<Option<Result<(), StoreError>>>,
    wakers: RefCell<Vec<Waker>>,
}

impl Outcome {
    /// Tells everyone.
    pub(crate) fn settle(&self, result: Result<(), StoreError>) {
        *self.result.borrow_mut() = Some(result);
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Ends when the batch is durable, or will never be.
pub(crate) struct Durable {
    outcome: Rc<Outcome>,
    place: Option<usize>,
}

impl Durable {
    pub(crate) fn of(outcome: &Rc<Outcome>) -> Self {
        Self {
            outcome: outcome.clone(),
            place: None,
        }
    }
}

impl Future for Durable {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = &*self.outcome.result.borrow() {
            return Poll::Ready(result.clone());
        }
        let place = self.place;
        let mut wakers = self.outcome.wakers.borrow_mut();
        match place.and_then(|place| wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                let place = wakers.len();
                wakers.push(context.waker().clone());
                drop(wakers);
                self.place = Some(place);
            }
        }
        Poll::Pending
    }
}
