//! What a command knows of the tree: of a file everything, of a directory what it asked for.
//!
//! Invariant: what is written was checked with the node's own reading first. A directory may hold records that are wrong
//! already; a change is refused for the mistakes that it brings, not for those.

use crate::change::{Change, applied};
use crate::entry::{Found, Owned, addresses, is, same_dn, texts};
use crate::source::{Directory, LdifFile, Need};
use pigeon_datatree_cache::ldap::LdapOptions;
use pigeon_datatree_cache::ldif::{snapshot, write_entry};
use pigeon_datatree_cache::{Address, AttributeMap, Kind, Purpose, Snapshot, canonical_domain};
use std::collections::HashSet;
use std::path::Path;

enum Source {
    File(LdifFile),
    // Boxed: a connection is a large thing.
    Directory(Box<Directory>),
}

/// The tree, as far as it was read.
pub(crate) struct Tree {
    pub(crate) map: AttributeMap,
    found: Vec<Found>,
    source: Source,
    /// Of a file, the text that was found good.
    checked: Option<Vec<u8>>,
}

impl Tree {
    pub(crate) fn of_file(path: &Path, map: AttributeMap, to_write: bool) -> Result<Tree, String> {
        let file = LdifFile::open(path, to_write)?;
        Ok(Tree {
            map,
            found: file.entries()?,
            source: Source::File(file),
            checked: None,
        })
    }

    pub(crate) fn of_directory(options: LdapOptions) -> Result<Tree, String> {
        let map = options.attributes.clone();
        let mut tree = Tree {
            map,
            found: Vec::new(),
            source: Source::Directory(Box::new(Directory::open(options)?)),
            checked: None,
        };
        tree.need(&Need::Components)?;
        Ok(tree)
    }

    /// Reads what is not known yet.
    pub(crate) fn need(&mut self, need: &Need) -> Result<(), String> {
        if let Source::Directory(directory) = &mut self.source {
            for found in directory.read(need)? {
                // The later reading counts, its version too.
                self.found.retain(|known| known.entry.dn != found.entry.dn);
                self.found.push(found);
            }
        }
        Ok(())
    }

    /// Whether new entries need a UUID from here: a directory gives them itself.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// DN below which a directory has everything.
    pub(crate) fn base(&self) -> Option<&str> {
        match &self.source {
            Source::File(_) => None,
            Source::Directory(directory) => Some(directory.base()),
        }
    }

