//! The LDIF file as what is written to.
//!
//! Invariants: one pigeonctl at a time writes in a directory (a lock of the kernel's on the directory, gone with the
//! process); a file that somebody else has changed since it was read is not replaced; a new file is whole and on the disk
//! before it takes the place of the old one, with its owner, group and mode.

use super::edit;
use crate::change::Change;
use crate::entry::{Found, Owned};
use pigeon_datatree_cache::ldif::snapshot;
use pigeon_datatree_cache::{AttributeMap, Snapshot};
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file that was read.
pub(crate) struct LdifFile {
    path: PathBuf,
    directory: PathBuf,
    text: Vec<u8>,
    identity: Identity,
    /// Held until the end, when it is there to be written.
    lock: Option<File>,
}

impl LdifFile {
    /// Reads it; to write, waits for its turn first.
    pub(crate) fn open(named: &Path, to_write: bool) -> Result<LdifFile, String> {
        let said = |error: io::Error| format!("{}: {error}", named.display());
        // What a link points to is replaced, not the link.
        let path = fs::canonicalize(named).map_err(said)?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        let lock = if to_write {
            let lock = File::open(&directory).map_err(said)?;
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)
                .map_err(|error| format!("{}: locking: {error}", directory.display()))?;
            Some(lock)
        } else {
            None
        };
        let identity = identity(&path).map_err(said)?;
        let text = fs::read(&path).map_err(said)?;
        if identity != self::identity(&path).map_err(said)? {
            return Err(format!("{}: it changes while it is read; try again", named.display()));
        }
        Ok(LdifFile {
            path,
            directory,
            text,
            identity,
            lock,
        })
    }

    /// All entries, which have no version: the whole file has.
    pub(crate) fn entries(&self) -> Result<Vec<Found>, String> {
        let entries = edit::entries(&self.text).map_err(|mistakes| self.wrong(&mistakes))?;
        let found = |entry: Owned| Found { entry, version: None };
        Ok(entries.into_iter().map(found).collect())
    }

    /// Mistakes that a node would refuse the file for, `Ok` with what it would warn of.
    pub(crate) fn check(text: &[u8], map: &AttributeMap) -> Result<Vec<String>, Vec<String>> {
        let lines = |found: &pigeon_datatree_cache::Mistakes| {
            let mut lines: Vec<String> = found.list.iter().map(ToString::to_string).collect();
            if found.left_out > 0 {
                lines.push(format!("and {} more", found.left_out));
            }
            lines
        };
        match snapshot(text, map, &Snapshot::empty()) {
            Ok(loaded) => Ok(lines(&loaded.warnings)),
            Err(mistakes) => Err(lines(&mistakes)),
        }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The text after the changes.
    pub(crate) fn edited(&self, changes: &[Change]) -> Result<Vec<u8>, String> {
        edit::edited(&self.text, changes).map_err(|why| self.wrong(&why))
    }

    /// Each line behind the file's name.
    pub(crate) fn wrong(&self, why: &str) -> String {
        let lines: Vec<String> = why
            .lines()
            .map(|line| format!("{}: {line}", self.path.display()))
            .collect();
        lines.join("\n")
    }

    /// Puts `text` in the file's place.
    pub(crate) fn replace(&self, text: &[u8]) -> Result<(), String> {
        assert!(self.lock.is_some(), "only what was opened to be written is written");
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".pigeonctl");
        let new = self.directory.join(name);
        let said = |error: io::Error| format!("{}: {error}; nothing was written", new.display());
        // Only a process that was killed leaves one, and it held the lock.
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(said(error));
        }
        let done = self.write(&new, text).map_err(said).and_then(|()| {
            // Whoever wrote since it was read did not ask for the lock.
            let now = identity(&self.path).ok();
            let is_same = now == Some(self.identity) && fs::read(&self.path).is_ok_and(|found| found == self.text);
            if is_same {
                fs::rename(&new, &self.path).map_err(said)
            } else {
                Err(super::changed_meanwhile(&self.path.display()))
            }
        });
        if done.is_err() {
            let _ = fs::remove_file(&new);
            return done;
        }
        let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.map_err(|error| {
            let directory = self.directory.display();
            format!("{directory}: {error}; the change is in the file, but may not survive a power cut")
        })
    }

    fn write(&self, new: &Path, text: &[u8]) -> io::Result<()> {
        let before = fs::metadata(&self.path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))
                .map_err(|error| io::Error::new(error.kind(), format!("keeping owner and group: {error}")))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
        file.write_all(text)?;
        file.sync_all()
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    Ok(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str, text: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("pigeonctl-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a scratch directory");
        let path = directory.join("users.ldif");
        fs::write(&path, text).expect("a scratch file");
        path
    }

    #[test]
    fn what_somebody_else_wrote_stays() {
        let path = scratch("else", "dn: uid=a\n");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
        let link = path.with_extension("link");
        std::os::unix::fs::symlink(&path, &link).expect("a free name");
        let file = LdifFile::open(&link, true).expect("it is there");
        file.replace(b"dn: uid=b\n").expect("nobody else is here");
        assert_eq!(fs::read(&path).expect("it is there"), b"dn: uid=b\n");
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        // As long as before, in the same inode: only times and content tell.
        drop(file);
        let file = LdifFile::open(&path, true).expect("it is there");
        fs::write(&path, "dn: uid=c\n").expect("it is ours");
        let refused = file.replace(b"dn: uid=d\n").expect_err("somebody was here");
        assert!(refused.contains("changed meanwhile"), "{refused}");
        assert_eq!(fs::read(&path).expect("it is there"), b"dn: uid=c\n");
        let directory = path.parent().expect("a directory");
        assert_eq!(
            fs::read_dir(directory).expect("it is there").count(),
            2,
            "nothing is left"
        );
        fs::remove_dir_all(directory).expect("it is ours");
    }
}
