//! The copy as LDIF: it may be the last backup of the users that someone has.

use super::read::{entry_at, scan};
use super::{identity, path_in};
use crate::ldif::write_entry;
use std::io::{self, Write};
use std::path::Path;

/// Writes the entries of the copy in `directory` to `target`, parents before their children, each with its entryUUID.
/// Returns how many. `NotFound` when there is no copy.
pub fn export(directory: &Path, target: &mut dyn Write) -> io::Result<u64> {
    let path = path_in(directory);
    // Whatever search it was made by.
    let found = scan(&path, identity("", ""), None)?;
    let mut places = Vec::new();
    for at in found.good.values() {
        let entry = entry_at(&path, *at)?;
        places.push((depth(&entry.dn), *at));
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
