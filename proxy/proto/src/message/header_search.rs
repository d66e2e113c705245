//! Searches a header field by field as it streams by.

use memchr::memchr;

use super::encoded_word::decode_words;
use super::field::unfold_to_blanks;
use super::haystack::{Haystack, SearchScope};
use super::lexer::trim;

/// Longest field that is searched in one piece.
const FIELD_BYTES_MAX: usize = 64 * 1024;

/// Whose header it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderOf {
    /// The message itself.
    Message,
    /// A message within it.
    Embedded,
    /// A part.
    Part,
}

/// Whether a key looks at the fields of such a header.
pub(crate) fn sees(scope: &SearchScope, of: HeaderOf) -> bool {
    match scope {
        SearchScope::Header(_) => of == HeaderOf::Message,
        SearchScope::Body => of == HeaderOf::Embedded,
        SearchScope::Text => true,
    }
}

/// Takes a header apart into fields, in pieces of any cut, and searches each.
pub(crate) struct HeaderSearch {
    of: HeaderOf,
    /// The field being read, or the last piece of it.
    field: Vec<u8>,
    /// The name of a field whose first pieces were searched already.
    continued: Option<Vec<u8>>,
    at_line_start: bool,
    held_cr: bool,
    is_done: bool,
}

impl HeaderSearch {
    /// At the first byte of a header.
    pub(crate) fn new(of: HeaderOf) -> Self {
        Self {
            of,
            field: Vec::new(),
            continued: None,
            at_line_start: true,
            held_cr: false,
            is_done: false,
        }
    }

    /// Whether the blank line was seen.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes the next bytes of the header; what follows its blank line is left alone.
    pub(crate) fn push(&mut self, chunk: &[u8], haystack: &mut Haystack<'_>) {
        let mut rest = chunk;
        while let Some(&byte) = rest.first() {
            if self.is_done {
                return;
            }
            if std::mem::take(&mut self.held_cr) {
                if byte == b'\n' {
                    self.is_done = true;
                    return;
                }
                self.end_field(haystack);
                self.add(b"\r", haystack);
            }
            if self.at_line_start {
                match byte {
                    b'\n' => self.is_done = true,
                    b'\r' => self.held_cr = true,
                    b' ' | b'\t' => {}
                    _ => self.end_field(haystack),
                }
                if self.is_done || self.held_cr {
                    rest = &rest[1..];
                    continue;
                }
            }
            let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let (line, after) = rest.split_at(end);
            rest = after;
            self.add(line, haystack);
        }
    }

    /// The header has ended: searches its last field.
    pub(crate) fn finish(mut self, haystack: &mut Haystack<'_>) {
        self.end_field(haystack);
    }

    fn add(&mut self, line: &[u8], haystack: &mut Haystack<'_>) {
        self.at_line_start = line.ends_with(b"\n");
        let mut rest = line;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((FIELD_BYTES_MAX - self.field.len()).min(rest.len()));
            self.field.extend_from_slice(piece);
            rest = after;
            if self.field.len() == FIELD_BYTES_MAX {
                let name = self.search(haystack);
                self.continued = Some(name);
                self.field.clear();
            }
        }
    }

    fn end_field(&mut self, haystack: &mut Haystack<'_>) {
        if !self.field.is_empty() {
            self.search(haystack);
        }
        self.field.clear();
        self.continued = None;
    }

    /// Searches what was read of a field, and gives its name.
    fn search(&mut self, haystack: &mut Haystack<'_>) -> Vec<u8> {
        let of = self.of;
        let (name, value, before) = match (self.continued.take(), memchr(b':', &self.field)) {
            (Some(name), _) => (name, self.field.as_slice(), ""),
            (None, Some(colon)) => (trim(&self.field[..colon]).to_vec(), &self.field[colon + 1..], ": "),
            (None, None) => (Vec::new(), self.field.as_slice(), ""),
        };
        let is_named = |scope: &SearchScope| matches!(scope, SearchScope::Header(wanted) if of == HeaderOf::Message && wanted.as_bytes().eq_ignore_ascii_case(&name));
        let sees_line = |scope: &SearchScope| !matches!(scope, SearchScope::Header(_)) && sees(scope, of);
        if haystack.is_open(|scope| is_named(scope) || sees_line(scope)) {
            let text = decode_words(&unfold_to_blanks(value));
            if haystack.begin(is_named) {
                haystack.text(&text);
                haystack.end();
            }
            if haystack.begin(sees_line) {
                if !before.is_empty() {
                    haystack.text(&String::from_utf8_lossy(&name));
                    haystack.text(before);
                }
                haystack.text(&text);
                haystack.end();
            }
        }
        name
    }
}
