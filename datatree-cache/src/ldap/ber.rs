//! The little of BER (X.690) that the values of RFC 4533's controls need: definite lengths, one byte of tag.
//!
//! The LDAP library parses these values too, but panics on malformed ones; a server's bytes must not end a thread.

/// Malformed bytes; says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Universal class, primitive.
pub(crate) const BOOLEAN: u8 = 0x01;
/// Universal class, primitive.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// Universal class, primitive.
pub(crate) const ENUMERATED: u8 = 0x0a;
/// Universal class, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;
/// Universal class, constructed.
pub(crate) const SET: u8 = 0x31;

/// Elements one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Elements<'a> {
        Elements(bytes)
    }

    /// The tag of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: its tag and its contents. `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some((&tag, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        if tag & 0x1f == 0x1f {
            return Err(Malformed("expected a tag of one byte"));
        }
        let (&first, rest) = rest.split_first().ok_or(Malformed("expected a length"))?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return Err(Malformed("expected a definite length of at most four bytes"));
            }
            let (bytes, rest) = rest.split_at(count);
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        };
        if length > rest.len() {
            return Err(Malformed("expected as many bytes as the length says"));
        }
        let (contents, rest) = rest.split_at(length);
        self.0 = rest;
        Ok(Some((tag, contents)))
    }

    /// The contents of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8, what: &'static str) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, contents)) if found == tag => Ok(contents),
            _ => Err(Malformed(what)),
        }
    }

    /// The contents of the next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.peek() != Some(tag) {
            return Ok(None);
        }
        Ok(self.next()?.map(|(_, contents)| contents))
    }

    /// The value of the next element if it is a boolean, else `default`.
    pub(crate) fn boolean(&mut self, default: bool) -> Result<bool, Malformed> {
        match self.optional(BOOLEAN)? {
            None => Ok(default),
            Some([value]) => Ok(*value != 0),
            Some(_) => Err(Malformed("expected a boolean of one byte")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_order() {
        let mut elements = Elements::new(&[0x04, 2, b'a', b'b', 0x01, 1, 0xff, 0x04, 0x81, 1, b'c']);
        assert_eq!(elements.expect(OCTET_STRING, "x"), Ok(&b"ab"[..]));
        assert_eq!(elements.boolean(false), Ok(true));
        assert_eq!(elements.boolean(false), Ok(false));
        assert_eq!(elements.optional(OCTET_STRING), Ok(Some(&b"c"[..])));
        assert_eq!(elements.next(), Ok(None));
    }

    #[test]
    fn what_is_malformed_is_said() {
        for bytes in [
            &[0x1f, 1, 0][..],
            &[0x04],
            &[0x04, 0x80],
            &[0x04, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x04, 0x82, 1],
            &[0x04, 5, 1, 2],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(Elements::new(bytes).next().is_err(), "{bytes:?}");
        }
        assert!(Elements::new(&[1, 2, 0, 0]).boolean(true).is_err());
        assert!(Elements::new(&[4, 0]).expect(BOOLEAN, "a boolean").is_err());
    }
}
