//! The turn of a core: jobs and wake-ups from other threads, timers, submissions, completions; and its sleep.
//!
//! The driver is one task among those of the executor. After a turn it goes to the end of the queue of runnable tasks, so
//! that what they all submit in one round goes to the kernel in one call. When nothing is runnable, it waits in the ring
//! itself: every cause of more work ends that wait (completions; the event descriptor, polled by the ring, for other
//! threads; the time of the next timer). So a round trip on an otherwise idle core costs two system calls. The executor
//! itself never sleeps: polling its three rings and linking them for a sleep costs it a dozen system calls each time.
//!
//! Why no wake-up is lost: see `inbox` for other threads; completions are waited for where they arrive, and tasks of this
//! core are woken only by this thread, which is not running them while it waits.
//!
//! The executor polls its own rings when its preemption timer fires (100 ms); nothing of ours is in them. But when that
//! timer fires before the executor has run the first task of a round, it goes to sleep although tasks are runnable (glommio
//! 0.9.0, `run_task_queues`; it takes a thread that was put off its CPU for 100 ms at the wrong instruction). The watchmen
//! are there for that: their timers are the executor's own, and the next one to be due wakes it. When the thread was away so long that
//! they are all due at once, none is left; the last watchman has no timer, but a bell that another thread rings (`bell`).

use super::core::Core;
use super::inbox::Job;
use super::time::yield_once;
use crate::net;
use crate::ring::Event;
use crate::sync::Notify;
use futures_util::future::select;
use glommio::task::JoinHandle;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Completions handled in one turn at most: then the tasks that they woke run first.
const COMPLETIONS_A_TURN_MAX: usize = 1024;

/// The longest sleep. There is no need for a bound; it makes an error in all the reasoning a delay instead of a standstill.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long the foreground may keep the executor while the background has work. Their shares decide who goes on.
const SLICE: Duration = Duration::from_millis(1);

/// How long a core waits at its end for the kernel to complete what was cancelled.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// See the module. Two, so that one is left when the other's own turn is what the executor slept over.
const WATCHMEN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(790)];

/// The driver's own state.
pub(crate) struct Driver {
    /// When to end for good; set when only the ring's operations are left to end.
    end: Cell<Option<Instant>>,
    stop_seen: Cell<bool>,
    stop: Notify,
    slice_end: Cell<Instant>,
    relieved: Cell<bool>,
    relief: Notify,
}

impl Driver {
    pub(super) fn new() -> Driver {
        Driver {
            end: Cell::new(None),
            stop_seen: Cell::new(false),
            stop: Notify::new(),
            slice_end: Cell::new(Instant::now()),
            relieved: Cell::new(false),
            relief: Notify::new(),
        }
    }

    /// The driver ends as soon as no operation is under way, and after a bounded time in any case.
    pub(super) fn end(&self) {
        self.end.set(Some(Instant::now() + DRAIN_WAIT));
    }

    /// Ends when the tasks of all cores are to be cancelled.
    pub(super) async fn stopped(&self) {
        while !self.stop_seen.get() {
            self.stop.notified().await;
        }
    }
}

/// Takes turns until the core ends.
pub(super) async fn drive(core: Rc<Core>) {
    loop {
        let busy = turn(&core);
        if core.tasks.runnable_foreground() + core.tasks.runnable_background() > 0 {
            pass_on(&core).await;
        } else if !busy {
            if has_ended(&core) {
                return;
            }
            sleep(&core).await;
        }
    }
}

/// Lets runnable tasks run.
async fn pass_on(core: &Core) {
    let background = core.tasks.runnable_background() > 0;
    if background && (core.tasks.runnable_foreground() == 0 || Instant::now() >= core.driver.slice_end.get()) {
        glommio::executor().yield_task_queue_now().await;
        core.driver.slice_end.set(Instant::now() + SLICE);
    } else {
        yield_once().await;
    }
}

