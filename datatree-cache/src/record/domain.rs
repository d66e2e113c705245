//! A mail domain.

use super::{AccountStatus, AccountUuid, Quota, ServiceSet};

/// A domain of this tree (pigeonDomain).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    pub(crate) id: AccountUuid,
    pub(crate) generation: u64,
    pub(crate) dn: String,
    pub(crate) name: String,
    /// The U-label form, where it differs.
    pub(crate) unicode_name: Option<String>,
    pub(crate) status: AccountStatus,
    pub(crate) alias_of: Option<String>,
    pub(crate) catch_all: Option<String>,
    pub(crate) postmaster: Option<String>,
    pub(crate) plus_delimiter: Option<char>,
    pub(crate) default_quota: Quota,
    pub(crate) default_message_size_max: Option<u64>,
    pub(crate) default_services: Option<ServiceSet>,
    pub(crate) default_node: Option<String>,
    pub(crate) default_volume: Option<String>,
    pub(crate) accounts_max: Option<u64>,
    pub(crate) sessions_since: Option<u64>,
    pub(crate) features: Vec<String>,
}

impl Domain {
    /// entryUUID of the domain's entry.
    pub fn id(&self) -> AccountUuid {
        self.id
    }

    /// The generation in which this record last changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Distinguished name of the entry.
    pub fn dn(&self) -> &str {
        &self.dn
    }

    /// Its name in lower case, A-label form (`xn--...` for international names).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name with U-labels (`bücher.example`), for people.
    pub fn display_name(&self) -> &str {
        self.unicode_name.as_deref().unwrap_or(&self.name)
    }

    /// Its status, which bounds that of all its accounts.
    pub fn status(&self) -> AccountStatus {
        self.status
    }

    /// The domain that this one is another name of.
    pub fn alias_of(&self) -> Option<&str> {
        self.alias_of.as_deref()
    }

    /// The address that gets mail for unknown local parts.
    pub fn catch_all(&self) -> Option<&str> {
        self.catch_all.as_deref()
    }

    /// The address that gets mail for `postmaster` (RFC 5321, 4.5.1).
    pub fn postmaster(&self) -> Option<&str> {
        self.postmaster.as_deref()
    }

    /// The character between a local part and its detail (`+` in `alice+news`); `None`: no plus-addressing.
    pub fn plus_delimiter(&self) -> Option<char> {
        self.plus_delimiter
    }

    /// Quota of accounts that have none of their own.
    pub fn default_quota(&self) -> Quota {
        self.default_quota
    }

    /// Largest message, in bytes, of accounts that say nothing of their own.
    pub fn default_message_size_max(&self) -> Option<u64> {
        self.default_message_size_max
    }

    /// Services of accounts that say nothing of their own.
    pub fn default_services(&self) -> ServiceSet {
        self.default_services.unwrap_or(ServiceSet::ALL)
    }

    /// Owning node of accounts that name none.
    pub fn default_node(&self) -> Option<&str> {
        self.default_node.as_deref()
    }

    /// Volume of accounts that name none.
    pub fn default_volume(&self) -> Option<&str> {
        self.default_volume.as_deref()
    }

    /// How many accounts the domain may have; for tools that add accounts, the node itself does not enforce it.
    pub fn accounts_max(&self) -> Option<u64> {
        self.accounts_max
    }

    /// Sessions of its accounts that began before this time end; milliseconds since the Unix epoch.
    pub fn sessions_since(&self) -> Option<u64> {
        self.sessions_since
    }

    /// Features that are switched on for the domain, in lower case.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(String::as_str)
    }

    /// Whether everything but the generation is the same; takes over `self`'s generation to compare.
    pub(crate) fn same_content(&self, other: &mut Domain) -> bool {
        other.generation = self.generation;
        self == other
    }
}
