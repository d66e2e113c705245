//! What a source that is followed over a network tells of itself, for the status page: read by any thread at any time.

use crate::mistake::Mistakes;
use crate::snapshot::CopyState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The cell that a source writes and others read. Cheap to clone; held for as long as copying it takes.
#[derive(Clone, Debug)]
pub struct Report(Arc<Mutex<Following>>);

/// How following goes.
#[derive(Clone, Debug)]
pub struct Following {
    /// Where the copy stands. `Refresh` while a server sends what is missing.
    pub state: CopyState,
    /// Since when it stands there.
    pub since: Instant,
    /// When the copy was last known to be current: a message, or the answer to a probe. `None` before the first time.
    pub current_at: Option<Instant>,
    /// The server in use, or tried last.
    pub server: String,
    /// Which state of the directory the copy has, in the server's words (RFC 4533, 2.1.2): nodes with the same have the same.
    pub cookie: Option<String>,
    /// What is wrong with the servers or the copy on disk, in one sentence.
    pub trouble: Option<String>,
    /// The copy has not been current for longer than the configured time.
    pub alarm: bool,
    /// Entries that are not taken, whose last good versions are in force.
    pub refused_count: u64,
    /// Why, by DN and attribute: the first of them.
    pub refused: Mistakes,
}

impl Report {
    pub(crate) fn new(server: String) -> Report {
        Report(Arc::new(Mutex::new(Following {
            state: CopyState::Boot,
            since: Instant::now(),
            current_at: None,
            server,
            cookie: None,
            trouble: None,
            alarm: false,
            refused_count: 0,
            refused: Mistakes::default(),
        })))
    }

    /// As it is now.
    pub fn read(&self) -> Following {
        self.lock().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Following)) {
        change(&mut self.lock());
    }

    /// Enters a state, unless it is in it.
    pub(crate) fn enter(&self, state: CopyState) {
        self.change(|following| {
            if following.state != state {
                following.state = state;
                following.since = Instant::now();
            }
        });
    }

    /// A word of a server that is followed.
    pub(crate) fn heard(&self) {
        self.change(|following| {
            if following.state == CopyState::Live {
                following.current_at = Some(Instant::now());
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Following> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
