//! A directory of a test's own, removed when the test ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// See the module.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new one; `name` tells whose it is.
    pub(crate) fn new(name: &str) -> Directory {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pigeond-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("the directory for temporary files is writable");
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays behind is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
