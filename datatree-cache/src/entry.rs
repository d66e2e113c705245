//! An entry as a source gives it, before the schema makes a record of it.

use crate::mistake::Position;
use std::borrow::Cow;

/// A DN and its attribute values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Distinguished name, as written.
    pub dn: Cow<'a, str>,
    /// Where it stands, for a source that has places.
    pub dn_position: Option<Position>,
    /// One for each value, in the order of the source.
    pub attributes: Vec<Attribute<'a>>,
}

/// One value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Attribute description, as written.
    pub name: Cow<'a, str>,
    /// The value's bytes. Borrowed: they stand in the source just so, and a byte of it has a place of its own.
    pub value: Cow<'a, [u8]>,
    /// Where the value begins.
    pub position: Option<Position>,
}

impl Entry<'_> {
    /// The same, without what it was read from.
    pub(crate) fn into_owned(self) -> Entry<'static> {
        let attributes = self.attributes.into_iter().map(|attribute| Attribute {
            name: Cow::Owned(attribute.name.into_owned()),
            value: Cow::Owned(attribute.value.into_owned()),
            position: attribute.position,
        });
        Entry {
            dn: Cow::Owned(self.dn.into_owned()),
            dn_position: self.dn_position,
            attributes: attributes.collect(),
        }
    }
}

impl Attribute<'_> {
    /// The place of byte `at` of the value, as exactly as it can be told: folded and base64 values only have one.
    pub(crate) fn position_of(&self, at: usize) -> Option<Position> {
        match &self.value {
            Cow::Borrowed(_) => self.position.map(|position| position.after(at)),
            Cow::Owned(_) => self.position,
        }
    }
}
