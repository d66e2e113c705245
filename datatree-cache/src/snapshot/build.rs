//! Making snapshots: whole from all records of a source, or from the one before and what changed.
//!
//! A record that would break an invariant (a second owner of an address, an unknown node) is not put in; it is
//! reported, and the caller decides: the LDIF file is then refused as a whole, a directory keeps the record's last
//! good version.

mod check;
mod replace;

use super::table::Table;
use super::{CopyState, Snapshot};
use crate::dn::canonical_dn;
use crate::entry::Entry;
use crate::mistake::{Mistake, Mistakes};
use crate::password::{Decoy, cost_class};
use crate::record::{Account, AccountUuid, Domain, Group};
use crate::schema::convert::{self, Record};
use crate::schema::{AttributeMap, Purpose};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// From so many changed records on the tables are made anew in their best size, if it is much of them, too.
const MANY_CHANGES: usize = 1000;

/// How many accounts are looked at to find the commonest kind of secret.
const DECOY_SAMPLE: usize = 1000;

/// What is wrong with a record in the company of the others.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Which record of the input it is about.
    pub(crate) ordinal: usize,
    pub(crate) dn: String,
    /// About which of its values; `None` is the DN.
    pub(crate) purpose: Option<Purpose>,
    /// The value in canonical form, by which the source can find its place.
    pub(crate) value: String,
    pub(crate) message: String,
    /// The record was put in all the same.
    pub(crate) harmless: bool,
}

impl Problem {
    fn into_mistake(self, map: &AttributeMap) -> Mistake {
        let attribute = self
            .purpose
            .and_then(|purpose| map.attributes(purpose).first().cloned());
        Mistake {
            position: None,
            dn: Some(self.dn),
            attribute,
            message: self.message,
        }
    }
}

/// A snapshot made by [`Snapshot::with_changes`].
pub struct Changed {
    /// The next generation.
    pub snapshot: Snapshot,
    /// Records that were not taken; the last good version of each is still in force.
    pub mistakes: Mistakes,
    /// What does no harm.
    pub warnings: Mistakes,
    /// Which of the entries that were put were not taken.
    pub refused: HashSet<AccountUuid>,
}

/// Entries that changed, already as records: what a directory sends in minutes takes the memory of the copy, not of the
/// text. Of what is said of one UUID the last counts.
#[derive(Default)]
pub struct Changes {
    records: Vec<Option<Record>>,
    latest: HashMap<AccountUuid, usize>,
    gone: HashSet<AccountUuid>,
    mistakes: Mistakes,
    warnings: Mistakes,
    refused: HashSet<AccountUuid>,
}

impl Changes {
    /// None yet.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// An entry is so now.
    pub fn put(&mut self, entry: &Entry<'_>, map: &AttributeMap) {
        let mut own = Mistakes::default();
        let record = convert::record(entry, map, &mut own, &mut self.warnings);
        let id = convert::identity(entry, map);
        if let Some(id) = id {
            self.forget(id);
        }
        if !own.is_empty() {
            self.mistakes.extend(own);
            self.refused.extend(id);
            return;
        }
        self.gone.extend(id);
        if let Some(record) = record {
            self.latest.insert(record.id(), self.records.len());
            self.records.push(Some(record));
        }
    }

    /// An entry is gone.
    pub fn remove(&mut self, id: AccountUuid) {
        self.forget(id);
        self.gone.insert(id);
    }

    /// Whether nothing was put or removed.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.gone.is_empty() && self.refused.is_empty()
    }

    fn forget(&mut self, id: AccountUuid) {
        self.refused.remove(&id);
        if let Some(ordinal) = self.latest.remove(&id) {
            self.records[ordinal] = None;
        }
    }
}

/// The snapshot of all records of a source, state `Live`, in the generation after `previous`.
pub(crate) fn whole(records: Vec<Record>, previous: &Snapshot) -> (Snapshot, Vec<Problem>) {
    let mut snapshot = Snapshot::sized(previous.generation + 1, previous.key.clone(), records.len());
    snapshot.state = CopyState::Live;
    let mut draft = Draft {
        snapshot,
        previous,
        problems: Vec::new(),
        ids: HashMap::new(),
    };
    draft.put_all(records.into_iter().enumerate());
    draft.check_references();
    draft.snapshot.compact();
    draft.snapshot.choose_decoy();
    (draft.snapshot, draft.problems)
}

