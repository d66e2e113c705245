//! An account as its sessions share it: its mailboxes, its usage, its limits.
//!
//! The handles here only decide and wait; `state` holds what is so, `commit` makes changes durable.

pub(crate) mod commit;
pub(crate) mod keys;
pub(crate) mod load;
mod mailboxes;
pub(crate) mod names;
pub(crate) mod snapshot;
pub(crate) mod state;

use std::rc::Rc;

use pigeon_engine::sync::Notify;
use pigeon_store_format::{AccountId, LogPosition, Standing};

pub(crate) use self::mailboxes::dead_bytes;
pub(crate) use self::state::AccountCell;
use crate::volume::VolumeInner;
use crate::{Mailbox, QuotaResource, StoreError};

/// An account's limits, from control data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all messages; `None`: no limit.
    pub bytes: Option<u64>,
    /// Count of all messages; `None`: no limit.
    pub messages: Option<u64>,
}

/// What an account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all messages, each counted as often as it is in a mailbox.
    pub bytes: u64,
    /// Count of all messages.
    pub messages: u64,
}

impl Limits {
    /// Whether so much more fits, on top of `usage` and `reserved`.
    pub(crate) fn check(self, usage: Usage, reserved: Usage, more: Usage) -> Result<(), StoreError> {
        let bytes = usage.bytes.saturating_add(reserved.bytes).saturating_add(more.bytes);
        let messages = usage
            .messages
            .saturating_add(reserved.messages)
            .saturating_add(more.messages);
        if let Some(limit) = self.bytes.filter(|limit| bytes > *limit) {
            return Err(StoreError::OverQuota {
                resource: QuotaResource::Bytes,
                limit,
            });
        }
        if let Some(limit) = self.messages.filter(|limit| messages > *limit) {
            return Err(StoreError::OverQuota {
                resource: QuotaResource::Messages,
                limit,
            });
        }
        Ok(())
    }
}

/// An account. Clones are the same account; all sessions of the account share it.
#[derive(Clone)]
pub struct Account {
    pub(crate) volume: Rc<VolumeInner>,
    pub(crate) cell: Rc<AccountCell>,
}

impl Account {
    /// Its key.
    pub fn id(&self) -> AccountId {
        self.cell.id
    }

    /// Whose it is, as far as this volume knows.
    pub fn standing(&self) -> Standing {
        self.cell.state.borrow().standing.clone()
    }

    /// Nothing of it was ever in this volume.
    pub fn is_unused(&self) -> bool {
        self.cell.state.borrow().pushed_head == LogPosition::NONE
    }

    /// Nothing of it is durable in this volume, as `standing` says only what is: the first change may be on its way to the disk.
    pub fn is_unused_durably(&self) -> bool {
        self.cell.state.borrow().head == LogPosition::NONE
    }

    /// What it holds, durably.
    pub fn usage(&self) -> Usage {
        self.cell.state.borrow().usage
    }

    /// The limits that copies and appends of sessions are held to.
    pub fn limits(&self) -> Limits {
        self.cell.limits.get()
    }

    /// Sets them, at login and when control data changes. They are not kept on disk.
    pub fn set_limits(&self, limits: Limits) {
        self.cell.limits.set(limits);
    }

    /// All mailboxes, sorted by name with INBOX first, those that cannot be selected too.
    pub fn mailboxes(&self) -> Vec<Mailbox> {
        let state = self.cell.state.borrow();
        let inbox = state.by_name(names::INBOX);
        let others = state.names.iter().filter(|(name, _)| name.as_str() != names::INBOX);
        let others = others.filter_map(|(_, id)| state.mailboxes.get(id));
        inbox
            .into_iter()
            .chain(others)
            .map(|cell| Mailbox {
                account: self.clone(),
                cell: cell.clone(),
            })
            .collect()
    }

    /// A mailbox by name: `/` separates levels, INBOX is without regard to case.
    pub fn mailbox(&self, name: &str) -> Option<Mailbox> {
        let state = self.cell.state.borrow();
        let cell = state.by_name(&names::canonical(name))?.clone();
        Some(Mailbox {
            account: self.clone(),
            cell,
        })
    }

    /// The names subscribed to, sorted.
    pub fn subscriptions(&self) -> Vec<String> {
        self.cell.state.borrow().subscriptions.iter().cloned().collect()
    }

    /// Wakes on any change of the account: of its list of mailboxes or within one.
    pub fn changed(&self) -> Rc<Notify> {
        self.cell.changed.clone()
    }

    /// Rises with every change of the list of mailboxes or of subscriptions.
    pub fn list_generation(&self) -> u64 {
        self.cell.state.borrow().list_generation
    }

    /// The lock that one POP3 session has on an account (RFC 1939 section 4), in memory only; `None` when another has it.
    pub fn lock_pop3(&self) -> Option<Pop3Lock> {
        if self.cell.pop3_locked.replace(true) {
            return None;
        }
        Some(Pop3Lock {
            cell: self.cell.clone(),
        })
    }
}

/// Held by a POP3 session; released when dropped.
pub struct Pop3Lock {
    cell: Rc<AccountCell>,
}

impl Drop for Pop3Lock {
    fn drop(&mut self) {
        self.cell.pop3_locked.set(false);
    }
}
