//! A disk whose writes fail from a moment on, or its reads for a while.

use futures_util::future::LocalBoxFuture;
use pigeon_engine::file::AlignedBuffer;
use pigeon_store::disk::{Disk, DiskFile, EngineDisk, Pace};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

pub(crate) struct Breakable {
    pub(crate) disk: EngineDisk,
    pub(crate) broken: Rc<Cell<bool>>,
    pub(crate) unreadable: Rc<Cell<bool>>,
}

struct File {
    file: Rc<dyn DiskFile>,
    broken: Rc<Cell<bool>>,
    unreadable: Rc<Cell<bool>>,
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

impl Breakable {
    fn file(&self, file: Rc<dyn DiskFile>) -> Rc<dyn DiskFile> {
        let (broken, unreadable) = (self.broken.clone(), self.unreadable.clone());
        Rc::new(File {
            file,
            broken,
            unreadable,
        })
    }
}

impl Disk for Breakable {
    fn path(&self) -> String {
        self.disk.path()
    }

    fn read_small<'a>(&'a self, name: &'a str, length_max: usize) -> LocalBoxFuture<'a, io::Result<Vec<u8>>> {
        self.disk.read_small(name, length_max)
    }

    fn write_small<'a>(&'a self, name: &'a str, content: Vec<u8>) -> LocalBoxFuture<'a, io::Result<()>> {
        match self.broken.get() {
            true => Box::pin(async { Err(broken()) }),
            false => self.disk.write_small(name, content),
        }
    }

    fn list(&self) -> LocalBoxFuture<'_, io::Result<Vec<String>>> {
        self.disk.list()
    }

    fn remove<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<()>> {
        self.disk.remove(name)
    }

    fn open<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        Box::pin(async move { self.disk.open(name).await.map(|file| self.file(file)) })
    }

    fn create_zeroed<'a>(
        &'a self,
        name: &'a str,
        length: u64,
        pace: Pace<'a>,
    ) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        Box::pin(async move {
            let created = self.disk.create_zeroed(name, length, pace).await;
            created.map(|file| self.file(file))
        })
    }

    fn submit(&self) {
        self.disk.submit();
    }

    fn free_bytes(&self) -> LocalBoxFuture<'_, io::Result<u64>> {
        self.disk.free_bytes()
    }

    fn create_directory(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        self.disk.create_directory()
    }

    fn random(&self) -> u64 {
        self.disk.random()
    }
}

impl DiskFile for File {
    fn length(&self) -> u64 {
        self.file.length()
    }

    fn write_durable(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<()>, AlignedBuffer)> {
        match self.broken.get() {
            true => Box::pin(async { (Err(broken()), buffer) }),
            false => self.file.write_durable(position, buffer, length),
        }
    }

    fn settle(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        self.file.settle()
    }

    fn read(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<usize>, AlignedBuffer)> {
        match self.unreadable.get() {
            true => Box::pin(async { (Err(broken()), buffer) }),
            false => self.file.read(position, buffer, length),
        }
    }
}