impl Snapshot {
    /// The next generation, with some entries changed or added and some removed, in state `state`. An entry that the
    /// schema does not take any longer counts as removed. Costs time by what changed; a changed domain costs time by
    /// the number of accounts.
    pub fn with_changes(
        &self,
        changed: &[Entry<'_>],
        removed: &[AccountUuid],
        map: &AttributeMap,
        state: CopyState,
    ) -> Changed {
        let mut changes = Changes::new();
        changed.iter().for_each(|entry| {
            changes.put(entry, map);
        });
        removed.iter().for_each(|id| changes.remove(*id));
        self.changed_by(changes, map, state)
    }

    /// The same with changes that were gathered one by one.
    pub fn changed_by(&self, changes: Changes, map: &AttributeMap, state: CopyState) -> Changed {
        let Changes {
            records,
            latest: new,
            gone,
            mut mistakes,
            mut warnings,
            mut refused,
        } = changes;
        let many = new.len() >= MANY_CHANGES.max(self.account_count() / 8);
        let mut draft = Draft {
            snapshot: self.successor(),
            previous: self,
            problems: Vec::new(),
            ids: HashMap::new(),
        };
        draft.snapshot.state = state;
        if many {
            draft.make_room(new.len());
        }
        let old = draft.take_out(&gone);
        let records = records.into_iter().enumerate();
        draft.put_all(records.filter_map(|(ordinal, record)| Some((ordinal, record?))));
        draft.put_back(old, &new);
        draft.relink();
        // The records are in by now, and what they name may come with the next change.
        let taken = draft.problems.len();
        draft.check_references();
        draft.problems[taken..]
            .iter_mut()
            .for_each(|problem| problem.harmless = true);
        let Draft {
            mut snapshot, problems, ..
        } = draft;
        if many {
            snapshot.compact();
            snapshot.choose_decoy();
        }
        let wrong: HashSet<usize> = problems
            .iter()
            .filter(|problem| !problem.harmless)
            .map(|problem| problem.ordinal)
            .collect();
        if !wrong.is_empty() {
            let ids = new.iter().filter(|(_, ordinal)| wrong.contains(ordinal));
            refused.extend(ids.map(|(id, _)| *id));
        }
        for problem in problems {
            if problem.harmless { &mut warnings } else { &mut mistakes }.push(problem.into_mistake(map));
        }
        Changed {
            snapshot,
            mistakes,
            warnings,
            refused,
        }
    }

    fn compact(&mut self) {
        self.accounts_by_id.compact();
        self.accounts_by_dn.compact();
        self.accounts_by_address.compact();
        self.accounts_by_login.compact();
        self.groups_by_id.compact();
        self.groups_by_dn.compact();
        self.groups_by_address.compact();
        self.domains_by_name.compact();
    }

    /// Takes one secret of the commonest cost as the decoy.
    fn choose_decoy(&mut self) {
        let mut classes: HashMap<String, (usize, Arc<Account>)> = HashMap::new();
        for account in self.accounts_by_id.iter().take(DECOY_SAMPLE) {
            if let Some(class) = account.secrets().next().and_then(cost_class) {
                classes.entry(class).or_insert_with(|| (0, Arc::clone(account))).0 += 1;
            }
        }
        let commonest = classes.iter().max_by_key(|(class, (count, _))| (*count, *class));
        if let Some(secret) = commonest.and_then(|(_, (_, account))| account.secrets().next()) {
            self.decoy = Decoy::of(secret);
        }
    }

    /// Takes a canonical DN.
    pub(super) fn account_by_dn(&self, dn: &str) -> Option<&Arc<Account>> {
        self.accounts_by_dn
            .find(self.hash(dn.as_bytes()), |account| canonical(account.dn()) == dn)
    }

    /// Takes a canonical DN.
    pub(super) fn group_by_dn(&self, dn: &str) -> Option<&Arc<Group>> {
        self.groups_by_dn
            .find(self.hash(dn.as_bytes()), |group| canonical(group.dn()) == dn)
    }
}

/// The canonical form of a DN that was checked when its record was made.
fn canonical(dn: &str) -> String {
    canonical_dn(dn).unwrap_or_default()
}

/// A snapshot in the making.
struct Draft<'a> {
    snapshot: Snapshot,
    previous: &'a Snapshot,
    problems: Vec<Problem>,
    /// UUIDs of what was put in from the input, accounts left out, with which record it was.
    ids: HashMap<AccountUuid, usize>,
}

