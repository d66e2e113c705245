//! Which attribute holds what: the same OID means different things on different servers, so names come from a map.
//!
//! The table below is the whole default schema. The conversion of entries into records is in [`convert`], the reading
//! of single values in [`values`].

pub(crate) mod convert;
pub(crate) mod values;

pub use convert::{Kind, kind};

use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::fmt;

/// What an attribute is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Purpose {
    /// entryUUID, the key of the record.
    Uuid,
    /// Object classes.
    ObjectClass,
    /// Addresses of an account or group; the first value of the first attribute is the main address.
    Address,
    /// Login name besides the addresses.
    LoginName,
    /// Owning node: an id of the server_map.
    Node,
    /// Volume id.
    Volume,
    /// Where the mail was before: a node, or a node and a volume.
    PreviousNode,
    /// Home directory.
    HomeDirectory,
    /// Where copies are forwarded to.
    Forward,
    /// What the envelope address is rewritten to.
    Routing,
    /// Numeric user id.
    UidNumber,
    /// Numeric group id.
    GidNumber,
    /// Quota in bytes; 0 is none.
    QuotaSize,
    /// Quota in messages; 0 is none.
    QuotaCount,
    /// Both quotas in courier's form, `100000000S,1000C`.
    Quota,
    /// Largest message in bytes; 0 is no limit.
    SizeMax,
    /// Status of an account or group.
    Status,
    /// Enabled services.
    Service,
    /// Sessions that began before this time end.
    SessionsSince,
    /// Delivery mode.
    DeliveryMode,
    /// Text of the automatic answer.
    ReplyText,
    /// Password hashes with LDAP scheme names.
    Password,
    /// SCRAM verifiers (RFC 5803).
    AuthPassword,
    /// What changes whenever the entry does. Nobody reads it; where it differs, the record is another one.
    Revision,
    /// Addresses of a group's members.
    MemberAddress,
    /// DNs of a group's members.
    MemberDn,
    /// Name of a domain.
    DomainName,
    /// Status of a domain.
    DomainStatus,
    /// The domain that this one is another name of.
    AliasOf,
    /// Address for unknown local parts.
    CatchAll,
    /// Address for postmaster.
    Postmaster,
    /// Character before the detail in plus-addressing; `none` for none.
    AddressDelimiter,
    /// Default quota in bytes for the domain's accounts.
    DefaultQuotaSize,
    /// Default quota in messages.
    DefaultQuotaCount,
    /// Default of the largest message.
    DefaultSizeMax,
    /// Default services.
    DefaultService,
    /// Default owning node.
    DefaultNode,
    /// Default volume.
    DefaultVolume,
    /// Number of accounts that a domain may have.
    AccountsMax,
    /// Features switched on for a domain.
    Feature,
    /// Name of a node, module or volume.
    ComponentName,
    /// Addresses of a node that clients reach.
    PublicAddress,
    /// Addresses of a node on the private network.
    PrivateAddress,
    /// Verifiers of a node's key.
    NodeKey,
    /// A node's weight.
    Weight,
    /// What a node is there for.
    Role,
    /// Whether a node is in use.
    NodeState,
    /// Where a module runs.
    Location,
    /// Directory of a volume.
    Path,
}

