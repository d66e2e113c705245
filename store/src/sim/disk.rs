//! The simulated disk; see the module above for what it may do wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use pigeon_engine::file::AlignedBuffer;

use super::Random;
use super::executor::yield_now;
use crate::disk::{Disk, DiskFile, Pace};

/// What is on a disk: bytes by file name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A directory in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
}

type Content = Rc<RefCell<Vec<u8>>>;

struct State {
    files: BTreeMap<String, Content>,
    random: Random,
    /// Operations ended so far: the points where a crash can come.
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    under_way: BTreeMap<u64, Operation>,
    next_operation: u64,
    capacity_bytes: u64,
    fail_write_in: Option<u64>,
    misdirect_write_in: Option<u64>,
    fail_small_in: Option<u64>,
    fail_look_in: Option<u64>,
    /// A crash is the end of the process alone: what was given to the disk lands later.
    killed: bool,
    late: Vec<LateWrite>,
    /// File and offset of blocks that cannot be read.
    unreadable: Vec<(String, u64)>,
}

/// A write of a process that was killed, on its way to the disk.
struct LateWrite {
    name: String,
    position: u64,
    bytes: Vec<u8>,
}

/// What a crash may leave undone.
#[derive(Clone)]
enum Operation {
    Read,
    Write {
        content: Content,
        position: u64,
        bytes: Vec<u8>,
    },
    Small {
        name: String,
        content: Vec<u8>,
    },
    Remove {
        name: String,
    },
    Create {
        name: String,
        length: u64,
    },
}

impl SimDisk {
    /// An empty directory.
    pub fn new(seed: u64) -> SimDisk {
        Self::with_image(seed, &Image::new())
    }

