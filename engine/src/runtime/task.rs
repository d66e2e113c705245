//! Tasks of one core: each ends alone when it panics, and none outlives its core.

use super::core::Core;
use crate::sync::oneshot;
use glommio::TaskQueueHandle;
use glommio::task::JoinHandle;
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A task on this core. Dropping it detaches; awaiting it gives the output, or `None` when it panicked or was cancelled.
pub struct Task<T> {
    output: oneshot::Receiver<T>,
    key: Option<TaskKey>,
}

impl<T> Future for Task<T> {
    type Output = Option<T>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.output).poll(context)
    }
}

impl<T> Task<T> {
    /// Drops the task's future at its next turn.
    pub fn cancel(self) {
        if let Some(key) = self.key {
            super::try_with(|core| core.tasks.cancel(key));
        }
    }
}

/// Runs `future` on this core. A panic inside ends that task alone: it is logged and counted, never propagated.
/// Must be called on a core. While the core ends, the future is dropped at once.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    super::with(|core| spawn_into(core, TaskQueueHandle::default(), future))
}

/// As `spawn`, in the low-share queue of background work (compaction, scrub, snapshots).
pub fn spawn_background<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    super::with(|core| spawn_into(core, core.background, future))
}

fn spawn_into<T: 'static>(core: &Core, queue: TaskQueueHandle, future: impl Future<Output = T> + 'static) -> Task<T> {
    let (sender, output) = oneshot::channel();
    if core.tasks.closed.get() {
        return Task { output, key: None };
    }
    let key = core.tasks.reserve();
    // On the heap for the sake of catching panics without pinning by hand; glommio does so itself from 2 KiB up.
    let tracked = Tracked {
        future: Some(Box::pin(future)),
        sender: Some(sender),
        key,
    };
    let handle = glommio::spawn_local_into(tracked, queue)
        .expect("the queue lives as long as the core")
        .detach();
    core.tasks.set_handle(key, handle);
    Task { output, key: Some(key) }
}

/// Names a task of one core.
#[derive(Clone, Copy)]
struct TaskKey {
    index: u32,
    generation: u32,
}

struct Entry {
    generation: u32,
    /// Kept until the task ends: without it, a task that nobody can wake any more would be dropped silently.
    handle: Option<JoinHandle<()>>,
}

/// The tasks of one core that have not ended.
#[derive(Default)]
pub(crate) struct Tasks {
    entries: RefCell<Slab<Entry>>,
    next_generation: Cell<u32>,
    closed: Cell<bool>,
    last_ended: RefCell<Option<Waker>>,
    /// Handles of cancelled tasks. The executor (glommio 0.9.0, `RawTask::run`) writes a state back that it read before
    /// it dropped the future: a handle that is dropped in between would never let go of the task's memory.
    retired: RefCell<Vec<JoinHandle<()>>>,
}

impl Tasks {
    fn reserve(&self) -> TaskKey {
        let generation = self.next_generation.get().wrapping_add(1);
        self.next_generation.set(generation);
        let index = self.entries.borrow_mut().insert(Entry {
            generation,
            handle: None,
        });
        TaskKey {
            index: u32::try_from(index).expect("memory ends before 2^32 tasks"),
            generation,
        }
    }

    fn set_handle(&self, key: TaskKey, handle: JoinHandle<()>) {
        self.entries.borrow_mut()[key.index as usize].handle = Some(handle);
    }

    fn cancel(&self, key: TaskKey) {
        let entries = self.entries.borrow();
        let entry = entries
            .get(key.index as usize)
            .filter(|entry| entry.generation == key.generation);
        if let Some(handle) = entry.and_then(|entry| entry.handle.as_ref()) {
            handle.cancel();
        }
    }

    /// The task has ended; its handle may be dropped in a poll, and has to be retired in a destructor.
    fn remove(&self, key: TaskKey) -> Option<JoinHandle<()>> {
        let mut entries = self.entries.borrow_mut();
        entries
            .get(key.index as usize)
            .filter(|entry| entry.generation == key.generation)?;
        let entry = entries.remove(key.index as usize);
        if entries.is_empty()
            && let Some(waker) = self.last_ended.borrow_mut().take()
        {
            waker.wake();
        }
        entry.handle
    }

    /// Lets go of the memory of cancelled tasks. Called when none of them is running.
    pub(super) fn free_retired(&self) {
        if !self.retired.borrow().is_empty() {
            let retired = self.retired.take();
            drop(retired);
        }
    }

    /// Cancels every task, and those that they spawn meanwhile, and waits until all their futures are dropped.
    pub(super) async fn cancel_all(&self) {
        self.closed.set(true);
        self.entries
            .borrow()
            .iter()
            .filter_map(|(_, entry)| entry.handle.as_ref())
            .for_each(JoinHandle::cancel);
        std::future::poll_fn(|context| {
            if self.entries.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.last_ended.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.free_retired();
    }
}

/// The future of a task, fenced: neither its polls nor its destructor let a panic out.
struct Tracked<T> {
    future: Option<Pin<Box<dyn Future<Output = T>>>>,
    sender: Option<oneshot::Sender<T>>,
    key: TaskKey,
}

impl<T> Unpin for Tracked<T> {}

impl<T> Tracked<T> {
    fn drop_future(&mut self) {
        let future = self.future.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(future))) {
            report_panic(panic.as_ref());
        }
    }
}

impl<T> Future for Tracked<T> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(future) = self.future.as_mut() else {
            return Poll::Ready(());
        };
        let output = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Some(output),
            Err(panic) => {
                report_panic(panic.as_ref());
                None
            }
        };
        self.drop_future();
        if let (Some(sender), Some(output)) = (self.sender.take(), output) {
            sender.send(output);
        }
        drop(super::try_with(|core| core.tasks.remove(self.key)));
        Poll::Ready(())
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        self.drop_future();
        self.sender = None;
        super::try_with(|core| {
            if let Some(handle) = core.tasks.remove(self.key) {
                core.tasks.retired.borrow_mut().push(handle);
                core.driver.kick();
            }
        });
    }
}

/// Counts and logs a panic that was caught.
pub(crate) fn report_panic(panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text");
    super::try_with(|core| core.counters().panics.add(1));
    tracing::error!(message, "a task panicked");
}
