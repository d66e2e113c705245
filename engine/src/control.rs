//! The control thread's side of the cores: sending work to a core from a thread that is none.

use crate::runtime::{CoreGone, CoreId};
use std::future::Future;

/// Reaches every core from the control thread (or any other thread). Cheap to clone.
#[derive(Clone)]
pub struct CoreHandle {
    _private: (),
}

impl CoreHandle {
    /// How many cores run.
    pub fn core_count(&self) -> u16 {
        unimplemented!()
    }

    /// Runs what `work` returns on `core`; gives its output back to the calling (tokio) task.
    pub async fn call<T, F, W>(&self, core: CoreId, work: W) -> Result<T, CoreGone>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce() -> F + Send + 'static,
    {
        let _ = (core, work);
        unimplemented!()
    }
}
