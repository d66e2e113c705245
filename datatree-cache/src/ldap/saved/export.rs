//! The copy as LDIF: it may be the last backup of the users that someone has.

use super::read::{entry_at, latest, scan};
use super::{identity, path_in};
use crate::entry::{Attribute, Entry};
use crate::schema::is_attribute_description;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Write};
use std::path::Path;

/// Characters of a line (RFC 2849 folds at any length; 76 is what tools do).
const LINE_CHARACTERS: usize = 76;

/// Writes the entries of the copy in `directory` to `target`, parents before their children, each with its entryUUID.
/// Returns how many. `NotFound` when there is no copy.
pub fn export(directory: &Path, target: &mut dyn Write) -> io::Result<u64> {
    let path = path_in(directory);
    // Whatever search it was made by.
    let found = scan(&path, identity("", ""))?;
    let latest = latest(&path, &found)?;
    let mut places = Vec::new();
    for offset in latest.good() {
        let entry = entry_at(&path, offset)?;
        places.push((depth(&entry.dn), offset));
    }
    places.sort_unstable();
    writeln!(target, "version: 1")?;
    for (_, offset) in &places {
        write_entry(target, &entry_at(&path, *offset)?)?;
    }
    Ok(places.len() as u64)
}

/// Components of a DN. An escaped comma counts for one too many, and does no harm: a child has all of its parent's.
fn depth(dn: &str) -> usize {
    dn.bytes().filter(|byte| *byte == b',').count()
}

fn write_entry(target: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
    writeln!(target)?;
    write_value(target, "dn", entry.dn.as_bytes())?;
    let named = |attribute: &&Attribute<'_>| is_attribute_description(&attribute.name);
    for attribute in entry.attributes.iter().filter(named) {
        write_value(target, &attribute.name, &attribute.value)?;
    }
    Ok(())
}

fn write_value(target: &mut dyn Write, name: &str, value: &[u8]) -> io::Result<()> {
    // SAFE-STRING of RFC 2849, without what readers disagree on: spaces at the end.
    let is_plain = value.iter().all(|byte| (0x20..0x7f).contains(byte))
        && !matches!(value.first(), Some(b' ' | b':' | b'<'))
        && value.last() != Some(&b' ');
    let line = if is_plain {
        format!("{name}: {}", String::from_utf8_lossy(value))
    } else {
        format!("{name}:: {}", STANDARD.encode(value))
    };
    // All of it is ASCII, so every place is one between characters.
    let (first, mut rest) = line.split_at(line.len().min(LINE_CHARACTERS));
    writeln!(target, "{first}")?;
    while !rest.is_empty() {
        let (next, behind) = rest.split_at(rest.len().min(LINE_CHARACTERS - 1));
        writeln!(target, " {next}")?;
        rest = behind;
    }
    Ok(())
}
