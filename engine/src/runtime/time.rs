//! The clock of a core's tasks.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

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

/// Waits at least `duration` (resolution about a millisecond; under load that of the executor's polls, 2 ms).
pub async fn sleep(duration: Duration) {
    glommio::timer::Timer::new(duration).await;
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
    let mut timer = glommio::timer::Timer::new(duration);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        pin!(&mut timer).poll(context).map(|_| Err(Elapsed))
    })
    .await
}

/// Gives other tasks of this core a turn; call it in loops whose length a peer decides.
pub async fn yield_now() {
    let core = super::with(Rc::clone);
    // The driver too: while a task keeps the executor busy, nothing else would look at the ring.
    core.driver.kick();
    core.driver.pass_on().await;
}
