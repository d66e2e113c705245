//! A simulated disk and a small executor, for tests of the store and of what is built on it. Everything follows from a seed.
//!
//! # The fault model
//!
//! The simulated disk keeps the promises of `disk::Disk`, and nothing beyond:
//!
//! - A write that has returned `Ok` is durable. A write that was under way at a crash is there in any subset of its blocks: none,
//!   all, the first few, or some; with sectors of 512 or blocks of 4096 bytes.
//! - A small file that was being replaced at a crash is the old one or the new one, whole.
//! - A segment that was being made at a crash is not there, or there with any length up to its own, all zeros.
//! - A file that was being removed at a crash is there or not.
//! - When the process is killed instead, the writes under way land whole, at any time later, but not after `settle` of their file.
//! - Operations under way together end in any order. None ends within the call that began it.
//! - On demand: a write fails and any subset of its blocks is there; replacing a small file fails, and it is the old one or the
//!   new one; the disk has no more room; a read, a listing or an opening fails; a write goes to another place of the file and says
//!   nothing (misdirected); bits change while nobody looks (rot).
//!
//! It does not lie about durability: a disk that acknowledges what it does not keep cannot be used for mail.

mod disk;
mod executor;
mod random;

pub use self::disk::{Image, SimDisk};
pub use self::executor::{Executor, yield_now};
pub use self::random::Random;
