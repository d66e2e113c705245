//! Where each account's records are: the one thing that is in memory for every account of the volume, 32 bytes each.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use pigeon_store_format::{AccountHead, AccountId, LogPosition};

/// Parts of the table, so that a checkpoint can copy one while the others change.
const SHARDS: usize = 64;

pub(crate) struct HeadTable {
    shards: Vec<HashMap<AccountId, AccountHead>>,
    hasher: RandomState,
}

impl HeadTable {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, account: AccountId) -> usize {
        (self.hasher.hash_one(account) % SHARDS as u64) as usize
    }

    pub(crate) fn find(&self, account: AccountId) -> Option<AccountHead> {
        self.shards[self.shard(account)].get(&account).copied()
    }

    /// From a checkpoint.
    pub(crate) fn set(&mut self, account: AccountId, head: AccountHead) {
        let shard = self.shard(account);
        self.shards[shard].insert(account, head);
    }

    /// A link of the account is in the journal. `base` is there when it is a snapshot.
    pub(crate) fn link(&mut self, account: AccountId, position: LogPosition, base: Option<LogPosition>) {
        let shard = self.shard(account);
        let new = AccountHead {
            head: position,
            base: base.unwrap_or(position),
        };
        let entry = self.shards[shard].entry(account).or_insert(new);
        entry.head = position;
        if let Some(base) = base {
            entry.base = base;
        }
    }

    /// All accounts, in no order.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.shards.iter().flat_map(HashMap::keys).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    pub(crate) fn shard_count(&self) -> usize {
        SHARDS
    }

    /// A part of the table as it is now.
    pub(crate) fn copy_of_shard(&self, shard: usize) -> Vec<(AccountId, AccountHead)> {
        self.shards[shard]
            .iter()
            .map(|(account, head)| (*account, *head))
            .collect()
    }

    /// Accounts whose records may lie in `from..to`.
    pub(crate) fn between(&self, shard: usize, from: LogPosition, to: LogPosition) -> Vec<AccountId> {
        let accounts = self.shards[shard]
            .iter()
            .filter(|(_, place)| place.base < to && place.head >= from);
        accounts.map(|(account, _)| *account).collect()
    }
}
