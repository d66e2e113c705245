//! Distinguished names (RFC 4514) in the one form in which they are compared.
//!
//! Attribute types and values are folded to lower case and inner spaces squeezed, as caseIgnoreMatch does for the
//! naming attributes in use (RFC 4517, 4.2.11); the parts of a multi-valued RDN are sorted. What this deliberately
//! does not know: attribute types with a case-sensitive syntax, and OIDs as other names of a type.

use std::fmt::Write;

/// Bytes of a DN that is taken. A guess far above any directory's.
pub(crate) const DN_BYTES_MAX: usize = 8 * 1024;

/// Why a text is no DN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnError {
    /// Byte at which it goes wrong.
    pub at: usize,
    /// What was expected.
    pub message: &'static str,
}

/// The canonical form of a DN; the empty DN (the root) is no entry of ours and is refused.
pub fn canonical_dn(text: &str) -> Result<String, DnError> {
    if text.len() > DN_BYTES_MAX {
        return Err(DnError {
            at: DN_BYTES_MAX,
            message: "expected a DN of at most 8 KiB",
        });
    }
    plain_dn(text).map_or_else(|| any_dn(text), Ok)
}

/// The canonical form of a DN as nearly all are: names of ASCII letters and digits, one to a part, without spaces.
fn plain_dn(text: &str) -> Option<String> {
    let mut in_type = true;
    let mut seen = false;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => seen = true,
            b'_' | b'@' if !in_type => seen = true,
            b'=' | b',' if seen && in_type == (byte == b'=') => {
                in_type = !in_type;
                seen = false;
            }
            _ => return None,
        }
    }
    (seen && !in_type).then(|| text.to_ascii_lowercase())
}

