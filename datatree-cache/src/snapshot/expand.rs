//! Resolving a group to the accounts of this tree and the addresses elsewhere.
//!
//! Bounded in depth and size, and a group that contains itself is visited once. It allocates; groups are rare, and the
//! message to one costs far more than this.

use super::{Recipient, Snapshot};
use crate::address::split_canonical;
use crate::record::{Account, AccountUuid, Group, Member};
use std::collections::HashSet;
use std::sync::Arc;

/// How many accounts and outside addresses one group may lead to. A guess between a department and a list server's job.
pub const GROUP_MEMBERS_MAX: usize = 10_000;
/// How deep groups may lie in one another.
pub const GROUP_DEPTH_MAX: usize = 8;

/// A group with its members resolved.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// Accounts of this tree that can receive, each once.
    pub accounts: Vec<Arc<Account>>,
    /// Addresses elsewhere, each once.
    pub outside: Vec<String>,
    /// Members that are disabled, unknown, or of an entry that is not there: skipped.
    pub skipped: u32,
    /// Members that were not found while the copy is not current: the message must wait (451).
    pub uncertain: u32,
    /// The group is larger or deeper than the bounds: not all members are here, so the message must not be accepted.
    pub truncated: bool,
}

impl Snapshot {
    /// The members of a group, those of groups inside it included. At most [`GROUP_MEMBERS_MAX`] of them, at most
    /// [`GROUP_DEPTH_MAX`] groups deep.
    pub fn expand(&self, group: &Group) -> Expansion {
        let mut walk = Walk {
            snapshot: self,
            expansion: Expansion::default(),
            accounts: HashSet::new(),
            outside: HashSet::new(),
            groups: HashSet::from([group.id()]),
        };
        // Breadth first, so that what is cut off is what is deepest.
        let mut level = Vec::new();
        walk.members(group, &mut level);
        for _ in 1..GROUP_DEPTH_MAX {
            for group in std::mem::take(&mut level) {
                walk.members(&group, &mut level);
            }
        }
        walk.expansion.truncated |= !level.is_empty();
        walk.expansion
    }
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    expansion: Expansion,
    accounts: HashSet<AccountUuid>,
    outside: HashSet<String>,
    groups: HashSet<AccountUuid>,
}

impl Walk<'_> {
    fn members(&mut self, group: &Group, next: &mut Vec<Arc<Group>>) {
        for member in group.members() {
            if self.expansion.accounts.len() + self.expansion.outside.len() >= GROUP_MEMBERS_MAX {
                self.expansion.truncated = true;
                return;
            }
            match member {
                Member::Address(address) => self.address(address, next),
                Member::Dn(dn) => self.dn(dn, next),
            }
        }
    }

    fn address(&mut self, address: &str, next: &mut Vec<Arc<Group>>) {
        let (local, domain) = split_canonical(address);
        match self.snapshot.recipient(local, domain) {
            Recipient::Account { account, .. } => self.account(account),
            Recipient::Group(group) => self.group(group, next),
            Recipient::Disabled | Recipient::UnknownUser => self.expansion.skipped += 1,
            Recipient::Uncertain => self.expansion.uncertain += 1,
            Recipient::UnknownDomain => {
                if self.outside.insert(address.to_owned()) {
                    self.expansion.outside.push(address.to_owned());
                }
            }
        }
    }

    fn dn(&mut self, dn: &str, next: &mut Vec<Arc<Group>>) {
        if let Some(account) = self.snapshot.account_by_dn(dn) {
            // By its address, so that its status counts as it does for every other recipient.
            match account.main_address() {
                Some(address) => self.address(address, next),
                None => self.expansion.skipped += 1,
            }
        } else if let Some(group) = self.snapshot.group_by_dn(dn) {
            self.group(group, next);
        } else if self.snapshot.state() == super::CopyState::Live {
            self.expansion.skipped += 1;
        } else {
            self.expansion.uncertain += 1;
        }
    }

    fn account(&mut self, account: &Arc<Account>) {
        if self.accounts.insert(account.id()) {
            self.expansion.accounts.push(Arc::clone(account));
        }
    }

    fn group(&mut self, group: &Arc<Group>, next: &mut Vec<Arc<Group>>) {
        use crate::record::AccountStatus;
        if group.status() > AccountStatus::NoAccess {
            self.expansion.skipped += 1;
        } else if self.groups.insert(group.id()) {
            next.push(Arc::clone(group));
        }
    }
}
