//! Resource limits raised at start: RLIMIT_NOFILE and RLIMIT_MEMLOCK.

/// Raises the soft limits (and the hard ones where the process may) to at least these. `Err` says which limit, what it
/// is, what it must be, and how to raise it; `Ok` holds warnings about what stayed below what was asked but suffices.
pub fn raise(open_files: u64, locked_memory_bytes: u64) -> Result<Vec<String>, String> {
    let _ = (open_files, locked_memory_bytes);
    unimplemented!()
}
