//! The node among others.

use super::files::Written;
use super::mistake::position;
use super::section::{Section, converted, path_in};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The node as one of several. Without this section it is alone: whatever accounts say of nodes, their mail is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The id of this node: the `cn` of its entry (`pigeonServer`) in control data, which `mailHost` of accounts names.
    /// Required in this section.
    pub node: String,
    /// A file with this node's key, one line, with which it logs in at other nodes; its verifier is `pigeonKey` in the node's
    /// entry. To be readable by the node alone. Required in this section.
    pub key_file: PathBuf,
}

impl Cluster {
    pub(super) fn read(
        mut section: Section<'_, '_, '_>,
        directory: &Path,
        content: &str,
        written: &mut Written,
    ) -> Option<Cluster> {
        let node = section.required("node", "\"n1\"", converted(check_node));
        let key_file = section.required("key_file", "\"cluster-key\"", path_in(directory));
        section.finish();
        let (key_file, place) = key_file?;
        written.cluster_key = position(content, place.start);
        Some(Cluster {
            node: node?.0,
            key_file,
        })
    }
}

/// Most bytes of a key, and least: one that can be guessed lets everybody read all mail.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// Reads a node's key: the file's first line. Blocking.
pub fn read_key(file: &Path) -> Result<Vec<u8>, String> {
    let said = |what: &str| format!("{}: {what}", file.display());
    let content = super::files::read_bounded(file, 4096).map_err(|error| said(&error.to_string()))?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let key = line.strip_suffix(b"\r").unwrap_or(line);
    if !KEY_BYTES.contains(&key.len()) {
        return Err(said(&format!(
            "expected a key of {} to {} bytes in one line, found {} bytes",
            KEY_BYTES.start(),
            KEY_BYTES.end(),
            key.len()
        )));
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(said("expected a key of printable ASCII characters without spaces"));
    }
    Ok(key.to_vec())
}

/// As control data has ids.
fn check_node(text: &str) -> Result<String, String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected the id of a node, of 1 to 64 letters, digits, \"-\", \"_\" and \".\", found \"{text}\""
        ))
    }
}
