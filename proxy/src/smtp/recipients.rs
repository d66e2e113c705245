//! Who gets the message: from an address in RCPT to accounts, by the snapshot of the transaction.
//!
//! An account is in the list once, however many addresses and groups lead to it; the first one is in its Delivered-To. The
//! answer for a recipient in LMTP speaks for all accounts that its address led to.

use super::trace;
use crate::mail_store::Target;
use pigeon_datatree_cache::{Account, AccountUuid, Group, Recipient, Service, Snapshot};
use pigeon_proto::address::{Address, ForwardPath};
use pigeon_proto::smtp::{Mode, OriginalRecipient, RecipientParameters, RecipientRefusal, record};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Up to here a walk over the list is cheaper than a hash table.
const LINEAR_MAX: usize = 16;

/// The recipients of a transaction.
#[derive(Default)]
pub(super) struct Recipients {
    targets: Vec<Target>,
    by_account: HashMap<AccountUuid, usize>,
    /// Accepted RCPTs.
    accepted: usize,
    /// For each of them where its part of `links` ends; `links` are places in `targets`. Kept only where each has an
    /// answer of its own.
    ends: Vec<usize>,
    links: Vec<usize>,
    answered_singly: bool,
    /// The least of the accounts' own bounds on a message, in bytes.
    size_max: Option<u64>,
    /// Those of NOTIFY=SUCCESS, in their order.
    to_confirm: Vec<Confirm>,
}

/// A recipient whose delivery the sender wants to hear of (NOTIFY=SUCCESS, RFC 3461 section 4.1).
#[derive(Clone, Debug)]
pub(super) struct Confirm {
    /// As in RCPT.
    pub(super) address: Address,
    /// ORCPT.
    pub(super) original: Option<Box<OriginalRecipient>>,
    /// It stands for a group, whose members are not told.
    pub(super) expanded: bool,
}

/// What decides about a recipient beside its address.
pub(super) struct Circumstances<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) mode: Mode,
    pub(super) authenticated: bool,
    /// SIZE of MAIL.
    pub(super) size: Option<u64>,
    pub(super) accounts_max: usize,
    /// The sender, for Return-Path.
    pub(super) reverse_path: Option<&'a Address>,
    pub(super) delivered_to: bool,
    /// An address literal of this one is the host's own name. Asked for only when there is a literal: it costs a system
    /// call.
    pub(super) local_address: &'a dyn Fn() -> IpAddr,
    pub(super) host_name: &'a str,
    /// Whether the store takes messages for an account at all.
    pub(super) accepts: &'a dyn Fn(&Account) -> Result<(), RecipientRefusal>,
}

/// What an address leads to, free of the snapshot.
enum Found {
    Account(Arc<Account>, Option<Box<str>>),
    Group(Arc<Group>),
    Refused(RecipientRefusal),
}

impl From<Recipient<'_>> for Found {
    fn from(recipient: Recipient<'_>) -> Found {
        match recipient {
            Recipient::Account { account, detail } => Found::Account(account.clone(), detail.map(Box::from)),
            Recipient::Group(group) => Found::Group(group.clone()),
            Recipient::Disabled => Found::Refused(RecipientRefusal::Disabled),
            Recipient::UnknownUser => Found::Refused(RecipientRefusal::UnknownUser),
            Recipient::UnknownDomain => Found::Refused(RecipientRefusal::Relaying),
            Recipient::Uncertain => Found::Refused(RecipientRefusal::Uncertain),
        }
    }
}

