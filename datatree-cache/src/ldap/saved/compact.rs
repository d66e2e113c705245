//! Writing the copy anew without what is of no use, on a thread of its own: a copy of a million entries takes seconds.
//!
//! The thread reads up to the commit that was the last when it began, and writes a file beside the copy. Changes go to the
//! old file meanwhile. [`Saved::adopt`] adds what came since, byte by byte (records name no places), and moves the new file
//! into the old one's place. Until then the old file is the copy, whatever happens to the new one.

use super::read::{Frames, scan};
use super::{COMMIT, HEADER_BYTES, NEW_NAME, PUT, REFUSE, Saved, Writer, path_in};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 * 1024;

/// A compaction that runs or has ended.
pub(super) struct Compaction {
    thread: Option<JoinHandle<io::Result<Writer>>>,
    is_cancelled: Arc<AtomicBool>,
    /// How far the thread reads.
    until: u64,
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it wrote is of no use, so neither is why it failed.
            let _ = thread.join();
        }
    }
}

impl Saved {
    /// Begins to write the copy anew, unless that is being done.
    pub(in crate::ldap) fn begin_compaction(&mut self) -> io::Result<()> {
        if self.compaction.is_some() || self.committed == HEADER_BYTES {
            return Ok(());
        }
        self.sync()?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (directory, identity, until) = (self.directory.clone(), self.identity, self.committed);
        let cancelled = Arc::clone(&is_cancelled);
        let thread = thread::Builder::new()
            .name("copy-compaction".to_owned())
            .spawn(move || write_anew(&directory, identity, until, &cancelled))?;
        self.compaction = Some(Compaction {
            thread: Some(thread),
            is_cancelled,
            until,
        });
        Ok(())
    }

    /// Takes the new file, if it is ready and nothing waits for a commit. True if it did. After an error the old file is the
    /// copy as before.
    pub(in crate::ldap) fn adopt(&mut self) -> io::Result<bool> {
        let is_ready = |compaction: &Compaction| compaction.thread.as_ref().is_some_and(JoinHandle::is_finished);
        if self.writer.end != self.committed || !self.compaction.as_ref().is_some_and(is_ready) {
            return Ok(false);
        }
        let Some(mut compaction) = self.compaction.take() else {
            return Ok(false);
        };
        let Some(thread) = compaction.thread.take() else {
            return Ok(false);
        };
        let written = thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
        let new_path = self.directory.join(NEW_NAME);
        let adopted = written.and_then(|mut writer| {
            self.writer.flush()?;
            let old = path_in(&self.directory);
            copy_range(&File::open(&old)?, compaction.until, self.committed, &mut writer)?;
            writer.sync()?;
            std::fs::rename(&new_path, &old)?;
            Ok(writer)
        });
        match adopted {
            Ok(writer) => {
                self.committed = writer.end;
                self.synced = writer.end;
                self.writer = writer;
                File::open(&self.directory)?.sync_all()?;
                Ok(true)
            }
            Err(error) => {
                let _ = std::fs::remove_file(&new_path);
                Err(error)
            }
        }
    }

    /// Stops what runs. The copy stays as it is.
    pub(in crate::ldap) fn cancel_compaction(&mut self) {
        if self.compaction.take().is_some() {
            // Another one overwrites it.
            let _ = std::fs::remove_file(self.directory.join(NEW_NAME));
        }
    }
}

/// Writes what is of use up to `until` into a new file.
fn write_anew(directory: &Path, identity: u64, until: u64, cancelled: &AtomicBool) -> io::Result<Writer> {
    let path = path_in(directory);
    let found = scan(&path, identity, Some(until))?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
    if found.committed != until || found.foreign {
        return Err(damaged());
    }
    let mut writer = Writer::create(&directory.join(NEW_NAME), identity)?;
    let mut frames = Frames::of(File::open(&path)?, HEADER_BYTES, until);
    let mut at = HEADER_BYTES;
    while let Some(frame) = frames.next()? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        at = frame.at + frame.whole.len() as u64;
        let Some(id) = frame.id().filter(|_| frame.kind == PUT) else {
            continue;
        };
        if found.good.get(&id) == Some(&frame.at) {
            writer.raw(frame.whole)?;
        } else if found.pending.get(&id) == Some(&frame.at) {
            writer.raw(frame.whole)?;
            writer.record(REFUSE, &id.0)?;
        }
    }
    if at != until {
        return Err(damaged());
    }
    writer.record(COMMIT, found.cookie.as_ref().map_or(&[], |cookie| cookie.bytes()))?;
    writer.sync()?;
    Ok(writer)
}

fn copy_range(from: &File, mut at: u64, end: u64, writer: &mut Writer) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    while at < end {
        let bytes = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        from.read_exact_at(&mut buffer[..bytes], at)?;
        writer.raw(&buffer[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}
