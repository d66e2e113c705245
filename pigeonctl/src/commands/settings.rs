//! From options to new values of attributes. An option that is not given changes nothing, an empty one takes the setting
//! away, and what is there already is not written again.

use crate::amount;
use crate::change::{Change, Step};
use crate::entry::{Found, Owned, attribute, push, texts, values_of};
use crate::source::Need;
use crate::tree::Tree;
use pigeon_datatree_cache::{Address, AttributeMap, Purpose};

/// Steps of one entry.
pub(super) struct Steps<'a> {
    map: &'a AttributeMap,
    entry: &'a Owned,
    steps: Vec<Step>,
}

impl<'a> Steps<'a> {
    pub(super) fn of(tree: &'a Tree, entry: &'a Owned) -> Steps<'a> {
        Steps {
            map: &tree.map,
            entry,
            steps: Vec::new(),
        }
    }

    /// All values of a purpose. Where more than one attribute may hold them, they are in the first from now on.
    pub(super) fn all(mut self, purpose: Purpose, values: &[String]) -> Result<Steps<'a>, String> {
        let first = attribute(self.map, purpose)?;
        for name in self.map.attributes(purpose) {
            let values: &[String] = if *name == first { values } else { &[] };
            let step = Step::new(name.clone(), values.iter().map(|value| value.as_bytes()));
            if values_of(self.entry, name) != step.values {
                self.steps.push(step);
            }
        }
        Ok(self)
    }

    /// One value.
    pub(super) fn one(self, purpose: Purpose, value: Option<&str>) -> Result<Steps<'a>, String> {
        match value {
            None => Ok(self),
            Some("") => self.all(purpose, &[]),
            Some(value) => self.all(purpose, &[value.to_owned()]),
        }
    }

    /// Several; one empty value is none.
    pub(super) fn several(self, purpose: Purpose, values: &[String]) -> Result<Steps<'a>, String> {
        match values {
            [] => Ok(self),
            [none] if none.is_empty() => self.all(purpose, &[]),
            values => self.all(purpose, values),
        }
    }

    /// An amount, which may be a change of what is there.
    pub(super) fn amount(self, purpose: Purpose, value: Option<&str>) -> Result<Steps<'a>, String> {
        let now = texts(self.entry, self.map, purpose);
        let written = value
            .filter(|value| !value.is_empty())
            .map(|value| amount::written(value, now.first().map(String::as_str)));
        match written.transpose()? {
            Some(written) => self.one(purpose, Some(&written)),
            None => self.one(purpose, value),
        }
    }

    pub(super) fn done(self) -> Vec<Step> {
        self.steps
    }
}

/// One modification, or none where nothing is to be changed.
pub(super) fn modification(found: &Found, steps: Vec<Step>) -> Vec<Change> {
    if steps.is_empty() {
        Vec::new()
    } else {
        vec![Change::modify(found, steps)]
    }
}

/// The values of steps in a fresh entry.
pub(super) fn put(entry: &mut Owned, steps: Vec<Step>) {
    for step in steps {
        step.values
            .into_iter()
            .for_each(|value| push(entry, &step.attribute, value));
    }
}

/// An address in a domain of the tree that nobody has.
pub(super) fn free_address(tree: &mut Tree, text: &str) -> Result<Address, String> {
    let address = Address::parse(text).map_err(|error| format!("{text}: {error}"))?;
    tree.domain(address.domain())
        .map_err(|_| format!("{text}: {} is no domain of this tree: add it first", address.domain()))?;
    if let Some(owner) = tree.owner(text)? {
        return Err(format!("{text}: {} has this address", owner.entry.dn));
    }
    Ok(address)
}

/// The attribute for addresses behind the main one.
pub(super) fn further_attribute(tree: &Tree) -> Result<String, String> {
    let second = tree.map.attributes(Purpose::Address).get(1).cloned();
    second.map_or_else(|| attribute(&tree.map, Purpose::Address), Ok)
}

/// Further addresses for an account or a group.
pub(super) fn with_addresses(tree: &mut Tree, entry: &Owned, new: &[String]) -> Result<Vec<Step>, String> {
    let attribute = further_attribute(tree)?;
    let mut values = values_of(entry, &attribute);
    for text in new {
        free_address(tree, text)?;
        values.push(text.as_bytes().to_vec());
    }
    Ok(vec![Step::new(attribute, values)])
}

/// All addresses but this one.
pub(super) fn without_address(tree: &Tree, entry: &Owned, text: &str) -> Result<Vec<Step>, String> {
    let address = Address::parse(text).map_err(|error| format!("{text}: {error}"))?;
    let is_it = |value: &[u8]| {
        std::str::from_utf8(value)
            .ok()
            .and_then(|value| Address::parse(value).ok())
            .as_ref()
            == Some(&address)
    };
    let mut left = 0;
    let mut steps = Vec::new();
    for name in tree.map.attributes(Purpose::Address) {
        let values = values_of(entry, name);
        let kept: Vec<Vec<u8>> = values.iter().filter(|value| !is_it(value)).cloned().collect();
        left += kept.len();
        if kept.len() != values.len() {
            steps.push(Step::new(name.clone(), kept));
        }
    }
    if steps.is_empty() {
        return Err(format!("{text}: this is a login name of {}, not an address", entry.dn));
    }
    if left == 0 {
        return Err(format!(
            "{text}: this is the only address of {}; remove the account, or rename it",
            entry.dn
        ));
    }
    Ok(steps)
}

/// Reads those whom settings name by address.
pub(super) fn known(tree: &mut Tree, addresses: &[Option<&str>]) -> Result<(), String> {
    let named = addresses.iter().flatten().filter(|address| !address.is_empty());
    named
        .into_iter()
        .try_for_each(|address| tree.need(&Need::Name((*address).to_owned())))
}
