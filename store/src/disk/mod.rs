//! The disk as the store sees it: one directory with small files that are replaced whole, and segment files that are
//! written once, block by block, durably. Object-safe, so that a simulated disk can stand in.
//!
//! Names are single path components. All futures are local to the core.

mod engine;

use std::io;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use pigeon_engine::file::AlignedBuffer;

pub use self::engine::EngineDisk;

/// How fast a file is zeroed: told how many bytes are, it ends when the next may be, and says how many then.
pub type Pace<'a> = &'a dyn Fn(u64) -> LocalBoxFuture<'a, u64>;

/// A directory that holds one volume.
pub trait Disk {
    /// Where it is, for people.
    fn path(&self) -> String;

    /// A small file whole. `NotFound` when it is not there, `FileTooLarge` when it is longer than `length_max`.
    fn read_small<'a>(&'a self, name: &'a str, length_max: usize) -> LocalBoxFuture<'a, io::Result<Vec<u8>>>;

    /// Replaces a small file atomically; durable when it returns.
    fn write_small<'a>(&'a self, name: &'a str, content: Vec<u8>) -> LocalBoxFuture<'a, io::Result<()>>;

    /// The names in the directory, in any order.
    fn list(&self) -> LocalBoxFuture<'_, io::Result<Vec<String>>>;

    /// Removes a file; durable when it returns. Those who hold it open can still read it.
    fn remove<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<()>>;

    /// Opens a segment file for reads and writes.
    fn open<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>>;

    /// Makes a segment file of `length` zeros with every block allocated, so that a later write changes no metadata and
    /// cannot find the disk full. Durable when it returns. After a crash in between the file may be there in part.
    /// Awaits `pace` now and then, so that a big file need not take the disk from others.
    fn create_zeroed<'a>(
        &'a self,
        name: &'a str,
        length: u64,
        pace: Pace<'a>,
    ) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>>;

    /// Has the writes that were started begin now, instead of when the tasks of the core have had their turns.
    fn submit(&self) {}

    /// Bytes that can still be allocated.
    fn free_bytes(&self) -> LocalBoxFuture<'_, io::Result<u64>>;

    /// Makes the directory and its parents when they are not there.
    fn create_directory(&self) -> LocalBoxFuture<'_, io::Result<()>>;

    /// A number that nobody outside can guess, for the tag that tells this volume's batches from look-alikes in mail.
    fn random(&self) -> u64;
}

/// An open segment file. Positions and lengths are multiples of 4096.
pub trait DiskFile {
    /// Bytes.
    fn length(&self) -> u64;

    /// Writes `buffer[..length]` at `position`; durable when it returns `Ok`. After an error or a crash any of the blocks
    /// may have been written, or not.
    fn write_durable(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<()>, AlignedBuffer)>;

    /// Waits until no write to the file is under way any more, also none of a process that was killed: such a write may land
    /// after the process is gone.
    fn settle(&self) -> LocalBoxFuture<'_, io::Result<()>>;

    /// Reads `buffer[..length]` at `position`. Gives the bytes read: fewer only at the file's end.
    fn read(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<usize>, AlignedBuffer)>;
}
