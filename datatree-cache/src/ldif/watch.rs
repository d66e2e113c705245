//! Seeing that a file changed: inotify on its directories for promptness, its identity for certainty.
//!
//! inotify sees neither network file systems nor a symbolic link that changes somewhere above, and its queue can
//! overflow; the identity (device, inode, size, times) is therefore compared on every tick as well. A change seen only
//! that way must stand still for one tick, so that a file in the middle of being written is not taken for the next.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    pub(super) inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// `None` while there is no such file.
    pub(super) fn at(path: &Path) -> Option<Identity> {
        std::fs::metadata(path).ok().map(|metadata| Identity::of(&metadata))
    }
}

/// What inotify told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A writer closed the file, or another file was moved to its name: its content is meant to be read.
    pub(super) finished: bool,
    /// Something was moved in one of the directories, or events were lost.
    pub(super) moved: bool,
}

impl Seen {
    pub(super) fn and(self, more: Seen) -> Seen {
        Seen {
            finished: self.finished || more.finished,
            moved: self.moved || more.moved,
        }
    }
}

/// Watches of the directories that a path leads through at its end.
pub(super) struct Watcher {
    inotify: OwnedFd,
    names: Vec<OsString>,
}

impl Watcher {
    /// Watches the directory of `path` and, if that is a symbolic link, the directory of what it leads to.
    pub(super) fn new(path: &Path) -> io::Result<Watcher> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watcher = Watcher {
            inotify,
            names: Vec::new(),
        };
        watcher.add(path)?;
        if let Ok(target) = std::fs::canonicalize(path) {
            watcher.add(&target)?;
        }
        Ok(watcher)
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        // Not IN_MODIFY: what is being written is not there yet.
        let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.inotify, &directory, flags)?;
        self.names.extend(path.file_name().map(OsString::from));
        Ok(())
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Takes all events that are there.
    pub(super) fn drain(&self) -> Seen {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut seen = Seen::default();
        while let Ok(event) = reader.next() {
            let is_ours = event
                .file_name()
                .is_some_and(|name| self.names.iter().any(|n| n.as_bytes() == name.to_bytes()));
            seen.finished |= is_ours;
            let flags = event.events();
            seen.moved |= flags.intersects(ReadFlags::MOVED_TO | ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED);
        }
        seen
    }
}
