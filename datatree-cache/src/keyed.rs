//! The keyed hash of lookup tables and of the memory of failures.
//!
//! Its key is drawn at start and told to nobody, so that whoever chooses names cannot choose them to collide.

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// A key; clones hash alike.
#[derive(Clone)]
pub(crate) struct HashKey(SeedableRandomState);

impl HashKey {
    /// A fresh key.
    pub(crate) fn new() -> HashKey {
        static SHARED: OnceLock<SharedSeed> = OnceLock::new();
        let shared = SHARED.get_or_init(|| SharedSeed::from_u64(random_number()));
        HashKey(SeedableRandomState::with_seed(random_number(), shared))
    }

    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Random bytes of the kernel.
pub(crate) fn fill_random(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => bytes = &mut bytes[count..],
            // Only a signal can interrupt it once the kernel's generator is seeded.
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("getrandom failed: {error}; no secret may be made without it"),
        }
    }
}

fn random_number() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}
