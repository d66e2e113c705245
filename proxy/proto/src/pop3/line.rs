//! Lines out of bytes that come in pieces of any size. Holds memory only while part of a line is waiting for its rest.

use std::borrow::Cow;

/// A line that is longer than this even while it is thrown away ends the session; see `Line::Endless`. A guess: longer
/// than any line that a mistaken client sends, short enough to be no work.
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// What has arrived of the line that is not complete yet.
#[derive(Debug)]
pub struct LineBuffer {
    partial: Vec<u8>,
    /// Octets of this line so far once it is too long and no longer kept; 0 while it is kept.
    discarded: usize,
    line_bytes_max: usize,
}

/// One line of the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Without its CRLF. A bare LF ends a line, too: commands come from people with netcat as well.
    Complete(Cow<'a, [u8]>),
    /// It was longer than the bound; it has been thrown away up to and with its end.
    TooLong,
    /// It was far longer than the bound and has no end yet. Close the connection.
    Endless,
}

impl LineBuffer {
    /// `line_bytes_max` counts the CRLF.
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            partial: Vec::new(),
            discarded: 0,
            line_bytes_max,
        }
    }

    /// Takes bytes off the front of `input`: a line, or all of it when no line ends in there (`None`).
    pub fn next_line<'a>(&mut self, input: &mut &'a [u8]) -> Option<Line<'a>> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            let rest = std::mem::take(input);
            return self.keep(rest);
        };
        let (line, rest) = input.split_at(end);
        *input = rest.get(1..).unwrap_or_default();
        if self.discarded > 0 || self.partial.len().saturating_add(line.len()) >= self.line_bytes_max {
            self.discarded = 0;
            self.partial = Vec::new();
            return Some(Line::TooLong);
        }
        if self.partial.is_empty() {
            return Some(Line::Complete(Cow::Borrowed(line.strip_suffix(b"\r").unwrap_or(line))));
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(line);
        if whole.last() == Some(&b'\r') {
            whole.pop();
        }
        Some(Line::Complete(Cow::Owned(whole)))
    }

    /// Whether part of a line is waiting for its rest.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.discarded == 0
    }

    fn keep(&mut self, rest: &[u8]) -> Option<Line<'static>> {
        let length = self
            .partial
            .len()
            .saturating_add(self.discarded)
            .saturating_add(rest.len());
        if length >= self.line_bytes_max {
            self.partial = Vec::new();
            self.discarded = length;
            return (length > DISCARD_BYTES_MAX).then_some(Line::Endless);
        }
        self.partial.extend_from_slice(rest);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::new(limit);
        let mut found = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(line) = buffer.next_line(&mut piece) {
                found.push(match line {
                    Line::Complete(line) => String::from_utf8_lossy(&line).into_owned(),
                    Line::TooLong => "(too long)".to_owned(),
                    Line::Endless => return found,
                });
            }
        }
        found
    }

    #[test]
    fn lines_are_the_same_at_every_cut() {
        let input = b"NOOP\r\nno cr\n\r\n\n1234567\r\n12345678\r\n123456789\r\nX\rY\r\r\nrest";
        let expected = ["NOOP", "no cr", "", "", "1234567", "12345678", "(too long)", "X\rY\r"];
        assert_eq!(lines(10, &[input]), expected);
        for cut in 0..input.len() {
            assert_eq!(lines(10, &[&input[..cut], &input[cut..]]), expected, "cut at {cut}");
        }
        assert_eq!(lines(10, &input.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn an_endless_line_holds_no_memory() {
        let mut buffer = LineBuffer::new(255);
        let mut taken = 0;
        loop {
            let mut piece = &[b'a'; 1000][..];
            taken += piece.len();
            match buffer.next_line(&mut piece) {
                Some(Line::Endless) => break,
                None => assert!(buffer.partial.capacity() < 1000),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(taken, DISCARD_BYTES_MAX / 1000 * 1000 + 1000);
    }

    #[test]
    fn nothing_is_held_between_lines() {
        let mut buffer = LineBuffer::new(255);
        assert_eq!(buffer.next_line(&mut &b"NO"[..]), None);
        assert!(!buffer.is_empty());
        assert!(matches!(buffer.next_line(&mut &b"OP\r\n"[..]), Some(Line::Complete(_))));
        assert!(buffer.is_empty());
        assert_eq!(buffer.partial.capacity(), 0);
    }
}
