//! Tasks of one core: each ends alone when it panics, and none outlives its core.
//!
//! The table knows of every task whether it is runnable: woken, and not polled since. The driver lets the thread sleep only
//! when none is.
//!
//! Cancelling goes through the table too: the task is woken, finds itself cancelled, drops its future and ends. The
//! executor's own way to cancel (glommio 0.9.0, `JoinHandle::cancel`) counts a reference too many and never frees the task.

use super::core::Core;
use super::waker::TaskWaker;
use crate::sync::oneshot;
use glommio::TaskQueueHandle;
use glommio::task::JoinHandle;
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
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
    super::with(|core| spawn_into(core, Class::Foreground, future))
}

/// As `spawn`, for a task that nobody waits for.
pub(super) fn spawn_detached(future: impl Future<Output = ()> + 'static) {
    super::with(|core| start(core, Class::Foreground, future, None));
}

/// As `spawn`, in the low-share queue of background work (compaction, scrub, snapshots). It gets a tenth of a busy core;
/// it has to call `yield_now` every millisecond or so of its own work, or the foreground waits for it.
pub fn spawn_background<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    super::with(|core| spawn_into(core, Class::Background, future))
}

fn spawn_into<T: 'static>(core: &Core, class: Class, future: impl Future<Output = T> + 'static) -> Task<T> {
    let (sender, output) = oneshot::channel();
    let key = start(core, class, future, Some(sender));
    Task { output, key }
}

/// `None`: the core ends, and takes no new tasks.
fn start<T: 'static>(
    core: &Core,
    class: Class,
    future: impl Future<Output = T> + 'static,
    sender: Option<oneshot::Sender<T>>,
) -> Option<TaskKey> {
    if core.tasks.closed.get() {
        return None;
    }
    let queue = match class {
        Class::Foreground => TaskQueueHandle::default(),
        Class::Background => core.background,
    };
    let key = core.tasks.insert(class);
    let waker = TaskWaker::waker(core.shared().clone(), key);
    // On the heap for the sake of catching panics without pinning by hand; glommio does so itself from 2 KiB up.
    let tracked = Tracked {
        future: Some(Box::pin(future)),
        sender,
        key,
        waker,
    };
    let handle = glommio::spawn_local_into(tracked, queue)
        .expect("the queue lives as long as the core")
        .detach();
    core.tasks.entries.borrow_mut()[key.index as usize].handle = Some(handle);
    Some(key)
}

/// Names a task of one core, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskKey {
    index: u32,
    generation: u32,
}

/// Which queue of the executor a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Foreground,
    Background,
}

struct Entry {
    generation: u32,
    class: Class,
    /// In the executor's queue.
    runnable: bool,
    cancelled: bool,
    /// Kept until the task ends: without it, a task that nobody can wake any more would be dropped silently.
    handle: Option<JoinHandle<()>>,
    /// The executor's waker, known from the first poll on; before, the task is runnable.
    waker: Option<Waker>,
}

/// The tasks of one core that have not ended.
#[derive(Default)]
pub(crate) struct Tasks {
    entries: RefCell<Slab<Entry>>,
    next_generation: Cell<u32>,
    runnable_foreground: Cell<usize>,
    runnable_background: Cell<usize>,
    in_background: Cell<bool>,
    closed: Cell<bool>,
    last_but_one_ended: RefCell<Option<Waker>>,
}

impl Tasks {
    /// How many foreground tasks are runnable.
    pub(super) fn runnable_foreground(&self) -> usize {
        self.runnable_foreground.get()
    }

    /// How many background tasks are runnable.
    pub(super) fn runnable_background(&self) -> usize {
        self.runnable_background.get()
    }

    /// Whether the task that runs now, or ran last, is one of the background.
    pub(super) fn in_background(&self) -> bool {
        self.in_background.get()
    }

    fn count(&self, class: Class) -> &Cell<usize> {
        match class {
            Class::Foreground => &self.runnable_foreground,
            Class::Background => &self.runnable_background,
        }
    }

    fn add_runnable(&self, class: Class) {
        let count = self.count(class);
        count.set(count.get() + 1);
    }

    fn remove_runnable(&self, class: Class) {
        let count = self.count(class);
        count.set(count.get() - 1);
    }

    fn insert(&self, class: Class) -> TaskKey {
        let generation = self.next_generation.get().wrapping_add(1);
        self.next_generation.set(generation);
        let entry = Entry {
            generation,
            class,
            runnable: true,
            cancelled: false,
            handle: None,
            waker: None,
        };
        let index = self.entries.borrow_mut().insert(entry);
        self.add_runnable(class);
        TaskKey {
            index: u32::try_from(index).expect("memory ends before 2^32 tasks"),
            generation,
        }
    }

