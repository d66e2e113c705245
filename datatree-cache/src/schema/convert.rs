//! From an entry to a typed record.
//!
//! Every mistake is collected with its place, and what was good in the entry is used all the same, so that one
//! mistake does not call forth others; whoever asked decides what becomes of a record that had mistakes. What needs
//! other records (owners of an address, targets of an alias) is checked where a snapshot is built.

mod reader;

use super::values::{self, ValueResult};
use super::{AttributeMap, Purpose};
use crate::dn::canonical_dn;
use crate::entry::Entry;
use crate::mistake::{Mistake, Mistakes};
use crate::password;
use crate::record::{
    Account, AccountFields, AccountStatus, AccountUuid, Domain, Group, ModuleService, Quota, RoleSet, Server,
    ServiceSet, Volume,
};
use reader::Reader;
use std::sync::Arc;

/// Places where an account was before, at most.
const PREVIOUS_MAX: usize = 8;
/// Their bytes: what is forwarded between nodes has 900.
const PREVIOUS_BYTES_MAX: usize = 400;

/// Bytes of one unknown value that is kept. Larger ones are pictures and certificates.
const OTHER_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of all unknown values of one record.
const OTHER_BYTES_MAX: usize = 16 * 1024;
/// Operational attributes (RFC 4512, 3.4) and the like: they say nothing of mail, and change when it does not.
const UNINTERESTING: &[&str] = &[
    "createtimestamp",
    "creatorsname",
    "entrycsn",
    "entrydn",
    "entryuuid",
    "governingstructurerule",
    "hassubordinates",
    "modifiersname",
    "modifytimestamp",
    "numsubordinates",
    "objectclass",
    "structuralobjectclass",
    "subordinatecount",
    "subschemasubentry",
    "contextcsn",
    "pwdchangedtime",
    "pwdfailuretime",
    "authtimestamp",
    "pwdlastsuccess",
];
/// Classes that make an entry a group though it has no member yet.
const GROUP_CLASSES: &[&str] = &["pigeongroup", "qmailgroup", "mailgroup", "nismailalias"];

/// A typed record that is in no snapshot yet.
#[derive(Debug)]
pub(crate) enum Record {
    Account(Arc<Account>),
    // Boxed: a tree has a million accounts and few of the others.
    Domain(Box<Domain>),
    Group(Box<Group>),
    Server(Box<Server>),
    ModuleService(Box<ModuleService>),
    Volume(Box<Volume>),
}

impl Record {
    pub(crate) fn id(&self) -> AccountUuid {
        match self {
            Record::Account(account) => account.id(),
            Record::Domain(domain) => domain.id(),
            Record::Group(group) => group.id(),
            Record::Server(server) => server.id(),
            Record::ModuleService(service) => service.id(),
            Record::Volume(volume) => volume.id(),
        }
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One person's mail.
    Account,
    /// A list of recipients.
    Group,
    /// A mail domain.
    Domain,
    /// A node, of the server_map.
    Server,
    /// Where a module runs, of the service_map.
    ModuleService,
    /// A volume.
    Volume,
}

/// What an entry is, or `None` if it is none of ours (an organisational unit, a person without mail).
pub fn kind(entry: &Entry<'_>, map: &AttributeMap) -> Option<Kind> {
    let (mut mistakes, mut warnings) = (Mistakes::default(), Mistakes::default());
    Reader::new(entry, map, &mut mistakes, &mut warnings).kind()
}

/// The names by which an entry wants to be found, in canonical form: addresses, login names, the name of a domain. What does
/// not parse is left out.
pub(crate) fn names(entry: &Entry<'_>, map: &AttributeMap) -> Vec<String> {
    type Parse = fn(&str) -> ValueResult<String>;
    let parsers: [(Purpose, Parse); 3] = [
        (Purpose::Address, values::address),
        (Purpose::LoginName, values::login_name),
        (Purpose::DomainName, values::domain),
    ];
    let (mut mistakes, mut warnings) = (Mistakes::default(), Mistakes::default());
    let mut reader = Reader::new(entry, map, &mut mistakes, &mut warnings);
    parsers
        .into_iter()
        .flat_map(|(purpose, parse)| reader.all(purpose, parse))
        .collect()
}

/// The UUID of an entry, its own or one made of its DN (`None` if that is no DN), and its record, or `None` if the entry
/// is none of ours (an organisational unit, a person without mail) or is wrong beyond use.
pub(crate) fn record(
    entry: &Entry<'_>,
    map: &AttributeMap,
    mistakes: &mut Mistakes,
    warnings: &mut Mistakes,
) -> (Option<AccountUuid>, Option<Record>) {
    let dn = match canonical_dn(&entry.dn) {
        Ok(dn) => dn,
        Err(error) => {
            let position = entry.dn_position.map(|position| position.after(error.at));
            let dn = Some(entry.dn.chars().take(200).collect());
            mistakes.push(Mistake {
                position,
                dn,
                attribute: Some("dn".into()),
                message: error.message.into(),
            });
            return (None, None);
        }
    };
    let mut reader = Reader::new(entry, map, mistakes, warnings);
    let id = reader.identity(&dn);
    let record = reader.record(id);
    (Some(id), record)
}

impl Reader<'_, '_> {
    fn record(&mut self, id: AccountUuid) -> Option<Record> {
        Some(match self.kind()? {
            Kind::Account => Record::Account(Arc::new(self.account(id))),
            Kind::Group => Record::Group(Box::new(self.group(id))),
            Kind::Domain => Record::Domain(Box::new(self.domain(id)?)),
            Kind::Server => Record::Server(Box::new(self.server(id)?)),
            Kind::ModuleService => Record::ModuleService(Box::new(self.module_service(id)?)),
            Kind::Volume => Record::Volume(Box::new(self.volume(id)?)),
        })
    }