/// One turn. Says whether it found anything to do.
fn turn(core: &Rc<Core>) -> bool {
    if has_stop(core) {
        core.driver.stop_seen.set(true);
        core.driver.stop.notify_all();
    }
    core.network.begin_turn();
    let shared = core.shared();
    let jobs = shared.take_jobs(|job| run_job(core, job));
    let woken = shared.take_woken(|task| core.tasks.wake(task.arrived()));
    let fired = fire_timers(core);
    let rearmed = net::rearm_starved(core);
    // With nothing runnable, the sleep will submit: one call instead of two.
    let runnable = core.tasks.runnable_foreground() + core.tasks.runnable_background() > 0;
    let mut ring = core.ring.borrow_mut();
    if ring.wants_enter() || (runnable && ring.has_unsubmitted()) {
        ring.enter(None);
        core.counters().enters.add(1);
    }
    drop(ring);
    let completions = reap(core);
    jobs + woken + fired + rearmed + completions > 0
}

fn fire_timers(core: &Core) -> usize {
    let mut timers = core.timers.borrow_mut();
    if timers.next().is_none() {
        return 0;
    }
    timers.fire(Instant::now())
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
            Event::Signalled { more } => {
                if !more && core.driver.end.get().is_none() {
                    core.watch_event();
                }
            }
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

/// Submits what there is and waits in the ring until there is something to do.
async fn sleep(core: &Core) {
    let before = Instant::now();
    let next = core.timers.borrow().next();
    let wait = next.map_or(SLEEP_MAX, |next| next.saturating_duration_since(before).min(SLEEP_MAX));
    let shared = core.shared();
    shared.set_sleeping(true);
    if !shared.has_work() && !has_stop(core) {
        core.ring.borrow_mut().enter(Some(wait));
        core.counters().enters.add(1);
    }
    shared.set_sleeping(false);
    if before.elapsed() >= SLICE {
        core.counters().sleeps.add(1);
        // The executor takes the sleep for work of the foreground, and would let the background catch up on it. Its account
        // is settled when the queue changes; what is woken after that starts even.
        glommio::executor().yield_task_queue_now().await;
    }
}

/// Whether the engine has begun to stop and this core does not know yet.
fn has_stop(core: &Core) -> bool {
    !core.driver.stop_seen.get() && core.engine.is_stopping()
}

/// Whether the driver may end: nothing is under way any more, or it has waited long enough.
fn has_ended(core: &Core) -> bool {
    let Some(end) = core.driver.end.get() else { return false };
    let mut ring = core.ring.borrow_mut();
    (ring.in_flight() == 0 && !ring.has_unsubmitted()) || Instant::now() >= end
}

/// Starts the watchmen; `end_watchmen` has to be called before the executor ends.
pub(super) fn start_watchmen(core: &Rc<Core>) -> Vec<JoinHandle<()>> {
    let watch = |core: Rc<Core>, interval| async move {
        while !core.driver.relieved.get() {
            let timer = pin!(glommio::timer::Timer::new(interval));
            let relief = pin!(core.driver.relief.notified());
            select(timer, relief).await;
        }
    };
    let spawn = |interval| glommio::spawn_local(watch(core.clone(), interval)).detach();
    let mut watchmen: Vec<JoinHandle<()>> = WATCHMEN.into_iter().map(spawn).collect();
    let core = core.clone();
    let listening = async move { core.shared().bell.answer(|| core.driver.relieved.get()).await };
    watchmen.push(glommio::spawn_local(listening).detach());
    watchmen
}

/// Ends the watchmen: a task that waits when the executor ends is never freed.
pub(super) async fn end_watchmen(core: &Core, watchmen: Vec<JoinHandle<()>>) {
    core.driver.relieved.set(true);
    core.driver.relief.notify_all();
    let ended = async {
        for watchman in watchmen {
            watchman.await;
        }
    };
    core.shared().bell.ring_out(ended).await;
}
