//! What control data is read from and written to: the LDIF file or the directory that the node's configuration names.

mod directory;
mod edit;
mod file;

pub(crate) use directory::{Directory, Need};
pub(crate) use file::LdifFile;

use std::fmt::Display;

/// The refusal of a change that would undo somebody else's.
fn changed_meanwhile(what: &dyn Display) -> String {
    format!("{what}: changed meanwhile by somebody else; nothing was written, try again")
}
