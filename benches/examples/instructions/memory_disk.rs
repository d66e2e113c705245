//! A disk that is a piece of memory and does everything at once, so that what is counted is the store's.

use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use pigeon_engine::file::AlignedBuffer;
use pigeon_store::disk::{Disk, DiskFile, Pace};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// See the module.
#[derive(Default)]
pub(crate) struct MemoryDisk {
    small: RefCell<BTreeMap<String, Vec<u8>>>,
    segments: RefCell<BTreeMap<String, Rc<Segment>>>,
}

struct Segment {
    bytes: RefCell<Vec<u8>>,
}

fn at_once<'a, T: 'a>(value: T) -> LocalBoxFuture<'a, T> {
    ready(value).boxed_local()
}

impl Disk for MemoryDisk {
    fn path(&self) -> String {
        "memory".to_owned()
    }

    fn read_small<'a>(&'a self, name: &'a str, _length_max: usize) -> LocalBoxFuture<'a, io::Result<Vec<u8>>> {
        let found = self.small.borrow().get(name).cloned();
        at_once(found.ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn write_small<'a>(&'a self, name: &'a str, content: Vec<u8>) -> LocalBoxFuture<'a, io::Result<()>> {
        self.small.borrow_mut().insert(name.to_owned(), content);
        at_once(Ok(()))
    }

    fn list(&self) -> LocalBoxFuture<'_, io::Result<Vec<String>>> {
        let (small, segments) = (self.small.borrow(), self.segments.borrow());
        at_once(Ok(small.keys().chain(segments.keys()).cloned().collect()))
    }

    fn remove<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<()>> {
        self.small.borrow_mut().remove(name);
        self.segments.borrow_mut().remove(name);
        at_once(Ok(()))
    }

    fn open<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        let found = self.segments.borrow().get(name).cloned();
        at_once(match found {
            Some(segment) => Ok(segment),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn create_zeroed<'a>(
        &'a self,
        name: &'a str,
        length: u64,
        _pace: Pace<'a>,
    ) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        let length = usize::try_from(length).expect("segments here are small");
        let segment = Rc::new(Segment {
            bytes: RefCell::new(vec![0; length]),
        });
        self.segments.borrow_mut().insert(name.to_owned(), segment.clone());
        at_once(Ok(segment))
    }

    fn free_bytes(&self) -> LocalBoxFuture<'_, io::Result<u64>> {
        at_once(Ok(1 << 40))
    }

    fn create_directory(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        at_once(Ok(()))
    }

    fn random(&self) -> u64 {
        7
    }
}

impl DiskFile for Segment {
    fn length(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn write_durable(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<()>, AlignedBuffer)> {
        let start = usize::try_from(position).expect("within the segment");
        self.bytes.borrow_mut()[start..start + length].copy_from_slice(&buffer[..length]);
        at_once((Ok(()), buffer))
    }

    fn settle(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        at_once(Ok(()))
    }

    fn read(
        &self,
        position: u64,
        mut buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<usize>, AlignedBuffer)> {
        let bytes = self.bytes.borrow();
        let start = usize::try_from(position).map_or(bytes.len(), |start| start.min(bytes.len()));
        let piece = &bytes[start..bytes.len().min(start + length)];
        buffer[..piece.len()].copy_from_slice(piece);
        at_once((Ok(piece.len()), buffer))
    }
}
