//! Replacing records of the snapshot before: out, in, and back if the new one is not taken.

use super::changes::Said;
use super::{Draft, MANY_CHANGES, canonical};
use crate::record::{Account, AccountUuid, Domain, Group, ModuleService, Server, Volume};
use crate::schema::Purpose;
use foldhash::quality::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Records that were in force and may have to come back.
pub(super) struct Old {
    accounts: Vec<Arc<Account>>,
    groups: Vec<Arc<Group>>,
    domains: Vec<Arc<Domain>>,
    servers: Vec<Arc<Server>>,
    module_services: Vec<Arc<ModuleService>>,
    volumes: Vec<Arc<Volume>>,
}

/// Which record of the input an entry has now, if it has one.
fn ordinal_of(said: &Said, id: AccountUuid) -> Option<usize> {
    said.get(&id).copied().flatten().map(|ordinal| ordinal as usize)
}

impl Draft<'_> {
    /// Takes the records of these UUIDs out. For `many`, accounts stay in the tables, which are made anew, of those that
    /// are given as kept.
    pub(super) fn take_out(&mut self, said: &Said, many: bool) -> (Old, Option<Vec<Arc<Account>>>) {
        let ids = || said.keys();
        let accounts: Vec<_> = ids().filter_map(|id| self.snapshot.account(*id).cloned()).collect();
        let groups: Vec<_> = ids().filter_map(|id| self.snapshot.group(*id).cloned()).collect();
        let domains: Vec<_> = self
            .snapshot
            .domains
            .values()
            .filter(|domain| said.contains_key(&domain.id()))
            .cloned()
            .collect();
        let kept = many.then(|| {
            let others = self.snapshot.accounts();
            others
                .filter(|account| !said.contains_key(&account.id()))
                .cloned()
                .collect()
        });
        if !many {
            accounts.iter().for_each(|account| self.remove_account(account));
        }
        groups.iter().for_each(|group| self.remove_group(group));
        domains.iter().for_each(|domain| self.take_domain_out(domain));
        // They are few.
        fn taken_from<T>(map: &mut Arc<BTreeMap<String, Arc<T>>>, is_gone: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
            let gone: Vec<_> = map.values().filter(|record| is_gone(record)).cloned().collect();
            if !gone.is_empty() {
                Arc::make_mut(map).retain(|_, record| !is_gone(record));
            }
            gone
        }
        let servers = taken_from(&mut self.snapshot.servers, |server| said.contains_key(&server.id()));
        let module_services = taken_from(&mut self.snapshot.module_services, |service| {
            said.contains_key(&service.id())
        });
        let volumes = taken_from(&mut self.snapshot.volumes, |volume| said.contains_key(&volume.id()));
        let old = Old {
            accounts,
            groups,
            domains,
            servers,
            module_services,
            volumes,
        };
        (old, kept)
    }

    /// Brings domains, nodes, modules and volumes back that were to be replaced by a record that was not taken. True if a
    /// domain is among it.
    pub(super) fn put_components_back(&mut self, old: &Old, said: &Said) -> bool {
        let mut domains_came_back = false;
        // Another one may be evicted, whose own last good record comes back then.
        loop {
            let mut evicted = false;
            for domain in &old.domains {
                if ordinal_of(said, domain.id()).is_none() || self.ids.contains_key(&domain.id()) {
                    continue;
                }
                if let Some(other) = self.snapshot.domains.get(domain.name()).cloned() {
                    if other.id() == domain.id() {
                        continue;
                    }
                    self.take_domain_out(&other);
                    self.evict(
                        other.id(),
                        other.dn(),
                        domain.dn(),
                        Purpose::DomainName,
                        domain.name(),
                        said,
                    );
                    evicted = true;
                }
                self.insert_domain(Arc::clone(domain));
                domains_came_back = true;
            }
            macro_rules! put_back {
                ($map:ident) => {
                    for record in &old.$map {
                        if ordinal_of(said, record.id()).is_none() || self.ids.contains_key(&record.id()) {
                            continue;
                        }
                        let before = self.snapshot.$map.get(record.name()).cloned();
                        if let Some(other) = before {
                            if other.id() == record.id() {
                                continue;
                            }
                            let (purpose, name) = (Purpose::ComponentName, record.name());
                            self.evict(other.id(), other.dn(), record.dn(), purpose, name, said);
                            evicted = true;
                        }
                        Arc::make_mut(&mut self.snapshot.$map).insert(record.name().to_owned(), Arc::clone(record));
                    }
                };
            }
            put_back!(servers);
            put_back!(module_services);
            put_back!(volumes);
            if !evicted {
                return domains_came_back;
            }
        }
    }

    /// Brings accounts and groups back that were to be replaced by a record that was not taken. They were in force
    /// together, so nothing but new records can stand in their way, and those are not taken then.
    pub(super) fn put_back(&mut self, old: Old, said: &Said) {
        loop {
            let mut evicted = false;
            for account in &old.accounts {
                let Some(ordinal) = ordinal_of(said, account.id()) else {
                    continue;
                };
                if self.has(account.id()) {
                    continue;
                }
                let addresses = account.addresses().map(|name| (Purpose::Address, name));
                let logins = account.login_names().map(|name| (Purpose::LoginName, name));
                evicted |= self.make_way(account.dn(), addresses.chain(logins), said);
                // What it names may be gone since it was taken; it stays in force all the same.
                let mut account = Arc::clone(account);
                self.place(ordinal, &mut account);
                self.insert_account(&account);
            }
            for group in &old.groups {
                if ordinal_of(said, group.id()).is_none() || self.has(group.id()) {
                    continue;
                }
                let addresses = group.addresses().map(|name| (Purpose::Address, name));
                evicted |= self.make_way(group.dn(), addresses, said);
                self.insert_group(group);
            }
            if !evicted {
                return;
            }
        }
    }

    /// Takes new records out that have the DN or a name of one that comes back. True if there were any.
    fn make_way<'n>(&mut self, dn: &str, names: impl Iterator<Item = (Purpose, &'n str)>, said: &Said) -> bool {
        let mut evicted = false;
        let canonical_dn = canonical(dn);
        while let Some(account) = self.snapshot.account_by_dn(&canonical_dn).cloned() {
            self.evict_account(&account, dn, Purpose::Uuid, &canonical_dn, said);
            evicted = true;
        }
        while let Some(group) = self.snapshot.group_by_dn(&canonical_dn).cloned() {
            self.evict_group(&group, dn, Purpose::Uuid, &canonical_dn, said);
            evicted = true;
        }
        for (purpose, name) in names {
            while let Some(account) = self.account_named(name).cloned() {
                self.evict_account(&account, dn, purpose, name, said);
                evicted = true;
            }
            while let Some(group) = self.group_with(name).cloned() {
                self.evict_group(&group, dn, purpose, name, said);
                evicted = true;
            }
        }
        evicted
    }

    fn evict_account(&mut self, account: &Account, owner: &str, purpose: Purpose, name: &str, said: &Said) {
        self.remove_account(account);
        self.evict(account.id(), account.dn(), owner, purpose, name, said);
    }

    fn evict_group(&mut self, group: &Group, owner: &str, purpose: Purpose, name: &str, said: &Said) {
        self.remove_group(group);
        self.evict(group.id(), group.dn(), owner, purpose, name, said);
    }

    /// Says of a record that was taken out that it is not taken.
    fn evict(&mut self, id: AccountUuid, dn: &str, owner: &str, purpose: Purpose, name: &str, said: &Said) {
        self.ids.remove(&id);
        if let Some(ordinal) = ordinal_of(said, id) {
            let message = format!("{name} belongs to {owner} still, whose own change was not taken");
            self.problem(ordinal, dn, Some(purpose), name, message);
        }
    }

    /// By an address or a login name.
    fn account_named(&self, name: &str) -> Option<&Arc<Account>> {
        let hash = self.snapshot.hash(name.as_bytes());
        let by_address = &self.snapshot.accounts_by_address;
        by_address
            .find(hash, |account| account.has_address(name.as_bytes()))
            .or_else(|| self.snapshot.account_by_login(name))
    }

    fn group_with(&self, address: &str) -> Option<&Arc<Group>> {
        let hash = self.snapshot.hash(address.as_bytes());
        let by_address = &self.snapshot.groups_by_address;
        by_address.find(hash, |group| group.has_address(address.as_bytes()))
    }

    fn take_domain_out(&mut self, domain: &Domain) {
        let hash = self.snapshot.hash(domain.name().as_bytes());
        self.snapshot
            .domains_by_name
            .remove(hash, |found| found.name() == domain.name());
        Arc::make_mut(&mut self.snapshot.domains).remove(domain.name());
    }

    pub(super) fn has(&self, id: AccountUuid) -> bool {
        self.snapshot.account(id).is_some() || self.snapshot.group(id).is_some()
    }

    /// Gives accounts whose domain's record is another one now a record with that.
    pub(super) fn relink(&mut self) {
        if Arc::ptr_eq(&self.snapshot.domains, &self.previous.domains) {
            return;
        }
        let moved: Vec<(Arc<Account>, Option<Arc<Domain>>)> = self
            .snapshot
            .accounts_by_id
            .iter()
            .filter_map(|account| {
                let domain = self.domain_of(account);
                let same = match (account.domain(), domain) {
                    (Some(one), Some(another)) => Arc::ptr_eq(one, another),
                    (None, None) => true,
                    _ => false,
                };
                (!same).then(|| (Arc::clone(account), domain.cloned()))
            })
            .collect();
        let generation = self.snapshot.generation;
        let in_domain = |account: &Account, domain| Arc::new(account.in_domain(generation, domain));
        if moved.len() < MANY_CHANGES {
            for (account, domain) in moved {
                self.remove_account(&account);
                self.insert_account(&in_domain(&account, domain));
            }
            return;
        }
        let mut all: HashMap<AccountUuid, Arc<Account>, RandomState> = HashMap::default();
        all.extend(
            self.snapshot
                .accounts()
                .map(|account| (account.id(), Arc::clone(account))),
        );
        all.extend(
            moved
                .iter()
                .map(|(account, domain)| (account.id(), in_domain(account, domain.clone()))),
        );
        self.replace_many(all.into_values());
    }
}
