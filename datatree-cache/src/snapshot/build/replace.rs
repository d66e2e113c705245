//! Replacing records of the snapshot before: out, in, and back if the new one is not taken.

use super::Draft;
use crate::record::{Account, AccountUuid, Domain, Group};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Records that were in force and may have to come back.
pub(super) struct Old {
    accounts: Vec<Arc<Account>>,
    groups: Vec<Arc<Group>>,
    domains: Vec<Arc<Domain>>,
}

impl Draft<'_> {
    /// Takes the records of these UUIDs out.
    pub(super) fn take_out(&mut self, ids: &HashSet<AccountUuid>) -> Old {
        let accounts: Vec<_> = ids
            .iter()
            .filter_map(|id| self.snapshot.account(*id).cloned())
            .collect();
        let groups: Vec<_> = ids.iter().filter_map(|id| self.snapshot.group(*id).cloned()).collect();
        let domains: Vec<_> = self
            .snapshot
            .domains
            .values()
            .filter(|domain| ids.contains(&domain.id()))
            .cloned()
            .collect();
        accounts.iter().for_each(|account| self.remove_account(account));
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
        drop_from(&mut self.snapshot.servers, |server| ids.contains(&server.id()));
        drop_from(&mut self.snapshot.module_services, |service| {
            ids.contains(&service.id())
        });
        drop_from(&mut self.snapshot.volumes, |volume| ids.contains(&volume.id()));
        Old {
            accounts,
            groups,
            domains,
        }
    }

    /// Brings back what was to be replaced by a record that was not taken.
    pub(super) fn put_back(&mut self, old: Old, new: &HashMap<AccountUuid, usize>) {
        for domain in old.domains {
            let wanted = new.contains_key(&domain.id()) && !self.ids.contains_key(&domain.id());
            if wanted && !self.snapshot.domains.contains_key(domain.name()) {
                self.insert_domain(domain);
            }
        }
        for account in old.accounts {
            if let Some(ordinal) = new.get(&account.id())
                && !self.has(account.id())
            {
                let domain = account.domain().cloned();
                self.put_account(*ordinal, account.in_domain(account.generation(), domain));
            }
        }
        for group in old.groups {
            if let Some(ordinal) = new.get(&group.id())
                && !self.has(group.id())
            {
                self.ids.remove(&group.id());
                self.put_group(*ordinal, Group::clone(&group));
            }
        }
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
        for (account, domain) in moved {
            self.remove_account(&account);
            self.insert_account(&Arc::new(account.in_domain(self.snapshot.generation, domain)));
        }
    }
}
