//! A file whose bytes bypass the page cache, read and durably written through the ring.

use super::buffer::{AlignedBuffer, DIRECT_ALIGNMENT};
use super::directory::sync_directory_of;
use super::{blocking, described};
use crate::ring::{Finished, Payload};
use crate::runtime;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of one operation at most; a longer one is continued. Far below the kernel's own bound of 2 GiB.
const OPERATION_BYTES_MAX: usize = 1 << 30;

/// Zeros written by one operation when a file is made, bytes: a fraction of a millisecond of a fast disk.
pub const ZEROS_BYTES: usize = 256 << 10;

/// A file opened with O_DIRECT, on the current core's ring. Any number of operations may be under way.
pub struct DirectFile {
    file: Rc<OwnedFd>,
    path: PathBuf,
    length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

impl DirectFile {
    /// Opens read+write.
    pub async fn open(path: &Path) -> io::Result<DirectFile> {
        let owned = path.to_owned();
        let (file, length) = blocking(move || open(&owned).map_err(|error| described(&error, "open", &owned))).await?;
        Ok(DirectFile {
            file: Rc::new(file.into()),
            path: path.to_owned(),
            length,
        })
    }

    /// Makes a new file of `length` bytes, every block allocated and written with zeros, synced, and its directory synced.
    /// `AlreadyExists` when it is there. `length` is a multiple of `DIRECT_ALIGNMENT`. After any other error no file is
    /// left behind, as far as that can be helped.
    pub async fn create_zeroed(path: &Path, length: u64) -> io::Result<DirectFile> {
        Self::create_zeroed_at_pace(path, length, async |_| length).await
    }

    /// As `create_zeroed`, in pieces, so that a big file need not take the disk from others: after each, `pace` is told how many
    /// bytes are zeroed, awaited, and says how many follow at once (at least `ZEROS_BYTES` and a multiple of it, else rounded).
    /// Dropped in between, the file stays as it is.
    pub async fn create_zeroed_at_pace(
        path: &Path,
        length: u64,
        pace: impl AsyncFn(u64) -> u64,
    ) -> io::Result<DirectFile> {
        let owned = path.to_owned();
        let file = blocking(move || {
            create(&owned, length)
                .map(Arc::new)
                .map_err(|error| described(&error, "create", &owned))
        })
        .await?;
        let made = fill(&file, path, length, pace).await;
        if let Err(error) = made {
            let owned = path.to_owned();
            // The first error is the one to tell; a file that stays is found and judged by its reader.
            let _ = blocking(move || std::fs::remove_file(owned)).await;
            return Err(error);
        }
        Ok(DirectFile {
            file: Rc::new(OwnedFd::from(file.try_clone()?)),
            path: path.to_owned(),
            length,
        })
    }

