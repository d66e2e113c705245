//! An executor for one thread that polls what is ready in an order that the seed decides.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::Random;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs tasks. Dropped: all its tasks are dropped where they stand, as in a crash.
#[derive(Clone)]
pub struct Executor {
    shared: Rc<Shared>,
}

struct Shared {
    /// A task that is being polled is taken out.
    tasks: RefCell<BTreeMap<u64, Option<Task>>>,
    next: Cell<u64>,
    ready: Arc<Ready>,
    random: RefCell<Random>,
    polls: Cell<u64>,
}

#[derive(Default)]
struct Ready {
    tasks: Mutex<Vec<u64>>,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut tasks = self.ready.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !tasks.contains(&self.task) {
            tasks.push(self.task);
        }
    }
}

impl Executor {
    /// With an order that follows from the seed.
    pub fn new(seed: u64) -> Executor {
        let shared = Shared {
            tasks: RefCell::default(),
            next: Cell::new(0),
            ready: Arc::default(),
            random: RefCell::new(Random::new(seed)),
            polls: Cell::new(0),
        };
        Executor {
            shared: Rc::new(shared),
        }
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = self.shared.next.replace(self.shared.next.get() + 1);
        self.shared.tasks.borrow_mut().insert(id, Some(Box::pin(task)));
        Arc::new(TaskWaker {
            task: id,
            ready: self.shared.ready.clone(),
        })
        .wake();
    }

    /// Runs all tasks until this one has ended, or nothing can go on any more: then `None`, and it is dropped.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> Option<T> {
        let output = Rc::new(RefCell::new(None));
        let place = output.clone();
        let main_id = self.shared.next.get();
        self.spawn(async move {
            let value = main.await;
            *place.borrow_mut() = Some(value);
        });
        loop {
            if let Some(value) = output.borrow_mut().take() {
                return Some(value);
            }
            if !self.step() {
                self.shared.tasks.borrow_mut().remove(&main_id);
                return None;
            }
        }
    }

    /// Runs all tasks until nothing can go on.
    pub fn run_until_stalled(&self) {
        while self.step() {}
    }

    /// Polls made so far.
    pub fn polls(&self) -> u64 {
        self.shared.polls.get()
    }

    fn step(&self) -> bool {
        let id = {
            let mut ready = self.shared.ready.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.is_empty() {
                return false;
            }
            let index = self.shared.random.borrow_mut().index(ready.len());
            ready.swap_remove(index)
        };
        let task = self.shared.tasks.borrow_mut().get_mut(&id).and_then(Option::take);
        let Some(mut task) = task else { return true };
        self.shared.polls.set(self.shared.polls.get() + 1);
        let waker = Waker::from(Arc::new(TaskWaker {
            task: id,
            ready: self.shared.ready.clone(),
        }));
        let ended = task.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(());
        // A task may hold handles to this executor: it is dropped with nothing borrowed.
        let mut tasks = self.shared.tasks.borrow_mut();
        let done = if ended {
            tasks.remove(&id).map(|_| task)
        } else {
            tasks.get_mut(&id).and_then(|place| place.replace(task))
        };
        drop(tasks);
        drop(done);
        true
    }
}

/// Lets other tasks run.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
