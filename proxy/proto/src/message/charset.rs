//! Charsets of headers, bodies and SEARCH keys to UTF-8, by encoding_rs: the charsets and labels of the WHATWG standard
//! (US-ASCII and ISO-8859-1 are read as windows-1252, which holds them).
//!
//! Bytes that a charset does not know become U+FFFD. A body or word whose charset is missing or unknown is read as UTF-8:
//! unlabelled 8-bit text is mostly that, and ASCII is the same in both.

use encoding_rs::{CoderResult, Decoder, Encoding, REPLACEMENT, UTF_8};

/// What to tell a client that asked for an unknown charset (`NO [BADCHARSET (...)]`): the ones it should use.
pub const SUGGESTED: [&str; 2] = ["US-ASCII", "UTF-8"];

/// The charset of this label; none when it is unknown.
pub fn known(label: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_label(label).filter(|encoding| *encoding != REPLACEMENT)
}

/// The charset of this label, or UTF-8.
pub fn or_utf8(label: Option<&[u8]>) -> &'static Encoding {
    label.and_then(known).unwrap_or(UTF_8)
}

/// Reads a SEARCH key in the charset that the command names (UTF-8 when it names none). None: that charset is unknown, or
/// the key is not text in it; the answer is BADCHARSET (RFC 3501 6.4.4).
pub fn decode_key(label: Option<&[u8]>, key: &[u8]) -> Option<String> {
    let encoding = match label {
        Some(label) => known(label)?,
        None => UTF_8,
    };
    encoding
        .decode_without_bom_handling_and_without_replacement(key)
        .map(|text| text.into_owned())
}

/// Bytes of text that are handed on at a time.
const PIECE_BYTES: usize = 4096;

/// Decodes text in pieces of any cut.
pub struct CharsetDecoder {
    decoder: Decoder,
}

impl CharsetDecoder {
    /// For the charset parameter of a text part.
    pub fn for_label(label: Option<&[u8]>) -> Self {
        Self {
            decoder: or_utf8(label).new_decoder_with_bom_removal(),
        }
    }

    /// Decodes `bytes` and hands the text to `sink`, in pieces of a few KiB.
    pub fn push(&mut self, bytes: &[u8], is_last: bool, mut sink: impl FnMut(&str)) {
        let mut piece = [0u8; PIECE_BYTES];
        let mut rest = bytes;
        loop {
            let (result, read, written, _) = self.decoder.decode_to_utf8(rest, &mut piece, is_last);
            // The decoder writes whole UTF-8 characters only.
            sink(std::str::from_utf8(&piece[..written]).unwrap_or_default());
            rest = &rest[read..];
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_decodes_to_the_same() {
        for (label, bytes, expected) in [
            (Some("utf-8"), "grüße €".as_bytes(), "grüße €"),
            (None, "grüße".as_bytes(), "grüße"),
            (Some("ISO-8859-1"), b"gr\xfc\xdfe \x80", "grüße €"),
            (Some("us-ascii"), b"plain", "plain"),
            (Some("iso-2022-jp"), b"\x1b$B%F%9%H\x1b(B ok", "テスト ok"),
            (Some("koi8-r"), b"\xd4\xc5\xd3\xd4", "тест"),
            (Some("gb18030"), b"\xb2\xe2\xca\xd4", "测试"),
            (Some("utf-16le"), b"a\0b\0", "ab"),
            (Some("x-unknown"), "é".as_bytes(), "é"),
            (Some("utf-8"), b"a\xffb", "a\u{fffd}b"),
            (Some("utf-8"), b"a\xe2\x82", "a\u{fffd}"),
        ] {
            for cut in 0..=bytes.len() {
                let mut decoder = CharsetDecoder::for_label(label.map(str::as_bytes));
                let mut text = String::new();
                decoder.push(&bytes[..cut], false, |piece| text.push_str(piece));
                decoder.push(&bytes[cut..], true, |piece| text.push_str(piece));
                assert_eq!(text, expected, "{label:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn keys() {
        for (label, key, expected) in [
            (None, "ü".as_bytes(), Some("ü")),
            (Some("UTF-8"), b"a", Some("a")),
            (Some("latin1"), b"\xfc", Some("ü")),
            (Some("klingon"), b"a", None),
            (Some("utf-8"), b"\xff", None),
            (Some("iso-2022-cn"), b"a", None),
        ] {
            assert_eq!(
                decode_key(label.map(str::as_bytes), key).as_deref(),
                expected,
                "{label:?}"
            );
        }
    }
}