    fn kind(&self) -> Option<Kind> {
        let classes = self.values(Purpose::ObjectClass);
        let classes: Vec<&[u8]> = classes.map(|attribute| attribute.value.trim_ascii()).collect();
        let is = |class: &str| classes.iter().any(|found| found.eq_ignore_ascii_case(class.as_bytes()));
        let has = |purpose| self.values(purpose).next().is_some();
        if is("pigeondomain") {
            Some(Kind::Domain)
        } else if is("pigeonserver") {
            Some(Kind::Server)
        } else if is("pigeonservice") {
            Some(Kind::ModuleService)
        } else if is("pigeonvolume") {
            Some(Kind::Volume)
        } else if has(Purpose::MemberAddress) || has(Purpose::MemberDn) || GROUP_CLASSES.iter().any(|class| is(class)) {
            Some(Kind::Group)
        } else if has(Purpose::Address)
            || (has(Purpose::LoginName) && (has(Purpose::Password) || has(Purpose::AuthPassword)))
        {
            Some(Kind::Account)
        } else {
            None
        }
    }

    fn account(&mut self, id: AccountUuid) -> Account {
        let (courier_bytes, courier_messages) = self.one(Purpose::Quota, values::courier_quota).unwrap_or_default();
        let fields = AccountFields {
            id,
            dn: self.entry.dn.to_string(),
            addresses: self.all(Purpose::Address, values::address),
            login_names: self.all(Purpose::LoginName, values::login_name),
            node: self.one(Purpose::Node, |text| values::component(text, "the id of a node")),
            volume: self.one(Purpose::Volume, |text| values::component(text, "the id of a volume")),
            previous: self.previous(),
            sessions_since: self.one(Purpose::SessionsSince, values::time),
            home_directory: self.one(Purpose::HomeDirectory, values::path),
            forward: self.all(Purpose::Forward, values::address),
            routing: self.one(Purpose::Routing, values::address),
            quota_bytes: self
                .one(Purpose::QuotaSize, |text| values::number(text, "a number of bytes"))
                .or(courier_bytes),
            quota_messages: self
                .one(Purpose::QuotaCount, |text| values::number(text, "a number of messages"))
                .or(courier_messages),
            message_size_max: self.one(Purpose::SizeMax, |text| values::number(text, "a number of bytes")),
            status: self.one(Purpose::Status, values::status).unwrap_or_default(),
            services: self.services(Purpose::Service),
            secrets: self.secrets(),
            delivery_mode: self.delivery_mode(),
            reply_text: self.one(Purpose::ReplyText, values::reply_text),
            uid_number: self.one(Purpose::UidNumber, |text| values::number_32(text, "a user id")),
            gid_number: self.one(Purpose::GidNumber, |text| values::number_32(text, "a group id")),
            other: self.other(),
        };
        fields.pack()
    }