    /// Its length when it was opened or made, bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `buffer[..length]` at `position`; both multiples of `DIRECT_ALIGNMENT`. When it returns `Ok`, the bytes are
    /// durable (RWF_DSYNC). The buffer comes back with the result. A short write is continued or an error.
    pub async fn write_durable(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> (io::Result<()>, AlignedBuffer) {
        let (result, buffer) = self.transfer(Direction::Write, position, buffer, length).await;
        let result = result.and_then(|written| {
            runtime::with(|core| {
                core.counters().file_writes.add(1);
                core.counters().file_written_bytes.add(written as u64);
            });
            if written == length {
                Ok(())
            } else {
                Err(io::ErrorKind::WriteZero.into())
            }
        });
        (
            result.map_err(|error| self.described(&error, "write", position, length)),
            buffer,
        )
    }

    /// Waits until no write to the file is under way in the kernel any more, also none of a process that has ended: what such a
    /// one has given to its ring goes to the disk all the same, and nobody waits for it. From then on what is read stays.
    pub async fn settle(&self) -> io::Result<()> {
        let length = self.length;
        if length == 0 {
            return Ok(());
        }
        let file = self.file.try_clone()?;
        let path = self.path.clone();
        blocking(move || {
            // Every block is allocated, so nothing is: but the file systems wait for direct writes before they look.
            fallocate(&file, FallocateFlags::KEEP_SIZE, 0, length)
                .map_err(|error| described(&error.into(), "wait for writes to", &path))
        })
        .await
    }

    /// Reads `buffer[..length]` at `position` (aligned). Gives the bytes read: fewer only at the file's end.
    pub async fn read(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> (io::Result<usize>, AlignedBuffer) {
        let (result, buffer) = self.transfer(Direction::Read, position, buffer, length).await;
        (
            result.map_err(|error| self.described(&error, "read", position, length)),
            buffer,
        )
    }

    fn described(&self, error: &io::Error, operation: &str, position: u64, length: usize) -> io::Error {
        described(
            error,
            &format!("{operation} {length} bytes at {position} of"),
            &self.path,
        )
    }

    /// Moves bytes until all are moved or the kernel moves none.
    async fn transfer(
        &self,
        direction: Direction,
        position: u64,
        mut buffer: AlignedBuffer,
        length: usize,
    ) -> (io::Result<usize>, AlignedBuffer) {
        let aligned = position.is_multiple_of(DIRECT_ALIGNMENT as u64) && length.is_multiple_of(DIRECT_ALIGNMENT);
        if !aligned || length > buffer.len() || position.checked_add(length as u64).is_none() {
            return (Err(io::ErrorKind::InvalidInput.into()), buffer);
        }
        let mut done = 0;
        while done < length {
            let file = self.file.clone();
            let piece = u32::try_from((length - done).min(OPERATION_BYTES_MAX)).expect("bounded by 2^30");
            let position = position + done as u64;
            let finished = runtime::single(match direction {
                Direction::Write => Payload::Write {
                    file,
                    buffer,
                    offset: done,
                    length: piece,
                    position,
                },
                Direction::Read => Payload::Read {
                    file,
                    buffer,
                    offset: done,
                    length: piece,
                    position,
                },
            })
            .await;
            let Finished { result, payload } = finished;
            buffer = match payload {
                Payload::Write { buffer, .. } | Payload::Read { buffer, .. } => buffer,
                Payload::Connect { .. } | Payload::Poll { .. } => unreachable!("the payload comes back as it was"),
            };
            match usize::try_from(result) {
                Ok(0) => break,
                Ok(moved) => done += moved,
                Err(_) => match io::Error::from_raw_os_error(result.saturating_neg()) {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return (Err(error), buffer),
                },
            }
            // The rest of a short transfer that ended inside a block cannot be asked for directly. For a read that is
            // the file's end.
            if !done.is_multiple_of(DIRECT_ALIGNMENT) {
                break;
            }
        }
        (Ok(done), buffer)
    }
}

fn direct_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("flags of open(2) are an int");
    options.read(true).write(true).custom_flags(flags);
    options
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = direct_options().open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn create(path: &Path, length: u64) -> io::Result<File> {
    if !length.is_multiple_of(DIRECT_ALIGNMENT as u64) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = direct_options().create_new(true).open(path)?;
    if length > 0
        // All at once first, for extents in one piece; then written, so that a later write changes no metadata.
        && let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, length)
    {
        // As above.
        let _ = std::fs::remove_file(path);
        return Err(error.into());
    }
    Ok(file)
}

async fn fill(file: &Arc<File>, path: &Path, length: u64, pace: impl AsyncFn(u64) -> u64) -> io::Result<()> {
    let zeros = Arc::new(AlignedBuffer::zeroed(ZEROS_BYTES));
    let (mut done, mut next) = (0, ZEROS_BYTES as u64);
    while done < length {
        let end = done.saturating_add(next).min(length);
        let (file, zeros, owned) = (file.clone(), zeros.clone(), path.to_owned());
        blocking(move || {
            for position in (done..end).step_by(zeros.len()) {
                let piece = usize::try_from(end - position).unwrap_or(usize::MAX).min(zeros.len());
                file.write_all_at(&zeros[..piece], position)
                    .map_err(|error| described(&error, "zero", &owned))?;
            }
            Ok(())
        })
        .await?;
        done = end;
        next = (pace(done).await / ZEROS_BYTES as u64)
            .max(1)
            .saturating_mul(ZEROS_BYTES as u64);
    }
    let (file, owned) = (file.clone(), path.to_owned());
    blocking(move || {
        file.sync_all()
            .and_then(|()| sync_directory_of(&owned))
            .map_err(|error| described(&error, "sync", &owned))
    })
    .await
}
