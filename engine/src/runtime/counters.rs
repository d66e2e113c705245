//! Counters of one core, written by that core alone and readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a core has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks that ended in a panic.
    pub panics: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Times that accepting paused because descriptors or memory had run out.
    pub accept_pauses: u64,
    /// Receive completions with bytes.
    pub receives: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Times that a connection found no free receive buffer and had to wait for one.
    pub buffers_exhausted: u64,
    /// Send completions with bytes.
    pub sends: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Connections whose deadline ended a wait.
    pub deadlines: u64,
    /// Jobs of other cores and of the control thread that were run here.
    pub jobs: u64,
    /// Durable file writes.
    pub file_writes: u64,
    /// Bytes written durably.
    pub file_written_bytes: u64,
    /// Calls of io_uring_enter on the core's ring.
    pub enters: u64,
    /// Times that the core's ring went to sleep.
    pub sleeps: u64,
}

/// The cells behind `Counters`: one writer, so a load and a store do.
#[derive(Debug, Default)]
pub(crate) struct CounterCells {
    pub(crate) panics: Cell,
    pub(crate) accepts: Cell,
    pub(crate) accept_pauses: Cell,
    pub(crate) receives: Cell,
    pub(crate) received_bytes: Cell,
    pub(crate) buffers_exhausted: Cell,
    pub(crate) sends: Cell,
    pub(crate) sent_bytes: Cell,
    pub(crate) deadlines: Cell,
    pub(crate) jobs: Cell,
    pub(crate) file_writes: Cell,
    pub(crate) file_written_bytes: Cell,
    pub(crate) enters: Cell,
    pub(crate) sleeps: Cell,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the core that owns the counter may.
    pub(crate) fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl CounterCells {
    /// The values now; they need not belong to one moment.
    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            panics: self.panics.load(),
            accepts: self.accepts.load(),
            accept_pauses: self.accept_pauses.load(),
            receives: self.receives.load(),
            received_bytes: self.received_bytes.load(),
            buffers_exhausted: self.buffers_exhausted.load(),
            sends: self.sends.load(),
            sent_bytes: self.sent_bytes.load(),
            deadlines: self.deadlines.load(),
            jobs: self.jobs.load(),
            file_writes: self.file_writes.load(),
            file_written_bytes: self.file_written_bytes.load(),
            enters: self.enters.load(),
            sleeps: self.sleeps.load(),
        }
    }
}

/// The counters of the core this is called on.
pub fn counters() -> Counters {
    super::with(|core| core.counters().snapshot())
}
