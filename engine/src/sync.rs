//! Primitives for tasks of one core: no atomics, no executor of their own (they only keep wakers), so that the store can
//! use them under a simulated disk in tests.

pub use self::notify::Notify;
pub use self::semaphore::{Permit, Semaphore};

mod notify;
mod semaphore;

pub mod oneshot;
