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
    /// It is decided: whoever asks from now on is told. Gives those who wait already.
    #[must_use = "those who wait have to be woken"]
    pub(crate) fn settle(&self, result: Result<(), StoreError>) -> Waiting {
        *self.result.borrow_mut() = Some(result);
        Waiting {
            wakers: std::mem::take(&mut *self.wakers.borrow_mut()),
        }
    }
}

/// Those who wait for a batch that is settled. Dropped: woken, all of them.
pub(crate) struct Waiting {
    wakers: Vec<Waker>,
}

impl Waiting {
    pub(crate) fn count(&self) -> usize {
        self.wakers.len()
    }

    /// Wakes half of them; the others stay.
    pub(crate) fn wake_half(&mut self) {
        let half = self.wakers.len() / 2;
        self.wakers.drain(..half).for_each(Waker::wake);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
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