impl Circumstances<'_> {
    /// The path as an address, and what it leads to.
    fn find(&self, path: ForwardPath) -> Result<(Address, Found), RecipientRefusal> {
        match path {
            ForwardPath::Postmaster => {
                // For Delivered-To and the log; it is looked up without a domain.
                let address = Address::from_parts("postmaster", self.host_name);
                let address = address.map_err(|_| RecipientRefusal::UnknownUser)?;
                Ok((address, self.snapshot.recipient("postmaster", "").into()))
            }
            ForwardPath::Address(address) => {
                let literal = address.literal();
                let is_own =
                    literal.is_some_and(|literal| literal.to_canonical() == (self.local_address)().to_canonical());
                let domain = if is_own { self.host_name } else { address.domain() };
                let found = self.snapshot.recipient(address.local(), domain).into();
                Ok((address, found))
            }
        }
    }

    /// The path as an address, and the account that another node has found for it: no lookup is made.
    fn forwarded(&self, path: ForwardPath, pairs: &[(String, String)]) -> Result<(Address, Found), RecipientRefusal> {
        let address = match path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => {
                Address::from_parts("postmaster", self.host_name).map_err(|_| RecipientRefusal::BadRecord)?
            }
        };
        // The other node has measured the message already, before it added lines of its own.
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !matches!(*name, "size" | record::KEY));
        match Account::forwarded(&address.to_string(), pairs) {
            Ok(account) => Ok((address, Found::Account(Arc::new(account), None))),
            Err(error) => {
                tracing::error!(%address, %error, "the record that came with a recipient is not understood");
                Err(RecipientRefusal::BadRecord)
            }
        }
    }

    /// Whether the account takes this message at all, as far as that is known at RCPT.
    fn check(&self, account: &Account) -> Result<(), RecipientRefusal> {
        // An MTA in front is another way for the same mail to come in.
        let receives = account.may(Service::Smtp) || (self.mode == Mode::Lmtp && account.may(Service::Lmtp));
        if !receives {
            return Err(RecipientRefusal::Disabled);
        }
        (self.accepts)(account)?;
        match (account.message_size_max(), self.size) {
            (Some(size_max), Some(size)) if size > size_max => Err(RecipientRefusal::TooLarge),
            _ => Ok(()),
        }
    }
}

/// The message's key among what was forwarded with a recipient.
fn key_of(pairs: &[(String, String)]) -> Result<Option<[u8; 16]>, RecipientRefusal> {
    let key = pairs.iter().find(|(name, _)| name == record::KEY);
    match key.map(|(_, value)| record::decode_key(value)) {
        Some(None) => {
            tracing::error!("the key that came with a recipient is not understood");
            Err(RecipientRefusal::BadRecord)
        }
        Some(key) => Ok(key),
        None => Ok(None),
    }
}

impl Recipients {
    /// Nobody yet. `answered_singly`: `links` is going to be asked for.
    pub(super) fn new(answered_singly: bool) -> Recipients {
        Recipients {
            answered_singly,
            ..Recipients::default()
        }
    }

    /// Takes `path` in, or says why not; then nothing has changed.
    pub(super) fn add(
        &mut self,
        path: ForwardPath,
        parameters: RecipientParameters,
        circumstances: &Circumstances<'_>,
    ) -> Result<(), RecipientRefusal> {
        let (address, found) = match &parameters.record {
            Some(pairs) => circumstances.forwarded(path, pairs)?,
            None => circumstances.find(path)?,
        };
        let key = key_of(parameters.record.as_deref().unwrap_or_default())?;
        let confirm = parameters.notify.is_some_and(|notify| notify.success).then(|| Confirm {
            address: address.clone(),
            original: parameters.original_recipient,
            expanded: matches!(found, Found::Group(_)),
        });
        match found {
            Found::Account(account, detail) => {
                circumstances.check(&account)?;
                if self.targets.len() >= circumstances.accounts_max {
                    return Err(RecipientRefusal::TooManyRecipients);
                }
                self.link(account, address, detail, key, circumstances);
            }
            Found::Group(group) => self.add_group(&group, &address, circumstances)?,
            Found::Refused(RecipientRefusal::Relaying) if circumstances.authenticated => {
                return Err(RecipientRefusal::RelayingNotAvailable);
            }
            Found::Refused(refusal) => return Err(refusal),
        }
        self.to_confirm.extend(confirm);
        self.accepted += 1;
        if self.answered_singly {
            self.ends.push(self.links.len());
        }
        Ok(())
    }

