//! Reading the values of an entry by what they are for, and collecting what is wrong with them.

use super::UNINTERESTING;
use crate::entry::{Attribute, Entry};
use crate::mistake::{Mistake, Mistakes};
use crate::record::AccountUuid;
use crate::schema::values::{self, ValueResult};
use crate::schema::{AttributeMap, Purpose};

/// Attributes of an entry that are looked at in advance.
const LOOKED_AT: usize = u128::BITS as usize;

pub(super) struct Reader<'a, 'b> {
    pub(super) entry: &'a Entry<'b>,
    pub(super) map: &'a AttributeMap,
    /// The purposes that the entry has values of, a bit each.
    present: u64,
    /// Which of the first attributes are not among the other ones, a bit each.
    settled: u128,
    pub(super) mistakes: &'a mut Mistakes,
    pub(super) warnings: &'a mut Mistakes,
}

impl<'a, 'b> Reader<'a, 'b> {
    /// Looks at every attribute once: most purposes have no value, and are not looked for then.
    pub(super) fn new(
        entry: &'a Entry<'b>,
        map: &'a AttributeMap,
        mistakes: &'a mut Mistakes,
        warnings: &'a mut Mistakes,
    ) -> Reader<'a, 'b> {
        let mut reader = Reader {
            entry,
            map,
            present: 0,
            settled: 0,
            mistakes,
            warnings,
        };
        for (place, attribute) in entry.attributes.iter().enumerate() {
            let (present, settled) = reader.purposes(&attribute.name);
            reader.present |= present;
            if settled && place < LOOKED_AT {
                reader.settled |= 1 << place;
            }
        }
        reader
    }

    /// Whether the schema knows the attribute at a place, or leaves it alone.
    pub(super) fn is_settled(&self, place: usize) -> bool {
        if place < LOOKED_AT {
            self.settled & (1 << place) != 0
        } else {
            self.purposes(&self.entry.attributes[place].name).1
        }
    }

    /// The purposes of an attribute, and whether it is not among the other ones.
    fn purposes(&self, name: &str) -> (u64, bool) {
        let mut buffer = [0; 64];
        let long;
        let lower = match buffer.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name.as_bytes());
                lower.make_ascii_lowercase();
                std::str::from_utf8(lower).unwrap_or_default()
            }
            None => {
                long = name.to_ascii_lowercase();
                &long
            }
        };
        let purposes = self.map.purposes(lower);
        // `cn` has a purpose only for the cluster's own entries.
        let known = purposes.iter().any(|(purpose, _)| *purpose != Purpose::ComponentName);
        let present = purposes.iter().fold(0, |set, (purpose, _)| set | 1 << *purpose as u32);
        // A revision is kept there, so that a record with another one is another record.
        let is_revision = purposes.iter().any(|(purpose, _)| *purpose == Purpose::Revision);
        (present, !is_revision && (known || UNINTERESTING.contains(&lower)))
    }

    /// The values of a purpose, the most important attribute first.
    pub(super) fn values(&self, purpose: Purpose) -> impl Iterator<Item = &'a Attribute<'b>> + use<'a, 'b> {
        let entry = self.entry;
        let is_present = self.present & (1 << purpose as u32) != 0;
        let names = if is_present { self.map.attributes(purpose) } else { &[] };
        names.iter().flat_map(move |name| {
            entry
                .attributes
                .iter()
                .filter(move |attribute| attribute.name.eq_ignore_ascii_case(name))
        })
    }

    pub(super) fn identity(&mut self, dn: &str) -> AccountUuid {
        AccountUuid(self.one(Purpose::Uuid, values::uuid).unwrap_or_else(|| {
            // RFC 9562, 5.5: the same DN gives the same UUID on every node and after every restart.
            uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_X500, dn.as_bytes()).into_bytes()
        }))
    }

    pub(super) fn mistake(&self, attribute: &Attribute<'_>, at: usize, message: String) -> Mistake {
        Mistake {
            position: attribute.position_of(at),
            dn: Some(self.entry.dn.to_string()),
            attribute: Some(attribute.name.to_string()),
            message,
        }
    }

    pub(super) fn read<T>(
        &mut self,
        attribute: &Attribute<'_>,
        parse: impl FnOnce(&str) -> ValueResult<T>,
    ) -> Option<T> {
        let result = values::text(&attribute.value).and_then(|text| {
            // Spaces in front were cut off: places count from the value as it stands.
            let cut = attribute.value.iter().take_while(|byte| **byte == b' ').count();
            parse(text).map_err(|error| values::ValueError {
                at: error.at + cut,
                ..error
            })
        });
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.push(self.mistake(attribute, error.at, error.message));
                None
            }
        }
    }

    /// The only value of a purpose; a second one is a mistake.
    pub(super) fn one<T>(&mut self, purpose: Purpose, parse: impl Fn(&str) -> ValueResult<T>) -> Option<T> {
        let mut values = self.values(purpose);
        let first = values.next()?;
        if let Some(second) = values.next() {
            let message = format!("expected one value, found a second one beside that of {}", first.name);
            self.mistakes.push(self.mistake(second, 0, message));
        }
        self.read(first, parse)
    }

    /// All values of a purpose, each once.
    pub(super) fn all<T: PartialEq>(&mut self, purpose: Purpose, parse: impl Fn(&str) -> ValueResult<T>) -> Vec<T> {
        let mut list: Vec<T> = Vec::new();
        for attribute in self.values(purpose) {
            if let Some(value) = self.read(attribute, &parse).filter(|value| !list.contains(value)) {
                list.push(value);
            }
        }
        list
    }

    /// A purpose without which the entry is no record.
    pub(super) fn required<T>(&mut self, purpose: Purpose, parse: impl Fn(&str) -> ValueResult<T>) -> Option<T> {
        if self.values(purpose).next().is_none() {
            let name = self
                .map
                .attributes(purpose)
                .first()
                .map_or("an attribute", String::as_str);
            self.mistakes.push(Mistake {
                position: self.entry.dn_position,
                dn: Some(self.entry.dn.to_string()),
                attribute: None,
                message: format!("expected a value of {name}, found none"),
            });
            return None;
        }
        self.one(purpose, parse)
    }
}
