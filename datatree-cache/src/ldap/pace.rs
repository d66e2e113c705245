//! Keeps the library from reading ahead: it puts what it has parsed into a queue without a bound, several kilobytes an
//! entry, and reads faster than records are made of it. Without a check, a refresh holds the whole directory in that form.
//!
//! The task that reads runs only while nothing waits to be taken, so what waits is what it reads in a turn or two (the
//! runtime gives a task 128 reads a turn). Reader and taker share a thread; nobody waits for an answer while messages wait.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by the reading task and who takes.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Messages wait to be taken.
    is_closed: bool,
    reader: Option<Waker>,
}

impl Pace {
    /// Runs the reading task, while it may.
    pub(super) async fn read<T>(self, reading: impl Future<Output = T>) -> T {
        let mut reading = pin!(reading);
        std::future::poll_fn(|context| {
            if self.is_closed(context) {
                return Poll::Pending;
            }
            reading.as_mut().poll(context)
        })
        .await
    }

    /// Waits for the next message, which `next` takes from the queue.
    pub(super) async fn take<T>(&self, next: impl Future<Output = T>) -> T {
        // Unconstrained: pending means that the queue is empty, not that this task has had its turn.
        let mut next = pin!(tokio::task::unconstrained(next));
        std::future::poll_fn(|context| {
            let taken = next.as_mut().poll(context);
            self.set_closed(taken.is_ready());
            taken
        })
        .await
    }

    fn is_closed(&self, context: &Context<'_>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            state.reader = Some(context.waker().clone());
        }
        state.is_closed
    }

    fn set_closed(&self, is_closed: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_closed = is_closed;
        if !is_closed && let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::mpsc;

    #[test]
    fn the_reader_waits_while_messages_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let (read, taken) = (Cell::new(0_u32), Cell::new(0_u32));
        let most = Cell::new(0);
        let pace = Pace::default();
        let reading = pace.clone().read(async {
            for number in 0..10_000_u32 {
                sender.send(number).expect("the receiver lives");
                read.set(number + 1);
                most.set(most.get().max(read.get() - taken.get()));
                // A turn of 100.
                if number % 100 == 99 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let taking = async {
            while taken.get() < 10_000 {
                let number = pace.take(receiver.recv()).await;
                assert_eq!(number, Some(taken.get()));
                taken.set(taken.get() + 1);
                // Slower than the reader.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
        };
        runtime.block_on(async { tokio::join!(reading, taking) });
        // One turn may begin before the taker had its own.
        assert!(most.get() <= 200, "{} waited", most.get());
    }
}
