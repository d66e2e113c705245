//! Files of the journal: O_DIRECT reads and durable writes on the raw ring, and directory operations on the blocking pool.

use std::io;
use std::path::Path;

/// Alignment of positions, lengths and memory for direct files, bytes.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// Memory aligned for direct files; its length is what was asked for, its capacity a multiple of `DIRECT_ALIGNMENT`.
pub struct AlignedBuffer {
    _private: (),
}

impl AlignedBuffer {
    /// Zeroed, `length` bytes, which is a multiple of `DIRECT_ALIGNMENT`.
    pub fn zeroed(length: usize) -> AlignedBuffer {
        let _ = length;
        unimplemented!()
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unimplemented!()
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        unimplemented!()
    }
}

/// A file opened with O_DIRECT, on the current core's ring.
pub struct DirectFile {
    _private: (),
}

impl DirectFile {
    /// Opens read+write.
    pub async fn open(path: &Path) -> io::Result<DirectFile> {
        let _ = path;
        unimplemented!()
    }

    /// Makes a new file of `length` bytes, every block allocated and written with zeros, synced, and its directory synced.
    /// `AlreadyExists` when it is there.
    pub async fn create_zeroed(path: &Path, length: u64) -> io::Result<DirectFile> {
        let _ = (path, length);
        unimplemented!()
    }

    /// Its length, bytes.
    pub fn length(&self) -> u64 {
        unimplemented!()
    }

    /// Writes `buffer[..length]` at `position`; both multiples of `DIRECT_ALIGNMENT`. When it returns `Ok`, the bytes are
    /// durable (RWF_DSYNC). The buffer comes back with the result. A short write is continued or an error.
    pub async fn write_durable(&self, position: u64, buffer: AlignedBuffer, length: usize) -> (io::Result<()>, AlignedBuffer) {
        let _ = (position, buffer, length);
        unimplemented!()
    }

    /// Reads `buffer[..length]` at `position` (aligned). Gives the bytes read: fewer only at the file's end.
    pub async fn read(&self, position: u64, buffer: AlignedBuffer, length: usize) -> (io::Result<usize>, AlignedBuffer) {
        let _ = (position, buffer, length);
        unimplemented!()
    }
}

/// A small file whole (a marker, a checkpoint of bounded size); `length_max` bounds it.
pub async fn read_small(path: &Path, length_max: usize) -> io::Result<Vec<u8>> {
    let _ = (path, length_max);
    unimplemented!()
}

/// Replaces a small file atomically and durably: temporary file, write, fsync, rename, fsync of the directory.
pub async fn write_small_atomically(path: &Path, content: Vec<u8>) -> io::Result<()> {
    let _ = (path, content);
    unimplemented!()
}

/// Names in a directory.
pub async fn list_directory(path: &Path) -> io::Result<Vec<String>> {
    let _ = path;
    unimplemented!()
}

/// Removes a file and syncs its directory.
pub async fn remove(path: &Path) -> io::Result<()> {
    let _ = path;
    unimplemented!()
}

/// Makes a directory (and its parents), and syncs the parent.
pub async fn create_directory(path: &Path) -> io::Result<()> {
    let _ = path;
    unimplemented!()
}

/// Bytes free for this process, and bytes in total, of the file system that holds `path`.
pub async fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    let _ = path;
    unimplemented!()
}
