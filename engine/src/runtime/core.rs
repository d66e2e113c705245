//! What one core owns, reachable from every task that runs on its thread.

use super::counters::CounterCells;
use super::driver::Driver;
use super::inbox::{CoreShared, EngineShared};
use super::task::Tasks;
use super::time::Timers;
use crate::blocking::BlockingPool;
use crate::net::Network;
use crate::ring::{BufferRing, OperationKey, Ring};
use glommio::TaskQueueHandle;
use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

/// Index of a core within this node, `0..core_count()`. Not a CPU number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u16);

/// The state of the core that this thread is. Field order is drop order: the ring goes before the buffers that are
/// registered with it.
pub(crate) struct Core {
    pub(crate) ring: RefCell<Ring>,
    pub(crate) buffers: Rc<BufferRing>,
    pub(crate) id: CoreId,
    pub(crate) engine: Arc<EngineShared>,
    pub(crate) driver: Driver,
    pub(crate) tasks: Tasks,
    pub(super) timers: RefCell<Timers>,
    /// The operation that polls the event descriptor.
    pub(super) event_watch: Cell<Option<OperationKey>>,
    pub(crate) network: Network,
    /// Pipes that may be out at once.
    pub(crate) pipes_max: u16,
    pub(crate) background: TaskQueueHandle,
    pub(crate) files: BlockingPool,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

impl Core {
    /// The part of this core that other threads see.
    pub(crate) fn shared(&self) -> &Arc<CoreShared> {
        self.engine.core(self.id)
    }

    /// Has the ring end its sleep when another thread signals the event descriptor.
    pub(super) fn watch_event(&self) {
        let key = self.ring.borrow_mut().start_watch(self.shared().event().as_raw_fd());
        self.event_watch.set(Some(key));
    }

    /// This core's counters.
    pub(crate) fn counters(&self) -> &CounterCells {
        &self.shared().counters
    }
}

/// Makes `core` the one of this thread; `None` at its end.
pub(super) fn set_current(core: Option<Rc<Core>>) {
    let previous = CURRENT.with(|current| current.replace(core));
    drop(previous);
}

/// Calls `work` with this thread's core. Panics outside of a core: everything that waits has to run on one.
pub(crate) fn with<R>(work: impl FnOnce(&Rc<Core>) -> R) -> R {
    CURRENT.with(|current| {
        let current = current.borrow();
        work(current.as_ref().expect("called on a core of the engine"))
    })
}

/// As `with`; `None` outside of a core, and while its thread ends.
pub(crate) fn try_with<R>(work: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| current.borrow().as_ref().map(work))
        .ok()
        .flatten()
}

/// The core this thread is. Panics outside of a core.
pub fn current_core() -> CoreId {
    with(|core| core.id)
}

/// How many cores this node runs. Panics outside of a core.
pub fn core_count() -> u16 {
    with(|core| core.engine.count())
}