/// Purpose, its name in the configuration, and the attributes that hold it by default.
const DEFAULTS: &[(Purpose, &str, &[&str])] = &[
    (Purpose::Uuid, "uuid", &["entryUUID"]),
    (Purpose::ObjectClass, "object_class", &["objectClass"]),
    (
        Purpose::Address,
        "address",
        &["mail", "mailAlternateAddress", "mailLocalAddress"],
    ),
    (Purpose::LoginName, "login_name", &["uid"]),
    (Purpose::Node, "node", &["mailHost"]),
    (Purpose::Volume, "volume", &["mailMessageStore"]),
    (Purpose::PreviousNode, "previous_node", &["pigeonPreviousHost"]),
    (Purpose::HomeDirectory, "home_directory", &["homeDirectory"]),
    (Purpose::Forward, "forward", &["mailForwardingAddress"]),
    (Purpose::Routing, "routing", &["mailRoutingAddress"]),
    (Purpose::UidNumber, "uid_number", &["uidNumber"]),
    (Purpose::GidNumber, "gid_number", &["gidNumber"]),
    (Purpose::QuotaSize, "quota_size", &["mailQuotaSize"]),
    (Purpose::QuotaCount, "quota_count", &["mailQuotaCount"]),
    (Purpose::Quota, "quota", &["mailQuota"]),
    (Purpose::SizeMax, "size_max", &["mailSizeMax"]),
    (Purpose::Status, "status", &["accountStatus"]),
    (Purpose::Service, "service", &["enabledService"]),
    (Purpose::SessionsSince, "sessions_since", &["pigeonSessionsSince"]),
    (Purpose::DeliveryMode, "delivery_mode", &["deliveryMode"]),
    (Purpose::ReplyText, "reply_text", &["mailReplyText"]),
    (Purpose::Password, "password", &["userPassword"]),
    (Purpose::AuthPassword, "auth_password", &["authPassword"]),
    (Purpose::Revision, "revision", &[]),
    (Purpose::MemberAddress, "member_address", &["rfc822member"]),
    (Purpose::MemberDn, "member_dn", &["dnmember"]),
    (Purpose::DomainName, "domain_name", &["associatedDomain"]),
    (Purpose::DomainStatus, "domain_status", &["pigeonDomainStatus"]),
    (Purpose::AliasOf, "alias_of", &["pigeonAliasOf"]),
    (Purpose::CatchAll, "catch_all", &["pigeonCatchAll"]),
    (Purpose::Postmaster, "postmaster", &["pigeonPostmaster"]),
    (
        Purpose::AddressDelimiter,
        "address_delimiter",
        &["pigeonAddressDelimiter"],
    ),
    (
        Purpose::DefaultQuotaSize,
        "default_quota_size",
        &["pigeonDefaultQuotaSize"],
    ),
    (
        Purpose::DefaultQuotaCount,
        "default_quota_count",
        &["pigeonDefaultQuotaCount"],
    ),
    (Purpose::DefaultSizeMax, "default_size_max", &["pigeonDefaultSizeMax"]),
    (Purpose::DefaultService, "default_service", &["pigeonDefaultService"]),
    (Purpose::DefaultNode, "default_node", &["pigeonDefaultHost"]),
    (Purpose::DefaultVolume, "default_volume", &["pigeonDefaultVolume"]),
    (Purpose::AccountsMax, "accounts_max", &["pigeonAccountsMax"]),
    (Purpose::Feature, "feature", &["pigeonFeature"]),
    (Purpose::ComponentName, "component_name", &["cn"]),
    (Purpose::PublicAddress, "public_address", &["pigeonPublicAddress"]),
    (Purpose::PrivateAddress, "private_address", &["pigeonPrivateAddress"]),
    (Purpose::NodeKey, "node_key", &["pigeonKey"]),
    (Purpose::Weight, "weight", &["pigeonWeight"]),
    (Purpose::Role, "role", &["pigeonRole"]),
    (Purpose::NodeState, "node_state", &["pigeonNodeState"]),
    (Purpose::Location, "location", &["pigeonLocation"]),
    (Purpose::Path, "path", &["pigeonPath"]),
];

impl Purpose {
    /// All purposes, in the order of the default schema.
    pub fn all() -> impl Iterator<Item = Purpose> {
        DEFAULTS.iter().map(|(purpose, ..)| *purpose)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        DEFAULTS
            .iter()
            .find(|(purpose, ..)| *purpose == self)
            .map_or("", |(_, name, _)| name)
    }
}

/// Which attributes hold what. Names are compared without regard to case.
///
/// An attribute may serve more than one purpose where the purposes belong to different kinds of entries (`cn` names a
/// node and a volume). What no purpose names is kept in the record's bag of other attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeMap {
    by_purpose: Vec<(Purpose, Vec<String>)>,
    by_attribute: HashMap<String, Vec<(Purpose, usize)>, RandomState>,
}

