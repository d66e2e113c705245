//! Work on another core, and its output back.

use super::core::CoreId;
use super::inbox::CoreShared;
use super::{reply, task};
use futures_util::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

/// The other core has ended (the node is stopping) and the work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreGone;

impl std::fmt::Display for CoreGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the other core has ended")
    }
}

impl std::error::Error for CoreGone {}

/// Runs what `work` returns on `core` and gives back its output. `work` itself runs there, so that it may make things
/// that are not `Send`. Waits while the bounded queue towards that core is full. On the current core it runs in place.
/// A panic on the other side is `Err(CoreGone)`. Once it was handed over the work is done, whether or not somebody still
/// waits for the output. Panics for a core that does not exist.
pub async fn on_core<T, F, W>(core: CoreId, work: W) -> Result<T, CoreGone>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    W: FnOnce() -> F + Send + 'static,
{
    let (here, shared) = super::with(|current| (current.id == core, current.engine.core(core).clone()));
    if !here {
        return call(&shared, work).await;
    }
    // On the heap, as on the other cores: the future of this function stays small.
    let future = AssertUnwindSafe(async move { work().await })
        .catch_unwind()
        .boxed_local();
    match future.await {
        Ok(output) => Ok(output),
        Err(panic) => {
            task::report_panic(panic.as_ref());
            Err(CoreGone)
        }
    }
}

/// Runs what `work` returns on the core that `shared` belongs to, from any thread.
pub(crate) async fn call<T, F, W>(shared: &CoreShared, work: W) -> Result<T, CoreGone>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    W: FnOnce() -> F + Send + 'static,
{
    let (sender, receiver) = reply::channel();
    let job = Box::new(move || {
        // It tells its output through the sender, and its failure by dropping it. Not an async block, which would have room
        // for the future twice: as what it captures and as what it awaits.
        task::spawn_detached(work().map(|output| sender.send(output)));
    });
    if !shared.submit(job).await {
        return Err(CoreGone);
    }
    receiver.await.ok_or(CoreGone)
}
