//! The thread-per-core engine: one glommio executor a core, one raw io_uring ring beside it for sockets and durable
//! file writes, and one control thread. This crate alone holds `unsafe`, system calls, threads and the clock, and it
//! knows no mail protocol.

pub mod blocking;
pub mod byte_stream;
pub mod control;
pub mod file;
pub mod limits;
mod memory;
pub mod names;
pub mod net;
pub mod placement;
pub mod probe;
pub mod reach;
mod ring;
pub mod runtime;
pub mod stream;
pub mod sync;
pub mod testing;
pub mod tls;

pub use bytes;
pub use runtime::{
    CoreId, Counters, Task, core_count, counters, current_core, now, on_core, sleep, spawn, timeout, unix_time,
};
