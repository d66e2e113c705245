//! Putting the records in that are few: domains, groups, nodes, modules and volumes.

use super::{Draft, canonical};
use crate::record::{Domain, Group};
use crate::schema::Purpose;
use crate::schema::convert::Record;
use crate::snapshot::table::Table;
use std::sync::Arc;

impl Draft<'_> {
    pub(super) fn put_group(&mut self, ordinal: usize, mut group: Group) {
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

    pub(super) fn insert_group(&mut self, group: &Arc<Group>) {
        let snapshot = &mut self.snapshot;
        let key = snapshot.key.clone();
        let add = |table: &mut Table<Group>, bytes: &[u8]| table.insert(key.hash(bytes), Arc::clone(group));
        add(&mut snapshot.groups_by_id, &group.id().0);
        add(&mut snapshot.groups_by_dn, canonical(group.dn()).as_bytes());
        group
            .addresses()
            .for_each(|address| add(&mut snapshot.groups_by_address, address.as_bytes()));
    }

    /// Makes the tables of groups anew once they are crowded.
    pub(super) fn make_room_for_groups(&mut self) {
        let snapshot = &mut self.snapshot;
        if !snapshot.groups_by_id.is_crowded() && !snapshot.groups_by_address.is_crowded() {
            return;
        }
        let groups: Vec<_> = snapshot.groups().cloned().collect();
        let addresses = groups.iter().map(|group| group.addresses().count()).sum();
        snapshot.groups_by_id = Table::for_entries(groups.len());
        snapshot.groups_by_dn = Table::for_entries(groups.len());
        snapshot.groups_by_address = Table::for_entries(addresses);
        groups.iter().for_each(|group| self.insert_group(group));
    }

    pub(super) fn remove_group(&mut self, group: &Group) {
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

    pub(super) fn put_domain(&mut self, ordinal: usize, mut domain: Domain) {
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

    pub(super) fn insert_domain(&mut self, domain: Arc<Domain>) {
        let hash = self.snapshot.hash(domain.name().as_bytes());
        self.snapshot.domains_by_name.insert(hash, Arc::clone(&domain));
        Arc::make_mut(&mut self.snapshot.domains).insert(domain.name().to_owned(), domain);
    }

    /// Servers, modules and volumes.
    pub(super) fn put_component(&mut self, ordinal: usize, record: Record) {
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
