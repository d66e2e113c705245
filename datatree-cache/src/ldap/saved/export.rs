//! The copy as LDIF: it may be the last backup of the users that someone has.

use super::read::{entry_at, scan};
use super::{identity, path_in};
use crate::ldif::write_entry;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes the entries of the copy in `directory` to `target`, parents before their children, each with its entryUUID.
/// Returns how many. `NotFound` when there is no copy.
pub fn export(directory: &Path, target: &mut dyn Write) -> io::Result<u64> {
    let path = path_in(directory);
    // A node that runs may put a new file in its place between two looks; then the places mean nothing.
    let mut attempts = 3;
    let (file, mut places) = loop {
        attempts -= 1;
        match places(&path) {
            Err(_) if attempts > 0 => {}
            found => break found?,
        }
    };
    places.sort_unstable();
    writeln!(target, "version: 1")?;
    for (_, offset) in &places {
        write_entry(target, &entry_at(&file, *offset)?)?;
    }
    Ok(places.len() as u64)
}

/// Where the entries stand, each with its depth, and the file that they were found in.
fn places(path: &Path) -> io::Result<(File, Vec<(usize, u64)>)> {
    // Whatever search it was made by.
    let found = scan(path, identity("", ""), None)?;
    let file = File::open(path)?;
    let of_entry = |at: &u64| Ok((depth(&entry_at(&file, *at)?.dn), *at));
    let places = found.good.values().map(of_entry).collect::<io::Result<_>>()?;
    Ok((file, places))
}

/// Components of a DN. An escaped comma counts for one too many, and does no harm: a child has all of its parent's.
fn depth(dn: &str) -> usize {
    dn.bytes().filter(|byte| *byte == b',').count()
}
