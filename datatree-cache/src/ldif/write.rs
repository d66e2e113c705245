//! From entries to LDIF text, as any reader of it takes them: what is not plain ASCII is written in base64.

use crate::entry::{Attribute, Entry};
use crate::schema::is_attribute_description;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Write};

/// Characters of a line (RFC 2849 folds at any length; 76 is what tools do).
const LINE_CHARACTERS: usize = 76;

/// Writes an entry with an empty line in front.
pub fn write_entry(target: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
    writeln!(target)?;
    write_value(target, "dn", entry.dn.as_bytes())?;
    let named = |attribute: &&Attribute<'_>| is_attribute_description(&attribute.name);
    for attribute in entry.attributes.iter().filter(named) {
        write_value(target, &attribute.name, &attribute.value)?;
    }
    Ok(())
}

/// Writes `name: value` (attrval-spec of RFC 2849), folded, with its line end.
pub fn write_value(target: &mut dyn Write, name: &str, value: &[u8]) -> io::Result<()> {
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
