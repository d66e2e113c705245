//! A counter of permits for one core's tasks: bounds memory and work in flight.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Counts permits; tasks that find too few wait in order.
#[derive(Clone)]
pub struct Semaphore {
    state: Rc<RefCell<State>>,
}

struct State {
    free: usize,
    next_ticket: u64,
    queue: VecDeque<(u64, Waker)>,
}

impl Semaphore {
    /// With `permits` free.
    pub fn new(permits: usize) -> Self {
        Self {
            state: Rc::new(RefCell::new(State {
                free: permits,
                next_ticket: 0,
                queue: VecDeque::new(),
            })),
        }
    }

    /// Takes `count` permits when they are free and nobody waits.
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        let mut state = self.state.borrow_mut();
        if state.queue.is_empty() && state.free >= count {
            state.free -= count;
            return Some(Permit {
                semaphore: self.clone(),
                count,
            });
        }
        None
    }

    /// Waits for `count` permits, first come first served.
    pub fn acquire(&self, count: usize) -> Acquire {
        Acquire {
            semaphore: self.clone(),
            count,
            ticket: None,
        }
    }

    /// Permits free now.
    pub fn available(&self) -> usize {
        self.state.borrow().free
    }

    fn wake_first(&self) {
        let waker = self.state.borrow().queue.front().map(|(_, waker)| waker.clone());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Permits that go back when dropped.
pub struct Permit {
    semaphore: Semaphore,
    count: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.state.borrow_mut().free += self.count;
        self.semaphore.wake_first();
    }
}

/// See `Semaphore::acquire`.
pub struct Acquire {
    semaphore: Semaphore,
    count: usize,
    ticket: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let semaphore = self.semaphore.clone();
        let mut state = semaphore.state.borrow_mut();
        let first = match self.ticket {
            None => state.queue.is_empty(),
            Some(ticket) => state.queue.front().is_some_and(|(first, _)| *first == ticket),
        };
        if first && state.free >= self.count {
            state.free -= self.count;
            if self.ticket.take().is_some() {
                state.queue.pop_front();
            }
            drop(state);
            semaphore.wake_first();
            return Poll::Ready(Permit {
                count: self.count,
                semaphore,
            });
        }
        match self.ticket {
            None => {
                let ticket = state.next_ticket;
                state.next_ticket += 1;
                state.queue.push_back((ticket, context.waker().clone()));
                self.ticket = Some(ticket);
            }
            Some(ticket) => {
                if let Some(place) = state.queue.iter_mut().find(|(queued, _)| *queued == ticket) {
                    place.1.clone_from(context.waker());
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.semaphore
                .state
                .borrow_mut()
                .queue
                .retain(|(queued, _)| *queued != ticket);
            self.semaphore.wake_first();
        }
    }
}
