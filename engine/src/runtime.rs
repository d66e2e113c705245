//! Starting the cores, and what a task on a core may ask of its core: spawn, sleep, the time, and another core.
//!
//! Each core is a thread with a glommio executor, which keeps the tasks and their shares of the CPU, and a raw ring beside
//! it (`ring`) for everything that waits; `driver` joins the two. Tasks of one core share nothing with those of another:
//! they meet only in the queues of `inbox`.

mod across;
mod bell;
mod core;
mod counters;
mod driver;
mod inbox;
mod operation;
mod reply;
mod start;
mod task;
mod time;
mod waker;

pub use self::across::{CoreGone, on_core};
pub use self::core::{CoreId, core_count, current_core};
pub use self::counters::{Counters, counters};
pub use self::start::{EngineOptions, StartError, run};
pub use self::task::{Task, spawn, spawn_background};
pub use self::time::{Elapsed, now, sleep, timeout, unix_time, yield_now};

pub(crate) use self::across::call;
pub(crate) use self::core::{Core, try_with, with};
pub(crate) use self::inbox::EngineShared;
pub(crate) use self::operation::{Waiting, single};
pub(crate) use self::reply::channel as reply_channel;
pub(crate) use self::start::pin;
pub(crate) use self::task::report_panic;
