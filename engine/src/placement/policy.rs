//! How the kernel schedules a core's thread beside others on its CPU.

#![allow(unsafe_code)] // A system call that rustix does not have.

use std::io;

/// Puts the calling thread into SCHED_BATCH (sched(7)): it has the same share of its CPU, but a wake-up does not put off whoever
/// runs there. Without it every completion takes the CPU away from just the local process that was about to cause the next,
/// a proxied backend or a client; with it they come several at a time, which halves a login's changes of context.
pub(crate) fn schedule_in_batches() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 names the calling thread, and the kernel only reads the structure, which lives until the call returns.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
