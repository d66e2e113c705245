//! Ends the executor's own sleep, into which it may fall by mistake (see `driver`): a thread of its own rings for every core once a
//! second.
//!
//! The executor's timers are no help when all of them are due while it makes the mistake: nothing is left then that would wake it.
//! Another thread's wake-up is: the executor looks for those after it has said that it sleeps, and its sleep ends with them. A sleep in
//! its very first round, before any task has run, is not covered: there is nobody yet to be woken.

use super::inbox::EngineShared;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a core may sleep by mistake. A core that sleeps as it should does so for as long, too.
const INTERVAL: Duration = Duration::from_secs(1);

/// Rings that are not answered, at most: each is kept until it is, and a core that is being debugged answers none.
const UNANSWERED_MAX: u32 = 1000;

/// A core's bell.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<BellState>,
}

#[derive(Default)]
struct BellState {
    /// Of the task that answers.
    waker: Option<Waker>,
    /// Of the task that waits for its end.
    waiting: Option<Waker>,
    unanswered: u32,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, BellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From any thread.
    pub(super) fn ring(&self) {
        let state = &mut *self.state();
        if state.unanswered < UNANSWERED_MAX && (state.waker.is_some() || state.waiting.is_some()) {
            state.unanswered += 1;
            state.waker.iter().chain(&state.waiting).for_each(Waker::wake_by_ref);
        }
    }

    /// Tells who answers to look whether it has ended, and waits until it has, as `ended` says. Rings reach this wait, too: the sleep may
    /// come when nobody answers any more.
    pub(super) async fn ring_out(&self, ended: impl Future<Output = ()>) {
        if let Some(waker) = &self.state().waker {
            waker.wake_by_ref();
        }
        let mut ended = pin!(ended);
        poll_fn(|context| {
            self.state().waiting = Some(context.waker().clone());
            ended.as_mut().poll(context)
        })
        .await;
        self.state().waiting = None;
    }

    /// Answers each ring by being polled, on the core's thread, until `has_ended` says so when it is polled. To be run by the executor
    /// itself, not as one of the engine's tasks.
    pub(super) async fn answer(&self, has_ended: impl Fn() -> bool) {
        poll_fn(|context| {
            let state = &mut *self.state();
            state.unanswered = 0;
            if has_ended() {
                state.waker = None;
                return Poll::Ready(());
            }
            if !state
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                state.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether somebody answers, and has answered every ring.
    #[cfg(test)]
    fn is_answered(&self) -> bool {
        let state = self.state();
        state.waker.is_some() && state.unanswered == 0
    }
}

/// The thread that rings; until dropped.
pub(super) struct Ringer {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ringer {
    /// On these CPUs. Errors: the system gives no thread.
    pub(super) fn start(engine: Arc<EngineShared>, cpus: Vec<u16>) -> std::io::Result<Ringer> {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        let thread = thread::Builder::new().name("pigeon-bell".into()).spawn(move || {
            if let Err(error) = super::pin(&cpus) {
                tracing::warn!(%error, "cannot keep a thread to its CPUs");
            }
            while !seen.load(Ordering::SeqCst) {
                engine.ring_bells();
                thread::park_timeout(INTERVAL);
            }
        })?;
        Ok(Ringer {
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing that could panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_ring_ends_the_executors_own_sleep() {
        let bell = Arc::new(Bell::default());
        let ended = Arc::new(AtomicBool::new(false));
        let (its_bell, has_ended) = (bell.clone(), ended.clone());
        // An executor with nothing to do but this, and no timer.
        let thread = thread::spawn(move || {
            let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
                .io_memory(64 << 10)
                .make()
                .expect("an executor");
            executor.run(async move { its_bell.answer(|| has_ended.load(Ordering::SeqCst)).await });
        });
        let until = Instant::now() + Duration::from_secs(30);
        let wait = |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                assert!(Instant::now() < until, "the executor sleeps on");
                thread::yield_now();
            }
        };
        wait(&|| bell.is_answered());
        for _ in 0..100 {
            bell.ring();
            wait(&|| bell.is_answered());
        }
        ended.store(true, Ordering::SeqCst);
        bell.ring();
        wait(&|| thread.is_finished());
        bell.ring();
        assert!(!bell.is_answered(), "nobody is there");
    }
}