/// A mistake in an attribute map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeMapError(pub String);

impl fmt::Display for AttributeMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AttributeMapError {}

impl Default for AttributeMap {
    fn default() -> Self {
        let by_purpose = DEFAULTS
            .iter()
            .map(|(purpose, _, attributes)| (*purpose, attributes.iter().map(ToString::to_string).collect()))
            .collect();
        let mut map = AttributeMap {
            by_purpose,
            by_attribute: HashMap::default(),
        };
        map.index();
        map
    }
}

impl AttributeMap {
    /// The map with the attributes of one purpose replaced. `purpose` is a name as in docs/control-data.md; an empty
    /// list switches the purpose off.
    pub fn with<I>(mut self, purpose: &str, attributes: I) -> Result<AttributeMap, AttributeMapError>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let Some((found, ..)) = DEFAULTS.iter().find(|(_, name, _)| *name == purpose) else {
            let names: Vec<_> = DEFAULTS.iter().map(|(_, name, _)| *name).collect();
            return Err(AttributeMapError(format!(
                "unknown purpose {purpose:?}, expected one of {}",
                names.join(", ")
            )));
        };
        let attributes: Vec<String> = attributes.into_iter().map(Into::into).collect();
        if let Some(wrong) = attributes.iter().find(|name| !is_attribute_description(name)) {
            return Err(AttributeMapError(format!(
                "{wrong:?} is no attribute name (letters, digits and hyphens)"
            )));
        }
        self.by_purpose
            .iter_mut()
            .filter(|(purpose, _)| purpose == found)
            .for_each(|(_, list)| *list = attributes.clone());
        self.index();
        Ok(self)
    }

    /// The attributes of a purpose, as they were written, the most important first.
    pub fn attributes(&self, purpose: Purpose) -> &[String] {
        self.by_purpose[purpose as usize].1.as_slice()
    }

    /// What an attribute is for, with its rank among the attributes of that purpose. `name` is in lower case.
    pub(crate) fn purposes(&self, name: &str) -> &[(Purpose, usize)] {
        self.by_attribute.get(name).map_or(&[], Vec::as_slice)
    }

    fn index(&mut self) {
        self.by_attribute.clear();
        for (purpose, attributes) in &self.by_purpose {
            for (rank, attribute) in attributes.iter().enumerate() {
                self.by_attribute
                    .entry(attribute.to_ascii_lowercase())
                    .or_default()
                    .push((*purpose, rank));
            }
        }
    }
}

/// attributedescription of RFC 4512, 2.5: a name or an OID, with options behind `;`.
pub(crate) fn is_attribute_description(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.split(';').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_')
        })
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Purpose::all().map(Purpose::name).collect();
        assert_eq!(names.len(), DEFAULTS.len());
        // The table is in the order of the type, and a set of purposes fits 64 bits.
        assert!(
            Purpose::all()
                .enumerate()
                .all(|(place, purpose)| place == purpose as usize)
        );
        assert!(DEFAULTS.len() <= 64);
        assert!(!names.contains(""));
    }

    #[test]
    fn a_map_is_changed_by_purpose() {
        let map = AttributeMap::default()
            .with("quota_size", ["quotaBytes"])
            .expect("a good name");
        assert_eq!(map.attributes(Purpose::QuotaSize), ["quotaBytes"]);
        assert_eq!(map.purposes("quotabytes"), [(Purpose::QuotaSize, 0)]);
        assert_eq!(map.purposes("mailquotasize"), []);
        assert_eq!(map.purposes("maillocaladdress"), [(Purpose::Address, 2)]);
        assert!(AttributeMap::default().with("quota", ["no good"]).is_err());
        assert!(
            AttributeMap::default()
                .with("nonsense", ["mail"])
                .unwrap_err()
                .0
                .contains("expected one of uuid")
        );
    }
}
