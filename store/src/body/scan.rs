//! What ingestion finds out about a body's bytes, piece by piece; the same however the body is cut.

use memchr::{memchr, memmem};
use pigeon_store_format::{BodyTraits, ContentInfo};

/// Looks at a body once, as it comes in.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    size: u64,
    traits: BodyTraits,
    /// The last two bytes, the last one last. A body begins like a line.
    last: [u8; 2],
    /// Bytes of the current header line so far; its content does not matter, except that it is a lone CR.
    line: HeaderLine,
    header_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderLine {
    Empty,
    OnlyCr,
    Other,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            size: 0,
            traits: BodyTraits::default(),
            last: *b"\r\n",
            line: HeaderLine::Empty,
            header_bytes: None,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Looks at the next piece.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        let Some(first) = piece.first() else { return };
        if self.header_bytes.is_none() {
            self.take_header(piece);
        }
        if !self.traits.contains(BodyTraits::DOT_LINE)
            && ((*first == b'.' && self.last[1] == b'\n') || memmem::find(piece, b"\n.").is_some())
        {
            self.traits = self.traits.union(BodyTraits::DOT_LINE);
        }
        if !self.traits.contains(BodyTraits::EIGHT_BIT) && !piece.is_ascii() {
            self.traits = self.traits.union(BodyTraits::EIGHT_BIT);
        }
        if !self.traits.contains(BodyTraits::NUL) && memchr(0, piece).is_some() {
            self.traits = self.traits.union(BodyTraits::NUL);
        }
        self.last = match piece {
            [.., before, last] => [*before, *last],
            [only] => [self.last[1], *only],
            [] => self.last,
        };
        self.size += piece.len() as u64;
    }

    fn take_header(&mut self, piece: &[u8]) {
        let mut start = 0;
        while let Some(length) = memchr(b'\n', &piece[start..]) {
            let rest = &piece[start..start + length];
            let empty = match self.line {
                HeaderLine::Empty => rest.is_empty() || rest == b"\r",
                HeaderLine::OnlyCr => rest.is_empty(),
                HeaderLine::Other => false,
            };
            start += length + 1;
            self.line = HeaderLine::Empty;
            if empty {
                self.header_bytes = Some(self.size + start as u64);
                return;
            }
        }
        let rest = &piece[start..];
        self.line = match (self.line, rest) {
            (line, []) => line,
            (HeaderLine::Empty, b"\r") => HeaderLine::OnlyCr,
            _ => HeaderLine::Other,
        };
    }

    pub(crate) fn info(&self) -> ContentInfo {
        let mut traits = self.traits;
        if self.size >= 2 && self.last == *b"\r\n" {
            traits = traits.union(BodyTraits::ENDS_WITH_CRLF);
        }
        let header = self.header_bytes.unwrap_or(self.size);
        let header_bytes = u32::try_from(header).unwrap_or(u32::MAX);
        ContentInfo {
            size: self.size,
            header_bytes,
            traits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOT: u8 = BodyTraits::DOT_LINE.0;
    const EIGHT: u8 = BodyTraits::EIGHT_BIT.0;
    const NUL: u8 = BodyTraits::NUL.0;
    const END: u8 = BodyTraits::ENDS_WITH_CRLF.0;

    #[test]
    fn bodies_at_every_cut() {
        for (body, header_bytes, traits) in [
            (&b""[..], 0, 0),
            (b"a: b\r\n\r\nbody\r\n", 8, END),
            (b"a: b\r\n\r\n", 8, END),
            (b"a: b\n\nbody\n", 6, 0),
            (b"a: b\r\nc: d\r\n", 12, END),
            (b"\r\nbody", 2, 0),
            (b"\nbody", 1, 0),
            (b"\r", 1, 0),
            (b"\n", 1, 0),
            (b"a\r\r\n\r\nb", 6, 0),
            (b"\r\r\n\r\nb", 5, 0),
            (b".a: b\r\n\r\n", 9, DOT | END),
            (b"a: b\r\n\r\n.\r\n", 8, DOT | END),
            (b"a: b\r\n\r\n..", 8, DOT),
            (b"a: b.\r\n\r\nx.y", 9, 0),
            (b"a: \xc3\xa9\r\n\r\n", 9, EIGHT | END),
            (b"a: \0\r\n\r\n\r", 8, NUL),
        ] {
            for cut in 0..=body.len() {
                for second in cut..=body.len() {
                    let mut scanner = Scanner::new();
                    scanner.take(&body[..cut]);
                    scanner.take(&body[cut..second]);
                    scanner.take(&body[second..]);
                    let expected = ContentInfo {
                        size: body.len() as u64,
                        header_bytes,
                        traits: BodyTraits(traits),
                    };
                    assert_eq!(
                        scanner.info(),
                        expected,
                        "{:?} cut at {cut} and {second}",
                        body.escape_ascii()
                    );
                }
            }
        }
    }
}
