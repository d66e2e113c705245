//! Looking up recipients and logins. Hot: one lookup for each RCPT; no lock, no allocation for ASCII names.

use super::{CopyState, Snapshot};
use crate::address::{AddressKey, canonical_domain, fold_local, split_canonical};
use crate::record::{Account, AccountStatus, Domain, Group, Service};
use std::sync::Arc;

/// What a recipient address means.
#[derive(Clone, Copy, Debug)]
pub enum Recipient<'a> {
    /// One account, whose status lets it receive by SMTP or LMTP ([`Account::may`] tells by which). `detail` is what
    /// follows the plus-delimiter (`news` in `alice+news@...`), as it was written.
    Account {
        /// The account.
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
    /// Not found, but the copy is not current, or a record that could not be taken has the name: 451 4.3.0, never 550.
    Uncertain,
}

impl Snapshot {
    /// Looks up a recipient. `local` is the local part without quotes, in any case; `domain` is in any case, A-label
    /// or U-label, and empty for a bare `postmaster`. No lock, and no allocation for ASCII addresses.
    ///
    /// The first of these that there is: for `postmaster` the domain's pigeonPostmaster; the address itself; in an
    /// alias domain the address in the domain behind it; both again without the detail (plus-addressing); the
    /// catch-all. A deleted account is an unknown user, and the catch-all does not get its mail. A bare `postmaster`
    /// (RFC 5321, 4.5.1) is that of the first domain, by name, where it leads to somebody.
    pub fn recipient<'a>(&'a self, local: &'a str, domain: &str) -> Recipient<'a> {
        if domain.is_empty() {
            return self.bare(local);
        }
        let mut key = AddressKey::empty();
        if !key.fill(local, domain) {
            let unknown = if self.is_local_domain(domain) {
                Recipient::UnknownUser
            } else {
                Recipient::UnknownDomain
            };
            return self.absent(unknown);
        }
        match self.domain_by_key(key.domain()) {
            Some(domain) => self.recipient_in(domain, &mut key, local),
            None if self.pending.has(key.domain()) => Recipient::Uncertain,
            None => self.absent(Recipient::UnknownDomain),
        }
    }

    /// Whether mail for `domain` is ours (an alias domain's is, a deleted domain's is not).
    pub fn is_local_domain(&self, domain: &str) -> bool {
        self.domain(domain)
            .is_some_and(|domain| domain.status() != AccountStatus::Deleted)
    }

    /// The record of a domain, by any of its spellings; an alias domain gives its own record.
    pub fn domain(&self, name: &str) -> Option<&Arc<Domain>> {
        self.domain_by_key(name.as_bytes())
            .or_else(|| self.domain_by_key(canonical_domain(name)?.as_bytes()))
    }

    /// The account that logs in as `name`: its uid, or one of its addresses (in an alias domain too). Deleted accounts
    /// are not found; whether it may log in is [`Account::may`].
    pub fn login(&self, name: &str) -> Option<&Arc<Account>> {
        let account = self.account_by_login(&fold_local(name)).or_else(|| {
            let (local, domain) = name.rsplit_once('@')?;
            let mut key = AddressKey::empty();
            if !key.fill(local, domain) {
                return None;
            }
            self.account_by_key(&key).or_else(|| {
                let target = self.domain_by_key(key.domain())?.alias_of()?;
                key.fill(local, target).then(|| self.account_by_key(&key)).flatten()
            })
        })?;
        (account.status() != AccountStatus::Deleted).then_some(account)
    }

    /// Whether nobody at all has this login name: the copy is current, and no record that could not be taken has it.
    pub fn is_nobody(&self, name: &str) -> bool {
        let mut key = AddressKey::empty();
        let is_pending = self.pending.has(fold_local(name).as_bytes())
            || name
                .rsplit_once('@')
                .is_some_and(|(local, domain)| key.fill(local, domain) && self.pending.has(key.bytes()));
        self.state == CopyState::Live && !is_pending && self.login(name).is_none()
    }

    #[inline]
    fn domain_by_key(&self, name: &[u8]) -> Option<&Arc<Domain>> {
        self.domains_by_name
            .find(self.hash(name), |domain| domain.name().as_bytes() == name)
    }

    fn account_by_key(&self, key: &AddressKey) -> Option<&Arc<Account>> {
        self.accounts_by_address
            .find(self.hash(key.bytes()), |account| account.has_address(key.bytes()))
    }