    /// Entries of a kind.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| is(&found.entry, &self.map, kind))
    }

    pub(crate) fn has_dn(&self, dn: &str) -> bool {
        self.found.iter().any(|found| same_dn(&found.entry.dn, dn))
    }

    /// The account or group of an address or, for an account, of a login name.
    pub(crate) fn owner(&mut self, name: &str) -> Result<Option<Found>, String> {
        self.need(&Need::Name(name.to_owned()))?;
        let address = Address::parse(name).ok();
        let is_owner = |found: &&Found| {
            let by_login = || {
                let names = texts(&found.entry, &self.map, Purpose::LoginName);
                names.iter().any(|login| login.to_lowercase() == name.to_lowercase())
            };
            let held = addresses(&found.entry, &self.map);
            address.as_ref().is_some_and(|address| held.contains(address)) || by_login()
        };
        let mut owners = self.of(Kind::Account).chain(self.of(Kind::Group)).filter(is_owner);
        let first = owners.next().cloned();
        if let (Some(first), Some(second)) = (&first, owners.next()) {
            return Err(format!(
                "{name}: both {} and {} have this name",
                first.entry.dn, second.entry.dn
            ));
        }
        Ok(first)
    }

    /// The entry of a kind that has this address or name.
    pub(crate) fn owner_of(&mut self, kind: Kind, name: &str) -> Result<Found, String> {
        let found = self
            .owner(name)?
            .ok_or_else(|| format!("{name}: nobody has this name"))?;
        if is(&found.entry, &self.map, kind) {
            return Ok(found);
        }
        let other = if kind == Kind::Account {
            "a group, not an account"
        } else {
            "an account, not a group"
        };
        Err(format!("{name}: this is {other}"))
    }

    /// A domain by its name.
    pub(crate) fn domain(&self, name: &str) -> Result<&Found, String> {
        let wanted = canonical_domain(name).ok_or_else(|| format!("{name}: expected a domain name"))?;
        let has_it = |found: &&Found| {
            let names = texts(&found.entry, &self.map, Purpose::DomainName);
            names
                .iter()
                .any(|name| canonical_domain(name).as_ref() == Some(&wanted))
        };
        let found = self.of(Kind::Domain).find(has_it);
        found.ok_or_else(|| format!("{name}: no domain of this tree; pigeonctl domain list shows them"))
    }

    /// A node, module or volume by its id.
    pub(crate) fn component(&self, kind: Kind, id: &str) -> Result<&Found, String> {
        let has_it = |found: &&Found| {
            texts(&found.entry, &self.map, Purpose::ComponentName)
                .iter()
                .any(|name| name == id)
        };
        self.of(kind)
            .find(has_it)
            .ok_or_else(|| format!("{id}: nothing here has this id"))
    }

    /// What a node would refuse after `changes` and does not refuse now: nothing, with what it would warn of.
    pub(crate) fn check(&mut self, changes: &[Change]) -> Result<Vec<String>, String> {
        match &self.source {
            Source::File(file) => {
                let text = file.edited(changes)?;
                let warnings = LdifFile::check(&text, &self.map).map_err(|lines| file.wrong(&lines.join("\n")))?;
                self.checked = Some(text);
                if warnings.is_empty() {
                    return Ok(warnings);
                }
                let known = LdifFile::check(file.text(), &self.map).unwrap_or_default();
                Ok(new_of(warnings, &known))
            }
            Source::Directory(_) => {
                let before: Vec<Owned> = self.found.iter().map(|found| found.entry.clone()).collect();
                let after = self.in_part(applied(&before, changes), changes);
                let (known, known_warnings) = findings(&self.in_part(before, changes), &self.map);
                let (mistakes, warnings) = findings(&after, &self.map);
                let mistakes = new_of(mistakes, &known);
                if !mistakes.is_empty() {
                    return Err(mistakes.join("\n"));
                }
                // Of the part that was read, who is missing from a list cannot be told.
                let warnings = warnings.into_iter().filter(|warning| !warning.contains(": skipped: "));
                Ok(new_of(warnings.collect(), &known_warnings))
            }
        }
    }

    /// Entries of a directory without what would be wrong only because the rest was not read: whom the domains that do
    /// not change name. Those would be so many that they hide what is really wrong.
    fn in_part(&self, mut entries: Vec<Owned>, changes: &[Change]) -> Vec<Owned> {
        let read = self.found.iter().flat_map(|found| addresses(&found.entry, &self.map));
        let read: HashSet<String> = read.map(|address| address.as_str().to_owned()).collect();
        let names = [Purpose::CatchAll, Purpose::Postmaster]
            .map(|purpose| self.map.attributes(purpose))
            .concat();
        let is_read = |value: &[u8]| {
            let address = std::str::from_utf8(value)
                .ok()
                .and_then(|text| Address::parse(text).ok());
            address.is_none_or(|address| read.contains(address.as_str()))
        };
        for entry in &mut entries {
            if !is(entry, &self.map, Kind::Domain) || changes.iter().any(|change| same_dn(change.dn(), &entry.dn)) {
                continue;
            }
            entry.attributes.retain(|attribute| {
                let names_somebody = names.iter().any(|name| name.eq_ignore_ascii_case(&attribute.name));
                !names_somebody || is_read(&attribute.value)
            });
        }
        entries
    }

    /// Makes the changes, which were checked.
    pub(crate) fn write(&mut self, changes: &[Change]) -> Result<(), String> {
        match &mut self.source {
            Source::File(file) => {
                let text = self.checked.take().expect("what is written was checked before");
                file.replace(&text)
            }
            Source::Directory(directory) => directory.write(changes),
        }
    }

    /// Everything that is wrong with the tree now, and everything worth a warning.
    pub(crate) fn findings(&mut self) -> Result<(Vec<String>, Vec<String>), String> {
        self.need(&Need::Everything)?;
        Ok(match &self.source {
            Source::File(file) => match LdifFile::check(file.text(), &self.map) {
                Ok(warnings) => (Vec::new(), warnings),
                Err(mistakes) => (mistakes, Vec::new()),
            },
            Source::Directory(_) => {
                let entries: Vec<Owned> = self.found.iter().map(|found| found.entry.clone()).collect();
                findings(&entries, &self.map)
            }
        })
    }

    /// The file as it is.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match &self.source {
            Source::File(file) => Some(file.text()),
            Source::Directory(_) => None,
        }
    }
}

/// Mistakes and warnings of entries, without places, which mean nothing where there is no file.
fn findings(entries: &[Owned], map: &AttributeMap) -> (Vec<String>, Vec<String>) {
    let mut text = Vec::new();
    for entry in entries {
        write_entry(&mut text, entry).expect("writing to memory cannot fail");
    }
    if entries.is_empty() {
        return Default::default();
    }
    let lines = |found: pigeon_datatree_cache::Mistakes| {
        let without_place = found.list.into_iter().map(|mistake| pigeon_datatree_cache::Mistake {
            position: None,
            ..mistake
        });
        without_place.map(|mistake| mistake.to_string()).collect()
    };
    match snapshot(&text, map, &Snapshot::empty()) {
        Ok(loaded) => (Vec::new(), lines(loaded.warnings)),
        Err(mistakes) => (lines(mistakes), Vec::new()),
    }
}

/// Lines that say what was not said before, wherever it stood then.
fn new_of(lines: Vec<String>, known: &[String]) -> Vec<String> {
    let known: Vec<&str> = known.iter().map(|line| without_place(line)).collect();
    lines
        .into_iter()
        .filter(|line| !known.contains(&without_place(line)))
        .collect()
}

fn without_place(line: &str) -> &str {
    let behind = line.trim_start_matches(|character: char| character.is_ascii_digit() || character == ':');
    behind.strip_prefix(' ').unwrap_or(line)
}
