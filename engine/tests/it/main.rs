//! The engine against the real kernel, one behaviour a file.

mod across;
mod files;
mod network;
mod tasks;
mod tls;

use pigeon_engine::runtime::{self, EngineOptions};
use std::future::Future;
use std::sync::{Arc, Mutex};

/// Options of the tests: every CPU there is, small rings.
pub(crate) fn options() -> EngineOptions {
    EngineOptions {
        cores: None,
        control_cpus: None,
        receive_buffers: 256,
        receive_buffer_bytes: 4096,
        core_queue_depth: 64,
    }
}

/// Runs `test` on core 0 of an engine; the other cores only serve it. Gives its output, or panics when it panicked.
pub(crate) fn run<T, F>(options: EngineOptions, test: impl Fn() -> F + Clone + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let output = Arc::new(Mutex::new(None));
    let kept = output.clone();
    let main = move || {
        let test = test.clone();
        let kept = kept.clone();
        async move {
            if runtime::current_core().0 == 0 {
                let value = test().await;
                *kept.lock().unwrap() = Some(value);
            }
        }
    };
    runtime::run(options, main, |_| async {}).expect("the engine starts");
    output
        .lock()
        .unwrap()
        .take()
        .expect("the test on core 0 has ended well")
}
