//! The copy as LDIF: it may be the last backup of the users that someone has.

use super::read::{entry_at, latest, scan};
use super::{identity, path_in};
use crate::ldif::write_entry;
use std::io::{self, Write};
use std::path::Path;

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