    fn previous(&mut self) -> Vec<String> {
        let places = self.all(Purpose::PreviousNode, values::previous_node);
        let bytes: usize = places.iter().map(|place| place.len() + 1).sum();
        if places.len() > PREVIOUS_MAX || bytes > PREVIOUS_BYTES_MAX {
            let last = self.values(Purpose::PreviousNode).last();
            let message =
                format!("expected at most {PREVIOUS_MAX} places of {PREVIOUS_BYTES_MAX} bytes together, found more");
            let mistake = last.map(|last| self.mistake(last, 0, message));
            mistake.into_iter().for_each(|mistake| self.mistakes.push(mistake));
        }
        places
    }

    fn delivery_mode(&mut self) -> crate::record::DeliveryMode {
        let mut mode = crate::record::DeliveryMode::default();
        for attribute in self.values(Purpose::DeliveryMode) {
            self.read(attribute, |text| values::delivery_mode(&mut mode, text));
        }
        mode
    }

    fn services(&mut self, purpose: Purpose) -> Option<ServiceSet> {
        let mut set = None;
        for attribute in self.values(purpose) {
            let Some(text) = self.read(attribute, |text| Ok(text.to_owned())) else {
                continue;
            };
            let services = values::services(&text).unwrap_or_else(|| {
                let message = format!("{text:?} is none of mail, smtp, lmtp, submission, pop3, imap: ignored");
                self.warnings.push(self.mistake(attribute, 0, message));
                &[]
            });
            let before = set.unwrap_or(ServiceSet::NONE);
            set = Some(services.iter().fold(before, |set, service| set.with(*service)));
        }
        set
    }

    fn secrets(&mut self) -> Vec<String> {
        let mut secrets = Vec::new();
        let attributes = self
            .values(Purpose::Password)
            .map(|attribute| (attribute, password::Form::UserPassword));
        for (attribute, form) in attributes.chain(
            self.values(Purpose::AuthPassword)
                .map(|attribute| (attribute, password::Form::AuthPassword)),
        ) {
            // Not trimmed: a space is part of a clear-text password.
            let Ok(text) = std::str::from_utf8(&attribute.value) else {
                self.mistakes
                    .push(self.mistake(attribute, 0, "expected UTF-8 text, found other bytes".into()));
                continue;
            };
            match password::inspect(text, form) {
                password::Inspection::Good => {}
                password::Inspection::Doubtful(why) => self.warnings.push(self.mistake(attribute, 0, why)),
                password::Inspection::Damaged(why) => {
                    self.mistakes.push(self.mistake(attribute, 0, why));
                    continue;
                }
            }
            secrets.push(text.to_owned());
        }
        secrets
    }

    /// What the schema does not know, within bounds.
    fn other(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut other = Vec::new();
        let mut bytes = 0_usize;
        let entry = self.entry;
        for (place, attribute) in entry.attributes.iter().enumerate() {
            if self.is_settled(place) {
                continue;
            }
            let name = attribute.name.to_ascii_lowercase();
            let size = name.len() + attribute.value.len();
            if attribute.value.len() > OTHER_VALUE_BYTES_MAX || bytes + size > OTHER_BYTES_MAX {
                let message = format!(
                    "not kept: {} bytes (at most {OTHER_VALUE_BYTES_MAX} a value and {OTHER_BYTES_MAX} an entry are)",
                    attribute.value.len()
                );
                self.warnings.push(self.mistake(attribute, 0, message));
                continue;
            }
            bytes += size;
            other.push((name, attribute.value.to_vec()));
        }
        other
    }

