//! Waking a source that waits, from another thread.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const RELOAD: u8 = 1;
const STOP: u8 = 2;

/// Asks a source for something while it watches. Cheap to clone; `Send + Sync`; never blocks.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wishes: AtomicU8,
    event: OwnedFd,
    /// For a source that waits in a runtime.
    alarm: Option<Arc<Notify>>,
}

/// What was asked for since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Read the source again, changed or not (SIGHUP).
    pub reload: bool,
    /// Stop watching.
    pub stop: bool,
}

impl Handle {
    /// A handle with its own event descriptor, for one source.
    pub fn new() -> io::Result<Handle> {
        Handle::made(None)
    }

    /// One that notifies as well, with a permit kept for a source that does not wait just then.
    pub(crate) fn notifying(alarm: Arc<Notify>) -> io::Result<Handle> {
        Handle::made(Some(alarm))
    }

    fn made(alarm: Option<Arc<Notify>>) -> io::Result<Handle> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Handle(Arc::new(Inner {
            wishes: AtomicU8::new(0),
            event,
            alarm,
        })))
    }

    /// Has the source read again even if it does not look changed.
    pub fn reload(&self) {
        self.wish(RELOAD);
    }

    /// Ends the watching; it stays ended.
    pub fn stop(&self) {
        self.wish(STOP);
    }

    fn wish(&self, wish: u8) {
        self.0.wishes.fetch_or(wish, Ordering::AcqRel);
        // It can only fail when the counter is full, and then the watcher is awake already.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
        if let Some(alarm) = &self.0.alarm {
            alarm.notify_one();
        }
    }

    /// Takes the wishes; a wish to stop stays. For sources.
    pub fn take(&self) -> Wishes {
        let _ = rustix::io::read(&self.0.event, &mut [0_u8; 8]);
        let wishes = self.0.wishes.fetch_and(STOP, Ordering::AcqRel);
        Wishes {
            reload: wishes & RELOAD != 0,
            stop: wishes & STOP != 0,
        }
    }

    /// Waits until there is a wish, `other` is readable, or `patience` is over. Returns whether
    /// it ended early (a signal ends it too). For sources.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.0.event.as_fd(), PollFlags::IN)];
        descriptors.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
