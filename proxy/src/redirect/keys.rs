//! The keys with which this node logs in at others, derived once for each salt and count: that is dear by design, and runs
//! off the core.

use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::sasl::scram::client::ClientKeys;
use std::cell::RefCell;
use std::sync::Arc;

/// Salts that are remembered. A cluster has one verifier of a node; backends of other makers each have their own.
const SALTS_MAX: usize = 64;

/// The keys of one core.
pub(super) struct NodeKeys {
    key: Arc<[u8]>,
    pool: BlockingPool,
    derived: RefCell<Vec<Derived>>,
}

struct Derived {
    salt: Vec<u8>,
    iterations: u32,
    keys: ClientKeys,
}

impl NodeKeys {
    pub(super) fn new(key: Arc<[u8]>, pool: BlockingPool) -> NodeKeys {
        NodeKeys {
            key,
            pool,
            derived: RefCell::default(),
        }
    }

    /// `None`: the pool has too much to do.
    pub(super) async fn derive(&self, salt: Vec<u8>, iterations: u32) -> Option<ClientKeys> {
        let find = || {
            let derived = self.derived.borrow();
            let found = derived
                .iter()
                .find(|derived| derived.salt == salt && derived.iterations == iterations);
            found.map(|derived| derived.keys.clone())
        };
        if let Some(keys) = find() {
            return Some(keys);
        }
        let (key, its_salt) = (self.key.clone(), salt.clone());
        let keys = self
            .pool
            .run(move || ClientKeys::derive(&key, &its_salt, iterations))
            .await
            .ok()?;
        // Somebody else may have asked meanwhile.
        if find().is_none() {
            let mut derived = self.derived.borrow_mut();
            if derived.len() >= SALTS_MAX {
                derived.remove(0);
            }
            derived.push(Derived {
                salt,
                iterations,
                keys: keys.clone(),
            });
        }
        Some(keys)
    }
}
