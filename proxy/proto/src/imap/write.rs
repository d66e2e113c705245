//! Writers of what a server answers (RFC 3501 section 7), each into a buffer of bytes.
//!
//! They write pieces; which responses there are, and when, is the driver's. No writer adds a space or line break that its
//! name does not say.

use super::command::Tag;
use super::flags::system;
use super::mailbox_name;

/// The command continuation request before a synchronising literal.
pub const CONTINUE: &[u8] = b"+ OK\r\n";

/// A tagged line: `condition` is OK, NO or BAD; `text` may start with a response code.
pub fn tagged(out: &mut Vec<u8>, tag: &Tag, condition: &str, text: &str) {
    line(out, tag.as_str(), condition, text);
}

/// An untagged status line: OK, NO, BAD, BYE or PREAUTH.
pub fn untagged(out: &mut Vec<u8>, condition: &str, text: &str) {
    line(out, "*", condition, text);
}

/// BAD, tagged where there is a tag.
pub fn bad(out: &mut Vec<u8>, tag: Option<&Tag>, reason: &str) {
    line(out, tag.map_or("*", Tag::as_str), "BAD", reason);
}

fn line(out: &mut Vec<u8>, tag: &str, condition: &str, text: &str) {
    for (word, behind) in [(tag, " "), (condition, " "), (text, "\r\n")] {
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(behind.as_bytes());
    }
}

/// A decimal number.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut rest = value;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The announcement of a literal: its bytes follow.
pub fn literal_start(out: &mut Vec<u8>, length: u64) {
    out.push(b'{');
    number(out, length);
    out.extend_from_slice(b"}\r\n");
}

/// Strings up to this are quoted when they can be; a longer one is a literal, which clients read faster.
const QUOTED_BYTES_MAX: usize = 1024;

/// A `string`: quoted where its bytes allow, else a literal.
pub fn string(out: &mut Vec<u8>, value: &[u8]) {
    let quotable = value.len() <= QUOTED_BYTES_MAX
        && value
            .iter()
            .all(|byte| matches!(byte, 1..=0x7f) && !matches!(byte, b'\r' | b'\n'));
    if !quotable {
        literal_start(out, value.len() as u64);
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// A `string` for what may be large: a literal, unless it is empty.
pub fn literal(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.extend_from_slice(b"\"\"");
        return;
    }
    literal_start(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// An `nstring`.
pub fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// An `astring`: an atom where its bytes allow.
pub fn astring(out: &mut Vec<u8>, value: &[u8]) {
    // NIL as an atom would be read as no string by some.
    let is_atom = !value.is_empty()
        && value.len() <= QUOTED_BYTES_MAX
        && !value.eq_ignore_ascii_case(b"NIL")
        && value.iter().all(|byte| super::cursor::is_astring_char(*byte));
    if is_atom {
        out.extend_from_slice(value)
    } else {
        string(out, value)
    }
}

/// A mailbox name given in UTF-8, in modified UTF-7.
pub fn mailbox(out: &mut Vec<u8>, name: &str) {
    astring(out, mailbox_name::encode(name).as_bytes());
}

/// `flag-list` with its parentheses: bits of `flags::system`, `\Recent`, keywords.
pub fn flags<'a>(out: &mut Vec<u8>, system_bits: u8, recent: bool, keywords: impl IntoIterator<Item = &'a str>) {
    out.push(b'(');
    let start = out.len();
    let named = system::NAMES
        .iter()
        .filter(|(bit, _)| system_bits & bit != 0)
        .map(|(_, name)| *name);
    for name in named.chain(recent.then_some("\\Recent")).chain(keywords) {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b')');
}

/// `sequence-set` of ascending numbers, runs written as ranges. Writes nothing when there are none.
pub fn sequence_set(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    let mut writer = SequenceSetWriter::default();
    for next in numbers {
        writer.push(out, next);
    }
    writer.finish(out);
}

/// As `sequence_set`, a number at a time. Numbers that do not ascend start a new range.
#[derive(Default)]
pub struct SequenceSetWriter {
    run: Option<(u32, u32)>,
    written: bool,
}

impl SequenceSetWriter {
    /// Adds one.
    pub fn push(&mut self, out: &mut Vec<u8>, next: u32) {
        self.push_range(out, (next, next));
    }

    /// Adds all from the first to the second.
    pub fn push_range(&mut self, out: &mut Vec<u8>, (first, last): (u32, u32)) {
        match &mut self.run {
            Some((_, before)) if before.checked_add(1) == Some(first) => *before = last,
            _ => {
                self.write_run(out);
                self.run = Some((first, last));
            }
        }
    }

    /// Writes what is pending.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.write_run(out);
    }

    fn write_run(&mut self, out: &mut Vec<u8>) {
        let Some((first, last)) = self.run.take() else { return };
        if self.written {
            out.push(b',');
        }
        self.written = true;
        number(out, u64::from(first));
        if last > first {
            out.push(b':');
            number(out, u64::from(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn strings() {
        let table: [(&[u8], &str, &str); 8] = [
            (b"", "\"\"", "\"\""),
            (b"abc", "\"abc\"", "abc"),
            (b"a b", "\"a b\"", "\"a b\""),
            (b"a\"\\b", "\"a\\\"\\\\b\"", "\"a\\\"\\\\b\""),
            (b"a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"),
            ("é".as_bytes(), "{2}\r\né", "{2}\r\né"),
            (b"nil", "\"nil\"", "\"nil\""),
            (b"a[1]", "\"a[1]\"", "a[1]"),
        ];
        for (value, as_string, as_astring) in table {
            assert_eq!(written(|out| string(out, value)), as_string);
            assert_eq!(written(|out| astring(out, value)), as_astring);
        }
        assert_eq!(
            written(|out| string(out, &[b'x'; 1025])).len(),
            "{1025}\r\n".len() + 1025
        );
        assert_eq!(
            written(|out| mailbox(out, "Entwürfe & mehr")),
            "\"Entw&APw-rfe &- mehr\""
        );
        assert_eq!(written(|out| nstring(out, None)), "NIL");
    }

    #[test]
    fn sets() {
        let table: [(&[u32], &str); 5] = [
            (&[], ""),
            (&[1], "1"),
            (&[1, 2, 3, 5, 7, 8], "1:3,5,7:8"),
            (&[u32::MAX - 1, u32::MAX], "4294967294:4294967295"),
            (&[3, 2, 1], "3,2,1"),
        ];
        for (numbers, expected) in table {
            assert_eq!(written(|out| sequence_set(out, numbers.iter().copied())), expected);
        }
    }

    #[test]
    fn flag_lists_and_numbers() {
        assert_eq!(written(|out| flags(out, 0, false, [])), "()");
        assert_eq!(
            written(|out| flags(out, system::SEEN | system::DRAFT, true, ["$Junk"])),
            "(\\Seen \\Draft \\Recent $Junk)"
        );
        assert_eq!(written(|out| number(out, 0)), "0");
        assert_eq!(written(|out| number(out, u64::MAX)), u64::MAX.to_string());
    }
}