    fn with_entry<R>(&self, key: TaskKey, work: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let mut entries = self.entries.borrow_mut();
        entries
            .get_mut(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
            .map(work)
    }

    /// Makes a task runnable, if it has not ended.
    pub(super) fn wake(&self, key: TaskKey) {
        self.with_entry(key, |entry| {
            if !std::mem::replace(&mut entry.runnable, true) {
                self.add_runnable(entry.class);
                // Only puts the task into the executor's queue: nothing comes back to this table from in there.
                entry
                    .waker
                    .as_ref()
                    .expect("a task that is not runnable has been polled")
                    .wake_by_ref();
            }
        });
    }

    /// A task is being polled; `waker` is the executor's. Says whether it is cancelled.
    fn polled(&self, key: TaskKey, waker: &Waker) -> bool {
        let cancelled = self.with_entry(key, |entry| {
            if std::mem::replace(&mut entry.runnable, false) {
                self.remove_runnable(entry.class);
            }
            if entry.waker.is_none() {
                entry.waker = Some(waker.clone());
            }
            self.in_background.set(entry.class == Class::Background);
            entry.cancelled
        });
        cancelled.unwrap_or(true)
    }

    fn is_cancelled(&self, key: TaskKey) -> bool {
        self.with_entry(key, |entry| entry.cancelled).unwrap_or(true)
    }

    fn cancel(&self, key: TaskKey) {
        self.with_entry(key, |entry| entry.cancelled = true);
        self.wake(key);
    }

    /// The task has ended. Called in its poll: the handle, which goes with the entry, may not be dropped in a destructor of
    /// the task (the executor writes a state back that it read before, and the task would never be freed).
    fn remove(&self, key: TaskKey) {
        let Some(runnable) = self.with_entry(key, |entry| entry.runnable.then_some(entry.class)) else {
            return;
        };
        if let Some(class) = runnable {
            self.remove_runnable(class);
        }
        let (entry, left) = {
            let mut entries = self.entries.borrow_mut();
            (entries.remove(key.index as usize), entries.len())
        };
        drop(entry);
        if left <= 1
            && let Some(waker) = self.last_but_one_ended.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Cancels every task but the one that calls, takes no new ones, and waits until all their futures are dropped.
    pub(super) async fn cancel_others(&self, caller: &Cell<Option<TaskKey>>) {
        self.closed.set(true);
        let keys: Vec<_> = {
            let entries = self.entries.borrow();
            let key = |(index, entry): (usize, &Entry)| {
                // It was a u32 when it was given out.
                TaskKey {
                    index: index as u32,
                    generation: entry.generation,
                }
            };
            entries
                .iter()
                .map(key)
                .filter(|key| Some(*key) != caller.get())
                .collect()
        };
        keys.into_iter().for_each(|key| self.cancel(key));
        poll_fn(|context| {
            if self.entries.borrow().len() <= 1 {
                return Poll::Ready(());
            }
            *self.last_but_one_ended.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<T> Task<T> {
    /// Its name in the table.
    pub(super) fn key(&self) -> Option<TaskKey> {
        self.key
    }
}

/// The future of a task, fenced: neither its polls nor its destructor let a panic out.
struct Tracked<T> {
    future: Option<Pin<Box<dyn Future<Output = T>>>>,
    sender: Option<oneshot::Sender<T>>,
    key: TaskKey,
    waker: Waker,
}

impl<T> Unpin for Tracked<T> {}

impl<T> Tracked<T> {
    /// Polls the future. `None`: it goes on; `Some(None)`: it has panicked.
    fn poll_future(&mut self) -> Option<Option<T>> {
        let Some(future) = self.future.as_mut() else {
            return Some(None);
        };
        let mut context = Context::from_waker(&self.waker);
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(output)) => Some(Some(output)),
            Err(panic) => {
                report_panic(panic.as_ref());
                Some(None)
            }
        }
    }

    fn drop_future(&mut self) {
        let future = self.future.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(future))) {
            report_panic(panic.as_ref());
        }
    }
}

impl<T> Future for Tracked<T> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        let cancelled = super::with(|core| core.tasks.polled(task.key, context.waker()));
        let output = if cancelled { Some(None) } else { task.poll_future() };
        // A task may also cancel itself, or be cancelled by what it runs.
        let output = output.or_else(|| super::with(|core| core.tasks.is_cancelled(task.key)).then_some(None));
        let Some(output) = output else { return Poll::Pending };
        task.drop_future();
        if let (Some(sender), Some(output)) = (task.sender.take(), output) {
            sender.send(output);
        }
        super::with(|core| core.tasks.remove(task.key));
        Poll::Ready(())
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

#[cfg(test)]
mod tests {
    use super::super::inbox::CoreShared;
    use super::{TaskKey, TaskWaker};
    use rustix::event::{EventfdFlags, eventfd};
    use std::sync::Arc;

    #[test]
    fn a_wake_up_after_the_end_of_its_core_leaves_nothing_behind() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor is left");
        let core = CoreShared::new(1, event);
        let key = TaskKey {
            index: 0,
            generation: 1,
        };
        let (before, after) = (TaskWaker::waker(core.clone(), key), TaskWaker::waker(core.clone(), key));
        before.wake();
        core.end();
        after.wake();
        assert_eq!(Arc::strong_count(&core), 1);
    }
}
