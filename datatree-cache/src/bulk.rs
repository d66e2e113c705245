//! Room for what is needed once, for all accounts, and for seconds: memory that goes back to the system as a whole.
//!
//! The allocator keeps smaller pieces for later, below records that stay, so that a node would hold them for good. Pieces of
//! more than 32 MiB are mapped for themselves (glibc's limit for how far it lets that grow) and unmapped when they are
//! freed; what of them is not used costs nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Above the allocator's limit.
const ROOM_BYTES: usize = 33 * 1024 * 1024;
/// So little is not worth a mapping.
const LITTLE_BYTES: usize = 1024 * 1024;

fn room<T>(expected: usize) -> usize {
    if expected.saturating_mul(size_of::<T>()) < LITTLE_BYTES {
        expected
    } else {
        expected.max(ROOM_BYTES / size_of::<T>().max(1))
    }
}

/// An empty vector with room for so many.
pub(crate) fn vector<T>(expected: usize) -> Vec<T> {
    Vec::with_capacity(room::<T>(expected))
}

/// An empty map with room for so many.
pub(crate) fn map<K: Hash + Eq, V, S: BuildHasher + Default>(expected: usize) -> HashMap<K, V, S> {
    HashMap::with_capacity_and_hasher(room::<(K, V)>(expected), S::default())
}
