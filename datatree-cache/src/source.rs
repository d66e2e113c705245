//! Where control data comes from: the trait behind which sources differ, and what follows one.
//!
//! A source gives whole snapshots, made with [`crate::Snapshot::with_changes`] from the one before where it knows what
//! changed (LDAP), or anew where it does not (LDIF); either way unchanged records stay the same. [`Follower`] runs a
//! source on a thread of its own and publishes what it gives.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod follower;
mod handle;
mod report;

pub use follower::{Follower, Notice};
pub use handle::Handle;
pub use report::{Following, Report};

use crate::mistake::Mistakes;
use crate::snapshot::Snapshot;
use std::fmt;
use std::time::Duration;

/// A tree that was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The whole of it, in the generation after the snapshot before.
    pub snapshot: Snapshot,
    /// What a person should look at though it does no harm. For a source that refuses single records (LDAP), those too.
    pub warnings: Mistakes,
}

/// Why nothing was loaded; the data before stays in force.
#[derive(Debug)]
pub enum LoadError {
    /// The source could not be read: operation, object and error in one sentence.
    Unreadable(String),
    /// It was read, and is wrong.
    Wrong {
        /// What was read.
        source: String,
        /// All that is wrong with it.
        mistakes: Mistakes,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable(why) => f.write_str(why),
            LoadError::Wrong { source, mistakes } => {
                for (index, mistake) in mistakes.list.iter().enumerate() {
                    if index > 0 {
                        writeln!(f)?;
                    }
                    write!(f, "{source}:{mistake}")?;
                }
                if mistakes.left_out > 0 {
                    write!(f, "\n{source}: and {} more", mistakes.left_out)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// What was loaded last is what the source holds.
    Good,
    /// Nothing was loaded yet, or the source holds something that could not be taken; the text says why.
    Bad(String),
}

/// What watching a source brought.
#[derive(Debug)]
pub enum Event {
    /// The source holds something else now.
    Changed(Box<Loaded>),
    /// The source changed, or was to be read again, and could not be taken; told once for each change.
    Refused(LoadError),
    /// Nothing happened for as long as was asked.
    Quiet,
    /// [`Handle::stop`] was called.
    Stopped,
}

/// A source of control data. All calls may block, so they are made on a thread that is no core. The conformance suite
/// says in code what is expected of one.
pub trait DataTree: Send {
    /// Names the source in logs and messages (`users.ldif`, `ldap://...`).
    fn describe(&self) -> String;

    /// Reads the whole tree. Records that did not change since `previous` stay the same `Arc`.
    fn load(&mut self, previous: &Snapshot) -> Result<Loaded, LoadError>;

    /// Waits up to `patience` for a change and gives the next snapshot after `current`. What changes between two calls
    /// is not missed.
    fn watch(&mut self, current: &Snapshot, patience: Duration) -> Event;

    /// How the source is.
    fn health(&self) -> Health;

    /// What the source tells of itself while it is followed; `None` for one that is simply read.
    fn report(&self) -> Option<Report> {
        None
    }

    /// Wakes `watch` from another thread.
    fn handle(&self) -> Handle;
}
