//! One person's mail as control data describes it.

use super::packed::{self, Inline, Packed, Writer};
use super::{AccountStatus, AccountUuid, DeliveryMode, Domain, Quota, Service, ServiceSet, Value};
use std::fmt;
use std::sync::Arc;

/// Tags of the packed fields. Addresses come first, because lookups compare them: as many of them as fit are inline.
mod tag {
    pub(super) const ADDRESS: u8 = 1;
    pub(super) const LOGIN_NAME: u8 = 2;
    pub(super) const DN: u8 = 3;
    pub(super) const SECRET: u8 = 4;
    pub(super) const NODE: u8 = 5;
    pub(super) const VOLUME: u8 = 6;
    pub(super) const HOME_DIRECTORY: u8 = 7;
    pub(super) const FORWARD: u8 = 8;
    pub(super) const ROUTING: u8 = 9;
    pub(super) const REPLY_TEXT: u8 = 10;
    pub(super) const UID_NUMBER: u8 = 11;
    pub(super) const GID_NUMBER: u8 = 12;
    pub(super) const SIZE_MAX: u8 = 13;
    pub(super) const OTHER_NAME: u8 = 14;
    pub(super) const OTHER_VALUE: u8 = 15;
    pub(super) const QUOTA_BYTES: u8 = 16;
    pub(super) const QUOTA_MESSAGES: u8 = 17;
    pub(super) const PREVIOUS: u8 = 18;
    pub(super) const SESSIONS_SINCE: u8 = 19;
    /// Value of an attribute of [`super::COMMON_NAMES`]: this, and its place there.
    pub(super) const COMMON: u8 = 64;
}

/// Names that most entries have among those that the schema does not know: a tag each, instead of a text in every record.
const COMMON_NAMES: &[&str] = &[
    "cn",
    "sn",
    "givenname",
    "displayname",
    "initials",
    "title",
    "o",
    "ou",
    "l",
    "c",
    "gecos",
    "loginshell",
    "telephonenumber",
    "mobile",
    "employeenumber",
    "preferredlanguage",
    "description",
    "shadowlastchange",
    "street",
    "postalcode",
];

/// An account. Where the entry says nothing, the defaults of its domain hold; the methods answer with both taken
/// together.
///
/// In the order of use: a lookup compares addresses and looks at the status, and is done.
#[repr(C)]
pub struct Account {
    inline: Inline,
    domain: Option<Arc<Domain>>,
    status: AccountStatus,
    services: Option<ServiceSet>,
    delivery_mode: DeliveryMode,
    id: AccountUuid,
    generation: u64,
    packed: Packed,
}

/// With the two counts of its `Arc` and the allocator's word it fills 144 bytes.
const _: () = assert!(size_of::<Account>() <= 120);

/// In front of a node that has been lost, in pigeonPreviousHost.
pub(crate) const LOST: &str = "lost:";

/// Where an account's mail was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous<'a> {
    /// An id that the server_map had then, and may have no longer.
    pub node: &'a str,
    /// The volume there, where it is said.
    pub volume: Option<&'a str>,
}

impl<'a> Previous<'a> {
    fn of(text: &'a str) -> Previous<'a> {
        match text.split_once('/') {
            Some((node, volume)) => Previous {
                node,
                volume: Some(volume),
            },
            None => Previous {
                node: text,
                volume: None,
            },
        }
    }
}

impl fmt::Display for Previous<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.node)?;
        self.volume.map_or(Ok(()), |volume| write!(f, "/{volume}"))
    }
}

/// What an entry says of an account, before it is packed.
#[derive(Default)]
pub(crate) struct AccountFields {
    pub(crate) id: AccountUuid,
    pub(crate) dn: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) login_names: Vec<String>,
    pub(crate) node: Option<String>,
    pub(crate) volume: Option<String>,
    /// `NODE`, `NODE/VOLUME` or `lost:NODE`, each.
    pub(crate) previous: Vec<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) sessions_since: Option<u64>,
    pub(crate) home_directory: Option<String>,
    pub(crate) forward: Vec<String>,
    pub(crate) routing: Option<String>,
    /// `Some(0)` is no limit, whatever the domain says.
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) quota_messages: Option<u64>,
    pub(crate) message_size_max: Option<u64>,
    pub(crate) status: AccountStatus,
    pub(crate) services: Option<ServiceSet>,
    pub(crate) secrets: Vec<String>,
    pub(crate) delivery_mode: DeliveryMode,
    pub(crate) reply_text: Option<String>,
    pub(crate) uid_number: Option<u64>,
    pub(crate) gid_number: Option<u64>,
    /// Names in lower case.
    pub(crate) other: Vec<(String, Vec<u8>)>,
}

