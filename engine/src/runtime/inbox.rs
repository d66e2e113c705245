//! What other threads see of a core: its bounded queue of jobs, its queue of woken tasks, and how to end its sleep.
//!
//! Why this cannot lock up, even when every queue is full: a core never waits inside a turn. It takes jobs whether or not
//! it has room to send any; a job only starts a task. A task that finds the other queue full waits, while its core goes on
//! draining its own queue. Outputs do not pass through the bounded queues at all: they lie where the waiting task finds
//! them (`reply`), and that task is woken through the queue of woken tasks, which needs no bound because every task is in
//! it at most once (`waker`).
//!
//! Why no wake-up is lost: a core says in `sleeping` that it is about to sleep, and only then looks at its queues for the
//! last time; a sender puts its job into the queue first and only then looks at `sleeping`. Both sides have a full fence in
//! between, so at least one of them sees the other.

use super::bell::Bell;
use super::core::CoreId;
use super::counters::CounterCells;
use super::reply;
use super::waker::TaskWaker;
use crossbeam_queue::{ArrayQueue, SegQueue};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// Work for a core. It must not block, and not run long: it starts a task.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Jobs that one turn takes at most, so that sockets get theirs.
const JOBS_A_TURN_MAX: usize = 256;

/// All cores, and how far the engine has come.
pub(crate) struct EngineShared {
    cores: Vec<Arc<CoreShared>>,
    /// Cores whose `main` has not returned.
    mains: AtomicU16,
    stopping: AtomicBool,
}

impl EngineShared {
    pub(super) fn new(cores: Vec<Arc<CoreShared>>) -> Arc<EngineShared> {
        let count = u16::try_from(cores.len()).expect("CPU numbers are 16 bits");
        Arc::new(EngineShared {
            cores,
            mains: AtomicU16::new(count),
            stopping: AtomicBool::new(false),
        })
    }

    /// How many cores there are.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.cores.len()).expect("checked in new")
    }

    /// The shared part of a core. Panics for one that does not exist.
    pub(crate) fn core(&self, core: CoreId) -> &Arc<CoreShared> {
        &self.cores[usize::from(core.0)]
    }

    /// One more `main` has returned; the last one begins the end on all cores.
    pub(super) fn main_returned(&self) {
        if self.mains.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop();
        }
    }

    /// Begins the end on all cores.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.cores.iter().for_each(|core| core.wake());
    }

    /// Rings for every core.
    pub(super) fn ring_bells(&self) {
        self.cores.iter().for_each(|core| core.bell.ring());
    }

    /// Whether the tasks of all cores are to be cancelled.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// See the module.
pub(crate) struct CoreShared {
    jobs: ArrayQueue<Job>,
    /// Those that wait for room in `jobs`.
    waiting: Mutex<VecDeque<reply::Sender<()>>>,
    waiting_count: AtomicUsize,
    woken: SegQueue<Arc<TaskWaker>>,
    sleeping: AtomicBool,
    ended: AtomicBool,
    event: OwnedFd,
    /// Ends a sleep of the executor's own.
    pub(super) bell: Bell,
    pub(crate) counters: CounterCells,
}

impl CoreShared {
    /// `event` is the event descriptor that wakes the core.
    pub(super) fn new(queue_depth: usize, event: OwnedFd) -> Arc<CoreShared> {
        Arc::new(CoreShared {
            jobs: ArrayQueue::new(queue_depth.max(1)),
            waiting: Mutex::new(VecDeque::new()),
            waiting_count: AtomicUsize::new(0),
            woken: SegQueue::new(),
            sleeping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            event,
            bell: Bell::default(),
            counters: CounterCells::default(),
        })
    }

    /// The event descriptor.
    pub(super) fn event(&self) -> &OwnedFd {
        &self.event
    }

    /// Queues `job`, waiting for room as long as it takes. Says whether the core took it; if not, the core has ended.
    pub(super) async fn submit(&self, mut job: Job) -> bool {
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return false;
            }
            match self.jobs.push(job) {
                Ok(()) => {
                    self.wake();
                    if self.ended.load(Ordering::SeqCst) {
                        // The core may have emptied its queue for the last time before our job came.
                        self.drop_jobs();
                    }
                    return true;
                }
                Err(refused) => job = refused,
            }
            let (sender, room) = reply::channel();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.push_back(sender);
                self.waiting_count.store(waiting.len(), Ordering::SeqCst);
            }
            fence(Ordering::SeqCst);
            // The queue may have been drained between the refusal and our joining those who wait.
            if self.jobs.is_full() && !self.ended.load(Ordering::SeqCst) {
                room.await;
            }
        }
    }

    /// Has the core wake one of its tasks.
    pub(super) fn wake_task(&self, task: Arc<TaskWaker>) {
        self.woken.push(task);
        self.wake();
        if self.ended.load(Ordering::SeqCst) {
            // As in `submit`. A waker names its core: left in the queue it would keep the core's memory for ever.
            self.drop_jobs();
        }
    }

    /// Ends the core's sleep if it sleeps.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst) {
            // Nobody reads the count; at one signal a nanosecond it would be full in 500 years.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// The core is about to sleep, or has woken. After `true`, `has_work` has to be asked once more.
    pub(super) fn set_sleeping(&self, sleeping: bool) {
        self.sleeping.store(sleeping, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether a turn would find something.
    pub(super) fn has_work(&self) -> bool {
        !self.jobs.is_empty() || !self.woken.is_empty()
    }

    /// Gives up to `JOBS_A_TURN_MAX` jobs to `run`, and their room to those who wait. Only the core itself may. Says how
    /// many there were.
    pub(super) fn take_jobs(&self, mut run: impl FnMut(Job)) -> usize {
        let mut count = 0;
        while count < JOBS_A_TURN_MAX {
            let Some(job) = self.jobs.pop() else { break };
            run(job);
            count += 1;
        }
        if count > 0 {
            self.give_room(count);
        }
        count
    }

    /// Gives the tasks that other threads woke to `wake`. Says how many there were.
    pub(super) fn take_woken(&self, mut wake: impl FnMut(&TaskWaker)) -> usize {
        // No more than are there now: what a woken task causes belongs to the next turn.
        let count = self.woken.len();
        (0..count).map_while(|_| self.woken.pop()).for_each(|task| wake(&task));
        count
    }

    /// Wakes as many of those who wait as jobs were taken; all of them when the queue is empty, because then no later
    /// `take_jobs` would make up for one that was woken and did not come.
    fn give_room(&self, count: usize) {
        fence(Ordering::SeqCst);
        if self.waiting_count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let count = if self.jobs.is_empty() { usize::MAX } else { count };
        let woken: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = count.min(waiting.len());
            let woken = waiting.drain(..count).collect();
            self.waiting_count.store(waiting.len(), Ordering::SeqCst);
            woken
        };
        for sender in woken {
            sender.send(());
        }
    }

    /// The core takes no more jobs; those in the queue are dropped, which tells their senders.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drop_jobs();
    }

    fn drop_jobs(&self) {
        while let Some(job) = self.jobs.pop() {
            drop(job);
        }
        while let Some(task) = self.woken.pop() {
            drop(task);
        }
        self.give_room(1);
    }
}
