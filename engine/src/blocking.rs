//! A small bounded pool of threads for what may block: password hashes, directory operations on files.
//! A panic in a job is caught there and comes back as an error.

/// A pool with its own threads and a bounded queue. Shared by all cores (`Arc` inside).
#[derive(Clone)]
pub struct BlockingPool {
    _private: (),
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

impl BlockingPool {
    /// `threads` and `queue_depth` are at least 1. Threads end when the last clone is dropped.
    pub fn new(name: &str, threads: usize, queue_depth: usize, cpus: Option<crate::placement::CpuSet>) -> Self {
        let _ = (name, threads, queue_depth, cpus);
        unimplemented!()
    }

    /// Runs `job` on a thread of the pool. May be awaited on a core or on the control thread. Never waits for a place
    /// in the queue: a full queue is `Err(Full)` at once.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, BlockingError> {
        let _ = job;
        unimplemented!()
    }
}
