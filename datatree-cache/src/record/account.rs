//! One person's mail as control data describes it.

use super::{AccountStatus, AccountUuid, DeliveryMode, Domain, Quota, Service, ServiceSet, Value};
use std::sync::Arc;

/// An account. Where the entry says nothing, the defaults of its domain (that of its first `mail` value) hold; the
/// methods answer with both taken together.
#[derive(Debug)]
pub struct Account {
    pub(crate) id: AccountUuid,
    pub(crate) generation: u64,
    pub(crate) dn: String,
    pub(crate) uid: Vec<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) node: Option<String>,
    pub(crate) volume: Option<String>,
    pub(crate) home_directory: Option<String>,
    pub(crate) forward: Vec<String>,
    pub(crate) routing: Option<String>,
    pub(crate) quota: Quota,
    pub(crate) message_size_max: Option<u64>,
    pub(crate) status: AccountStatus,
    pub(crate) services: Option<ServiceSet>,
    pub(crate) secrets: Vec<String>,
    pub(crate) delivery_mode: DeliveryMode,
    pub(crate) reply_text: Option<String>,
    pub(crate) uid_number: Option<u32>,
    pub(crate) gid_number: Option<u32>,
    pub(crate) other: Vec<(String, Vec<u8>)>,
    pub(crate) domain: Option<Arc<Domain>>,
}

impl Account {
    /// The key of its mail.
    pub fn id(&self) -> AccountUuid {
        self.id
    }

    /// The generation in which this record last changed (its domain's defaults count as part of it).
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Distinguished name of the entry.
    pub fn dn(&self) -> &str {
        &self.dn
    }

    /// The names besides addresses by which it logs in (`uid`), folded to lower case.
    pub fn login_names(&self) -> impl Iterator<Item = &str> {
        self.uid.iter().map(String::as_str)
    }

    /// Its addresses as `local@domain`, folded as in [`crate::Address`], the first `mail` value first.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(String::as_str)
    }

    /// The first `mail` value: the name under which it is logged and greeted.
    pub fn main_address(&self) -> Option<&str> {
        self.addresses().next()
    }

    /// Its main domain, if that is one of this tree.
    pub fn domain(&self) -> Option<&Arc<Domain>> {
        self.domain.as_ref()
    }

    /// The node that owns it (mailHost): an id of the server_map.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// The volume that holds its mail (mailMessageStore).
    pub fn volume(&self) -> Option<&str> {
        self.volume.as_deref()
    }

    /// homeDirectory, for Maildir volumes.
    pub fn home_directory(&self) -> Option<&str> {
        self.home_directory.as_deref()
    }

    /// What it may hold.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The largest message it accepts, in bytes.
    pub fn message_size_max(&self) -> Option<u64> {
        self.message_size_max
    }

    /// Its status, or its domain's if that allows less.
    pub fn status(&self) -> AccountStatus {
        self.status
    }

    /// Services that its entry (or its domain's default) enables, whatever the status.
    pub fn services(&self) -> ServiceSet {
        self.services.unwrap_or(ServiceSet::ALL)
    }

    /// Whether it may use `service` now: enabled, and its status allows it. Receiving (`Smtp`, `Lmtp`) needs `Active`
    /// or `NoAccess`, everything else needs `Active`.
    pub fn may(&self, service: Service) -> bool {
        let allowed = match service {
            Service::Smtp | Service::Lmtp => self.status() <= AccountStatus::NoAccess,
            Service::Submission | Service::Pop3 | Service::Imap => self.status() == AccountStatus::Active,
        };
        allowed && self.services().contains(service)
    }

    /// The stored secrets (userPassword, authPassword) in their directory form, for [`crate::password`].
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }

    /// Addresses that a copy goes to (mailForwardingAddress). Kept for the mailForward module.
    pub fn forward_addresses(&self) -> impl Iterator<Item = &str> {
        self.forward.iter().map(String::as_str)
    }

    /// The address that envelope addresses are rewritten to (mailRoutingAddress). Kept for later.
    pub fn routing_address(&self) -> Option<&str> {
        self.routing.as_deref()
    }

    /// How mail is delivered.
    pub fn delivery_mode(&self) -> DeliveryMode {
        self.delivery_mode
    }

    /// Text of the automatic answer (mailReplyText).
    pub fn reply_text(&self) -> Option<&str> {
        self.reply_text.as_deref()
    }

    /// uidNumber.
    pub fn uid_number(&self) -> Option<u32> {
        self.uid_number
    }

    /// gidNumber.
    pub fn gid_number(&self) -> Option<u32> {
        self.gid_number
    }

    /// Values of an attribute that the schema does not know (name in any case).
    pub fn other(&self, name: &str) -> impl Iterator<Item = Value<'_>> {
        let name = name.to_ascii_lowercase();
        self.other
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| match std::str::from_utf8(value) {
                Ok(text) => Value::Text(text),
                Err(_) => Value::Bytes(value),
            })
    }
}
