//! Mailbox names: modified UTF-7 on the wire (RFC 3501 section 5.1.3), UTF-8 inside.

/// Bytes that a mailbox name may have in UTF-8. A guess: longer than any that people make, small in every listing.
pub const NAME_BYTES_MAX: usize = 1024;

/// What stands between the levels of the hierarchy.
pub const SEPARATOR: char = '/';

/// The mailbox that every account has; its name is matched in any case (RFC 3501 section 5.1).
pub const INBOX: &str = "INBOX";

/// A mailbox name in UTF-8: not empty, at most `NAME_BYTES_MAX`, no control characters, `INBOX` in upper case, also as
/// the first level of a longer name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName(String);

/// Not a mailbox name, with the text for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName(pub &'static str);

impl MailboxName {
    /// From the bytes on the wire.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, InvalidName> {
        Self::from_utf8(&decode(bytes).ok_or(InvalidName("Mailbox name is not valid modified UTF-7"))?)
    }

    /// From UTF-8.
    pub fn from_utf8(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName("Mailbox name is empty"));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(InvalidName("Mailbox name is too long"));
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidName("Control character in a mailbox name"));
        }
        Ok(Self(normalise_inbox(name)))
    }

    /// In UTF-8.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is INBOX itself.
    pub fn is_inbox(&self) -> bool {
        self.0 == INBOX
    }

    /// Without the one trailing separator with which CREATE announces children (RFC 3501 section 6.3.3).
    pub fn without_trailing_separator(&self) -> Result<Self, InvalidName> {
        Self::from_utf8(self.0.strip_suffix(SEPARATOR).unwrap_or(&self.0))
    }
}

/// `name` with a first level of INBOX in upper case.
pub fn normalise_inbox(name: &str) -> String {
    match name.get(..INBOX.len()) {
        Some(first) if first.eq_ignore_ascii_case(INBOX) => {
            let rest = &name[INBOX.len()..];
            if rest.is_empty() || rest.starts_with(SEPARATOR) {
                return format!("{INBOX}{rest}");
            }
            name.to_owned()
        }
        _ => name.to_owned(),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

fn sextet(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b',' => 63,
        _ => return None,
    } as u32)
}

/// Modified UTF-7 to UTF-8. `None` for what is not the one way to write a name: 8-bit bytes, printable ASCII in base64,
/// unpaired surrogates, padding bits that are not zero, two shifts in a row, a shift without an end.
pub fn decode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut after_shift = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'&' => {
                let end = memchr::memchr(b'-', rest)?;
                let (shifted, tail) = rest.split_at(end);
                rest = &tail[1..];
                if shifted.is_empty() {
                    text.push('&');
                    after_shift = false;
                } else {
                    if after_shift {
                        return None;
                    }
                    decode_shifted(shifted, &mut text)?;
                    after_shift = true;
                }
            }
            0x20..=0x7e => {
                text.push(char::from(byte));
                after_shift = false;
            }
            _ => return None,
        }
    }
    Some(text)
}

fn decode_shifted(shifted: &[u8], text: &mut String) -> Option<()> {
    let mut accumulator = 0u32;
    let mut bits = 0u32;
    let mut high: Option<u16> = None;
    for byte in shifted {
        accumulator = (accumulator & 0xffff) << 6 | sextet(*byte)?;
        bits += 6;
        if bits < 16 {
            continue;
        }
        bits -= 16;
        let unit = (accumulator >> bits & 0xffff) as u16;
        match (high.take(), unit) {
            (None, 0xd800..=0xdbff) => high = Some(unit),
            (Some(first), 0xdc00..=0xdfff) => {
                let scalar = 0x10000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
                text.push(char::from_u32(scalar)?);
            }
            (None, 0x20..=0x7e) => return None,
            (None, _) => text.push(char::from_u32(u32::from(unit))?),
            (Some(_), _) => return None,
        }
    }
    (high.is_none() && bits < 6 && accumulator & ((1 << bits) - 1) == 0).then_some(())
}

/// UTF-8 to modified UTF-7: ASCII, so it can stand in a quoted string.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    let mut accumulator = 0u32;
    let mut bits = 0u32;
    let mut shifted = false;
    let end_shift = |encoded: &mut String, accumulator: u32, bits: u32| {
        if bits > 0 {
            encoded.push(char::from(ALPHABET[(accumulator << (6 - bits) & 0x3f) as usize]));
        }
        encoded.push('-');
    };
    for character in text.chars() {
        if matches!(character, ' '..='~') {
            if shifted {
                end_shift(&mut encoded, accumulator, bits);
                (accumulator, bits, shifted) = (0, 0, false);
            }
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
            continue;
        }
        if !shifted {
            encoded.push('&');
            shifted = true;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            accumulator = (accumulator & 0x3f) << 16 | u32::from(*unit);
            bits += 16;
            while bits >= 6 {
                bits -= 6;
                encoded.push(char::from(ALPHABET[(accumulator >> bits & 0x3f) as usize]));
            }
        }
    }
    if shifted {
        end_shift(&mut encoded, accumulator, bits);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let table = [
            ("INBOX", "INBOX"),
            ("a&b", "a&-b"),
            ("&", "&-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
            ("ü&ü", "&APw-&-&APw-"),
            ("€", "&IKw-"),
            ("ab€😀é~", "ab&IKzYPd4AAOk-~"),
        ];
        for (text, wire) in table {
            assert_eq!(encode(text), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(text), "{wire}");
        }
    }

    #[test]
    fn every_character_survives() {
        for scalar in (0..0x11_0000u32).step_by(7).filter_map(char::from_u32) {
            let text = format!("x{scalar}{scalar}y{scalar}");
            assert_eq!(decode(encode(&text).as_bytes()).as_deref(), Some(text.as_str()));
        }
    }

    #[test]
    fn refused() {
        for wire in [
            "&",
            "a&b",
            "&AGE-",
            "&Jjo",
            "&Jjo!",
            "\u{fc}",
            "&U,BTFw-&ZeVnLIqe-",
            "&2D0-",
            "&3gA-",
            "&IK-",
            "&IKx-",
            "a\tb",
        ] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
    }

    #[test]
    fn inbox_in_any_case() {
        for (wire, expected) in [
            ("inbox", "INBOX"),
            ("Inbox/a", "INBOX/a"),
            ("inboxes", "inboxes"),
            ("a/inbox", "a/inbox"),
        ] {
            assert_eq!(MailboxName::from_wire(wire.as_bytes()).expect(wire).as_str(), expected);
        }
        assert!(MailboxName::from_wire(b"").is_err());
        assert!(MailboxName::from_wire(&[b'a'; NAME_BYTES_MAX + 1]).is_err());
    }
}
