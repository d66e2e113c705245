//! Putting accounts in, one by one. [`super::many`] puts many in at once.

use super::{Draft, canonical};
use crate::address::split_canonical;
use crate::record::{Account, Domain};
use crate::schema::Purpose;
use crate::snapshot::table::Table;
use std::sync::Arc;

impl Draft<'_> {
    pub(super) fn put_account(&mut self, ordinal: usize, mut account: Arc<Account>) {
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
        good &= self.check_place(ordinal, &account);
        if good {
            self.place(ordinal, &mut account);
            self.insert_account(&account);
        }
    }

    /// Whether the node and the volume that a record names are there.
    pub(super) fn check_place(&mut self, ordinal: usize, account: &Account) -> bool {
        let named = [
            (Purpose::Node, account.own_node()),
            (Purpose::Volume, account.own_volume()),
        ];
        self.check_components(ordinal, account.dn(), named)
    }

    /// Gives a record what only the snapshot knows; one that says what is in force already becomes that.
    pub(super) fn place(&mut self, ordinal: usize, account: &mut Arc<Account>) {
        let dn = account.dn();
        for address in account.addresses() {
            let domain = split_canonical(address).1;
            if !self.snapshot.domains.contains_key(domain) {
                let message = format!("mail for {address} is not accepted: {domain} is no domain of this tree");
                self.warning(ordinal, dn, Some(Purpose::Address), address, message);
            }
        }
        let domain = self.domain_of(account).cloned();
        // One that others hold has been placed already.
        if let Some(account) = Arc::get_mut(account) {
            account.place(self.snapshot.generation, domain);
        }
        if let Some(before) = self.previous.account(account.id())
            && before.same_content(account)
        {
            *account = Arc::clone(before);
        }
    }

    /// The domain whose defaults hold for an account: that of its first address in a domain of this tree, or the one
    /// behind it if that is an alias.
    pub(super) fn domain_of(&self, account: &Account) -> Option<&Arc<Domain>> {
        let domains = &self.snapshot.domains;
        let first = account
            .addresses()
            .find_map(|address| domains.get(split_canonical(address).1))?;
        Some(first.alias_of().and_then(|name| domains.get(name)).unwrap_or(first))
    }

    pub(super) fn insert_account(&mut self, account: &Arc<Account>) {
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

    pub(super) fn remove_account(&mut self, account: &Account) {
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
}
