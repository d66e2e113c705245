//! What the node remembers of credentials: passwords that were right a moment ago, and those that were wrong.
//!
//! What is kept are MACs under a key that lives in this process alone. The MAC of a right password covers the account and
//! the generation of its record, so that it counts for the record as it was: a new password or a disabled account takes
//! effect at once. The MAC of a wrong one covers the name as well, as the client wrote it but for its case, so that a name that
//! leads nowhere is remembered just as one that leads somewhere.
//!
//! Invariant: the caches are touched on the password pool's threads alone, never on a core: their housekeeping takes up
//! to 17 ms now and then.

use hmac::{Hmac, KeyInit, Mac};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use pigeon_datatree_cache::Account;
use sha2::Sha256;
use std::time::{Duration, Instant};

/// Right credentials of the node at most: about 10 MB.
const RIGHT_MAX: u64 = 65_536;
/// Wrong ones: whoever guesses fills this, and the oldest guesses go first.
const WRONG_MAX: u64 = 16_384;
/// How long a wrong password is remembered. A guess: longer than a mail program takes for its attempts at one password,
/// shorter than a person waits for a directory that changed without the record changing (a lock that timed out).
const WRONG_LIFE: Duration = Duration::from_secs(60);

/// A MAC of credentials.
pub(super) type Tag = [u8; 32];

/// The key.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// A fresh one.
    pub(super) fn new() -> Key {
        // Two random UUIDs: 244 bits from the operating system.
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Key(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"))
    }

    /// Of a password that is right for this record.
    pub(super) fn right(&self, account: &Account, password: &[u8]) -> Tag {
        self.tag(b"right", Some(account), "", password)
    }

    /// Of a password that is wrong for this record when it is called so, or for a name without a record.
    pub(super) fn wrong(&self, account: Option<&Account>, name: &str, password: &[u8]) -> Tag {
        self.tag(b"wrong", account, name, password)
    }

    /// Of a node's key that is right.
    pub(super) fn of_node(&self, node: &str, key: &[u8]) -> Tag {
        self.tag(b"nodes", None, node, key)
    }

    fn tag(&self, kind: &[u8; 5], account: Option<&Account>, name: &str, password: &[u8]) -> Tag {
        let (id, generation) = account.map_or(([0; 16], 0), |account| (account.id().0, account.generation()));
        let name = name.to_lowercase();
        let mac = self
            .0
            .clone()
            .chain_update(kind)
            .chain_update(id)
            .chain_update(generation.to_le_bytes());
        // The length before the name, so that no name can reach into the password.
        let length = u64::try_from(name.len()).expect("a length fits");
        let mac = mac
            .chain_update(length.to_le_bytes())
            .chain_update(name)
            .chain_update(password);
        mac.finalize().into_bytes().into()
    }
}

/// The memory of the node.
pub(super) struct Memory {
    right: Cache<Tag, Instant>,
    wrong: Cache<Tag, Instant>,
    life: Duration,
}

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    /// The password was right, and counts until then.
    Right(Instant),
    Wrong,
}

impl Memory {
    /// Nothing yet. A right password is remembered for `life`.
    pub(super) fn new(life: Duration) -> Memory {
        let cache = |entries, life| {
            let builder = Cache::builder().max_capacity(entries).time_to_live(life);
            // What comes is always taken, or a password would cost a bind each time while the cache is full.
            builder.eviction_policy(EvictionPolicy::lru()).build()
        };
        Memory {
            right: cache(RIGHT_MAX, life),
            wrong: cache(WRONG_MAX, WRONG_LIFE),
            life,
        }
    }

    /// What is known of credentials by these MACs.
    pub(super) fn recall(&self, right: Option<&Tag>, wrong: &Tag, now: Instant) -> Option<Remembered> {
        let right = right.and_then(|tag| self.right.get(tag)).filter(|until| now < *until);
        let wrong = || self.wrong.get(wrong).filter(|until| now < *until);
        right
            .map(Remembered::Right)
            .or_else(|| wrong().map(|_| Remembered::Wrong))
    }

    /// The password is right; until when that counts.
    pub(super) fn keep_right(&self, tag: Tag, now: Instant) -> Instant {
        let until = now + self.life;
        self.right.insert(tag, until);
        until
    }

    /// The password is wrong.
    pub(super) fn keep_wrong(&self, tag: Tag, now: Instant) {
        self.wrong.insert(tag, now + WRONG_LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pigeon_datatree_cache::Snapshot;

    const TREE: &str = "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\n\
                        dn: uid=a\nmail: a@x.example\n\ndn: uid=b\nmail: b@x.example\n";

    #[test]
    fn tags_differ_by_everything_that_counts() {
        let snapshot = Snapshot::from_ldif(TREE).unwrap();
        let (a, b) = (
            snapshot.login("a@x.example").unwrap(),
            snapshot.login("b@x.example").unwrap(),
        );
        let (key, other) = (Key::new(), Key::new());
        let tags = [
            key.right(a, b"secret"),
            key.right(b, b"secret"),
            key.right(a, b"secret2"),
            other.right(a, b"secret"),
            key.wrong(Some(a), "a", b"secret"),
            key.wrong(Some(a), "as", b"ecret"),
            key.wrong(Some(b), "a", b"secret"),
            key.wrong(None, "a", b"secret"),
            key.wrong(None, "b", b"secret"),
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert!(!tags[..index].contains(tag), "{index}");
        }
        assert_eq!(key.right(a, b"secret"), tags[0]);
        assert_eq!(key.wrong(None, "A", b"secret"), tags[7], "in any case");
    }

    #[test]
    fn what_is_kept_counts_for_its_life() {
        let memory = Memory::new(Duration::from_secs(600));
        let (right, wrong, now) = ([1; 32], [2; 32], Instant::now());
        assert_eq!(memory.recall(Some(&right), &wrong, now), None);
        memory.keep_wrong(wrong, now);
        assert_eq!(memory.recall(Some(&right), &wrong, now), Some(Remembered::Wrong));
        assert_eq!(memory.recall(None, &wrong, now + WRONG_LIFE), None);
        let until = memory.keep_right(right, now);
        assert_eq!(until, now + Duration::from_secs(600));
        assert_eq!(memory.recall(Some(&right), &wrong, now), Some(Remembered::Right(until)));
        assert_eq!(memory.recall(Some(&right), &[3; 32], until), None);
    }
}