impl AccountFields {
    /// Packs the fields; generation and domain are set when the record is put into a snapshot.
    pub(crate) fn pack(mut self) -> Account {
        let mut writer = Writer::default();
        let mut inline = Inline::default();
        let mut is_inline = true;
        for address in &self.addresses {
            // The first ones that fit together; the others follow in the packed part, so that the order stays.
            is_inline = is_inline && inline.push(tag::ADDRESS, address.as_bytes());
            if !is_inline {
                writer.text(tag::ADDRESS, address);
            }
        }
        for (tag, texts) in [
            (tag::LOGIN_NAME, &self.login_names),
            (tag::SECRET, &self.secrets),
            (tag::FORWARD, &self.forward),
            (tag::PREVIOUS, &self.previous),
        ] {
            texts.iter().for_each(|text| writer.text(tag, text));
        }
        for (tag, text) in [
            (tag::DN, Some(&self.dn)),
            (tag::NODE, self.node.as_ref()),
            (tag::VOLUME, self.volume.as_ref()),
            (tag::HOME_DIRECTORY, self.home_directory.as_ref()),
            (tag::ROUTING, self.routing.as_ref()),
            (tag::REPLY_TEXT, self.reply_text.as_ref()),
        ] {
            text.into_iter().for_each(|text| writer.text(tag, text));
        }
        for (tag, number) in [
            (tag::UID_NUMBER, self.uid_number),
            (tag::GID_NUMBER, self.gid_number),
            (tag::SIZE_MAX, self.message_size_max),
            (tag::QUOTA_BYTES, self.quota_bytes),
            (tag::QUOTA_MESSAGES, self.quota_messages),
            (tag::SESSIONS_SINCE, self.sessions_since),
        ] {
            number.into_iter().for_each(|number| writer.number(tag, number));
        }
        // In one order, so that the same entry is the same record however a server orders attributes.
        self.other.sort();
        for (name, value) in &self.other {
            if let Some(tag) = common_tag(name) {
                writer.bytes(tag, value);
            } else {
                writer.text(tag::OTHER_NAME, name);
                writer.bytes(tag::OTHER_VALUE, value);
            }
        }
        Account {
            inline,
            id: self.id,
            generation: 0,
            packed: writer.finish(),
            domain: None,
            status: self.status,
            services: self.services,
            delivery_mode: self.delivery_mode,
        }
    }
}

fn common_tag(name: &str) -> Option<u8> {
    let place = COMMON_NAMES.iter().position(|common| *common == name)?;
    u8::try_from(place).ok()?.checked_add(tag::COMMON)
}

fn common_name(tag: u8) -> Option<&'static str> {
    COMMON_NAMES.get(usize::from(tag.checked_sub(tag::COMMON)?)).copied()
}

/// A limit: what the entry says, else what the domain says; 0 is none.
fn limit(own: Option<u64>, default: Option<u64>) -> Option<u64> {
    own.or(default).filter(|limit| *limit != 0)
}

impl Account {
    /// The key of its mail.
    pub fn id(&self) -> AccountUuid {
        self.id
    }

    /// The generation in which this record last changed (its domain's record counts as part of it).
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Distinguished name of the entry, as it was written.
    pub fn dn(&self) -> &str {
        self.packed.text(tag::DN).unwrap_or_default()
    }

    /// The names besides addresses by which it logs in (`uid`), folded to lower case.
    pub fn login_names(&self) -> impl Iterator<Item = &str> {
        self.packed.texts(tag::LOGIN_NAME)
    }