    /// With these files.
    pub fn with_image(seed: u64, image: &Image) -> SimDisk {
        let files = image
            .iter()
            .map(|(name, bytes)| (name.clone(), Rc::new(RefCell::new(bytes.clone()))))
            .collect();
        let state = State {
            files,
            random: Random::new(seed),
            operations: 0,
            crash_at: None,
            crashed: false,
            under_way: BTreeMap::new(),
            next_operation: 0,
            capacity_bytes: u64::MAX,
            fail_write_in: None,
            misdirect_write_in: None,
            fail_small_in: None,
            fail_look_in: None,
            killed: false,
            late: Vec::new(),
            unreadable: Vec::new(),
        };
        SimDisk {
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// What is on it now.
    pub fn image(&self) -> Image {
        let state = self.state.borrow();
        state
            .files
            .iter()
            .map(|(name, content)| (name.clone(), content.borrow().clone()))
            .collect()
    }

    /// Operations ended so far.
    pub fn operations(&self) -> u64 {
        self.state.borrow().operations
    }

    /// Crashes when so many operations have ended: from then on none ends.
    pub fn crash_at(&self, operations: u64) {
        self.state.borrow_mut().crash_at = Some(operations);
    }

    /// The process is killed when so many operations have ended. Unlike at a crash the writes under way land, later.
    pub fn kill_at(&self, operations: u64) {
        self.crash_at(operations);
        self.state.borrow_mut().killed = true;
    }

    /// Whether it has crashed.
    pub fn crashed(&self) -> bool {
        self.state.borrow().crashed
    }

    /// Power loss now: what was under way is there in part, and nothing is under way any more.
    pub fn crash(&self) {
        self.state.borrow_mut().crash();
    }

    /// After a crash: the disk as the next opening finds it. What still held files of the old one cannot reach it.
    pub fn restarted(&self, seed: u64) -> SimDisk {
        self.crash();
        let capacity_bytes = self.state.borrow().capacity_bytes;
        let disk = Self::with_image(seed, &self.image());
        disk.set_capacity(capacity_bytes);
        disk.state.borrow_mut().late = std::mem::take(&mut self.state.borrow_mut().late);
        disk
    }

    /// All files together may take so many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.borrow_mut().capacity_bytes = bytes;
    }

    /// The write after so many others fails.
    pub fn fail_write_in(&self, writes: u64) {
        self.state.borrow_mut().fail_write_in = Some(writes);
    }

    /// The write after so many others goes elsewhere in its file.
    pub fn misdirect_write_in(&self, writes: u64) {
        self.state.borrow_mut().misdirect_write_in = Some(writes);
    }

    /// The replacing of a small file after so many others fails; the file is the old one or the new one.
    pub fn fail_small_in(&self, writes: u64) {
        self.state.borrow_mut().fail_small_in = Some(writes);
    }

    /// The reading of a small file, the listing or the opening of a file after so many others fails.
    pub fn fail_look_in(&self, looks: u64) {
        self.state.borrow_mut().fail_look_in = Some(looks);
    }

    /// The block of 4096 bytes at this offset cannot be read.
    pub fn make_unreadable(&self, name: &str, offset: u64) {
        self.state
            .borrow_mut()
            .unreadable
            .push((name.to_owned(), offset / BLOCK * BLOCK));
    }

    async fn end(&self, operation: Operation) -> u64 {
        let (id, yields) = {
            let mut state = self.state.borrow_mut();
            let id = state.next_operation;
            state.next_operation += 1;
            state.under_way.insert(id, operation);
            (id, 1 + state.random.below(3))
        };
        for _ in 0..yields {
            yield_now().await;
        }
        let crashed = {
            let mut state = self.state.borrow_mut();
            if !state.crashed && state.crash_at.is_some_and(|at| state.operations >= at) {
                state.crash();
            }
            state.operations += 1;
            if !state.late.is_empty() && state.random.percent(3) {
                let count = state.late.len();
                let index = state.random.index(count);
                let write = state.late.swap_remove(index);
                state.land(&write);
            }
            state.crashed
        };
        if crashed {
            std::future::pending::<()>().await;
        }
        id
    }

    async fn create(&self, name: &str, length: u64) -> io::Result<Rc<dyn DiskFile>> {
        let id = self
            .end(Operation::Create {
                name: name.to_owned(),
                length,
            })
            .await;
        let mut state = self.state.borrow_mut();
        state.under_way.remove(&id);
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.used_bytes() + length > state.capacity_bytes {
            // As a real one does, it got some way.
            let some = (state.capacity_bytes - state.used_bytes().min(state.capacity_bytes)) / BLOCK * BLOCK;
            state.files.insert(name.to_owned(), new_content(some));
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = new_content(length);
        state.files.insert(name.to_owned(), content.clone());
        drop(state);
        Ok(self.file(name, content))
    }

    fn file(&self, name: &str, content: Content) -> Rc<dyn DiskFile> {
        Rc::new(SimFile {
            disk: self.clone(),
            name: name.to_owned(),
            content,
        })
    }
}

const BLOCK: u64 = 4096;

fn new_content(length: u64) -> Content {
    Rc::new(RefCell::new(vec![0; as_size(length)]))
}

fn as_size(length: u64) -> usize {
    usize::try_from(length).expect("simulated files are small")
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.files.values().map(|content| content.borrow().len() as u64).sum()
    }

    fn look(&mut self) -> io::Result<()> {
        if count_down(&mut self.fail_look_in) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    fn crash(&mut self) {
        self.crashed = true;
        for operation in std::mem::take(&mut self.under_way).into_values() {
            match operation {
                Operation::Read => {}
                Operation::Write {
                    content,
                    position,
                    bytes,
                } => {
                    let file = self.files.iter().find(|(_, file)| Rc::ptr_eq(file, &content));
                    match file.filter(|_| self.killed) {
                        Some((name, _)) => self.late.push(LateWrite {
                            name: name.clone(),
                            position,
                            bytes,
                        }),
                        None => self.write_some(&content, position, &bytes),
                    }
                }
                Operation::Small { name, content } => {
                    if self.random.percent(50) {
                        self.files.insert(name, Rc::new(RefCell::new(content)));
                    }
                }
                Operation::Remove { name } => {
                    if self.random.percent(50) {
                        self.files.remove(&name);
                    }
                }
                Operation::Create { name, length } => {
                    if self.random.percent(70) && !self.files.contains_key(&name) {
                        let some = if self.random.percent(50) {
                            length
                        } else {
                            self.random.below(length + 1)
                        };
                        self.files.insert(name, new_content(some));
                    }
                }
            }
        }
    }

    fn land(&mut self, write: &LateWrite) {
        if let Some(content) = self.files.get(&write.name) {
            let start = as_size(write.position);
            content.borrow_mut()[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
        }
    }

    /// Writes any subset of the blocks.
    fn write_some(&mut self, content: &Content, position: u64, bytes: &[u8]) {
        let unit = if self.random.percent(50) { 512 } else { 4096 };
        let count = bytes.len().div_ceil(unit);
        let manner = self.random.below(4);
        let prefix = self.random.index(count + 1);
        let mut content = content.borrow_mut();
        for (index, block) in bytes.chunks(unit).enumerate() {
            let there = match manner {
                0 => false,
                1 => true,
                2 => index < prefix,
                _ => self.random.percent(50),
            };
            if there {
                let start = as_size(position) + index * unit;
                content[start..start + block.len()].copy_from_slice(block);
            }
        }
    }
}

impl Disk for SimDisk {
    fn path(&self) -> String {
        "simulated".to_owned()
    }

    fn read_small<'a>(&'a self, name: &'a str, length_max: usize) -> LocalBoxFuture<'a, io::Result<Vec<u8>>> {
        async move {
            let id = self.end(Operation::Read).await;
            let mut state = self.state.borrow_mut();
            state.under_way.remove(&id);
            state.look()?;
            let content = state.files.get(name).ok_or(io::ErrorKind::NotFound)?.borrow().clone();
            if content.len() > length_max {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(content)
        }
        .boxed_local()
    }

    fn write_small<'a>(&'a self, name: &'a str, content: Vec<u8>) -> LocalBoxFuture<'a, io::Result<()>> {
        async move {
            let id = self
                .end(Operation::Small {
                    name: name.to_owned(),
                    content: content.clone(),
                })
                .await;
            let mut state = self.state.borrow_mut();
            state.under_way.remove(&id);
            // Twice: the new one is written beside the old one.
            if state.used_bytes() + content.len() as u64 > state.capacity_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let failed = count_down(&mut state.fail_small_in);
            if !failed || state.random.percent(50) {
                state.files.insert(name.to_owned(), Rc::new(RefCell::new(content)));
            }
            if failed {
                return Err(io::Error::from_raw_os_error(5));
            }
            Ok(())
        }
        .boxed_local()
    }

    fn list(&self) -> LocalBoxFuture<'_, io::Result<Vec<String>>> {
        async move {
            let id = self.end(Operation::Read).await;
            let mut state = self.state.borrow_mut();
            state.under_way.remove(&id);
            state.look()?;
            let mut names: Vec<String> = state.files.keys().cloned().collect();
            for index in (1..names.len()).rev() {
                let other = state.random.index(index + 1);
                names.swap(index, other);
            }
            Ok(names)
        }
        .boxed_local()
    }

    fn remove<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<()>> {
        async move {
            let id = self.end(Operation::Remove { name: name.to_owned() }).await;
            let mut state = self.state.borrow_mut();
            state.under_way.remove(&id);
            state
                .files
                .remove(name)
                .map(drop)
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        .boxed_local()
    }

    fn open<'a>(&'a self, name: &'a str) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        async move {
            let id = self.end(Operation::Read).await;
            let mut state = self.state.borrow_mut();
            state.under_way.remove(&id);
            state.look()?;
            let content = state.files.get(name).ok_or(io::ErrorKind::NotFound)?.clone();
            drop(state);
            Ok(self.file(name, content))
        }
        .boxed_local()
    }

    fn create_zeroed<'a>(
        &'a self,
        name: &'a str,
        length: u64,
        _pace: Pace<'a>,
    ) -> LocalBoxFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        self.create(name, length).boxed_local()
    }