    /// What was not found is certainly absent only in a current copy.
    fn absent<'a>(&self, unknown: Recipient<'a>) -> Recipient<'a> {
        if self.state == CopyState::Live {
            unknown
        } else {
            Recipient::Uncertain
        }
    }

    /// `key` is that of the recipient; it is used for other addresses after that.
    #[inline]
    fn recipient_in<'a>(&'a self, domain: &'a Arc<Domain>, key: &mut AddressKey, local: &'a str) -> Recipient<'a> {
        let behind = domain.alias_of().and_then(|name| self.domain_by_key(name.as_bytes()));
        let target = behind.unwrap_or(domain);
        match domain.status().max(target.status()) {
            AccountStatus::Active | AccountStatus::NoAccess => {}
            AccountStatus::Disabled => return Recipient::Disabled,
            AccountStatus::Deleted => return Recipient::UnknownDomain,
        }
        if key.local() == b"postmaster"
            && let Some(found) = target.postmaster().and_then(|address| self.by_address(address))
        {
            return found;
        }
        if let Some(found) = self.exact(key) {
            return found;
        }
        if let Some(behind) = behind
            && let Some(found) = self.exact_in(behind, key, local)
        {
            return found;
        }
        // Plus-addressing: what is before the first delimiter, if that is somebody.
        if let Some(delimiter) = target.plus_delimiter()
            && let Some((base, detail)) = local.split_once(delimiter).filter(|(base, _)| !base.is_empty())
        {
            let found = self.exact_in(domain, key, base);
            match found.or_else(|| behind.and_then(|behind| self.exact_in(behind, key, base))) {
                Some(Recipient::Account { account, .. }) => {
                    return Recipient::Account {
                        account,
                        detail: Some(detail),
                    };
                }
                Some(other) => return other,
                None => {}
            }
        }
        let catch_all = domain.catch_all().or(target.catch_all());
        catch_all
            .and_then(|address| self.by_address(address))
            .unwrap_or_else(|| self.absent(Recipient::UnknownUser))
    }

    fn exact_in<'a>(&'a self, domain: &Domain, key: &mut AddressKey, local: &str) -> Option<Recipient<'a>> {
        key.fill(local, domain.name()).then(|| self.exact(key)).flatten()
    }

    /// The owner of a canonical address, without plus-addressing or catch-all.
    fn by_address(&self, address: &str) -> Option<Recipient<'_>> {
        let (local, domain) = split_canonical(address);
        let mut key = AddressKey::empty();
        key.fill(local, domain).then(|| self.exact(&key)).flatten()
    }

    /// Whether an account or group has this canonical address.
    pub(super) fn is_owned(&self, address: &str) -> bool {
        let mut key = AddressKey::empty();
        let (local, domain) = split_canonical(address);
        key.fill(local, domain) && self.owner(&key).is_some()
    }

    /// Who has the address, or whether somebody may have it who could not be taken.
    #[inline]
    fn exact(&self, key: &AddressKey) -> Option<Recipient<'_>> {
        self.owner(key)
            .or_else(|| self.pending.has(key.bytes()).then_some(Recipient::Uncertain))
    }

    #[inline]
    fn owner(&self, key: &AddressKey) -> Option<Recipient<'_>> {
        let hash = self.hash(key.bytes());
        if let Some(account) = self
            .accounts_by_address
            .find(hash, |account| account.has_address(key.bytes()))
        {
            return Some(match account.status() {
                AccountStatus::Deleted => Recipient::UnknownUser,
                _ if account.may(Service::Smtp) || account.may(Service::Lmtp) => {
                    Recipient::Account { account, detail: None }
                }
                _ => Recipient::Disabled,
            });
        }
        let group = self
            .groups_by_address
            .find(hash, |group| group.has_address(key.bytes()))?;
        Some(match group.status() {
            AccountStatus::Active | AccountStatus::NoAccess => Recipient::Group(group),
            AccountStatus::Disabled => Recipient::Disabled,
            AccountStatus::Deleted => Recipient::UnknownUser,
        })
    }

    /// A recipient without a domain: only `postmaster` may be (RFC 5321, 4.5.1).
    fn bare<'a>(&'a self, local: &'a str) -> Recipient<'a> {
        if !local.eq_ignore_ascii_case("postmaster") {
            return self.absent(Recipient::UnknownDomain);
        }
        let leads_somewhere = |recipient| matches!(recipient, Recipient::Account { .. } | Recipient::Group(_));
        let domain = self.bare_postmaster.get_or_init(|| {
            self.domains()
                .find(|domain| leads_somewhere(self.recipient("postmaster", domain.name())))
                .cloned()
        });
        // Looked up again in the snapshot's own table, which lends it for as long as the snapshot lives.
        let domain = domain
            .as_ref()
            .and_then(|domain| self.domain_by_key(domain.name().as_bytes()));
        let mut key = AddressKey::empty();
        match domain {
            Some(domain) if key.fill(local, domain.name()) => self.recipient_in(domain, &mut key, local),
            _ => self.absent(Recipient::UnknownUser),
        }
    }
}