    /// All members that receive mail, or none. Who may not receive is left out, as who is disabled is: the sender of a
    /// group's mail can do nothing about it. A member that cannot take a message of this size refuses it for the group,
    /// because nobody else would tell the sender.
    fn add_group(
        &mut self,
        group: &Group,
        address: &Address,
        circumstances: &Circumstances<'_>,
    ) -> Result<(), RecipientRefusal> {
        let expansion = circumstances.snapshot.expand(group);
        if expansion.truncated {
            return Err(RecipientRefusal::GroupTooLarge);
        }
        if expansion.uncertain > 0 {
            return Err(RecipientRefusal::Uncertain);
        }
        if !expansion.outside.is_empty() {
            return Err(RecipientRefusal::GroupOutside);
        }
        let mut members = expansion.accounts;
        let mut refusal = None;
        members.retain(|account| match circumstances.check(account) {
            Ok(()) => true,
            Err(RecipientRefusal::Disabled) => false,
            Err(other) => {
                refusal = Some(other);
                false
            }
        });
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if members.is_empty() {
            return Err(RecipientRefusal::GroupEmpty);
        }
        if self.targets.len().saturating_add(members.len()) > circumstances.accounts_max {
            return Err(RecipientRefusal::TooManyRecipients);
        }
        for account in members {
            self.link(account, address.clone(), None, None, circumstances);
        }
        Ok(())
    }

    fn link(
        &mut self,
        account: Arc<Account>,
        address: Address,
        detail: Option<Box<str>>,
        key: Option<[u8; 16]>,
        circumstances: &Circumstances<'_>,
    ) {
        let place = self.target(account, address, detail, key, circumstances);
        if self.answered_singly {
            self.links.push(place);
        }
    }

    /// The account's place in the list, at the end when it is new.
    fn target(
        &mut self,
        account: Arc<Account>,
        address: Address,
        detail: Option<Box<str>>,
        key: Option<[u8; 16]>,
        circumstances: &Circumstances<'_>,
    ) -> usize {
        if let Some(place) = self.place(account.id()) {
            return place;
        }
        let place = self.targets.len();
        if !self.by_account.is_empty() {
            self.by_account.insert(account.id(), place);
        }
        let size_max = [self.size_max, account.message_size_max()];
        self.size_max = size_max.into_iter().flatten().min();
        let delivered_to = circumstances.delivered_to.then_some(&address);
        let prepend = trace::own_lines(circumstances.reverse_path, delivered_to);
        self.targets.push(Target {
            account,
            address,
            detail,
            prepend,
            key,
        });
        if self.targets.len() > LINEAR_MAX && self.by_account.is_empty() {
            let all = self.targets.iter().enumerate();
            self.by_account = all.map(|(place, target)| (target.account.id(), place)).collect();
        }
        place
    }

    fn place(&self, id: AccountUuid) -> Option<usize> {
        if self.by_account.is_empty() {
            return self.targets.iter().position(|target| target.account.id() == id);
        }
        self.by_account.get(&id).copied()
    }

    /// The accounts.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The accounts, given away.
    pub(super) fn take_targets(&mut self) -> Vec<Target> {
        std::mem::take(&mut self.targets)
    }

    /// For each accepted RCPT in its order the places of its accounts.
    pub(super) fn links(&self) -> impl Iterator<Item = &[usize]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let links = &self.links[start..*end];
            start = *end;
            links
        })
    }

    /// Whether the sender wants to hear of any.
    pub(super) fn wants_confirmation(&self) -> bool {
        !self.to_confirm.is_empty()
    }

    /// Those whose delivery the sender wants to hear of, given away.
    pub(super) fn take_to_confirm(&mut self) -> Vec<Confirm> {
        std::mem::take(&mut self.to_confirm)
    }

    /// Accepted RCPTs.
    pub(super) fn accepted(&self) -> usize {
        self.accepted
    }

    /// The address in RCPT, when only one was accepted.
    pub(super) fn only(&self) -> Option<&Address> {
        match (self.accepted, self.targets.first()) {
            (1, Some(target)) => Some(&target.address),
            _ => None,
        }
    }

    /// The largest message that every account takes, where any has a bound.
    pub(super) fn size_max(&self) -> Option<u64> {
        self.size_max
    }
}
