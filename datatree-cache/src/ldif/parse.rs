//! From logical lines to entries.

use super::lines::{Line, Lines};
use crate::entry::{Attribute, Entry};
use crate::mistake::{Mistake, Mistakes, Position};
use crate::schema::is_attribute_description;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Values of one entry: a group of ten thousand members, and some more.
const VALUES_MAX: usize = 20_000;

/// All entries of a text, or all its mistakes of syntax.
pub fn parse(text: &[u8]) -> Result<Vec<Entry<'_>>, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut parser = Parser::new(text, &mut mistakes);
    let mut entries = Vec::new();
    while let Some(entry) = parser.next(&mut mistakes) {
        entries.push(entry.entry);
    }
    if mistakes.is_empty() {
        Ok(entries)
    } else {
        Err(mistakes)
    }
}

/// An entry with the place where it can be read again.
#[derive(Debug)]
pub struct Placed<'a> {
    /// The entry.
    pub entry: Entry<'a>,
    /// Byte at which it begins.
    pub(super) at: usize,
    /// Line at which it begins.
    pub(super) line: u32,
    /// All of it was understood.
    pub(super) complete: bool,
}

/// Reads entries one by one. Linear in the length of the text, whatever is in it.
pub struct Parser<'a> {
    lines: Lines<'a>,
}

impl<'a> Parser<'a> {
    /// Reads the version line, if there is one.
    pub fn new(text: &'a [u8], mistakes: &mut Mistakes) -> Parser<'a> {
        // A byte order mark says nothing in UTF-8; some editors leave one.
        let start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut parser = Parser {
            lines: Lines::new(text, start, 1),
        };
        loop {
            let (at, number) = (parser.lines.at, parser.lines.number);
            let mut peeked = Mistakes::default();
            match parser.lines.next(&mut peeked) {
                Some(Ok(line)) if line.bytes.is_empty() => {}
                Some(Ok(line)) if starts_with_name(&line.bytes, b"version") => {
                    parser.version(&line, mistakes);
                    return parser;
                }
                _ => {
                    parser.lines = Lines::new(text, at, number);
                    return parser;
                }
            }
        }
    }

    /// Goes on at an entry that was read before.
    pub(super) fn again(text: &'a [u8], at: usize, line: u32) -> Parser<'a> {
        Parser {
            lines: Lines::new(text, at, line),
        }
    }

    fn version(&self, line: &Line<'_>, mistakes: &mut Mistakes) {
        let value = &line.bytes["version:".len()..];
        if value.trim_ascii() != b"1" {
            let message = format!("expected version: 1, found {:?}", String::from_utf8_lossy(&line.bytes));
            mistakes.push(Mistake::at(line.position("version:".len()), message));
        }
    }

    /// The next entry. Its mistakes are pushed; what was good in it is returned all the same (`complete` is false).
    pub fn next(&mut self, mistakes: &mut Mistakes) -> Option<Placed<'a>> {
        loop {
            let (at, number) = (self.lines.at, self.lines.number);
            match self.lines.next(mistakes)? {
                Ok(line) if line.bytes.is_empty() => {}
                Ok(line) => {
                    if let Some(entry) = self.entry(&line, at, number, mistakes) {
                        return Some(entry);
                    }
                }
                Err(()) => self.skip_entry(mistakes),
            }
        }
    }

    /// Reads to the next empty line; the rest of a broken entry would only give more mistakes of the same kind.
    fn skip_entry(&mut self, mistakes: &mut Mistakes) {
        while let Some(line) = self.lines.next(mistakes) {
            if line.is_ok_and(|line| line.bytes.is_empty()) {
                return;
            }
        }
    }

    fn entry(&mut self, first: &Line<'a>, at: usize, line: u32, mistakes: &mut Mistakes) -> Option<Placed<'a>> {
        if !starts_with_name(&first.bytes, b"dn") {
            let found: String = String::from_utf8_lossy(&first.bytes).chars().take(40).collect();
            mistakes.push(Mistake::at(
                first.position(0),
                format!("expected dn: at the beginning of an entry, found {found:?}"),
            ));
            self.skip_entry(mistakes);
            return None;
        }
        let Some((_, value, position)) = value(first, mistakes) else {
            self.skip_entry(mistakes);
            return None;
        };
        let dn = match into_text(value) {
            Ok(dn) => dn,
            Err(at) => {
                mistakes.push(Mistake::at(position.after(at), "expected a DN in UTF-8"));
                self.skip_entry(mistakes);
                return None;
            }
        };
        let entry = Entry {
            dn,
            dn_position: Some(position),
            attributes: Vec::new(),
        };
        let mut placed = Placed {
            entry,
            at,
            line,
            complete: true,
        };
        while let Some(line) = self.lines.next(mistakes) {
            match line {
                Ok(line) if line.bytes.is_empty() => break,
                Ok(line) => match self.attribute(&line, &placed.entry, mistakes) {
                    Next::Attribute(attribute) => placed.entry.attributes.push(attribute),
                    Next::Bad => placed.complete = false,
                    Next::Skip => {
                        self.skip_entry(mistakes);
                        return None;
                    }
                },
                Err(()) => placed.complete = false,
            }
        }
        Some(placed)
    }

    fn attribute(&self, line: &Line<'a>, entry: &Entry<'_>, mistakes: &mut Mistakes) -> Next<'a> {
        let mistake = |at, message: &str| Mistake {
            dn: Some(entry.dn.to_string()),
            ..Mistake::at(line.position(at), message)
        };
        if starts_with_name(&line.bytes, b"changetype") || starts_with_name(&line.bytes, b"control") {
            mistakes.push(mistake(
                0,
                "expected an entry, found a change record: this file holds the entries themselves",
            ));
            return Next::Skip;
        }
        if *line.bytes == *b"-" {
            mistakes.push(mistake(
                0,
                "expected attribute: value, found - (a separator of change records)",
            ));
            return Next::Skip;
        }
        if starts_with_name(&line.bytes, b"dn") {
            mistakes.push(mistake(0, "expected an empty line before the next entry"));
            return Next::Bad;
        }
        if entry.attributes.len() >= VALUES_MAX {
            mistakes.push(mistake(0, &format!("expected at most {VALUES_MAX} values in an entry")));
            return Next::Skip;
        }
        match value(line, mistakes) {
            Some((name, value, position)) => Next::Attribute(Attribute {
                name,
                value,
                position: Some(position),
            }),
            None => Next::Bad,
        }
    }
}

enum Next<'a> {
    Attribute(Attribute<'a>),
    /// Not understood; the entry goes on.
    Bad,
    /// The entry is of no use.
    Skip,
}

/// Whether a line is `name:...`, in any case.
fn starts_with_name(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) && line[name.len()] == b':'
}

