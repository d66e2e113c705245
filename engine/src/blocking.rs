//! A small bounded pool of threads for what may block: password hashes, directory operations on files.
//! A panic in a job is caught there and comes back as an error.

use crate::placement::CpuSet;
use crate::runtime::reply_channel;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// A pool with its own threads and a bounded queue. Shared by all cores (`Arc` inside).
#[derive(Clone)]
pub struct BlockingPool {
    inner: Arc<Inner>,
}

/// Why a job gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockingError {
    /// The queue is full: refuse the work, the peer may come again.
    Full,
    /// The job panicked.
    Panicked,
    /// The pool has been stopped.
    Stopped,
}

impl std::fmt::Display for BlockingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlockingError::Full => "too much work is waiting",
            BlockingError::Panicked => "the work failed inside",
            BlockingError::Stopped => "the node is stopping",
        })
    }
}

impl std::error::Error for BlockingError {}

type Job = Box<dyn FnOnce() + Send>;

/// Stops the threads when the last clone of the pool goes.
struct Inner {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    depth: usize,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    stopped: bool,
}

impl Queue {
    /// Jobs run outside of the lock, so the state is consistent whenever it is free.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when the pool has been stopped.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets threads end after the job they are at; jobs in the queue are dropped.
    fn stop(&self) {
        let jobs = {
            let mut state = self.lock();
            state.stopped = true;
            std::mem::take(&mut state.jobs)
        };
        self.changed.notify_all();
        drop(jobs);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Not joined: the last clone may go on a core, which must not wait for a hash to end.
        self.queue.stop();
    }
}

impl BlockingPool {
    /// `threads` and `queue_depth` are at least 1. Threads end when the last clone is dropped, each after the job it is at.
    /// A thread that the system refuses is missing; without any, `run` is `Err(Stopped)`.
    pub fn new(name: &str, threads: usize, queue_depth: usize, cpus: Option<CpuSet>) -> Self {
        let queue = Arc::new(Queue::default());
        let mut handles = Vec::new();
        for index in 0..threads.max(1) {
            let (queue, cpus) = (queue.clone(), cpus.clone());
            let thread = thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
                if let Some(Err(error)) = cpus.as_ref().map(|cpus| crate::runtime::pin(cpus.cpus())) {
                    tracing::warn!(%error, "cannot keep a thread to its CPUs");
                }
                while let Some(job) = queue.next() {
                    job();
                }
            });
            match thread {
                Ok(thread) => handles.push(thread),
                Err(error) => tracing::error!(%error, name, "cannot start a thread"),
            }
        }
        if handles.is_empty() {
            queue.stop();
        }
        BlockingPool {
            inner: Arc::new(Inner {
                queue,
                threads: Mutex::new(handles),
                depth: queue_depth.max(1),
            }),
        }
    }

    /// Runs `job` on a thread of the pool. May be awaited on a core or on the control thread. Never waits for a place
    /// in the queue: a full queue is `Err(Full)` at once. Dropping the future does not end the job.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, BlockingError> {
        let (sender, receiver) = reply_channel();
        {
            let mut state = self.inner.queue.lock();
            if state.stopped {
                return Err(BlockingError::Stopped);
            }
            if state.jobs.len() >= self.inner.depth {
                return Err(BlockingError::Full);
            }
            state.jobs.push_back(Box::new(move || {
                let result = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
                    crate::runtime::report_panic(panic.as_ref());
                    BlockingError::Panicked
                });
                sender.send(result);
            }));
        }
        self.inner.queue.changed.notify_one();
        receiver.await.unwrap_or(Err(BlockingError::Stopped))
    }

    /// Whether `run` would find no place now.
    pub fn is_full(&self) -> bool {
        self.inner.queue.lock().jobs.len() >= self.inner.depth
    }

    /// Stops the pool and waits for its threads. Not on a core.
    pub(crate) fn stop(&self) {
        self.inner.queue.stop();
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A job's panic is caught in the job, so this cannot fail.
            let _ = thread.join();
        }
    }
}