impl Draft<'_> {
    /// Puts records in, those first that others name.
    fn put_all(&mut self, records: impl Iterator<Item = (usize, Record)>) {
        let (mut accounts, mut groups) = (Vec::new(), Vec::new());
        for (ordinal, record) in records {
            match record {
                Record::Account(account) => accounts.push((ordinal, account)),
                Record::Group(group) => groups.push((ordinal, group)),
                Record::Domain(domain) => self.put_domain(ordinal, *domain),
                other => self.put_component(ordinal, other),
            }
        }
        accounts
            .into_iter()
            .for_each(|(ordinal, account)| self.put_account(ordinal, account));
        groups
            .into_iter()
            .for_each(|(ordinal, group)| self.put_group(ordinal, *group));
    }

    fn put_account(&mut self, ordinal: usize, mut account: Account) {
        let dn = account.dn().to_owned();
        let mut good = self.check_dn(ordinal, &dn) && self.check_id(ordinal, account.id(), &dn);
        good &= self.check_addresses(ordinal, &dn, account.addresses());
        for name in account.login_names() {
            let by_address = || {
                let hash = self.snapshot.hash(name.as_bytes());
                let owner = self
                    .snapshot
                    .accounts_by_address
                    .find(hash, |other| other.has_address(name.as_bytes()));
                owner.filter(|_| !account.has_address(name.as_bytes()))
            };
            if let Some(other) = self.snapshot.account_by_login(name).or_else(by_address) {
                let message = format!(
                    "expected a login name of its own, but {name} belongs to {} too",
                    other.dn()
                );
                self.problem(ordinal, &dn, Some(Purpose::LoginName), name, message);
                good = false;
            }
        }
        let named = [
            (Purpose::Node, account.own_node()),
            (Purpose::Volume, account.own_volume()),
        ];
        good &= self.check_components(ordinal, &dn, named);
        if !good {
            return;
        }
        for address in account.addresses() {
            let domain = crate::address::split_canonical(address).1;
            if !self.snapshot.domains.contains_key(domain) {
                let message = format!("mail for {address} is not accepted: {domain} is no domain of this tree");
                self.warning(ordinal, &dn, Some(Purpose::Address), address, message);
            }
        }
        let domain = self.domain_of(&account).cloned();
        account.place(self.snapshot.generation, domain);
        let account = match self.previous.account(account.id()) {
            Some(before) if before.same_content(&account) => Arc::clone(before),
            _ => Arc::new(account),
        };
        self.insert_account(&account);
    }

    /// The domain whose defaults hold for an account: that of its first address in a domain of this tree, or the one
    /// behind it if that is an alias.
    fn domain_of(&self, account: &Account) -> Option<&Arc<Domain>> {
        let domains = &self.snapshot.domains;
        let first = account
            .addresses()
            .find_map(|address| domains.get(crate::address::split_canonical(address).1))?;
        Some(first.alias_of().and_then(|name| domains.get(name)).unwrap_or(first))
    }

    fn insert_account(&mut self, account: &Arc<Account>) {
        let snapshot = &mut self.snapshot;
        let key = snapshot.key.clone();
        let add = |table: &mut Table<Account>, bytes: &[u8]| table.insert(key.hash(bytes), Arc::clone(account));
        add(&mut snapshot.accounts_by_id, &account.id().0);
        add(&mut snapshot.accounts_by_dn, canonical(account.dn()).as_bytes());
        account
            .addresses()
            .for_each(|address| add(&mut snapshot.accounts_by_address, address.as_bytes()));
        account
            .login_names()
            .for_each(|name| add(&mut snapshot.accounts_by_login, name.as_bytes()));
    }

    /// Makes the tables of accounts anew, for so many more: tables that grow far beyond what they were made for have
    /// shards that are dear to copy.
    fn make_room(&mut self, more: usize) {
        let expected = self.previous.account_count().saturating_add(more);
        let sized = Snapshot::sized(0, self.snapshot.key.clone(), expected);
        self.snapshot.accounts_by_id = sized.accounts_by_id;
        self.snapshot.accounts_by_dn = sized.accounts_by_dn;
        self.snapshot.accounts_by_address = sized.accounts_by_address;
        self.snapshot.accounts_by_login = sized.accounts_by_login;
        let previous = self.previous;
        previous.accounts().for_each(|account| self.insert_account(account));
    }

    fn remove_account(&mut self, account: &Account) {
        let snapshot = &mut self.snapshot;
        let key = snapshot.key.clone();
        let id = account.id();
        let take = |table: &mut Table<Account>, bytes: &[u8]| table.remove(key.hash(bytes), |found| found.id() == id);
        take(&mut snapshot.accounts_by_id, &id.0);
        take(&mut snapshot.accounts_by_dn, canonical(account.dn()).as_bytes());
        account
            .addresses()
            .for_each(|address| drop(take(&mut snapshot.accounts_by_address, address.as_bytes())));
        account
            .login_names()
            .for_each(|name| drop(take(&mut snapshot.accounts_by_login, name.as_bytes())));
    }

    fn put_group(&mut self, ordinal: usize, mut group: Group) {
        let dn = group.dn.clone();
        let mut good = self.check_dn(ordinal, &dn) && self.take_id(ordinal, group.id(), &dn);
        good &= self.check_addresses(ordinal, &dn, group.addresses());
        if !good {
            return;
        }
        let group = match self.previous.group(group.id()) {
            Some(before) if before.same_content(&mut group) => Arc::clone(before),
            _ => Arc::new(Group {
                generation: self.snapshot.generation,
                ..group
            }),
        };
        self.insert_group(&group);
    }

    fn insert_group(&mut self, group: &Arc<Group>) {
        let snapshot = &mut self.snapshot;
        let key = snapshot.key.clone();
        let add = |table: &mut Table<Group>, bytes: &[u8]| table.insert(key.hash(bytes), Arc::clone(group));
        add(&mut snapshot.groups_by_id, &group.id().0);
        add(&mut snapshot.groups_by_dn, canonical(group.dn()).as_bytes());
        group
            .addresses()
            .for_each(|address| add(&mut snapshot.groups_by_address, address.as_bytes()));
    }

    fn remove_group(&mut self, group: &Group) {
        let snapshot = &mut self.snapshot;
        let key = snapshot.key.clone();
        let id = group.id();
        let take = |table: &mut Table<Group>, bytes: &[u8]| table.remove(key.hash(bytes), |found| found.id() == id);
        take(&mut snapshot.groups_by_id, &id.0);
        take(&mut snapshot.groups_by_dn, canonical(group.dn()).as_bytes());
        group
            .addresses()
            .for_each(|address| drop(take(&mut snapshot.groups_by_address, address.as_bytes())));
    }

    fn put_domain(&mut self, ordinal: usize, mut domain: Domain) {
        let (dn, name) = (domain.dn.clone(), domain.name.clone());
        if let Some(other) = self.snapshot.domains.get(&name) {
            let message = format!("expected a domain of its own, but {name} is that of {} too", other.dn());
            self.problem(ordinal, &dn, Some(Purpose::DomainName), &name, message);
            return;
        }
        if !self.take_id(ordinal, domain.id(), &dn) {
            return;
        }
        let domain = match self.previous.domains.get(&name) {
            Some(before) if before.same_content(&mut domain) => Arc::clone(before),
            _ => Arc::new(Domain {
                generation: self.snapshot.generation,
                ..domain
            }),
        };
        self.insert_domain(domain);
    }

    fn insert_domain(&mut self, domain: Arc<Domain>) {
        let hash = self.snapshot.hash(domain.name().as_bytes());
        self.snapshot.domains_by_name.insert(hash, Arc::clone(&domain));
        Arc::make_mut(&mut self.snapshot.domains).insert(domain.name().to_owned(), domain);
    }

    /// Servers, modules and volumes.
    fn put_component(&mut self, ordinal: usize, record: Record) {
        let generation = self.snapshot.generation;
        macro_rules! put {
            ($record:ident, $map:ident) => {{
                let (dn, name) = ($record.dn.clone(), $record.name.clone());
                if let Some(other) = self.snapshot.$map.get(&name) {
                    let message = format!(
                        "expected an id of its own, but {name} is that of {} too",
                        other.dn()
                    );
                    self.problem(ordinal, &dn, Some(Purpose::ComponentName), &name, message);
                } else if self.take_id(ordinal, $record.id, &dn) {
                    let mut new = *$record;
                    let before = self.previous.$map.get(&name);
                    new.generation = before.map_or(generation, |before| before.generation);
                    let kept = match before {
                        Some(before) if **before == new => Arc::clone(before),
                        _ => {
                            new.generation = generation;
                            Arc::new(new)
                        }
                    };
                    Arc::make_mut(&mut self.snapshot.$map).insert(name, kept);
                }
            }};
        }
        match record {
            Record::Server(server) => put!(server, servers),
            Record::ModuleService(service) => put!(service, module_services),
            Record::Volume(volume) => put!(volume, volumes),
            Record::Account(_) | Record::Group(_) | Record::Domain(_) => unreachable!("put by their own functions"),
        }
    }
}