    /// Its addresses as `local@domain` in the form of [`crate::Address`], the main address first.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.address_fields().map(packed::text)
    }

    /// The first `mail` value: the name under which it is logged and greeted.
    pub fn main_address(&self) -> Option<&str> {
        self.addresses().next()
    }

    /// The main address, else a login name, else the DN: for logs.
    pub fn name(&self) -> &str {
        self.main_address()
            .or_else(|| self.login_names().next())
            .unwrap_or_else(|| self.dn())
    }

    /// Its domain: that of its first address in a domain of this tree, or the one behind it if that is an alias.
    pub fn domain(&self) -> Option<&Arc<Domain>> {
        self.domain.as_ref()
    }

    /// The node that owns it (mailHost): an id of the server_map.
    pub fn node(&self) -> Option<&str> {
        self.packed
            .text(tag::NODE)
            .or_else(|| self.domain.as_deref().and_then(Domain::default_node))
    }

    /// The volume that holds its mail (mailMessageStore).
    pub fn volume(&self) -> Option<&str> {
        self.packed
            .text(tag::VOLUME)
            .or_else(|| self.domain.as_deref().and_then(Domain::default_volume))
    }

    /// Where its mail was before, and may still be (pigeonPreviousHost), in the order of the entry; without what is lost.
    pub fn previous(&self) -> impl Iterator<Item = Previous<'_>> {
        let places = self.packed.texts(tag::PREVIOUS);
        places.filter(|text| !text.starts_with(LOST)).map(Previous::of)
    }

    /// Whether control data says that it was somewhere else before.
    pub fn was_elsewhere(&self) -> bool {
        self.packed.text(tag::PREVIOUS).is_some()
    }

    /// Whether it may still be on a node that had it before.
    pub fn was_on(&self, node: &str) -> bool {
        self.previous().any(|previous| previous.node == node)
    }

    /// Whether a person has said that what this node has of it is lost for good; never of the node that is to have it.
    pub fn is_lost_on(&self, node: &str) -> bool {
        self.lost().any(|lost| lost == node)
    }

    /// The nodes of which a person has said so.
    pub fn lost(&self) -> impl Iterator<Item = &str> {
        let all = self.packed.texts(tag::PREVIOUS);
        let lost = all.filter_map(|text| text.strip_prefix(LOST));
        lost.filter(|lost| self.node() != Some(*lost))
    }

    /// As the entry has them, joined by commas.
    pub(crate) fn previous_joined(&self) -> Option<String> {
        let all: Vec<&str> = self.packed.texts(tag::PREVIOUS).collect();
        (!all.is_empty()).then(|| all.join(","))
    }

    /// Its sessions that began before this time end (pigeonSessionsSince, its own or its domain's); milliseconds since the
    /// Unix epoch.
    pub fn sessions_since(&self) -> Option<u64> {
        let own = self.packed.number(tag::SESSIONS_SINCE);
        own.max(self.domain.as_deref().and_then(Domain::sessions_since))
    }

    /// homeDirectory, for Maildir volumes.
    pub fn home_directory(&self) -> Option<&str> {
        self.packed.text(tag::HOME_DIRECTORY)
    }

    /// What it may hold.
    pub fn quota(&self) -> Quota {
        let default = self.domain.as_deref().map(Domain::default_quota).unwrap_or_default();
        Quota {
            bytes: limit(self.packed.number(tag::QUOTA_BYTES), default.bytes),
            messages: limit(self.packed.number(tag::QUOTA_MESSAGES), default.messages),
        }
    }

    /// The largest message it accepts, in bytes.
    pub fn message_size_max(&self) -> Option<u64> {
        let own = self.packed.number(tag::SIZE_MAX);
        limit(own, self.domain.as_deref().and_then(Domain::default_message_size_max))
    }

    /// Its status, or its domain's if that allows less. A deleted domain has no accounts.
    pub fn status(&self) -> AccountStatus {
        self.domain
            .as_deref()
            .map_or(self.status, |domain| self.status.max(domain.status()))
    }

    /// Services that its entry (or its domain's default) enables, whatever the status.
    pub fn services(&self) -> ServiceSet {
        self.services
            .unwrap_or_else(|| self.domain.as_deref().map_or(ServiceSet::ALL, Domain::default_services))
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
        self.packed.texts(tag::SECRET)
    }

    /// Addresses that a copy goes to (mailForwardingAddress). Kept for the mailForward module.
    pub fn forward_addresses(&self) -> impl Iterator<Item = &str> {
        self.packed.texts(tag::FORWARD)
    }

    /// The address that envelope addresses are rewritten to (mailRoutingAddress). Kept for later.
    pub fn routing_address(&self) -> Option<&str> {
        self.packed.text(tag::ROUTING)
    }

    /// How mail is delivered.
    pub fn delivery_mode(&self) -> DeliveryMode {
        self.delivery_mode
    }

    /// Text of the automatic answer (mailReplyText).
    pub fn reply_text(&self) -> Option<&str> {
        self.packed.text(tag::REPLY_TEXT)
    }

    /// uidNumber.
    pub fn uid_number(&self) -> Option<u32> {
        self.packed
            .number(tag::UID_NUMBER)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// gidNumber.
    pub fn gid_number(&self) -> Option<u32> {
        self.packed
            .number(tag::GID_NUMBER)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// Values of an attribute that the schema does not know (its name in any case).
    pub fn other<'a>(&'a self, name: &str) -> impl Iterator<Item = Value<'a>> {
        let name = name.to_ascii_lowercase();
        self.others()
            .filter(move |(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// All attributes that the schema does not know, names in lower case.
    pub fn others(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let mut name = "";
        self.packed.fields().filter_map(move |(tag, bytes)| match tag {
            tag::OTHER_NAME => {
                name = packed::text(bytes);
                None
            }
            tag::OTHER_VALUE => Some((name, Value::of(bytes))),
            tag => common_name(tag).map(|name| (name, Value::of(bytes))),
        })
    }

    /// Bytes of memory that the record takes, the two counts of its `Arc` counted; without its places in the tables and
    /// without what the allocator adds (8 to 23 bytes for each of its two pieces).
    pub fn memory_bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Account>() + self.packed.len()
    }

    /// Whether `address` (canonical) is one of its addresses.
    #[inline]
    pub(crate) fn has_address(&self, address: &[u8]) -> bool {
        self.address_fields().any(|found| found == address)
    }

    #[inline]
    fn address_fields(&self) -> impl Iterator<Item = &[u8]> {
        let more = self.packed.fields().take_while(|(tag, _)| *tag == tag::ADDRESS);
        self.inline.fields().chain(more).map(|(_, address)| address)
    }

    /// The node that the entry itself names.
    pub(crate) fn own_node(&self) -> Option<&str> {
        self.packed.text(tag::NODE)
    }

    /// The volume that the entry itself names.
    pub(crate) fn own_volume(&self) -> Option<&str> {
        self.packed.text(tag::VOLUME)
    }

    /// Sets what only the snapshot knows.
    pub(crate) fn place(&mut self, generation: u64, domain: Option<Arc<Domain>>) {
        self.generation = generation;
        self.domain = domain;
    }

    /// The same record in another domain record.
    pub(crate) fn in_domain(&self, generation: u64, domain: Option<Arc<Domain>>) -> Account {
        Account {
            inline: self.inline,
            id: self.id,
            generation,
            packed: self.packed.clone(),
            domain,
            status: self.status,
            services: self.services,
            delivery_mode: self.delivery_mode,
        }
    }

    /// Whether everything but the generation is the same.
    pub(crate) fn same_content(&self, other: &Account) -> bool {
        let same_domain = match (&self.domain, &other.domain) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (None, None) => true,
            _ => false,
        };
        same_domain && self.same_entry(other)
    }

    /// Whether the entry says the same, whatever its domain is now.
    pub(crate) fn same_entry(&self, other: &Account) -> bool {
        self.id == other.id
            && self.inline == other.inline
            && self.packed == other.packed
            && self.status == other.status
            && self.services == other.services
            && self.delivery_mode == other.delivery_mode
    }
}

/// Secrets are left out.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("generation", &self.generation)
            .field("dn", &self.dn())
            .field("addresses", &self.addresses().collect::<Vec<_>>())
            .field("login_names", &self.login_names().collect::<Vec<_>>())
            .field("node", &self.node())
            .field("volume", &self.volume())
            .field("quota", &self.quota())
            .field("status", &self.status())
            .field("services", &self.services())
            .finish_non_exhaustive()
    }
}
