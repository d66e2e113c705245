//! One coherent copy of the whole tree: records, and the tables that find them.
//!
//! Invariants: a snapshot never changes; every address, login name, DN and UUID has at most one owner in it; records
//! whose content did not change are the same `Arc` as in the snapshot before.
//!
//! [`build`] makes snapshots, [`lookup`] reads them, [`expand`] resolves groups, [`owner`] says whose an account
//! is, [`table`] is the hash table, [`pending`] has
//! the names of records that could not be taken.

mod build;
mod expand;
mod lookup;
mod owner;
mod pending;
mod table;

pub use build::{Changed, Changes};
pub(crate) use build::{Problem, threads, whole};
pub use expand::{Expansion, GROUP_DEPTH_MAX, GROUP_MEMBERS_MAX};
pub use lookup::Recipient;
pub use owner::{NoOwner, Owner};
pub(crate) use pending::Pending;

use crate::keyed::HashKey;
use crate::mistake::Mistakes;
use crate::password::Decoy;
use crate::record::{Account, AccountUuid, Domain, Group, ModuleService, Server, Volume};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use table::Table;

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

/// What changed between two snapshots.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Accounts that are new or whose content changed, their domain's record counted (their record as it is now).
    pub changed: Vec<Arc<Account>>,
    /// Accounts that are gone (their record as it was).
    pub removed: Vec<Arc<Account>>,
}

/// What a snapshot's accounts take of memory, in bytes, without what the allocator adds.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBytes {
    /// The records.
    pub records: usize,
    /// The tables that find them.
    pub tables: usize,
}

/// The whole tree of one generation: immutable, shared by `Arc`. A lookup is a hash lookup or two in memory.
pub struct Snapshot {
    generation: u64,
    state: CopyState,
    key: HashKey,
    accounts_by_id: Table<Account>,
    accounts_by_dn: Table<Account>,
    accounts_by_address: Table<Account>,
    accounts_by_login: Table<Account>,
    groups_by_id: Table<Group>,
    groups_by_dn: Table<Group>,
    groups_by_address: Table<Group>,
    domains_by_name: Table<Domain>,
    domains: Arc<BTreeMap<String, Arc<Domain>>>,
    servers: Arc<BTreeMap<String, Arc<Server>>>,
    module_services: Arc<BTreeMap<String, Arc<ModuleService>>>,
    volumes: Arc<BTreeMap<String, Arc<Volume>>>,
    decoy: Decoy,
    pending: Arc<Pending>,
    bare_postmaster: OnceLock<Option<Arc<Domain>>>,
}

impl Snapshot {
    /// No data yet: generation 0, state `Boot`.
    pub fn empty() -> Snapshot {
        Snapshot::sized(0, HashKey::new(), 0)
    }

    fn sized(generation: u64, key: HashKey, accounts: usize) -> Snapshot {
        Snapshot {
            generation,
            state: CopyState::Boot,
            key,
            accounts_by_id: Table::for_entries(accounts),
            accounts_by_dn: Table::for_entries(accounts),
            accounts_by_address: Table::for_entries(accounts.saturating_mul(2)),
            accounts_by_login: Table::for_entries(accounts),
            groups_by_id: Table::for_entries(0),
            groups_by_dn: Table::for_entries(0),
            groups_by_address: Table::for_entries(0),
            domains_by_name: Table::for_entries(0),
            domains: Arc::default(),
            servers: Arc::default(),
            module_services: Arc::default(),
            volumes: Arc::default(),
            decoy: Decoy::default(),
            pending: Arc::default(),
            bare_postmaster: OnceLock::new(),
        }
    }

    /// The same records in another state, as the next generation.
    #[must_use]
    pub fn in_state(&self, state: CopyState) -> Snapshot {
        Snapshot {
            state,
            ..self.successor()
        }
    }

    /// The same records as the next generation; tables are shared until they are changed.
    fn successor(&self) -> Snapshot {
        Snapshot {
            generation: self.generation + 1,
            state: self.state,
            key: self.key.clone(),
            accounts_by_id: self.accounts_by_id.clone(),
            accounts_by_dn: self.accounts_by_dn.clone(),
            accounts_by_address: self.accounts_by_address.clone(),
            accounts_by_login: self.accounts_by_login.clone(),
            groups_by_id: self.groups_by_id.clone(),
            groups_by_dn: self.groups_by_dn.clone(),
            groups_by_address: self.groups_by_address.clone(),
            domains_by_name: self.domains_by_name.clone(),
            domains: Arc::clone(&self.domains),
            servers: Arc::clone(&self.servers),
            module_services: Arc::clone(&self.module_services),
            volumes: Arc::clone(&self.volumes),
            decoy: self.decoy.clone(),
            pending: Arc::clone(&self.pending),
            bare_postmaster: OnceLock::new(),
        }
    }

