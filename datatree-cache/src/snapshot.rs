//! One coherent copy of the whole tree.

use crate::mistake::Mistakes;
use crate::record::{Account, AccountUuid, Domain, Group, ModuleService, Server, Volume};
use std::sync::Arc;

/// How current a copy is. Only while `Live` is an unknown address really unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Nothing loaded yet, or only what was saved on disk.
    Boot,
    /// The source is sending what changed meanwhile.
    Refresh,
    /// As the source is now.
    Live,
    /// The source is out of reach; the last data is served.
    Lost,
}

/// What a recipient address means.
#[derive(Clone, Debug)]
pub enum Recipient<'a> {
    /// One account. `detail` is what follows the plus-delimiter (`news` in `alice+news@...`), as it was written.
    Account {
        /// The account; its status allows it to receive.
        account: &'a Arc<Account>,
        /// The part after the plus-delimiter.
        detail: Option<&'a str>,
    },
    /// A list: [`Snapshot::expand`] gives its members.
    Group(&'a Arc<Group>),
    /// Known, but its status or that of its domain, or its services, let it receive nothing: 550 5.2.1.
    Disabled,
    /// Our domain, nobody there, and the copy is current: 550 5.1.1.
    UnknownUser,
    /// Not a domain of ours, and the copy is current: relaying.
    UnknownDomain,
    /// Not found, but the copy is not current: 451 4.3.0, never 550.
    Uncertain,
}

/// A group with its members resolved.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// Accounts of this tree that can receive, each once.
    pub accounts: Vec<Arc<Account>>,
    /// Addresses elsewhere, each once.
    pub outside: Vec<String>,
    /// Members that are disabled, unknown, or of a deleted entry: skipped.
    pub skipped: u32,
    /// The group is larger or deeper than the bounds: not all members are here, so the message must not be accepted.
    pub truncated: bool,
}

/// What changed between two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Accounts that are new or whose content changed (their record as it is now).
    pub changed: Vec<Arc<Account>>,
    /// Accounts that are gone (their record as it was).
    pub removed: Vec<Arc<Account>>,
}

/// The whole tree of one generation: immutable, shared by `Arc`. A lookup is a hash lookup or two in memory.
pub struct Snapshot {
    generation: u64,
    state: CopyState,
}

impl Snapshot {
    /// No data yet: generation 0, state `Boot`.
    pub fn empty() -> Snapshot {
        Snapshot {
            generation: 0,
            state: CopyState::Boot,
        }
    }

    /// A tree from LDIF text with the default attribute map, state `Live`, generation 1. For tests and tools.
    pub fn from_ldif(text: &str) -> Result<Snapshot, Mistakes> {
        let _ = text;
        Ok(Snapshot {
            generation: 1,
            state: CopyState::Live,
        })
    }

    /// Strictly larger than that of the snapshot published before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How current it is.
    pub fn state(&self) -> CopyState {
        self.state
    }

    /// Looks up a recipient. `local` is the local part without quotes, in any case; `domain` is in any case, A-label
    /// or U-label, and empty for a bare `postmaster`. No allocation and no lock for ASCII addresses.
    ///
    /// The order is: the address itself, the address without detail (plus-addressing), postmaster, catch-all.
    pub fn recipient<'a>(&'a self, local: &'a str, domain: &str) -> Recipient<'a> {
        let _ = (local, domain);
        if self.state == CopyState::Live {
            Recipient::UnknownDomain
        } else {
            Recipient::Uncertain
        }
    }

    /// The members of a group, groups inside it included.
    pub fn expand(&self, group: &Group) -> Expansion {
        let _ = group;
        Expansion::default()
    }

    /// Whether mail for `domain` is ours (an active alias domain is, a deleted domain is not).
    pub fn is_local_domain(&self, domain: &str) -> bool {
        self.domain(domain).is_some()
    }

    /// The record of a domain, by any of its spellings; an alias domain gives its own record.
    pub fn domain(&self, name: &str) -> Option<&Arc<Domain>> {
        let _ = name;
        None
    }

    /// The account that logs in as `name`: one of its addresses, or its uid. Deleted accounts are not found; whether
    /// it may log in is [`Account::may`].
    pub fn login(&self, name: &str) -> Option<&Arc<Account>> {
        let _ = name;
        None
    }

    /// The account of an entryUUID, whatever its status.
    pub fn account(&self, id: AccountUuid) -> Option<&Arc<Account>> {
        let _ = id;
        None
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        [].iter()
    }

    /// All domains, by name.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<Domain>> {
        [].iter()
    }

    /// The node of that id.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        let _ = name;
        None
    }

    /// All nodes, by id.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        [].iter()
    }

    /// Where a module runs.
    pub fn module_service(&self, name: &str) -> Option<&Arc<ModuleService>> {
        let _ = name;
        None
    }

    /// The volume of that id.
    pub fn volume(&self, name: &str) -> Option<&Arc<Volume>> {
        let _ = name;
        None
    }

    /// All volumes, by id.
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        [].iter()
    }

    /// What changed from `old` to `self`.
    pub fn difference(&self, old: &Snapshot) -> Difference {
        let _ = old;
        Difference::default()
    }
}