/// attrval-spec of RFC 2849: the name, the value and where the value begins.
fn value<'a>(line: &Line<'a>, mistakes: &mut Mistakes) -> Option<(Cow<'a, str>, Cow<'a, [u8]>, Position)> {
    let bytes = &line.bytes;
    let mut mistake = |at: usize, message: String| mistakes.push(Mistake::at(line.position(at), message));
    let Some(colon) = memchr::memchr(b':', bytes) else {
        let found: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
        mistake(0, format!("expected attribute: value, found {found:?} without a colon"));
        return None;
    };
    let name = match std::str::from_utf8(&bytes[..colon]) {
        Ok(name) if is_attribute_description(name) => name,
        _ => {
            let found = String::from_utf8_lossy(&bytes[..colon]);
            mistake(
                0,
                format!("expected an attribute name (letters, digits, hyphens) before the colon, found {found:?}"),
            );
            return None;
        }
    };
    let base64 = bytes.get(colon + 1) == Some(&b':');
    if bytes.get(colon + 1) == Some(&b'<') {
        mistake(
            colon + 1,
            "expected a value, found a URL (:<): values from other files are not read".into(),
        );
        return None;
    }
    let mut start = colon + 1 + usize::from(base64);
    while bytes.get(start) == Some(&b' ') {
        start += 1;
    }
    let position = line.position(start);
    let slice = |range: std::ops::Range<usize>| match &line.bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
    };
    let name = match slice(0..colon) {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).unwrap_or_default()),
        Cow::Owned(_) => Cow::Owned(name.to_owned()),
    };
    let value = slice(start..bytes.len());
    if base64 {
        return match STANDARD.decode(value.trim_ascii_end()) {
            Ok(decoded) => Some((name, Cow::Owned(decoded), position)),
            Err(error) => {
                use base64::DecodeError::{InvalidByte, InvalidLastSymbol};
                let at = match error {
                    InvalidByte(at, _) | InvalidLastSymbol(at, _) => at.min(value.len()),
                    _ => value.len(),
                };
                mistake(
                    start + at,
                    format!("expected base64 after ::, found a mistake in it ({error})"),
                );
                None
            }
        };
    }
    if let Err(error) = std::str::from_utf8(&value) {
        mistake(
            start + error.valid_up_to(),
            "expected UTF-8 (write other bytes in base64, with ::)".into(),
        );
        return None;
    }
    if let Some(b':' | b'<') = value.first() {
        mistake(
            start,
            "expected a value that does not begin with : or < (write it in base64, with ::)".into(),
        );
        return None;
    }
    Some((name, value, position))
}

/// A value as text; else the byte at which it is none.
fn into_text(value: Cow<'_, [u8]>) -> Result<Cow<'_, str>, usize> {
    match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|error| error.valid_up_to()),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| 0),
    }
}
