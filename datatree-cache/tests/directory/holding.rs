//! The conformance suite of all sources, over a directory.

use crate::options;
use crate::slapd::{SUFFIX, Slapd};
use pigeon_datatree_cache::ldap::Directory;
use pigeon_datatree_cache::ldif;
use pigeon_datatree_cache::source::DataTree;
use pigeon_datatree_cache::source::conformance::{self, Fixture};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A server that holds what the suite wants, entry by entry. The suite's DNs get the server's suffix.
struct Held {
    slapd: Slapd,
    /// By UUID: DN and attributes.
    entries: BTreeMap<String, (String, Vec<(String, String)>)>,
}

impl Fixture for Held {
    fn source(&mut self) -> Box<dyn DataTree> {
        Box::new(Directory::new(options(&[self.slapd.uri()], None)).expect("a runtime"))
    }

    fn hold(&mut self, text: &str) {
        let mut wanted = BTreeMap::new();
        for entry in ldif::parse(text.as_bytes()).expect("the suite's LDIF") {
            // One level below the suffix.
            let name = entry.dn.split(',').next().expect("a DN has a component");
            let dn = format!("{name},{SUFFIX}");
            let mut uuid = String::new();
            let mut attributes = Vec::new();
            for attribute in &entry.attributes {
                let value = String::from_utf8_lossy(&attribute.value).into_owned();
                if attribute.name == "entryUUID" {
                    uuid = value;
                } else {
                    if value == "inetOrgPerson" {
                        attributes.push(("objectClass".to_owned(), "pigeonAccount".to_owned()));
                    }
                    attributes.push((attribute.name.to_string(), value));
                }
            }
            wanted.insert(uuid, (dn, attributes));
        }
        let mut records = String::new();
        for (uuid, (dn, _)) in &self.entries {
            if !wanted.contains_key(uuid) {
                let _ = write!(records, "dn: {dn}\nchangetype: delete\n\n");
            }
        }
        for (uuid, (dn, attributes)) in &wanted {
            match self.entries.get(uuid) {
                None => {
                    let _ = write!(records, "dn: {dn}\nchangetype: add\nentryUUID: {uuid}\n");
                    attributes
                        .iter()
                        .for_each(|(name, value)| records.push_str(&format!("{name}: {value}\n")));
                    records.push('\n');
                }
                Some((old_dn, old)) => modify(&mut records, (old_dn, old), (dn, attributes)),
            }
        }
        if !records.is_empty() {
            self.slapd.change(&records);
        }
        self.entries = wanted;
    }

    fn whole_or_nothing(&self) -> bool {
        false
    }
}

type Held1<'a> = (&'a String, &'a Vec<(String, String)>);

fn modify(records: &mut String, (old_dn, old): Held1<'_>, (dn, new): Held1<'_>) {
    if old_dn != dn {
        let name = dn.split(',').next().expect("a DN has a component");
        let _ = write!(
            records,
            "dn: {old_dn}\nchangetype: modrdn\nnewrdn: {name}\ndeleteoldrdn: 1\n\n"
        );
    }
    let names: std::collections::BTreeSet<&String> = old.iter().chain(new).map(|(name, _)| name).collect();
    let values = |of: &[(String, String)], name: &String| -> Vec<String> {
        of.iter()
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value.clone())
            .collect()
    };
    let mut changes = String::new();
    for name in names {
        let (before, now) = (values(old, name), values(new, name));
        // A rename has changed the naming attribute already.
        let is_naming = dn.starts_with(&format!("{name}=")) && old_dn != dn;
        if before != now && !is_naming {
            let _ = writeln!(changes, "replace: {name}");
            now.iter()
                .for_each(|value| changes.push_str(&format!("{name}: {value}\n")));
            changes.push_str("-\n");
        }
    }
    if !changes.is_empty() {
        let _ = write!(records, "dn: {dn}\nchangetype: modify\n{changes}\n");
    }
}

#[test]
fn a_directory_is_a_source() {
    if !crate::slapd::is_there() {
        return;
    }
    conformance::run(&mut Held {
        slapd: Slapd::start(),
        entries: BTreeMap::new(),
    });
}
