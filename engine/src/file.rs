//! Files of the journal: O_DIRECT reads and durable writes on the raw ring, and directory operations on the blocking pool.
//! Everything here is called on a core. Errors name the operation and the path.

mod buffer;
mod direct;
mod directory;

pub use self::buffer::{AlignedBuffer, DIRECT_ALIGNMENT};
pub use self::direct::{DirectFile, ZEROS_BYTES};
pub use self::directory::{create_directory, free_space, list_directory, read_small, remove, write_small_atomically};

use crate::blocking::BlockingError;
use crate::runtime;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long a file operation waits before it asks again for a place in the pool's queue.
const PLACE_WAIT: Duration = Duration::from_millis(1);

/// Hands the operations that were started on this core's ring to the kernel at once. Without it that happens when the tasks
/// that are runnable have had their turns, in one system call for all.
pub fn submit() {
    runtime::with(|core| {
        let mut ring = core.ring.borrow_mut();
        if ring.has_unsubmitted() {
            ring.enter(None);
            core.counters().enters.add(1);
        }
    });
}

/// Runs `job` on the engine's threads for files, waiting for a place in their queue.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let pool = runtime::with(|core| core.files.clone());
    while pool.is_full() {
        runtime::sleep(PLACE_WAIT).await;
    }
    // Another core may have taken the place meanwhile; then the caller hears of it as of any passing shortage.
    match pool.run(job).await {
        Ok(result) => result,
        Err(BlockingError::Full) => Err(io::ErrorKind::WouldBlock.into()),
        Err(BlockingError::Panicked) => Err(io::Error::other("the operation failed inside")),
        Err(BlockingError::Stopped) => Err(io::Error::other("the node is stopping")),
    }
}

/// `error` with what was done, and to what.
fn described(error: &io::Error, operation: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{operation} {}: {error}", path.display()))
}
