//! A list of members behind one or more addresses.

use super::{AccountStatus, AccountUuid};

/// One member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// An address (rfc822member), of this tree or outside.
    Address(&'a str),
    /// The DN of an account or group of this tree (dnmember), in canonical form.
    Dn(&'a str),
}

/// A group (an entry with rfc822member or dnmember).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub(crate) id: AccountUuid,
    pub(crate) generation: u64,
    pub(crate) dn: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) status: AccountStatus,
    pub(crate) member_addresses: Vec<String>,
    pub(crate) member_dns: Vec<String>,
}

impl Group {
    /// entryUUID of the group's entry.
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

    /// Its addresses as `local@domain`.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(String::as_str)
    }

    /// Whether `address` (canonical) is one of its addresses.
    pub(crate) fn has_address(&self, address: &[u8]) -> bool {
        self.addresses.iter().any(|found| found.as_bytes() == address)
    }

    /// Its status.
    pub fn status(&self) -> AccountStatus {
        self.status
    }

    /// Its direct members; [`crate::Snapshot::expand`] resolves them.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        let addresses = self.member_addresses.iter().map(|address| Member::Address(address));
        addresses.chain(self.member_dns.iter().map(|dn| Member::Dn(dn)))
    }

    /// Whether everything but the generation is the same; takes over `self`'s generation to compare.
    pub(crate) fn same_content(&self, other: &mut Group) -> bool {
        other.generation = self.generation;
        self == other
    }
}