    /// A tree from LDIF text with the default attribute map, state `Live`, generation 1. For tests and tools.
    pub fn from_ldif(text: &str) -> Result<Snapshot, Mistakes> {
        crate::ldif::snapshot(text.as_bytes(), &crate::AttributeMap::default(), &Snapshot::empty())
            .map(|loaded| loaded.snapshot)
    }

    /// Strictly larger than that of the snapshot published before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How current it is.
    pub fn state(&self) -> CopyState {
        self.state
    }

    /// The account of an entryUUID, whatever its status.
    pub fn account(&self, id: AccountUuid) -> Option<&Arc<Account>> {
        self.accounts_by_id.find(self.hash(&id.0), |account| account.id() == id)
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> usize {
        self.accounts_by_id.len()
    }

    /// What the accounts take of memory. Looks at all of them.
    pub fn memory_bytes(&self) -> MemoryBytes {
        MemoryBytes {
            records: self.accounts().map(|account| account.memory_bytes()).sum(),
            tables: self.accounts_by_id.memory_bytes()
                + self.accounts_by_dn.memory_bytes()
                + self.accounts_by_address.memory_bytes()
                + self.accounts_by_login.memory_bytes(),
        }
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts_by_id.iter()
    }

    /// All groups, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups_by_id.iter()
    }

    /// All domains, by name.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.values()
    }

    /// The node of that id.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.servers.get(name)
    }

    /// All nodes, by id.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values()
    }

    /// Where a module runs.
    pub fn module_service(&self, name: &str) -> Option<&Arc<ModuleService>> {
        self.module_services.get(name)
    }

    /// The service_map, by module.
    pub fn module_services(&self) -> impl Iterator<Item = &Arc<ModuleService>> {
        self.module_services.values()
    }

    /// The volume of that id.
    pub fn volume(&self, name: &str) -> Option<&Arc<Volume>> {
        self.volumes.get(name)
    }

    /// All volumes, by id.
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.values()
    }

    /// The UUIDs of all records, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = AccountUuid> {
        let accounts = self.accounts().map(|account| account.id());
        let groups = self.groups().map(|group| group.id());
        let domains = self.domains().map(|domain| domain.id());
        let servers = self.servers().map(|server| server.id());
        let services = self.module_services().map(|service| service.id());
        let volumes = self.volumes().map(|volume| volume.id());
        accounts
            .chain(groups)
            .chain(domains)
            .chain(servers)
            .chain(services)
            .chain(volumes)
    }

    /// What to check a password against when nobody has that name: as dear as most accounts' secrets.
    pub fn decoy(&self) -> Decoy {
        self.decoy.clone()
    }

    /// What changed from `old` to `self`. Costs time by what changed where one was made from the other, else by the
    /// number of accounts.
    pub fn difference(&self, old: &Snapshot) -> Difference {
        let changed = self
            .accounts_by_id
            .iter_unshared(&old.accounts_by_id)
            .filter(|account| {
                !old.account(account.id())
                    .is_some_and(|before| Arc::ptr_eq(account, before))
            });
        let removed = old
            .accounts_by_id
            .iter_unshared(&self.accounts_by_id)
            .filter(|before| self.account(before.id()).is_none());
        Difference {
            changed: changed.cloned().collect(),
            removed: removed.cloned().collect(),
        }
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        self.key.hash(bytes)
    }

    /// The group of an entryUUID.
    fn group(&self, id: AccountUuid) -> Option<&Arc<Group>> {
        self.groups_by_id.find(self.hash(&id.0), |group| group.id() == id)
    }

    /// The account with this folded login name (`uid`).
    fn account_by_login(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts_by_login.find(self.hash(name.as_bytes()), |account| {
            account.login_names().any(|found| found == name)
        })
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("state", &self.state)
            .field("accounts", &self.accounts_by_id.len())
            .field("groups", &self.groups_by_id.len())
            .field("domains", &self.domains.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
