//! Replacing records of the snapshot before: out, in, and back if the new one is not taken.

use super::changes::Said;
use super::{Draft, MANY_CHANGES};
use crate::record::{Account, AccountUuid, Domain, Group};
use foldhash::quality::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Records that were in force and may have to come back.
pub(super) struct Old {
    accounts: Vec<Arc<Account>>,
    groups: Vec<Arc<Group>>,
    domains: Vec<Arc<Domain>>,
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
        for domain in &domains {
            let hash = self.snapshot.hash(domain.name().as_bytes());
            self.snapshot
                .domains_by_name
                .remove(hash, |found| found.name() == domain.name());
            Arc::make_mut(&mut self.snapshot.domains).remove(domain.name());
        }
        fn drop_from<T>(map: &mut Arc<BTreeMap<String, Arc<T>>>, is_gone: impl Fn(&T) -> bool) {
            if map.values().any(|record| is_gone(record)) {
                Arc::make_mut(map).retain(|_, record| !is_gone(record));
            }
        }
        drop_from(&mut self.snapshot.servers, |server| said.contains_key(&server.id()));
        drop_from(&mut self.snapshot.module_services, |service| {
            said.contains_key(&service.id())
        });
        drop_from(&mut self.snapshot.volumes, |volume| said.contains_key(&volume.id()));
        let old = Old {
            accounts,
            groups,
            domains,
        };
        (old, kept)
    }

    /// Brings back what was to be replaced by a record that was not taken. True if a domain is among it.
    pub(super) fn put_back(&mut self, old: Old, said: &Said) -> bool {
        let replaced = |id| said.get(&id).copied().flatten().map(|ordinal| ordinal as usize);
        let mut domains_came_back = false;
        for domain in old.domains {
            let wanted = replaced(domain.id()).is_some() && !self.ids.contains_key(&domain.id());
            if wanted && !self.snapshot.domains.contains_key(domain.name()) {
                self.insert_domain(domain);
                domains_came_back = true;
            }
        }
        for account in old.accounts {
            if let Some(ordinal) = replaced(account.id())
                && !self.has(account.id())
            {
                self.put_account(ordinal, account);
            }
        }
        for group in old.groups {
            if let Some(ordinal) = replaced(group.id())
                && !self.has(group.id())
            {
                self.ids.remove(&group.id());
                self.put_group(ordinal, Group::clone(&group));
            }
        }
        domains_came_back
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
