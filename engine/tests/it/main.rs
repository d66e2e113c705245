//! The engine against the real kernel, one behaviour a file.

mod across;
mod ending;
mod files;
mod half_close;
mod names;
mod network;
mod relay;
mod slow_readers;
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
        pipes: 8,
        core_queue_depth: 64,
        open_files: 4096,
        open_files_for: "a test".to_owned(),
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

/// Runs `test` in a process of its own, for what concerns a whole process: descriptors, limits, CPUs. `name` is the path of
/// the calling test.
pub(crate) fn alone(name: &str, test: impl FnOnce()) {
    const MARK: &str = "PIGEON_ENGINE_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return test();
    }
    let binary = std::env::current_exe().expect("the test binary has a path");
    let output = std::process::Command::new(binary)
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(MARK, "")
        .output()
        .expect("the test binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}
