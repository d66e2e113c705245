//! An account as its sessions share it.

use std::rc::Rc;

use pigeon_engine::sync::Notify;
use pigeon_store_format::{AccountId, SpecialUse};

use crate::{Mailbox, StoreError};

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

/// An account. Clones are the same account; all sessions of the account share it.
#[derive(Clone)]
pub struct Account {
    inner: Rc<Inner>,
}

struct Inner {
    changed: Rc<Notify>,
}

impl Account {
    /// Its key.
    pub fn id(&self) -> AccountId {
        unimplemented!()
    }

    /// What it holds, durably.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }

    /// The limits that copies and appends of sessions are held to.
    pub fn limits(&self) -> Limits {
        unimplemented!()
    }

    /// Sets them, at login and when control data changes.
    pub fn set_limits(&self, limits: Limits) {
        let _ = limits;
        unimplemented!()
    }

    /// All mailboxes, sorted by name with INBOX first, those that cannot be selected too.
    pub fn mailboxes(&self) -> Vec<Mailbox> {
        unimplemented!()
    }

    /// A mailbox by name: `/` separates levels, INBOX is without regard to case.
    pub fn mailbox(&self, name: &str) -> Option<Mailbox> {
        let _ = name;
        unimplemented!()
    }

    /// Makes a mailbox, and its parents where they are missing (RFC 9051 section 6.3.4).
    pub async fn create_mailbox(&self, name: &str, special_use: Option<SpecialUse>) -> Result<Mailbox, StoreError> {
        let _ = (name, special_use);
        unimplemented!()
    }

    /// Deletes a mailbox with its messages (RFC 9051 section 6.3.5). One that has children stays as a name that cannot be
    /// selected; INBOX cannot be deleted.
    pub async fn delete_mailbox(&self, name: &str) -> Result<(), StoreError> {
        let _ = name;
        unimplemented!()
    }

    /// Renames a mailbox and its children (RFC 9051 section 6.3.6). Renaming INBOX moves its messages and leaves it empty.
    pub async fn rename_mailbox(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let _ = (from, to);
        unimplemented!()
    }

    /// Subscribes to a name, which need not exist, or ends that.
    pub async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        let _ = (name, subscribed);
        unimplemented!()
    }

    /// The names subscribed to, sorted.
    pub fn subscriptions(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Wakes on any change of the account: of its list of mailboxes or within one.
    pub fn changed(&self) -> Rc<Notify> {
        self.inner.changed.clone()
    }

    /// Rises with every change of the list of mailboxes or of subscriptions.
    pub fn list_generation(&self) -> u64 {
        unimplemented!()
    }

    /// The lock that one POP3 session has on an account (RFC 1939 section 4), in memory only; `None` when another has it.
    pub fn lock_pop3(&self) -> Option<Pop3Lock> {
        unimplemented!()
    }
}

/// Held by a POP3 session; released when dropped.
pub struct Pop3Lock {
    _private: (),
}
