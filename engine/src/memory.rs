//! How the C library's allocator treats freed memory.
//!
//! By default it gives memory at the top of a heap back to the kernel as soon as 128 KiB of it are free, and takes it again,
//! page fault by page fault, with the next burst. Cores live in bursts: echoing 16 KiB pieces over 64 connections spent
//! 7 of 21 us CPU a piece on that. A process with another allocator is not affected.

#![allow(unsafe_code)] // mallopt(3) is a call into C.

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
}

/// M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD of mallopt(3), and their values, bytes: what each thread's heap may keep
/// at its top, by how much it grows, and from what size on memory is mapped for itself. The sizes are guesses that are
/// small against a core's receive buffers.
#[cfg(target_env = "gnu")]
const SETTINGS: [(std::ffi::c_int, std::ffi::c_int); 3] = [(-1, 16 << 20), (-2, 1 << 20), (-3, 4 << 20)];

/// Lets heaps keep what a burst needed, within bounds.
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in SETTINGS {
        // SAFETY: mallopt takes two integers, locks its own state, and refuses what it does not know.
        let accepted = unsafe { mallopt(parameter, value) };
        if accepted == 0 {
            tracing::debug!(parameter, value, "the allocator refused a setting");
        }
    }
}