    fn domain(&mut self, id: AccountUuid) -> Option<Domain> {
        let name = self.required(Purpose::DomainName, values::domain);
        let number = |text: &str| values::number(text, "a number");
        let limit = |limit: Option<u64>| limit.filter(|limit| *limit != 0);
        let domain = Domain {
            id,
            generation: 0,
            dn: self.entry.dn.to_string(),
            unicode_name: name.as_deref().and_then(crate::address::unicode_domain),
            name: name.clone().unwrap_or_default(),
            status: self.one(Purpose::DomainStatus, values::status).unwrap_or_default(),
            alias_of: self.one(Purpose::AliasOf, values::domain),
            catch_all: self.one(Purpose::CatchAll, values::address),
            postmaster: self.one(Purpose::Postmaster, values::address),
            plus_delimiter: self
                .one(Purpose::AddressDelimiter, values::delimiter)
                .unwrap_or(Some('+')),
            default_quota: Quota {
                bytes: limit(self.one(Purpose::DefaultQuotaSize, |text| {
                    values::number(text, "a number of bytes")
                })),
                messages: limit(self.one(Purpose::DefaultQuotaCount, |text| {
                    values::number(text, "a number of messages")
                })),
            },
            default_message_size_max: limit(self.one(Purpose::DefaultSizeMax, |text| {
                values::number(text, "a number of bytes")
            })),
            default_services: self.services(Purpose::DefaultService),
            default_node: self.one(Purpose::DefaultNode, |text| values::component(text, "the id of a node")),
            default_volume: self.one(Purpose::DefaultVolume, |text| {
                values::component(text, "the id of a volume")
            }),
            accounts_max: self.one(Purpose::AccountsMax, number),
            sessions_since: self.one(Purpose::SessionsSince, values::time),
            features: self.all(Purpose::Feature, |text| Ok(text.to_ascii_lowercase())),
        };
        name.map(|_| domain)
    }

    fn group(&mut self, id: AccountUuid) -> Group {
        let dn_value = |text: &str| {
            canonical_dn(text).map_err(|error| values::ValueError {
                at: error.at,
                message: error.message.into(),
            })
        };
        Group {
            id,
            generation: 0,
            dn: self.entry.dn.to_string(),
            addresses: self.all(Purpose::Address, values::address),
            status: self
                .one(Purpose::Status, values::status)
                .unwrap_or(AccountStatus::Active),
            member_addresses: self.members(Purpose::MemberAddress, values::address),
            member_dns: self.members(Purpose::MemberDn, dn_value),
        }
    }

    /// As `all`, for lists that can be long.
    fn members(&mut self, purpose: Purpose, parse: impl Fn(&str) -> ValueResult<String>) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let mut list = Vec::new();
        for attribute in self.values(purpose) {
            if let Some(value) = self.read(attribute, &parse).filter(|value| seen.insert(value.clone())) {
                list.push(value);
            }
        }
        list
    }

    fn server(&mut self, id: AccountUuid) -> Option<Server> {
        let name = self.required(Purpose::ComponentName, |text| {
            values::component(text, "the id of a node")
        });
        let weight = self.one(Purpose::Weight, |text| values::number_32(text, "a weight"));
        let server = Server {
            id,
            generation: 0,
            dn: self.entry.dn.to_string(),
            name: name.clone().unwrap_or_default(),
            public_addresses: self.all(Purpose::PublicAddress, values::host),
            private_addresses: self.all(Purpose::PrivateAddress, values::private_address),
            keys: self.all(Purpose::NodeKey, values::node_key),
            weight: weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1),
            roles: self.roles(),
            state: self.one(Purpose::NodeState, values::node_state).unwrap_or_default(),
        };
        name.map(|_| server)
    }

    fn roles(&mut self) -> RoleSet {
        let said = self.values(Purpose::Role).next().is_some();
        let roles = self.all(Purpose::Role, values::role);
        match said {
            true => roles.into_iter().fold(RoleSet::NONE, RoleSet::with),
            false => RoleSet::ALL,
        }
    }

    fn module_service(&mut self, id: AccountUuid) -> Option<ModuleService> {
        let name = self.required(Purpose::ComponentName, |text| {
            values::component(text, "the name of a module")
        });
        let locations = self.all(Purpose::Location, values::location);
        Some(ModuleService {
            id,
            generation: 0,
            dn: self.entry.dn.to_string(),
            name: name?,
            locations,
        })
    }

    fn volume(&mut self, id: AccountUuid) -> Option<Volume> {
        let name = self.required(Purpose::ComponentName, |text| {
            values::component(text, "the id of a volume")
        });
        let node = self.one(Purpose::Node, |text| values::component(text, "the id of a node"));
        let path = self.one(Purpose::Path, values::path);
        Some(Volume {
            id,
            generation: 0,
            dn: self.entry.dn.to_string(),
            name: name?,
            node,
            path,
        })
    }
}
