//! Replies out of lines (RFC 5321 section 4.2): a code, an enhanced status code where there is one (RFC 2034), and text.

use crate::smtp::{Enhanced, Reply};

/// Most lines of a reply; a guess, LHLO's is the longest with a dozen.
const LINES_MAX: usize = 64;
/// Bytes of a line that are shown of nonsense.
const SHOWN_BYTES_MAX: usize = 80;

/// The lines of a reply so far.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    code: u16,
    texts: Vec<String>,
}

impl ReplyReader {
    /// No part of a reply waits for its rest.
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Takes a line without its line end: the reply that it ends, with the text of each line, the enhanced status code left
    /// in there; or what is wrong with it.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<Option<(Reply, Vec<String>)>, String> {
        let nonsense = || {
            let shown = &line[..line.len().min(SHOWN_BYTES_MAX)];
            format!("expected a reply, found \"{}\"", shown.escape_ascii())
        };
        let (digits, behind) = line.split_at_checked(3).ok_or_else(nonsense)?;
        if !(digits.iter().all(u8::is_ascii_digit) && (b'2'..=b'5').contains(&digits[0])) {
            return Err(nonsense());
        }
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (is_last, text) = match behind.split_first() {
            None => (true, behind),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(nonsense()),
        };
        if self.texts.is_empty() {
            self.code = code;
        } else if self.code != code {
            return Err("a reply with two codes".to_owned());
        }
        if self.texts.len() >= LINES_MAX {
            return Err("a reply of too many lines".to_owned());
        }
        self.texts.push(String::from_utf8_lossy(text).into_owned());
        if !is_last {
            return Ok(None);
        }
        let texts = std::mem::take(&mut self.texts);
        // The last line is what a person wants to read of most servers.
        let text = texts.last().map_or("", String::as_str);
        let (enhanced, text) = enhanced(code, text);
        Ok(Some((Reply::received(code, enhanced, text.to_owned()), texts)))
    }
}

/// `class.subject.detail` in front of the text, of the class of the code.
fn enhanced(code: u16, text: &str) -> (Option<Enhanced>, &str) {
    let (front, behind) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers = front.split('.').map(|digits| {
        let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| is_number)
    });
    let (class, subject, detail, more) = (numbers.next(), numbers.next(), numbers.next(), numbers.next());
    match (class.flatten(), subject.flatten(), detail.flatten(), more) {
        (Some(class @ 2..=5), Some(subject), Some(detail), None) if class == code / 100 => {
            let class = if class == 2 {
                2
            } else if class == 4 {
                4
            } else {
                5
            };
            (Some(Enhanced(class, subject, detail)), behind)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<(Reply, Vec<String>)>, String> {
        let mut reader = ReplyReader::default();
        let (last, before) = lines.split_last().expect("there are lines");
        for line in before {
            assert_eq!(reader.take(line.as_bytes())?, None);
            assert!(!reader.is_empty());
        }
        reader.take(last.as_bytes())
    }

    #[test]
    fn replies() {
        let (reply, texts) = read(&["250-one", "250 2.1.5 two words"]).unwrap().unwrap();
        assert_eq!(reply.to_string(), "250 2.1.5 two words");
        assert_eq!(texts, ["one", "2.1.5 two words"]);
        for (line, shown) in [
            ("250", "250 "),
            ("250 ", "250 "),
            ("452 4.2.2 full", "452 4.2.2 full"),
            ("452 5.2.2 full", "452 5.2.2 full"),
            ("550 5.1.1", "550 5.1.1 "),
            ("550 5.1.1111 x", "550 5.1.1111 x"),
            ("334 cj1h", "334 cj1h"),
        ] {
            let (reply, _) = read(&[line]).unwrap().unwrap();
            assert_eq!(reply.to_string(), shown);
        }
        let (reply, _) = read(&["452 5.2.2 full"]).unwrap().unwrap();
        assert_eq!(reply.enhanced(), None);
    }

    #[test]
    fn nonsense() {
        for line in ["", "25", "2x0 ok", "250x", "150 ok", "650 ok", "* OK", "\u{fc}\u{fc}"] {
            assert!(read(&[line]).is_err(), "{line}");
        }
        assert!(read(&["250-a", "251 b"]).is_err());
        let mut reader = ReplyReader::default();
        let mut lines = 0;
        while reader.take(b"250-more").is_ok() {
            lines += 1;
        }
        assert_eq!(lines, LINES_MAX);
    }
}
