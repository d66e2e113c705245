//! Nodes that do not speak SCRAM: they say their key itself, which is checked against the verifier in control data.
//!
//! Deriving what the verifier holds is work for the pool. What was right is remembered as a MAC under a key that lives in this
//! process alone, for as long as control data has the verifier: the next login costs a hash. Whether a connection is fit for a
//! key to travel is the listener's part: it offers PLAIN under TLS alone.

use crate::authenticate::memory::{Key, Tag};
use crate::authenticate::scram::verifier_of;
use pigeon_datatree_cache::password::{self, Verdict, scram_verifier};
use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::sasl::Credentials;
use pigeon_proto::sasl::scram::Proof;
use std::cell::RefCell;
use std::collections::HashMap;

/// Of one core.
pub(super) struct KeyCheck {
    pool: BlockingPool,
    key: Key,
    /// By node, of the server_map, hence bounded: what was right, and for which of its verifiers.
    right: RefCell<HashMap<String, (String, Tag)>>,
}

impl KeyCheck {
    pub(super) fn new(pool: BlockingPool) -> KeyCheck {
        KeyCheck {
            pool,
            key: Key::new(),
            right: RefCell::default(),
        }
    }

    /// What these credentials prove; `stored`: the verifiers of the node that they name. `None`: the pool has too much to do.
    pub(super) async fn prove(&self, credentials: Credentials, stored: Vec<String>) -> Option<Proof> {
        let Credentials {
            authorization,
            name,
            password,
            ..
        } = credentials;
        let tag = self.key.of_node(&name, password.as_bytes());
        let known = self.right.borrow().get(&name).cloned();
        let remembered = known.filter(|(verifier, right)| *right == tag && stored.contains(verifier));
        let proven = match remembered {
            Some((verifier, _)) => Some(verifier),
            None => {
                let matching = move || {
                    let is_it = |verifier: &String| {
                        password::verify_secrets([verifier.as_str()], password.as_bytes()) == Verdict::Match
                    };
                    stored.into_iter().find(is_it)
                };
                let found = self.pool.run(matching).await.ok()?;
                if let Some(verifier) = &found {
                    let mut right = self.right.borrow_mut();
                    right.insert(name.clone(), (verifier.clone(), tag));
                }
                found
            }
        };
        Some(Proof {
            authorization,
            name,
            proven: proven.as_deref().and_then(scram_verifier).map(verifier_of),
        })
    }
}
