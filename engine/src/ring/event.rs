//! The event descriptor of a core as its executor reads it.

#![allow(unsafe_code)] // The executor takes descriptors only as bare numbers.

use glommio::io::BufferedFile;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// An event descriptor (eventfd(2)), read through the executor's own ring so that it ends the executor's sleep.
pub(crate) struct EventFile {
    file: BufferedFile,
}

impl EventFile {
    /// Takes `event` over. Must be called on an executor.
    pub(crate) fn new(event: OwnedFd) -> EventFile {
        // SAFETY: the number is that of an open descriptor which nobody else owns from here on.
        let file = unsafe { BufferedFile::from_raw_fd(event.into_raw_fd()) };
        EventFile { file }
    }

    /// Waits for a signal. Must not be dropped while it waits: it may have taken the signal by then.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        self.file.read_at(0, size_of::<u64>()).await?;
        Ok(())
    }

    /// Closes it.
    pub(crate) async fn close(self) {
        // A failed close(2) leaves nothing to do: the descriptor is gone either way.
        let _ = self.file.close().await;
    }
}
