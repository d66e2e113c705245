//! Remembers which passwords were right a moment ago, so that a client that logs in again and again, or all clients at once
//! after a restart of something in front, cost a keyed hash and not an argon2 each time.
//!
//! Only passwords that were right are remembered: a wrong one always costs the full hash, known name or not. What is kept is
//! a MAC under a key that lives in this process alone, and it counts only for the record as it was, so that a new password
//! or a disabled account takes effect at once.

use hmac::{Hmac, KeyInit, Mac};
use pigeon_datatree_cache::{Account, AccountUuid};
use sha2::Sha256;
use std::collections::HashMap;
use std::time::Duration;

/// How long a password is remembered. A guess: mail programs ask again every few minutes.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// Accounts that one core remembers: about half a megabyte.
const ACCOUNTS_MAX: usize = 4_096;

/// The memory of one core.
pub(super) struct Verified {
    mac: Hmac<Sha256>,
    accounts: HashMap<AccountUuid, Entry>,
}

struct Entry {
    /// Of the record that the password was checked against.
    generation: u64,
    mac: [u8; 32],
    until: Duration,
}

impl Verified {
    /// Remembers nothing yet.
    pub(super) fn new() -> Verified {
        // Two random UUIDs: 244 bits from the operating system.
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Verified {
            mac,
            accounts: HashMap::new(),
        }
    }

    /// Whether `password` was right for this record within the last minutes. `now` is a monotonic time.
    pub(super) fn contains(&self, account: &Account, password: &[u8], now: Duration) -> bool {
        self.accounts.get(&account.id()).is_some_and(|entry| {
            let current = entry.generation == account.generation() && now < entry.until;
            current && self.mac.clone().chain_update(password).verify_slice(&entry.mac).is_ok()
        })
    }

    /// `password` was right for this record.
    pub(super) fn insert(&mut self, account: &Account, password: &[u8], now: Duration) {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&account.id()) {
            self.accounts.retain(|_, entry| now < entry.until);
            if self.accounts.len() >= ACCOUNTS_MAX {
                return;
            }
        }
        let mac = self.mac.clone().chain_update(password).finalize().into_bytes().into();
        let entry = Entry {
            generation: account.generation(),
            mac,
            until: now.saturating_add(LIFE),
        };
        self.accounts.insert(account.id(), entry);
    }
}
