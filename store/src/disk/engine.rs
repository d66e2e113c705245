//! The real disk: the engine's direct files in one directory.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use pigeon_engine::file::{self, AlignedBuffer, DirectFile};

use super::{Disk, DiskFile, Pace};

/// A directory of a real file system, used on one core.
pub struct EngineDisk {
    directory: PathBuf,
}

impl EngineDisk {
    /// For the directory, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> EngineDisk {
        EngineDisk {
            directory: directory.into(),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Disk for EngineDisk {
    fn path(&self) -> String {
        self.directory.display().to_string()
    }

    fn read_small<'a>(&'a self, name: &'a str, length_max: usize) -> LocalBoxFuture<'a, io::Result<Vec<u8>>> {
        async move { file::read_small(&self.directory.join(name), length_max).await }.boxed_local()
    }

    fn write_small<'a>(&'a self, name: &'a str, content: Vec<u8>) -> LocalBoxFuture<'a, io::Result<()>> {
        async move { file::write_small_atomically(&self.directory.join(name), content).await }.boxed_local()
    }

    fn list(&self) -> LocalBoxFuture<'_, io::Result<Vec<String>>> {
        async move { file::list_directory(&self.directory).await }.boxed_local()
    }

    fn remove<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<()>> {
        async move { file::remove(&self.directory.join(name)).await }.boxed_local()
    }

    fn open<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        async move {
            let opened: Rc<dyn DiskFile> = Rc::new(DirectFile::open(&self.directory.join(name)).await?);
            Ok(opened)
        }
        .boxed_local()
    }

    fn create_zeroed<'a>(
        &'a self,
        name: &'a str,
        length: u64,
        pace: Pace<'a>,
    ) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        async move {
            let path = self.directory.join(name);
            let made: Rc<dyn DiskFile> =
                Rc::new(DirectFile::create_zeroed_at_pace(&path, length, async |done| pace(done).await).await?);
            Ok(made)
        }
        .boxed_local()
    }

    fn submit(&self) {
        file::submit();
    }

    fn free_bytes(&self) -> LocalBoxFuture<'_, io::Result<u64>> {
        async move { file::free_space(&self.directory).await.map(|(free, _)| free) }.boxed_local()
    }

    fn create_directory(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        async move { file::create_directory(&self.directory).await }.boxed_local()
    }

    fn random(&self) -> u64 {
        // The standard library seeds its hash maps from the operating system.
        RandomState::new().build_hasher().finish()
    }
}

impl DiskFile for DirectFile {
    fn length(&self) -> u64 {
        DirectFile::length(self)
    }

    fn write_durable(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<()>, AlignedBuffer)> {
        DirectFile::write_durable(self, position, buffer, length).boxed_local()
    }

    fn settle(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        DirectFile::settle(self).boxed_local()
    }

    fn read(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<usize>, AlignedBuffer)> {
        DirectFile::read(self, position, buffer, length).boxed_local()
    }
}
