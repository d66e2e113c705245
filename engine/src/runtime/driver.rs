//! The turn of a core: jobs and replies from other cores, submissions, completions; and going to sleep.
//!
//! The driver is one task among those of the executor. While it finds work it goes back to the end of the queue of
//! runnable tasks, so that what they submit in one round goes to the kernel in one call. When it finds none it sleeps until
//! it is kicked: by a task that submits something, or by the watcher, the one task that reads the event descriptor.
//!
//! Why no wake-up is lost. The event descriptor is signalled by the kernel (a completion, or work deferred to this thread)
//! and by other threads (jobs, replies), both only while the driver says that it sleeps. Going to sleep means, in this
//! order: say so (`set_sleeping`, `set_event_enabled`), enter the kernel once more, look at all queues once more. What came
//! before that look is seen by it. What comes later finds the signals on: another thread by the fence described at `inbox`;
//! the kernel because it signals whenever its list of deferred work becomes non-empty, and our `enter` after switching the
//! signal on has just emptied it. The watcher reads the descriptor without end and is never selected over, so a signal is
//! never swallowed; a signal too many costs one empty turn.

use super::core::Core;
use super::inbox::Job;
use crate::net;
use crate::ring::{Event, EventFile};
use crate::sync::Notify;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Completions handled in one turn at most: then the tasks that they woke run first.
const COMPLETIONS_A_TURN_MAX: usize = 1024;

/// How long tasks may keep the executor from polling its own rings. A poll costs a few system calls; every 2 ms that is
/// below a percent, and timers are in time.
const EXECUTOR_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// See `start_backstop`.
const BACKSTOP_INTERVAL: Duration = Duration::from_secs(10);

/// The driver's own state.
pub(crate) struct Driver {
    kicked: Cell<bool>,
    asleep: RefCell<Option<Waker>>,
    ending: Cell<bool>,
    stop_seen: Cell<bool>,
    stop: Notify,
    executor_poll_due: Cell<Instant>,
}

impl Driver {
    pub(super) fn new() -> Driver {
        Driver {
            kicked: Cell::new(false),
            asleep: RefCell::new(None),
            ending: Cell::new(false),
            stop_seen: Cell::new(false),
            stop: Notify::new(),
            executor_poll_due: Cell::new(Instant::now()),
        }
    }

    /// Lets other tasks run; every now and then, lets the executor poll its rings as well.
    pub(super) async fn pass_on(&self) {
        if Instant::now() < self.executor_poll_due.get() {
            yield_once().await;
        } else {
            // Until its timer fires this task is not runnable. Everyone who would go on for long comes through here and
            // does the same, so the executor runs out of runnable tasks and polls; it finds the timer due at once.
            glommio::timer::Timer::new(Duration::ZERO).await;
            self.executor_poll_due.set(Instant::now() + EXECUTOR_POLL_INTERVAL);
        }
    }

    /// Has the driver take a turn, if it sleeps.
    pub(crate) fn kick(&self) {
        self.kicked.set(true);
        // Taken only when somebody waits: kicks are frequent, sleeps are not.
        if self.asleep.borrow().is_some()
            && let Some(waker) = self.asleep.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// The driver and the watcher end as soon as no operation is under way.
    pub(super) fn end(&self) {
        self.ending.set(true);
        self.kick();
    }

    /// Ends when the tasks of all cores are to be cancelled.
    pub(super) async fn stopped(&self) {
        while !self.stop_seen.get() {
            self.stop.notified().await;
        }
    }

    async fn kicked(&self) {
        poll_fn(|context| {
            if self.kicked.get() {
                return Poll::Ready(());
            }
            *self.asleep.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Goes to the end of the queue of runnable tasks.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Starts a task that wakes the executor now and then, for the one case in which the wheel's task cannot (see the module).
pub(super) fn start_backstop() {
    drop(super::spawn(async {
        loop {
            super::sleep(BACKSTOP_INTERVAL).await;
        }
    }));
}

/// Takes turns until the core ends.
pub(super) async fn drive(core: Rc<Core>) {
    loop {
        core.driver.kicked.set(false);
        if turn(&core) || core.driver.kicked.get() {
            core.driver.pass_on().await;
            continue;
        }
        if core.driver.ending.get() {
            return;
        }
        if prepare_to_sleep(&core) {
            core.counters().sleeps.add(1);
            core.driver.kicked().await;
        }
        core.shared().set_sleeping(false);
        core.ring.borrow_mut().set_event_enabled(false);
    }
}

/// One turn. Says whether it found anything to do.
fn turn(core: &Rc<Core>) -> bool {
    core.tasks.free_retired();
    if has_stop(core) {
        core.driver.stop_seen.set(true);
        core.driver.stop.notify_all();
    }
    let shared = core.shared();
    let jobs = shared.take_jobs(|job| run_job(core, job));
    let replies = shared.take_replies(|key| core.waiters.borrow_mut().wake(key));
    let rearmed = net::rearm_starved(core);
    let entered = {
        let mut ring = core.ring.borrow_mut();
        let enter = ring.has_unsubmitted() || ring.wants_enter();
        if enter {
            ring.enter();
            core.counters().enters.add(1);
        }
        enter
    };
    let completions = reap(core);
    jobs + replies + rearmed + completions > 0 || entered
}

/// Hands completions to their owners.
fn reap(core: &Rc<Core>) -> usize {
    let mut count = 0;
    while count < COMPLETIONS_A_TURN_MAX {
        // The ring is not borrowed while an event is handled: the handlers submit.
        let event = core.ring.borrow_mut().next_event(&core.buffers);
        let Some(event) = event else { break };
        count += 1;
        match event {
            Event::Accepted { listener, result, more } => net::accepted(core, &listener, result, more),
            Event::Received {
                connection,
                result,
                more,
                buffer,
            } => {
                net::received(core, &connection, result, more, buffer);
            }
            Event::Sent {
                connection,
                result,
                data,
            } => net::sent(core, &connection, result, data),
            Event::Woken => {}
        }
    }
    count
}

fn run_job(core: &Core, job: Job) {
    core.counters().jobs.add(1);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        super::task::report_panic(panic.as_ref());
    }
}

/// Switches all signals on, and says whether there is still nothing to do. See the module.
fn prepare_to_sleep(core: &Core) -> bool {
    let shared = core.shared();
    shared.set_sleeping(true);
    let mut ring = core.ring.borrow_mut();
    ring.set_event_enabled(true);
    ring.enter();
    core.counters().enters.add(1);
    !ring.has_completions() && !shared.has_work() && !has_stop(core) && !core.driver.kicked.get()
}

/// Whether the engine has begun to stop and this core does not know yet.
fn has_stop(core: &Core) -> bool {
    !core.driver.stop_seen.get() && core.engine.is_stopping()
}

/// Reads the event descriptor and kicks the driver, until the core ends. Never selected over.
pub(super) async fn watch(core: Rc<Core>, event: EventFile) {
    loop {
        if let Err(error) = event.wait().await {
            // Without it the core would sleep for ever. It is ours and open, so this is a kernel that changed its mind.
            tracing::error!(%error, "reading the core's event descriptor failed: the node stops");
            core.engine.stop();
            break;
        }
        core.driver.kick();
        if core.driver.ending.get() {
            break;
        }
    }
    event.close().await;
}