fn any_dn(text: &str) -> Result<String, DnError> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        at: 0,
    };
    let mut canonical = String::with_capacity(text.len());
    loop {
        let mut parts = vec![reader.type_and_value()?];
        while reader.take(b'+') {
            parts.push(reader.type_and_value()?);
        }
        parts.sort();
        canonical.push_str(&parts.join("+"));
        if reader.at == reader.bytes.len() {
            return Ok(canonical);
        }
        if !reader.take(b',') {
            return Err(DnError {
                at: reader.at,
                message: "expected , or + or the end of the DN",
            });
        }
        canonical.push(',');
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    fn skip_spaces(&mut self) {
        while self.take(b' ') {}
    }

    /// `type=value`, canonical.
    fn type_and_value(&mut self) -> Result<String, DnError> {
        self.skip_spaces();
        let start = self.at;
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        {
            self.at += 1;
        }
        if self.at == start {
            return Err(DnError {
                at: self.at,
                message: "expected an attribute type (as in uid=alice,dc=example)",
            });
        }
        let mut canonical: String = self.bytes[start..self.at]
            .iter()
            .map(|b| char::from(b.to_ascii_lowercase()))
            .collect();
        self.skip_spaces();
        if !self.take(b'=') {
            return Err(DnError {
                at: self.at,
                message: "expected = after the attribute type",
            });
        }
        canonical.push('=');
        self.skip_spaces();
        let value_at = self.at;
        let value = self.value()?;
        if value.is_empty() {
            return Err(DnError {
                at: value_at,
                message: "expected a value after =",
            });
        }
        match String::from_utf8(value) {
            Ok(text) => append_folded(&mut canonical, &text),
            Err(error) => append_hex(&mut canonical, error.as_bytes()),
        }
        Ok(canonical)
    }

    /// The bytes of a value, unescaped, up to an unescaped `,` or `+` or the end; trailing spaces dropped.
    fn value(&mut self) -> Result<Vec<u8>, DnError> {
        let mut value = Vec::new();
        if self.take(b'#') {
            while let Some(byte) = self.hex_pair() {
                value.push(byte);
            }
            self.skip_spaces();
            return Ok(value);
        }
        // Spaces that were escaped are part of the value; others at its end are not.
        let mut kept = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b'+' => break,
                b'"' | b'<' | b'>' | b';' | 0 => {
                    return Err(DnError {
                        at: self.at,
                        message: "expected this character to be escaped with \\",
                    });
                }
                b'\\' => {
                    self.at += 1;
                    if let Some(byte) = self.hex_pair() {
                        value.push(byte);
                    } else if let Some(
                        escaped @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\'),
                    ) = self.peek()
                    {
                        self.at += 1;
                        value.push(escaped);
                    } else {
                        return Err(DnError {
                            at: self.at,
                            message: "expected a special character or two hex digits after \\",
                        });
                    }
                    kept = value.len();
                }
                _ => {
                    self.at += 1;
                    value.push(byte);
                    if byte != b' ' {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        Ok(value)
    }

    fn hex_pair(&mut self) -> Option<u8> {
        let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        let high = digit(self.bytes.get(self.at))?;
        let low = digit(self.bytes.get(self.at + 1))?;
        self.at += 2;
        u8::try_from(high * 16 + low).ok()
    }
}

/// Appends a value in lower case with inner spaces squeezed and special characters escaped. Of nothing but spaces one is
/// left (RFC 4518, 2.6.1).
fn append_folded(canonical: &mut String, text: &str) {
    if text.bytes().all(|byte| byte == b' ') {
        canonical.push_str("\\ ");
        return;
    }
    for (index, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if index > 0 {
            canonical.push(' ');
        }
        for character in word.chars().flat_map(char::to_lowercase) {
            if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#') {
                canonical.push('\\');
            }
            canonical.push(character);
        }
    }
}

fn append_hex(canonical: &mut String, bytes: &[u8]) {
    canonical.push('#');
    for byte in bytes {
        write!(canonical, "{byte:02x}").expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_are_one() {
        for (text, canonical) in [
            ("uid=alice,dc=example,dc=org", "uid=alice,dc=example,dc=org"),
            ("UID = Alice , DC=Example,  dc=ORG", "uid=alice,dc=example,dc=org"),
            ("cn=a  b,dc=x", "cn=a b,dc=x"),
            ("cn=Doe\\, John,dc=x", "cn=doe\\, john,dc=x"),
            ("cn=Doe\\2C John,dc=x", "cn=doe\\, john,dc=x"),
            ("uid=b+cn=a,dc=x", "cn=a+uid=b,dc=x"),
            ("cn=B\\C3\\BCcher", "cn=bücher"),
            ("cn=#ff00", "cn=#ff00"),
            ("2.5.4.3=a", "2.5.4.3=a"),
            ("cn=\\ ", "cn=\\ "),
            ("cn=\\ \\ ,dc=x", "cn=\\ ,dc=x"),
        ] {
            assert_eq!(canonical_dn(text).as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_says_where() {
        for (text, at) in [
            ("", 0),
            ("alice", 5),
            ("uid=", 4),
            ("uid=a,", 6),
            ("uid=a,,dc=x", 6),
            ("uid=a;dc=x", 5),
            ("cn=\"a\"", 3),
            ("cn=a\\z", 5),
            ("=a", 0),
        ] {
            assert_eq!(canonical_dn(text).expect_err(text).at, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_gives_the_same(text in "([a-cA-C0.-]{0,3}[=,]{0,2}[aB0 _@.#+-]{0,3},?){1,3}") {
            if let Some(plain) = plain_dn(&text) {
                prop_assert_eq!(any_dn(&text), Ok(plain));
            }
        }

        #[test]
        fn canonical_names_are_stable(any in any::<String>(), parts in prop::collection::vec("[a-z]{1,3}= ?[ -~]{1,9}", 1..4)) {
            for text in [any, parts.join(",")] {
                if let Ok(once) = canonical_dn(&text) {
                    prop_assert_eq!(canonical_dn(&once), Ok(once.clone()));
                }
            }
        }
    }
}
