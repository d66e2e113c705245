//! Changes of the tree: plain directory operations, as the directory gets them and as LDIF shows them.

use crate::entry::{Found, Owned, naming, place_of, push, split_dn, values_of};
use pigeon_datatree_cache::ldif::{write_entry, write_value};

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Add(Owned),
    /// Each step replaces all values of one attribute; none takes the attribute away.
    Modify {
        dn: String,
        steps: Vec<Step>,
        version: Option<String>,
    },
    /// modrdn with deleteoldrdn: the values of the old name go, those of the new come.
    /// The entry has to be the one of this entryUUID still.
    Rename {
        dn: String,
        rdn: String,
        uuid: Option<String>,
    },
    Delete {
        dn: String,
        version: Option<String>,
    },
}

/// The values of an attribute from now on.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) attribute: String,
    pub(crate) values: Vec<Vec<u8>>,
}

impl Step {
    pub(crate) fn new<V: Into<Vec<u8>>>(attribute: impl Into<String>, values: impl IntoIterator<Item = V>) -> Step {
        Step {
            attribute: attribute.into(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }
}

impl Change {
    /// A modification of an entry that was read.
    pub(crate) fn modify(found: &Found, steps: Vec<Step>) -> Change {
        Change::Modify {
            dn: found.entry.dn.to_string(),
            steps,
            version: found.version.clone(),
        }
    }

    pub(crate) fn dn(&self) -> &str {
        match self {
            Change::Add(entry) => &entry.dn,
            Change::Modify { dn, .. } | Change::Rename { dn, .. } | Change::Delete { dn, .. } => dn,
        }
    }

    /// As an LDIF change record (RFC 2849), with an empty line in front.
    pub(crate) fn ldif(&self) -> String {
        let mut text = Vec::new();
        let written = match self {
            Change::Add(entry) => {
                let mut whole = Owned {
                    attributes: Vec::new(),
                    ..entry.clone()
                };
                push(&mut whole, "changetype", "add");
                whole.attributes.extend(entry.attributes.iter().cloned());
                write_entry(&mut text, &whole)
            }
            Change::Modify { dn, steps, .. } => head(&mut text, dn, "modify").and_then(|()| {
                steps.iter().try_for_each(|step| {
                    write_value(&mut text, "replace", step.attribute.as_bytes())?;
                    for value in &step.values {
                        write_value(&mut text, &step.attribute, value)?;
                    }
                    text.extend_from_slice(b"-\n");
                    Ok(())
                })
            }),
            Change::Rename { dn, rdn, .. } => head(&mut text, dn, "modrdn")
                .and_then(|()| write_value(&mut text, "newrdn", rdn.as_bytes()))
                .and_then(|()| write_value(&mut text, "deleteoldrdn", b"1")),
            Change::Delete { dn, .. } => head(&mut text, dn, "delete"),
        };
        written.expect("writing to memory cannot fail");
        String::from_utf8(text).expect("LDIF is ASCII")
    }
}

fn head(text: &mut Vec<u8>, dn: &str, kind: &str) -> std::io::Result<()> {
    text.push(b'\n');
    write_value(text, "dn", dn.as_bytes())?;
    write_value(text, "changetype", kind.as_bytes())
}

/// The entries after the changes.
pub(crate) fn applied(entries: &[Owned], changes: &[Change]) -> Vec<Owned> {
    let mut entries = entries.to_vec();
    for change in changes {
        let place = place_of(&entries, change.dn());
        match (change, place) {
            (Change::Add(entry), _) => entries.push(entry.clone()),
            (Change::Delete { .. }, Some(place)) => drop(entries.remove(place)),
            (Change::Modify { steps, .. }, Some(place)) => {
                steps.iter().for_each(|step| apply(&mut entries[place], step));
            }
            (Change::Rename { dn, rdn, .. }, Some(place)) => {
                let (steps, renamed) = rename(&entries[place], dn, rdn);
                steps.iter().for_each(|step| apply(&mut entries[place], step));
                entries[place].dn = renamed.into();
            }
            (_, None) => {}
        }
    }
    entries
}

/// What a modrdn does to the values of an entry, and its new DN.
pub(crate) fn rename(entry: &Owned, dn: &str, rdn: &str) -> (Vec<Step>, String) {
    let parent = split_dn(dn).1;
    let renamed = if parent.is_empty() {
        rdn.to_owned()
    } else {
        format!("{rdn},{parent}")
    };
    let (Some((old_name, old)), Some((new_name, new))) = (naming(dn), naming(rdn)) else {
        return (Vec::new(), renamed);
    };
    let mut steps = Vec::new();
    let is_old = |value: &Vec<u8>| value.eq_ignore_ascii_case(old.as_bytes());
    if old_name.eq_ignore_ascii_case(&new_name) {
        let mut values = values_of(entry, &old_name);
        match values.iter_mut().find(|value| is_old(value)) {
            Some(value) => *value = new.into_bytes(),
            None => values.insert(0, new.into_bytes()),
        }
        steps.push(Step::new(old_name, values));
    } else {
        let kept = values_of(entry, &old_name).into_iter().filter(|value| !is_old(value));
        steps.push(Step::new(old_name, kept));
        let mut values = values_of(entry, &new_name);
        if !values.iter().any(|value| value.eq_ignore_ascii_case(new.as_bytes())) {
            values.push(new.into_bytes());
        }
        steps.push(Step::new(new_name, values));
    }
    (steps, renamed)
}

/// The new values stand where the first of the old ones did.
fn apply(entry: &mut Owned, step: &Step) {
    let is_it = |name: &str| name.eq_ignore_ascii_case(&step.attribute);
    let place = entry.attributes.iter().position(|attribute| is_it(&attribute.name));
    let place = place.unwrap_or(entry.attributes.len());
    let name = entry
        .attributes
        .get(place)
        .map_or(step.attribute.clone(), |attribute| attribute.name.to_string());
    entry.attributes.retain(|attribute| !is_it(&attribute.name));
    let rest = entry.attributes.split_off(place);
    step.values.iter().for_each(|value| push(entry, &name, value.clone()));
    entry.attributes.extend(rest);
}
