//! How a task of a core is woken, from its own thread or from any other.
//!
//! The executor's own wakers are not handed out. Woken by a foreign thread they would go through a queue that the executor
//! looks at only when it polls its own rings; and the driver has to know whether any task is runnable before it lets the
//! thread sleep. A wake-up here goes to the core's table of tasks (`task`), by way of its inbox when it comes from outside.

use super::inbox::CoreShared;
use super::task::TaskKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// The waker of one task.
pub(super) struct TaskWaker {
    home: Arc<CoreShared>,
    key: TaskKey,
    /// A foreign wake-up is on its way: one at a time bounds the queue by the number of tasks.
    queued: AtomicBool,
}

impl TaskWaker {
    /// A waker for the task `key` of the core `home`.
    pub(super) fn waker(home: Arc<CoreShared>, key: TaskKey) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            home,
            key,
            queued: AtomicBool::new(false),
        }))
    }

    /// The task that a wake-up from the inbox is for. What is woken from here on is queued again.
    pub(super) fn arrived(&self) -> TaskKey {
        self.queued.store(false, Ordering::SeqCst);
        self.key
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = super::try_with(|core| {
            let here = Arc::ptr_eq(core.shared(), &self.home);
            if here {
                core.tasks.wake(self.key);
            }
            here
        });
        if here != Some(true) && !self.queued.swap(true, Ordering::SeqCst) {
            self.home.wake_task(self.clone());
        }
    }
}
