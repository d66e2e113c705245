//! A message as a multi-line response (RFC 1939 section 3): a dot in front of lines that begin with one, cut after the
//! header and some lines for `TOP`, and the line with a single dot behind it. Works on pieces of any size and copies only
//! where a dot has to go in.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};

/// One message on its way out.
#[derive(Debug)]
pub struct MessageText {
    /// Lines of the body that may still go out; `None`: all. While the header lasts it is not counted down.
    lines_left: Option<u64>,
    in_header: bool,
    /// The octets just passed, for what spans two pieces.
    end: LineEnd,
    /// It ends in an LF without a CR: to a client that waits for CRLF.CRLF no line has ended there.
    ends_in_bare_lf: bool,
    may_have_dots: bool,
    done: bool,
}

/// How what went out so far ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    /// At the start of a line.
    Start,
    /// At the start of a line with a CR after that.
    StartCr,
    /// Within a line.
    Inside,
    /// Within a line, after a CR.
    InsideCr,
}

impl LineEnd {
    fn after(self, piece: &[u8]) -> LineEnd {
        match piece {
            [] => self,
            [.., b'\n'] => LineEnd::Start,
            [b'\r'] if self == LineEnd::Start => LineEnd::StartCr,
            [.., b'\n', b'\r'] => LineEnd::StartCr,
            [.., b'\r'] => LineEnd::InsideCr,
            _ => LineEnd::Inside,
        }
    }
}

impl MessageText {
    /// `body_lines` is what `TOP` asks for, `None` for `RETR`. `may_have_dots` is false when it is known that no line
    /// begins with a dot: then nothing is looked for.
    pub fn new(body_lines: Option<u64>, may_have_dots: bool) -> Self {
        Self {
            lines_left: body_lines,
            in_header: body_lines.is_some(),
            end: LineEnd::Start,
            ends_in_bare_lf: false,
            may_have_dots,
            done: false,
        }
    }

    /// Whether no more of the message is wanted.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// What to send for the next piece of the message.
    pub fn push(&mut self, mut piece: Bytes) -> Bytes {
        if self.done {
            return Bytes::new();
        }
        if self.lines_left.is_some() {
            let wanted = self.wanted(&piece);
            piece.truncate(wanted);
        }
        let start = self.end;
        self.end = start.after(&piece);
        self.ends_in_bare_lf = match &piece[..] {
            [] => self.ends_in_bare_lf,
            [.., b'\r', b'\n'] => false,
            [b'\n'] => !matches!(start, LineEnd::StartCr | LineEnd::InsideCr),
            [.., last] => *last == b'\n',
        };
        if self.may_have_dots {
            stuff(piece, start == LineEnd::Start)
        } else {
            piece
        }
    }

    /// What to send at the end: the CRLF that the last line may miss, and the terminator.
    pub fn finish(self) -> &'static [u8] {
        match self.end {
            LineEnd::Start if self.ends_in_bare_lf => b"\r\n.\r\n",
            LineEnd::Start => b".\r\n",
            LineEnd::Inside => b"\r\n.\r\n",
            // A last line that ends in a lone CR: its LF completes it.
            LineEnd::StartCr | LineEnd::InsideCr => b"\n.\r\n",
        }
    }

    /// How much of `piece` belongs to the header and the lines asked for.
    fn wanted(&mut self, piece: &[u8]) -> usize {
        let mut position = 0;
        let mut line_start = self.end;
        loop {
            if !self.in_header && self.lines_left == Some(0) {
                self.done = true;
                return position;
            }
            let rest = &piece[position..];
            let Some(line) = memchr(b'\n', rest) else {
                return piece.len();
            };
            if self.in_header {
                let empty = match &rest[..line] {
                    [] => matches!(line_start, LineEnd::Start | LineEnd::StartCr),
                    [b'\r'] => line_start == LineEnd::Start,
                    _ => false,
                };
                self.in_header = !empty;
            } else {
                self.lines_left = self.lines_left.map(|lines| lines.saturating_sub(1));
            }
            position += line + 1;
            line_start = LineEnd::Start;
        }
    }
}

