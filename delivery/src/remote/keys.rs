//! The keys with which this node logs in at others, for mail and for sessions: derived once for each salt and count, off the
//! core.

use super::KeysFor;
use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::sasl::scram::client::ClientKeys;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Salts that are remembered. All nodes of a cluster have the same verifier of this one, or two while keys change; backends
/// of other makers each have their own.
const SALTS_MAX: usize = 64;

struct Derived {
    salt: Vec<u8>,
    iterations: u32,
    keys: ClientKeys,
}

/// Of a core, from the node's key.
pub fn keys_of(key: Arc<[u8]>, pool: BlockingPool) -> KeysFor {
    let derived: Rc<RefCell<Vec<Derived>>> = Rc::default();
    Rc::new(move |salt, iterations| {
        let is_it = |derived: &&Derived| derived.salt == salt && derived.iterations == iterations;
        if let Some(found) = derived.borrow().iter().find(is_it) {
            let keys = found.keys.clone();
            return Box::pin(std::future::ready(Some(keys)));
        }
        let (key, pool, derived) = (key.clone(), pool.clone(), derived.clone());
        Box::pin(async move {
            let its_salt = salt.clone();
            let keys = pool
                .run(move || ClientKeys::derive(&key, &its_salt, iterations))
                .await
                .ok()?;
            let mut derived = derived.borrow_mut();
            // Somebody else may have asked meanwhile.
            if derived
                .iter()
                .any(|derived| derived.salt == salt && derived.iterations == iterations)
            {
                return Some(keys);
            }
            if derived.len() >= SALTS_MAX {
                derived.remove(0);
            }
            derived.push(Derived {
                salt,
                iterations,
                keys: keys.clone(),
            });
            Some(keys)
        })
    })
}
