//! The published cell: one writer swaps in whole snapshots, every core reads its own handle.

use crate::Snapshot;
use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The coherent copy as all threads share it (`Arc` inside; cheap to clone, `Send + Sync`).
#[derive(Clone)]
pub struct Copy {
    cell: Arc<Cell>,
}

struct Cell {
    /// Counts publications; a core compares it with the one it took its snapshot at.
    version: AtomicU64,
    current: Mutex<Arc<Snapshot>>,
    /// Snapshots that a core may still hold. Freeing one can take long, so the publisher does it, never a core.
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl Copy {
    /// A cell that holds `snapshot` ([`Snapshot::empty`] before the first load).
    pub fn new(snapshot: Snapshot) -> Self {
        Copy {
            cell: Arc::new(Cell {
                version: AtomicU64::new(0),
                current: Mutex::new(Arc::new(snapshot)),
                retired: Mutex::new(Vec::new()),
            }),
        }
    }

    /// The snapshot in force. Takes a lock for the length of one reference count: for threads that are no cores.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.cell.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `snapshot` in force. Its generation is larger than that of the one before.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        let mut current = self.cell.current.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(snapshot.generation() > current.generation(), "generations only grow");
        let before = std::mem::replace(&mut *current, Arc::clone(&snapshot));
        self.cell.version.fetch_add(1, Ordering::Release);
        drop(current);
        self.cell
            .retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(before);
        self.sweep();
        snapshot
    }

    /// Frees the snapshots that no core holds any longer; returns how many are still held. The publisher calls this.
    pub fn sweep(&self) -> usize {
        let mut retired = self.cell.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        retired.len()
    }

    /// A handle for the calling core.
    pub fn for_core(&self) -> CoreCopy {
        let version = self.cell.version.load(Ordering::Acquire);
        let held = RefCell::new((version, Current::of(self.current())));
        CoreCopy {
            copy: self.clone(),
            held,
        }
    }
}

/// One core's handle on the copy. Not `Send`: each core makes its own with [`Copy::for_core`].
pub struct CoreCopy {
    copy: Copy,
    held: RefCell<(u64, Current)>,
}

impl CoreCopy {
    /// The snapshot in force: one atomic load when nothing changed. Hold it from start to end of one delivery or
    /// login, then drop it.
    pub fn snapshot(&self) -> Current {
        let mut held = self.held.borrow_mut();
        let version = self.copy.cell.version.load(Ordering::Acquire);
        if held.0 != version {
            *held = (version, Current::of(self.copy.current()));
        }
        held.1.clone()
    }

    /// The shared cell.
    pub fn shared(&self) -> &Copy {
        &self.copy
    }
}

/// A snapshot as one core holds it; cloning it touches no memory that another core writes.
#[derive(Clone)]
pub struct Current(Rc<Held>);

/// One reference to the shared snapshot, counted by the core alone from there on.
struct Held {
    snapshot: Arc<Snapshot>,
}

impl Current {
    fn of(snapshot: Arc<Snapshot>) -> Current {
        Current(Rc::new(Held { snapshot }))
    }

    /// The snapshot as other threads can hold it.
    pub fn shared(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot)
    }
}

impl Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.snapshot
    }
}
