//! The clock of a core's tasks, and its timers. The driver fires what is due, and sleeps no longer than to the next one.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

/// The longest wait that is told apart from waiting for ever: a hundred years.
const WAIT_MAX: Duration = Duration::from_secs(100 * 365 * 86400);

/// The monotonic clock (about 25 ns through the vDSO, so it is not cached).
pub fn now() -> Instant {
    Instant::now()
}

/// Time since the Unix epoch, UTC. Zero for a clock set before it.
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Waits at least `duration`. How much longer depends on what other tasks of the core do meanwhile.
pub async fn sleep(duration: Duration) {
    Sleep::new(duration).await;
}

/// The time given to `timeout` ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time ran out")
    }
}

impl std::error::Error for Elapsed {}

/// `Err(Elapsed)` when `future` has not ended after `duration`; it is dropped then.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = Sleep::new(duration);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// Gives other tasks of this core a turn; call it in loops whose length a peer decides.
pub async fn yield_now() {
    // None: a protocol driver under test (`testing`), whose executor's queue is all there is.
    if super::try_with(|core| core.tasks.in_background()).unwrap_or(false) {
        // Their queue as a whole: the shares decide who goes on.
        glommio::executor().yield_task_queue_now().await;
    } else {
        yield_once().await;
    }
}

/// Goes to the end of the queue of runnable tasks.
pub(super) async fn yield_once() {
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

/// The timers of one core, by time and then by number.
#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next_number: u64,
}

impl Timers {
    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Wakes those who are due by `now`. Says how many.
    pub(super) fn fire(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
            count += 1;
        }
        count
    }
}

/// Waits until a time.
struct Sleep {
    due: Instant,
    number: Option<u64>,
}

impl Sleep {
    fn new(duration: Duration) -> Sleep {
        Sleep {
            due: now() + duration.min(WAIT_MAX),
            number: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.due <= now() {
            return Poll::Ready(());
        }
        super::with(|core| {
            let mut timers = core.timers.borrow_mut();
            let number = *self.number.get_or_insert_with(|| {
                timers.next_number += 1;
                timers.next_number
            });
            timers.waiting.insert((self.due, number), context.waker().clone());
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            super::try_with(|core| core.timers.borrow_mut().waiting.remove(&(self.due, number)));
        }
    }
}
