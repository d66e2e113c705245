//! An LDIF file as a source of control data.
//!
//! Invariants: the file is taken whole or not at all; a file that changes while it is read is read again; each state
//! of the file is tried once, and a refused one is reported once.

use super::load::snapshot;
use super::watch::{Identity, Seen, Watcher};
use crate::schema::AttributeMap;
use crate::snapshot::Snapshot;
use crate::source::{DataTree, Event, Handle, Health, LoadError, Loaded};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a file that changes under the reader is read again before it is given up until it changes again.
const READS_MAX: usize = 5;

/// How an LDIF file is read and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdifOptions {
    /// Which attribute holds what.
    pub map: AttributeMap,
    /// Bytes of the largest file that is read. It is in memory as a whole while it is loaded; a million accounts take
    /// about 400 MiB.
    pub bytes_max: u64,
    /// After a change, how long it must be quiet before the file is read: editors write more than once.
    pub debounce: Duration,
    /// How often the file's identity is compared where inotify says nothing.
    pub tick: Duration,
}

impl Default for LdifOptions {
    fn default() -> Self {
        LdifOptions {
            map: AttributeMap::default(),
            bytes_max: 4 << 30,
            debounce: Duration::from_millis(50),
            tick: Duration::from_secs(2),
        }
    }
}

/// The source.
pub struct LdifFile {
    path: PathBuf,
    options: LdifOptions,
    handle: Handle,
    watcher: Option<Watcher>,
    /// The state of the file that was tried last, good or bad.
    tried: Option<Identity>,
    /// Another state, seen on a tick; tried if it is still the same on the next.
    waiting: Option<Option<Identity>>,
    health: Health,
}

impl LdifFile {
    /// Nothing is read yet. Fails only when the process has no descriptor left.
    pub fn new(path: impl Into<PathBuf>, options: LdifOptions) -> io::Result<LdifFile> {
        Ok(LdifFile {
            path: path.into(),
            options,
            handle: Handle::new()?,
            watcher: None,
            tried: None,
            waiting: None,
            health: Health::Bad("not loaded yet".into()),
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn unreadable(&self, operation: &str, error: &dyn std::fmt::Display) -> LoadError {
        LoadError::Unreadable(format!("{operation} {}: {error}", self.path.display()))
    }

    /// The file's content, as it was at one moment.
    fn read(&mut self) -> Result<Vec<u8>, LoadError> {
        for _ in 0..READS_MAX {
            let mut file = open(&self.path).map_err(|error| self.unreadable("open", &error))?;
            let before = file.metadata().map_err(|error| self.unreadable("stat", &error))?;
            self.tried = Some(Identity::of(&before));
            if !before.is_file() {
                return Err(self.unreadable("read", &"expected a regular file"));
            }
            if before.len() > self.options.bytes_max {
                let limit = self.options.bytes_max;
                return Err(self.unreadable("read", &format!("{} bytes, at most {limit} are read", before.len())));
            }
            let mut text = Vec::new();
            file.by_ref()
                .take(self.options.bytes_max)
                .read_to_end(&mut text)
                .map_err(|error| self.unreadable("read", &error))?;
            let after = file.metadata().map_err(|error| self.unreadable("stat", &error))?;
            if Identity::of(&after) == Identity::of(&before) {
                return Ok(text);
            }
        }
        Err(self.unreadable("read", &"it changes all the time"))
    }

    fn load_now(&mut self, previous: &Snapshot) -> Result<Loaded, LoadError> {
        self.waiting = None;
        self.tried = Identity::at(&self.path);
        // Watched before it is read, so that no change falls between.
        self.watcher = Watcher::new(&self.path).ok();
        let text = self.read()?;
        snapshot(&text, &self.options.map, previous).map_err(|mistakes| LoadError::Wrong {
            source: self.path.display().to_string(),
            mistakes,
        })
    }

    /// Whether the file should be read, by what inotify told and by its identity.
    fn is_due(&mut self, ticked: bool) -> bool {
        let seen = self
            .watcher
            .as_ref()
            .map(|watcher| self.settled(watcher))
            .unwrap_or_default();
        let now = Identity::at(&self.path);
        if now == self.tried {
            self.waiting = None;
            return false;
        }
        // A file that was moved here is whole; so is one that its writer closed.
        let replaced = seen.moved && now.map(|now| now.inode) != self.tried.map(|tried| tried.inode);
        if seen.finished || replaced {
            return true;
        }
        if ticked {
            let still = self.waiting == Some(now);
            self.waiting = Some(now);
            return still;
        }
        false
    }

    fn event(&mut self, current: &Snapshot) -> Event {
        self.load(current)
            .map_or_else(Event::Refused, |loaded| Event::Changed(Box::new(loaded)))
    }

    /// What inotify told, once the file has been quiet for a moment, within reason.
    fn settled(&self, watcher: &Watcher) -> Seen {
        let mut seen = watcher.drain();
        if seen == Seen::default() {
            return seen;
        }
        for _ in 0..20 {
            if !self
                .handle
                .wait(Some(watcher.descriptor()), self.options.debounce)
                .unwrap_or(false)
            {
                break;
            }
            seen = seen.and(watcher.drain());
        }
        seen
    }
}

/// Opens for reading. Of a pipe that nobody writes to, an open without the flag would wait for ever.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(nonblocking).open(path)
}

impl DataTree for LdifFile {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&mut self, previous: &Snapshot) -> Result<Loaded, LoadError> {
        let loaded = self.load_now(previous);
        self.health = match &loaded {
            Ok(_) => Health::Good,
            Err(error) => Health::Bad(error.to_string()),
        };
        loaded
    }

    fn watch(&mut self, current: &Snapshot, patience: Duration) -> Event {
        let mut left = patience;
        loop {
            let step = left.min(self.options.tick);
            let wishes = self.handle.take();
            if wishes.stop {
                return Event::Stopped;
            }
            if wishes.reload || self.is_due(false) {
                return self.event(current);
            }
            if left.is_zero() {
                return Event::Quiet;
            }
            let descriptor = self.watcher.as_ref().map(Watcher::descriptor);
            let woken = match self.handle.wait(descriptor, step) {
                Ok(woken) => woken,
                Err(error) => return Event::Refused(self.unreadable("watch", &error)),
            };
            left = left.saturating_sub(step);
            if !woken && self.is_due(true) {
                return self.event(current);
            }
        }
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
