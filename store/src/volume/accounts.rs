//! The accounts in memory: loaded on first use, put out when memory is short and nobody holds them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pigeon_engine::sync::Notify;
use pigeon_store_format::AccountId;

use super::VolumeInner;
use super::counters::add;
use crate::StoreError;
use crate::account::AccountCell;

pub(crate) struct Accounts {
    loaded: RefCell<HashMap<AccountId, Rc<AccountCell>>>,
    /// Being loaded, with what wakes the others who want it.
    loading: RefCell<HashMap<AccountId, Rc<Notify>>>,
    uses: Cell<u64>,
    bytes: Cell<usize>,
    bytes_max: usize,
}

/// Ends a load, also one that is given up.
struct Loading<'a> {
    accounts: &'a Accounts,
    account: AccountId,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.accounts.loading.borrow_mut().remove(&self.account) {
            waiting.notify_all();
        }
    }
}

impl Accounts {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            loaded: RefCell::default(),
            loading: RefCell::default(),
            uses: Cell::new(0),
            bytes: Cell::new(0),
            bytes_max,
        }
    }

    /// Memory of all, bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub(crate) fn count(&self) -> usize {
        self.loaded.borrow().len()
    }

    fn find(&self, account: AccountId) -> Option<Rc<AccountCell>> {
        let cell = self.loaded.borrow().get(&account)?.clone();
        self.touch(&cell);
        Some(cell)
    }

    fn touch(&self, cell: &AccountCell) {
        self.uses.set(self.uses.get() + 1);
        cell.used_at.set(self.uses.get());
    }

    fn insert(&self, cell: &Rc<AccountCell>) {
        self.touch(cell);
        self.bytes.set(self.bytes.get() + cell.memory_bytes.get());
        self.loaded.borrow_mut().insert(cell.id, cell.clone());
    }

    /// The account has changed: counts its memory anew.
    pub(crate) fn measure(&self, cell: &AccountCell) {
        let now = cell.state.borrow().memory_bytes();
        let before = cell.memory_bytes.replace(now);
        self.bytes.set((self.bytes.get() + now).saturating_sub(before));
    }

    /// Puts out accounts that nobody holds, those used longest ago first, when memory is short. Gives how many.
    pub(crate) fn evict(&self) -> u64 {
        if self.bytes.get() <= self.bytes_max {
            return 0;
        }
        let mut loaded = self.loaded.borrow_mut();
        let idle = loaded.values().filter(|cell| Rc::strong_count(cell) == 1);
        let mut idle: Vec<(u64, AccountId)> = idle.map(|cell| (cell.used_at.get(), cell.id)).collect();
        idle.sort_unstable();
        let mut evicted = 0;
        // Some more than needed, so that this is not done for every account that comes.
        let goal = self.bytes_max - self.bytes_max / 8;
        for (_, account) in idle {
            if self.bytes.get() <= goal {
                break;
            }
            if let Some(cell) = loaded.remove(&account) {
                self.bytes.set(self.bytes.get().saturating_sub(cell.memory_bytes.get()));
                evicted += 1;
            }
        }
        evicted
    }
}

impl VolumeInner {
    /// The account, loaded when it is not in memory.
    pub(crate) async fn account(&self, account: AccountId) -> Result<Rc<AccountCell>, StoreError> {
        loop {
            if let Some(cell) = self.accounts.find(account) {
                return Ok(cell);
            }
            let loading = self.accounts.loading.borrow().get(&account).cloned();
            let Some(loading) = loading else { break };
            loading.notified().await;
        }
        self.accounts.loading.borrow_mut().insert(account, Rc::default());
        let _loading = Loading {
            accounts: &self.accounts,
            account,
        };
        let state = self.load_account(account).await?;
        let cell = AccountCell::new(account, state);
        self.accounts.insert(&cell);
        add(&self.counters.loads, 1);
        add(&self.counters.evictions, self.accounts.evict());
        Ok(cell)
    }
}
