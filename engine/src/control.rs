//! The control thread's side of the cores: sending work to a core from a thread that is none.

use crate::runtime::{CoreGone, CoreId, Counters, EngineShared};
use std::future::Future;
use std::sync::Arc;

/// Reaches every core from the control thread (or any other thread). Cheap to clone.
#[derive(Clone)]
pub struct CoreHandle {
    engine: Arc<EngineShared>,
}

impl CoreHandle {
    pub(crate) fn new(engine: Arc<EngineShared>) -> Self {
        CoreHandle { engine }
    }

    /// How many cores run.
    pub fn core_count(&self) -> u16 {
        self.engine.count()
    }

    /// What each core has counted, in the order of the cores.
    pub fn counters(&self) -> Vec<Counters> {
        (0..self.engine.count())
            .map(|core| self.engine.core(CoreId(core)).counters.snapshot())
            .collect()
    }

    /// Ends the engine without waiting for any `main`: their futures are dropped like those of other tasks. For an end in
    /// order, tell each `main` by `call` instead.
    pub fn stop(&self) {
        self.engine.stop();
    }

    /// Runs what `work` returns on `core`; gives its output back to the calling (tokio) task. Waits while the queue towards
    /// that core is full. Once it was handed over the work is done, whether or not the caller still waits. Panics for a core
    /// that does not exist.
    pub async fn call<T, F, W>(&self, core: CoreId, work: W) -> Result<T, CoreGone>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce() -> F + Send + 'static,
    {
        crate::runtime::call(self.engine.core(core), work).await
    }
}
