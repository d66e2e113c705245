//! Reads the tokens of RFC 3501's formal syntax (section 9) off the bytes of one whole command, literals inlined.
//!
//! Bounds come from the reader: a cursor never sees more than one command of bounded length. What it gives borrows from
//! the command where it can.

use std::borrow::Cow;

/// Why a command is not one: the text of the BAD answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax(pub(super) &'static str);

pub(super) type Parsed<T> = Result<T, Syntax>;

/// A position in the bytes of a command.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

/// `atom-specials` of RFC 3501 without `resp-specials`, which depends on the place.
fn is_special(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

/// `ATOM-CHAR`.
pub(super) fn is_atom_char(byte: u8) -> bool {
    !is_special(byte) && byte != b']'
}

/// `ASTRING-CHAR`: an atom's characters and `]`.
pub(super) fn is_astring_char(byte: u8) -> bool {
    !is_special(byte)
}

/// `list-char`: an astring's characters and the wildcards.
pub(super) fn is_list_char(byte: u8) -> bool {
    is_astring_char(byte) || matches!(byte, b'%' | b'*')
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `byte` when it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub(super) fn expect(&mut self, byte: u8, reason: &'static str) -> Parsed<()> {
        if self.take(byte) { Ok(()) } else { Err(Syntax(reason)) }
    }

    /// One space. Runs of spaces are taken too: many clients send them, and no production has an empty word between two.
    pub(super) fn space(&mut self) -> Parsed<()> {
        if !self.take(b' ') {
            return Err(Syntax(if self.is_at_end() {
                "Missing argument"
            } else {
                "Space expected"
            }));
        }
        while self.take(b' ') {}
        Ok(())
    }

    /// The end of the command; trailing spaces are forgiven.
    pub(super) fn end(&mut self) -> Parsed<()> {
        while self.take(b' ') {}
        if self.is_at_end() {
            Ok(())
        } else {
            Err(Syntax("Unexpected argument"))
        }
    }

    /// The longest run of bytes that `accept`; may be empty.
    pub(super) fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self
            .rest
            .iter()
            .position(|byte| !accept(*byte))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    pub(super) fn atom(&mut self) -> Parsed<&'a str> {
        let atom = self.take_while(is_atom_char);
        if atom.is_empty() {
            return Err(Syntax(if self.is_at_end() {
                "Missing argument"
            } else {
                "Atom expected"
            }));
        }
        Ok(std::str::from_utf8(atom).expect("atom characters are ASCII"))
    }

    /// Takes `word` when it is next in any case and no atom character follows it.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let mut ahead = self.clone();
        if ahead.take_while(is_atom_char).eq_ignore_ascii_case(word.as_bytes()) {
            *self = ahead;
            return true;
        }
        false
    }

    /// `number`: decimal, up to 2^32-1.
    pub(super) fn number(&mut self) -> Parsed<u32> {
        let number = self.number64()?;
        u32::try_from(number).map_err(|_| Syntax("Number too large"))
    }

    /// `number64`: decimal, up to 2^63-1 (RFC 9051; RFC 7162's mod-sequences).
    pub(super) fn number64(&mut self) -> Parsed<u64> {
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return Err(Syntax("Number expected"));
        }
        let mut value = 0u64;
        for digit in digits {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                .filter(|value| *value <= i64::MAX as u64)
                .ok_or(Syntax("Number too large"))?;
        }
        Ok(value)
    }

    /// `nz-number`.
    pub(super) fn non_zero(&mut self) -> Parsed<u32> {
        match self.number()? {
            0 => Err(Syntax("Number must not be zero")),
            number => Ok(number),
        }
    }

    /// `string`: quoted or literal.
    pub(super) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => Ok(Cow::Borrowed(self.literal()?)),
            Some(b'~') => Err(Syntax("BINARY is not supported")),
            None => Err(Syntax("Missing argument")),
            Some(_) => Err(Syntax("String expected")),
        }
    }

    /// `astring`: a string or a run of ASTRING-CHARs.
    pub(super) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_astring_char)
    }

    /// A string, or a run of bytes that `accept`.
    pub(super) fn string_or(&mut self, accept: impl Fn(u8) -> bool) -> Parsed<Cow<'a, [u8]>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string();
        }
        let atom = self.take_while(accept);
        if atom.is_empty() {
            return Err(Syntax(if self.is_at_end() {
                "Missing argument"
            } else {
                "String expected"
            }));
        }
        Ok(Cow::Borrowed(atom))
    }

    /// `nstring`: a string or NIL.
    pub(super) fn nstring(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.word("NIL") {
            Ok(None)
        } else {
            self.string().map(Some)
        }
    }

    /// `quoted`. Bytes of 8 bits are let through: clients send them in names and passwords although RFC 3501 forbids it.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        let body = &self.rest[1..];
        let mut escaped: Option<Vec<u8>> = None;
        let mut position = 0;
        loop {
            let plain = memchr::memchr2(b'"', b'\\', &body[position..]).ok_or(Syntax("Missing closing quote"))?;
            let run = &body[position..position + plain];
            if run.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err(Syntax("Line break or NUL in a quoted string"));
            }
            if let Some(escaped) = &mut escaped {
                escaped.extend_from_slice(run);
            }
            position += plain;
            if body[position] == b'"' {
                let content = match escaped {
                    Some(escaped) => Cow::Owned(escaped),
                    None => Cow::Borrowed(&body[..position]),
                };
                self.rest = &body[position + 1..];
                return Ok(content);
            }
            match body.get(position + 1) {
                Some(byte @ (b'"' | b'\\')) => {
                    escaped.get_or_insert_with(|| body[..position].to_vec()).push(*byte);
                    position += 2;
                }
                _ => return Err(Syntax("Invalid escape in a quoted string")),
            }
        }
    }

    /// `literal`: its announcement, the line break, and that many bytes, which the reader has collected.
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        self.expect(b'{', "Literal expected")?;
        let length = self.number()? as usize;
        self.take(b'+');
        self.expect(b'}', "Invalid literal")?;
        self.take(b'\r');
        self.expect(b'\n', "Invalid literal")?;
        if self.rest.len() < length {
            return Err(Syntax("Incomplete literal"));
        }
        let (content, rest) = self.rest.split_at(length);
        if memchr::memchr(0, content).is_some() {
            return Err(Syntax("NUL in a literal"));
        }
        self.rest = rest;
        Ok(content)
    }

    /// `"(" [item *(SP item)] ")"`, at most `count_max` items.
    pub(super) fn parenthesised<T>(
        &mut self,
        count_max: usize,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(b'(', "Opening parenthesis expected")?;
        let mut items = Vec::new();
        while self.take(b' ') {}
        while !self.take(b')') {
            if !items.is_empty() {
                self.space()?;
                if self.take(b')') {
                    break;
                }
            }
            if items.len() >= count_max {
                return Err(Syntax("Too many items in a list"));
            }
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_strings() {
        type Row = (&'static [u8], Result<&'static [u8], &'static str>);
        let table: &[Row] = &[
            (b"\"\"", Ok(b"")),
            (b"\"a b\"", Ok(b"a b")),
            (b"\"a\\\"b\\\\c\"", Ok(b"a\"b\\c")),
            (b"\"a\\nb\"", Err("Invalid escape in a quoted string")),
            (b"\"abc", Err("Missing closing quote")),
            (b"\"abc\\", Err("Invalid escape in a quoted string")),
            (b"\"abc\\\"", Err("Missing closing quote")),
            (b"\"a\nb\"", Err("Line break or NUL in a quoted string")),
            (b"{3}\r\nabc", Ok(b"abc")),
            (b"{3+}\nabc", Ok(b"abc")),
            (b"{4}\r\nabc", Err("Incomplete literal")),
            (b"{1}\r\n\0", Err("NUL in a literal")),
            (b"{99999999999999999999}\r\nabc", Err("Number too large")),
        ];
        for (input, expected) in table {
            let got = Cursor::new(input).string();
            assert_eq!(
                got.as_deref().map_err(|error| error.0),
                *expected,
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn parenthesised_lists() {
        let table: &[(&str, Option<usize>)] = &[
            ("()", Some(0)),
            ("(a)", Some(1)),
            ("(a b)", Some(2)),
            ("( a b )", Some(2)),
            ("(a", None),
            ("(a b c d)", None),
        ];
        for (input, expected) in table {
            let got = Cursor::new(input.as_bytes()).parenthesised(3, |cursor| cursor.atom());
            assert_eq!(got.ok().map(|items| items.len()), *expected, "{input}");
        }
    }
}