    fn free_bytes(&self) -> LocalBoxFuture<'_, io::Result<u64>> {
        async move {
            let id = self.end(Operation::Read).await;
            let mut state = self.state.borrow_mut();
            state.under_way.remove(&id);
            Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
        }
        .boxed_local()
    }

    fn create_directory(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed_local()
    }

    fn random(&self) -> u64 {
        self.state.borrow_mut().random.number()
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
    content: Content,
}

impl DiskFile for SimFile {
    fn length(&self) -> u64 {
        self.content.borrow().len() as u64
    }

    fn write_durable(
        &self,
        position: u64,
        buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<()>, AlignedBuffer)> {
        async move {
            assert!(
                position.is_multiple_of(BLOCK) && (length as u64).is_multiple_of(BLOCK),
                "whole blocks"
            );
            assert!(position + length as u64 <= self.length(), "within the file");
            let bytes = buffer[..length].to_vec();
            let operation = Operation::Write {
                content: self.content.clone(),
                position,
                bytes: bytes.clone(),
            };
            let id = self.disk.end(operation).await;
            let mut state = self.disk.state.borrow_mut();
            state.under_way.remove(&id);
            if count_down(&mut state.fail_write_in) {
                state.write_some(&self.content, position, &bytes);
                return (Err(io::Error::from_raw_os_error(5)), buffer);
            }
            let mut position = position;
            if count_down(&mut state.misdirect_write_in) {
                let blocks = (self.length() - length as u64) / BLOCK + 1;
                position = state.random.below(blocks) * BLOCK;
            }
            let start = as_size(position);
            self.content.borrow_mut()[start..start + length].copy_from_slice(&bytes);
            (Ok(()), buffer)
        }
        .boxed_local()
    }

    fn settle(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        async move {
            let id = self.disk.end(Operation::Read).await;
            let mut state = self.disk.state.borrow_mut();
            state.under_way.remove(&id);
            let late = std::mem::take(&mut state.late);
            let (ours, others): (Vec<_>, Vec<_>) = late.into_iter().partition(|write| write.name == self.name);
            state.late = others;
            ours.iter().for_each(|write| state.land(write));
            Ok(())
        }
        .boxed_local()
    }

    fn read(
        &self,
        position: u64,
        mut buffer: AlignedBuffer,
        length: usize,
    ) -> LocalBoxFuture<'_, (io::Result<usize>, AlignedBuffer)> {
        async move {
            assert!(
                position.is_multiple_of(BLOCK) && (length as u64).is_multiple_of(BLOCK),
                "whole blocks"
            );
            let id = self.disk.end(Operation::Read).await;
            let mut state = self.disk.state.borrow_mut();
            state.under_way.remove(&id);
            let range = position..position + length as u64;
            if state
                .unreadable
                .iter()
                .any(|(name, offset)| *name == self.name && range.contains(offset))
            {
                return (Err(io::Error::from_raw_os_error(5)), buffer);
            }
            let content = self.content.borrow();
            let start = as_size(position).min(content.len());
            let end = (start + length).min(content.len());
            buffer[..end - start].copy_from_slice(&content[start..end]);
            (Ok(end - start), buffer)
        }
        .boxed_local()
    }
}

/// Counts down; true when it is at its end.
fn count_down(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}
