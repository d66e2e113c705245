//! Starting the cores, and what a task on a core may ask of its core: spawn, sleep, the time, and another core.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Index of a core within this node, `0..core_count()`. Not a CPU number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u16);

/// A task on this core. Dropping it detaches; awaiting it gives the output, or `None` when it panicked or was cancelled.
pub struct Task<T> {
    output: std::marker::PhantomData<T>,
}

impl<T> Future for Task<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        unimplemented!()
    }
}

impl<T> Task<T> {
    /// Drops the task's future at its next turn.
    pub fn cancel(self) {
        unimplemented!()
    }
}

/// Runs `future` on this core. A panic inside ends that task alone: it is logged and counted, never propagated.
/// Must be called on a core.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    drop(future);
    unimplemented!()
}

/// As `spawn`, in the low-share queue of background work (compaction, scrub, snapshots).
pub fn spawn_background<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    drop(future);
    unimplemented!()
}

/// The other core has ended (the node is stopping) and the work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreGone;

/// Runs what `work` returns on `core` and gives back its output. `work` itself runs there, so that it may make things
/// that are not `Send`. Waits while the bounded queue towards that core is full. On the current core it runs in place.
/// A panic on the other side is `Err(CoreGone)`.
pub async fn on_core<T, F, W>(core: CoreId, work: W) -> Result<T, CoreGone>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    W: FnOnce() -> F + Send + 'static,
{
    let _ = (core, work);
    unimplemented!()
}

/// The core this thread is. Panics outside of a core.
pub fn current_core() -> CoreId {
    unimplemented!()
}

/// How many cores this node runs.
pub fn core_count() -> u16 {
    unimplemented!()
}

/// The monotonic clock, read at most once a turn of the core's loop.
pub fn now() -> Instant {
    unimplemented!()
}

/// Time since the Unix epoch, UTC.
pub fn unix_time() -> Duration {
    unimplemented!()
}

/// Waits at least `duration` (resolution about a millisecond).
pub async fn sleep(duration: Duration) {
    let _ = duration;
    unimplemented!()
}

/// `Err(Elapsed)` when `future` has not ended after `duration`; it is dropped then.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let _ = (duration, future);
    unimplemented!()
}

/// The time given to `timeout` ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Gives other tasks of this core a turn; call it in loops whose length a peer decides.
pub async fn yield_now() {
    unimplemented!()
}

/// How the cores are laid out and bounded.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The CPUs to pin one core each to. `None`: all that the process may use.
    pub cores: Option<crate::placement::CpuSet>,
    /// CPUs of the control thread and the blocking pools. `None`: all that the process may use.
    pub control_cpus: Option<crate::placement::CpuSet>,
    /// Buffers in each core's receive ring; a power of two, at most 32768.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer.
    pub receive_buffer_bytes: u32,
    /// Jobs that may wait in the queue from one core to another.
    pub core_queue_depth: usize,
}

/// Runs the engine until `main` of every core has returned. `main` is called once on every core, on its own thread, and
/// is the root task of that core. The caller's thread becomes the control thread: `control` is run there inside a tokio
/// current_thread runtime (a `LocalSet`), and may use `control::CoreHandle` to reach the cores.
///
/// When `control` returns, `main` of every core has been or must be told to end by `control` itself (through
/// `CoreHandle::send`); `run` then waits for all cores, cancels and awaits what tasks are left, and returns.
pub fn run<M, MF, C, CF>(options: EngineOptions, main: M, control: C) -> Result<(), StartError>
where
    M: Fn() -> MF + Clone + Send + 'static,
    MF: Future<Output = ()> + 'static,
    C: FnOnce(crate::control::CoreHandle) -> CF,
    CF: Future<Output = ()> + 'static,
{
    let _ = (options, main, control);
    unimplemented!()
}

/// Why the engine did not start; each says what to do about it.
#[derive(Debug)]
pub struct StartError {
    /// One sentence for the operator.
    pub message: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}
