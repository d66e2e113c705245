//! Logical lines: physical lines joined where the next begins with a space (RFC 2849, "folding").

use crate::mistake::{Mistake, Mistakes, Position};
use std::borrow::Cow;

/// Bytes of one logical line: the largest value times the growth of base64.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A logical line without its line end.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Number of its first physical line.
    pub(super) number: u32,
    /// Its bytes; borrowed if it was not folded.
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where continuations begin: index into `bytes` and the number of the physical line.
    breaks: Vec<(usize, u32)>,
}

impl Line<'_> {
    /// The place of byte `index` in the file.
    pub(super) fn position(&self, index: usize) -> Position {
        let (start, line, skipped) = match self.breaks.iter().rev().find(|(start, _)| *start <= index) {
            // A continuation begins behind its space.
            Some((start, line)) => (*start, *line, 1),
            None => (0, self.number, 0),
        };
        Position { line, column: 1 }.after(index - start + skipped)
    }
}

/// Reads logical lines one after the other.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    /// Where the next line begins.
    pub(super) at: usize,
    /// Its number.
    pub(super) number: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8], at: usize, number: u32) -> Lines<'a> {
        Lines { text, at, number }
    }

    /// The next logical line; an empty one separates entries. Comments are left out, and so are lines with a mistake,
    /// which is pushed (then `Err`).
    pub(super) fn next(&mut self, mistakes: &mut Mistakes) -> Option<Result<Line<'a>, ()>> {
        loop {
            let comment = self.text.get(self.at) == Some(&b'#');
            let line = self.logical(comment, mistakes)?;
            if !comment {
                return Some(line);
            }
        }
    }

    fn logical(&mut self, comment: bool, mistakes: &mut Mistakes) -> Option<Result<Line<'a>, ()>> {
        let number = self.number;
        let mut bad = None;
        let first = self.physical(&mut bad)?;
        let mut line = Line {
            number,
            bytes: Cow::Borrowed(first),
            breaks: Vec::new(),
        };
        // A line that begins with a space continues the one before, and before an entry there is none.
        if first.first() == Some(&b' ') {
            bad.get_or_insert((
                0,
                "expected no space at the beginning: there is no line that this one could continue",
            ));
        }
        let mut too_long = first.len() > LINE_BYTES_MAX;
        while self.text.get(self.at) == Some(&b' ') && !line.bytes.is_empty() {
            let number = self.number;
            let mut bad_here = None;
            let Some(more) = self.physical(&mut bad_here) else {
                break;
            };
            if comment {
                continue;
            }
            let start = line.bytes.len();
            line.breaks.push((start, number));
            too_long |= start + more.len() > LINE_BYTES_MAX;
            if !too_long {
                line.bytes.to_mut().extend_from_slice(&more[1..]);
            }
            bad = bad.or(bad_here.map(|(at, message): (usize, _)| (start + at.saturating_sub(1), message)));
        }
        if comment {
            return Some(Ok(line));
        }
        if too_long {
            let message = format!("expected a line of at most {LINE_BYTES_MAX} bytes, its continuations counted");
            mistakes.push(Mistake::at(
                Position {
                    line: number,
                    column: 1,
                },
                message,
            ));
            return Some(Err(()));
        }
        if let Some((at, message)) = bad {
            mistakes.push(Mistake::at(line.position(at), message));
            return Some(Err(()));
        }
        Some(Ok(line))
    }

    /// One physical line without its end (LF or CR LF); a CR or NUL inside it is a mistake.
    fn physical(&mut self, bad: &mut Option<(usize, &'static str)>) -> Option<&'a [u8]> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let (line, taken) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], end + 1),
            None => (rest, rest.len()),
        };
        self.at += taken;
        self.number = self.number.saturating_add(1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(at) = memchr::memchr2(b'\r', 0, line) {
            let message = if line[at] == 0 {
                "expected no NUL (write the value in base64, with ::)"
            } else {
                "expected no carriage return inside a line (write the value in base64, with ::)"
            };
            bad.get_or_insert((at, message));
        }
        Some(line)
    }
}