fn stuff(piece: Bytes, at_line_start: bool) -> Bytes {
    let mut found = memmem::find_iter(&piece, b"\n.")
        .map(|position| position + 1)
        .peekable();
    let leading = at_line_start && piece.first() == Some(&b'.');
    if !leading && found.peek().is_none() {
        drop(found);
        return piece;
    }
    let mut stuffed = BytesMut::with_capacity(piece.len() + piece.len() / 16 + 16);
    if leading {
        stuffed.extend_from_slice(b".");
    }
    let mut copied = 0;
    for dot in found {
        stuffed.extend_from_slice(&piece[copied..dot]);
        stuffed.extend_from_slice(b".");
        copied = dot;
    }
    stuffed.extend_from_slice(&piece[copied..]);
    stuffed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(message: &str, pieces: &[usize], lines: Option<u64>) -> String {
        let mut text = MessageText::new(lines, true);
        let mut out = Vec::new();
        let mut rest = Bytes::copy_from_slice(message.as_bytes());
        for piece in pieces {
            let piece = rest.split_to((*piece).min(rest.len()));
            out.extend_from_slice(&text.push(piece));
        }
        out.extend_from_slice(&text.push(rest));
        out.extend_from_slice(text.finish());
        String::from_utf8(out).unwrap()
    }

    fn check(message: &str, lines: Option<u64>, expected: &str) {
        assert_eq!(send(message, &[], lines), expected, "{message:?} whole");
        for cut in 0..=message.len() {
            assert_eq!(send(message, &[cut], lines), expected, "{message:?} cut at {cut}");
        }
        assert_eq!(
            send(message, &vec![1; message.len()], lines),
            expected,
            "{message:?} byte by byte"
        );
    }

    #[test]
    fn dots_are_stuffed_and_the_end_is_marked() {
        for (message, expected) in [
            ("a\r\n", "a\r\n.\r\n"),
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            ("a\n", "a\n\r\n.\r\n"),
            ("a\r\n\n", "a\r\n\n\r\n.\r\n"),
            ("\r", "\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n..\r\n.a\r\na.b\r\n", "..\r\n...\r\n..a\r\na.b\r\n.\r\n"),
            ("a\r\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n\r.\r\n", "a\r\n\r.\r\n.\r\n"),
        ] {
            check(message, None, expected);
        }
    }

    #[test]
    fn top_gives_header_and_lines() {
        let message = "A: b\r\nC: d\r\n\r\n.1\r\n2\r\n\r\n4";
        for (lines, expected) in [
            (0, "A: b\r\nC: d\r\n\r\n.\r\n"),
            (1, "A: b\r\nC: d\r\n\r\n..1\r\n.\r\n"),
            (3, "A: b\r\nC: d\r\n\r\n..1\r\n2\r\n\r\n.\r\n"),
            (4, "A: b\r\nC: d\r\n\r\n..1\r\n2\r\n\r\n4\r\n.\r\n"),
            (u64::MAX, "A: b\r\nC: d\r\n\r\n..1\r\n2\r\n\r\n4\r\n.\r\n"),
        ] {
            check(message, Some(lines), expected);
        }
        check("A: b\r\n", Some(5), "A: b\r\n.\r\n");
        check("\r\nbody\r\n", Some(0), "\r\n.\r\n");
        check("A: b\r\n\n", Some(0), "A: b\r\n\n\r\n.\r\n");
        check("A: b\n\nbody\n", Some(0), "A: b\n\n\r\n.\r\n");
        check("", Some(0), ".\r\n");
    }

    #[test]
    fn a_piece_without_dots_is_not_copied() {
        let piece = Bytes::from(vec![b'a'; 4096]);
        let mut text = MessageText::new(None, true);
        assert_eq!(text.push(piece.clone()).as_ptr(), piece.as_ptr());
    }
}
