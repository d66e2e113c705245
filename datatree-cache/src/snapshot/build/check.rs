//! What must hold between records: owners are single, and what is named is there.

use super::{Draft, Problem, canonical};
use crate::address::split_canonical;
use crate::record::{AccountUuid, Domain, Group};
use crate::schema::Purpose;
use crate::snapshot::Recipient;
use std::sync::Arc;

impl Draft<'_> {
    pub(super) fn problem(&mut self, ordinal: usize, dn: &str, purpose: Option<Purpose>, value: &str, message: String) {
        let (dn, value) = (dn.to_owned(), value.to_owned());
        self.problems.push(Problem {
            ordinal,
            dn,
            purpose,
            value,
            message,
            harmless: false,
        });
    }

    pub(super) fn warning(&mut self, ordinal: usize, dn: &str, purpose: Option<Purpose>, value: &str, message: String) {
        let (dn, value) = (dn.to_owned(), value.to_owned());
        self.problems.push(Problem {
            ordinal,
            dn,
            purpose,
            value,
            message,
            harmless: true,
        });
    }

    /// Reserves a UUID, or reports that another entry has it.
    pub(super) fn take_id(&mut self, ordinal: usize, id: AccountUuid, dn: &str) -> bool {
        let free = self.check_id(ordinal, id, dn);
        if free {
            self.ids.insert(id, ordinal);
        }
        free
    }

    pub(super) fn check_id(&mut self, ordinal: usize, id: AccountUuid, dn: &str) -> bool {
        let snapshot = &self.snapshot;
        let other = snapshot
            .account(id)
            .map(|account| account.dn().to_owned())
            .or_else(|| snapshot.group(id).map(|group| group.dn().to_owned()))
            .or_else(|| self.ids.contains_key(&id).then(|| "another entry".to_owned()));
        match other {
            Some(other) if canonical(&other) == canonical(dn) => {
                self.problem(ordinal, dn, None, "", "a second entry with this DN".into());
                false
            }
            Some(other) => {
                let message = format!("expected a UUID of its own, but {other} has {id} too");
                self.problem(ordinal, dn, Some(Purpose::Uuid), &id.to_string(), message);
                false
            }
            None => true,
        }
    }

    /// Whether a DN is free among accounts and groups, which can be members.
    pub(super) fn check_dn(&mut self, ordinal: usize, dn: &str) -> bool {
        let name = canonical(dn);
        let free = self.snapshot.account_by_dn(&name).is_none() && self.snapshot.group_by_dn(&name).is_none();
        if !free {
            self.problem(ordinal, dn, None, "", "a second entry with this DN".into());
        }
        free
    }

    /// Whether addresses are free.
    pub(super) fn check_addresses<'s>(
        &mut self,
        ordinal: usize,
        dn: &str,
        addresses: impl Iterator<Item = &'s str>,
    ) -> bool {
        let mut free = true;
        for address in addresses {
            let hash = self.snapshot.hash(address.as_bytes());
            let account = self
                .snapshot
                .accounts_by_address
                .find(hash, |account| account.has_address(address.as_bytes()))
                .or_else(|| self.snapshot.account_by_login(address))
                .map(|account| account.dn());
            let group = self
                .snapshot
                .groups_by_address
                .find(hash, |group| group.has_address(address.as_bytes()));
            if let Some(owner) = account.or(group.map(|group| group.dn())) {
                let message = format!("expected an address of its own, but {address} belongs to {owner} too");
                self.problem(ordinal, dn, Some(Purpose::Address), address, message);
                free = false;
            }
        }
        free
    }

    /// Whether the nodes and volumes that a record names are there. Where the tree describes none, any will do.
    pub(super) fn check_components(&mut self, ordinal: usize, dn: &str, named: [(Purpose, Option<&str>); 2]) -> bool {
        let mut known = true;
        for (purpose, name) in named {
            let Some(name) = name else { continue };
            let (what, described, found) = match purpose {
                Purpose::Node | Purpose::DefaultNode => (
                    "node",
                    !self.snapshot.servers.is_empty(),
                    self.snapshot.servers.contains_key(name),
                ),
                _ => (
                    "volume",
                    !self.snapshot.volumes.is_empty(),
                    self.snapshot.volumes.contains_key(name),
                ),
            };
            if described && !found {
                let message = format!("expected the id of a {what} of this tree, found {name:?}");
                self.problem(ordinal, dn, Some(purpose), name, message);
                known = false;
            }
        }
        known
    }

    /// What domains and groups of the input name must be there. Members that are not are only worth a warning: lists
    /// outlive the people on them.
    pub(super) fn check_references(&mut self) {
        let domains = Arc::clone(&self.snapshot.domains);
        for domain in domains.values() {
            if let Some(ordinal) = self.ids.get(&domain.id()) {
                self.check_domain(*ordinal, domain);
            }
        }
        let groups = self.snapshot.groups_by_id.clone();
        for group in groups.iter() {
            if let Some(ordinal) = self.ids.get(&group.id()) {
                self.check_members(*ordinal, group);
            }
        }
    }

    pub(super) fn check_domain(&mut self, ordinal: usize, domain: &Domain) {
        let dn = domain.dn();
        if let Some(target) = domain.alias_of() {
            let wrong = match self.snapshot.domains.get(target) {
                _ if target == domain.name() => Some(format!("{target} cannot be an alias of itself")),
                None => Some(format!("expected a domain of this tree, found {target}")),
                Some(other) if other.alias_of().is_some() => {
                    Some(format!("expected a domain that is no alias itself, found {target}"))
                }
                Some(_) => None,
            };
            if let Some(message) = wrong {
                self.problem(ordinal, dn, Some(Purpose::AliasOf), target, message);
            }
        }
        for (purpose, address) in [
            (Purpose::CatchAll, domain.catch_all()),
            (Purpose::Postmaster, domain.postmaster()),
        ] {
            if let Some(address) = address.filter(|address| !self.snapshot.is_owned(address)) {
                let message = format!("expected the address of an account or group of this tree, found {address}");
                self.problem(ordinal, dn, Some(purpose), address, message);
            }
        }
        let named = [
            (Purpose::DefaultNode, domain.default_node()),
            (Purpose::DefaultVolume, domain.default_volume()),
        ];
        self.check_components(ordinal, dn, named);
    }

    pub(super) fn check_members(&mut self, ordinal: usize, group: &Group) {
        for address in &group.member_addresses {
            let (local, domain) = split_canonical(address);
            if matches!(self.snapshot.recipient(local, domain), Recipient::UnknownUser) {
                let message = format!("skipped: nobody has {address}");
                self.warning(ordinal, group.dn(), Some(Purpose::MemberAddress), address, message);
            }
        }
        for dn in &group.member_dns {
            if self.snapshot.account_by_dn(dn).is_none() && self.snapshot.group_by_dn(dn).is_none() {
                let message = format!("skipped: no account or group has the DN {dn}");
                self.warning(ordinal, group.dn(), Some(Purpose::MemberDn), dn, message);
            }
        }
    }
}
