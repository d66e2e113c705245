//! Encoded words (RFC 2047) in header fields, decoded to UTF-8 for searching.
//!
//! Lenient: words are decoded wherever they stand, in quoted strings and in the middle of a word too; what is no whole word
//! stays as it is. Blanks between two words vanish (RFC 2047 6.2), and words of the same charset that follow each other are
//! decoded as one text, so that a character cut in two by the sender is whole again.

use encoding_rs::Encoding;
use memchr::memmem;

use super::charset::or_utf8;
use super::lexer::is_blank;
use super::transfer::TransferDecoder;

/// Longest word that is looked for, in bytes. RFC 2047 2 allows 75; senders exceed it.
const WORD_BYTES_MAX: usize = 1024;

/// The text of an unfolded field value. Bytes outside of words are read as UTF-8.
pub fn decode_words(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    // The words read last, which the next one may continue.
    let mut open: Option<(&'static Encoding, Vec<u8>)> = None;
    let mut rest = value;
    while let Some(Word {
        before,
        encoding,
        bytes,
        after,
    }) = next_word(rest)
    {
        match &mut open {
            Some((previous, text)) if before.iter().all(|byte| is_blank(*byte)) => {
                if *previous == encoding {
                    text.extend_from_slice(&bytes);
                } else {
                    flush(&mut open, &mut out);
                    open = Some((encoding, bytes));
                }
            }
            _ => {
                flush(&mut open, &mut out);
                out.push_str(&String::from_utf8_lossy(before));
                open = Some((encoding, bytes));
            }
        }
        rest = after;
    }
    flush(&mut open, &mut out);
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

fn flush(open: &mut Option<(&'static Encoding, Vec<u8>)>, out: &mut String) {
    if let Some((encoding, bytes)) = open.take() {
        out.push_str(&encoding.decode_without_bom_handling(&bytes).0);
    }
}

/// A word and its surroundings.
struct Word<'a> {
    before: &'a [u8],
    encoding: &'static Encoding,
    bytes: Vec<u8>,
    after: &'a [u8],
}

/// The first word.
fn next_word(value: &[u8]) -> Option<Word<'_>> {
    memmem::find_iter(value, b"=?").find_map(|start| {
        let (encoding, bytes, length) = word(&value[start..])?;
        Some(Word {
            before: &value[..start],
            encoding,
            bytes,
            after: &value[start + length..],
        })
    })
}

/// Reads `=?charset*language?encoding?text?=` at the start of the bytes: charset, decoded bytes, and its length.
fn word(value: &[u8]) -> Option<(&'static Encoding, Vec<u8>, usize)> {
    let value = &value[..value.len().min(WORD_BYTES_MAX)];
    let charset_end = 2 + value
        .get(2..)?
        .iter()
        .position(|byte| *byte == b'?' || is_blank(*byte))?;
    let [b'?', kind, b'?'] = *value.get(charset_end..charset_end + 3)? else {
        return None;
    };
    let text_start = charset_end + 3;
    let text_end = text_start + memmem::find(&value[text_start..], b"?=")?;
    let text = &value[text_start..text_end];
    let charset = value[2..charset_end]
        .split(|byte| *byte == b'*')
        .next()
        .filter(|charset| !charset.is_empty())?;
    let mut bytes = Vec::with_capacity(text.len());
    match kind {
        b'B' | b'b' => TransferDecoder::for_encoding(Some(b"base64")).push(text, &mut bytes),
        b'Q' | b'q' => decode_q(text, &mut bytes),
        _ => return None,
    }
    Some((or_utf8(Some(charset)), bytes, text_end + 2))
}

/// The Q encoding (RFC 2047 4.2).
fn decode_q(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let hex = |index: usize| (*after.get(index)? as char).to_digit(16).map(|digit| digit as u8);
        match (byte, hex(0), hex(1)) {
            (b'=', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                rest = &after[2..];
            }
            (b'_', _, _) => out.push(b' '),
            _ => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (value, expected) in [
            ("plain", "plain"),
            ("=?utf-8?Q?caf=C3=A9?=", "café"),
            ("=?UTF-8?b?Y2Fmw6k=?= x", "café x"),
            (
                "=?iso-8859-1*de?q?Gr=FC=DFe_aus?= K=?iso-8859-1?q?=F6?=ln",
                "Grüße aus Köln",
            ),
            ("=?utf-8?q?a?= \t=?utf-8?q?b?= c =?utf-8?q?d?=", "ab c d"),
            ("=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "aü"),
            ("=?utf-8?B?w?= =?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
            ("=?utf-8?q?=C3?==?utf-8?q?=A9?=", "é"),
            ("\"=?utf-8?q?in_quotes?=\" <a@b>", "\"in quotes\" <a@b>"),
            ("=?utf-8?q?with blank?=", "with blank"),
            ("=?utf-8?x?no?= =?utf-8?q?open", "=?utf-8?x?no?= =?utf-8?q?open"),
            ("=? =??q?x?= =?utf-8?q", "=? =??q?x?= =?utf-8?q"),
            ("=?utf-8?q??=x", "x"),
            ("=?x-unknown?q?a=C3=BC?=", "aü"),
            ("=?utf-8?q?=4?= =?utf-8?q?a=zz?=", "=4a=zz"),
            ("=?iso-2022-jp?B?GyRCJUYlOSVIGyhC?=", "テスト"),
            ("grüße", "grüße"),
            ("", ""),
        ] {
            assert_eq!(decode_words(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(decode_words(b"\xff =?utf-8?q?=FF?="), "\u{fffd} \u{fffd}");
    }

    #[test]
    fn starts_without_ends_take_linear_time() {
        let value = "=?utf-8?q?x ".repeat(100_000);
        assert!(decode_words(value.as_bytes()) == value);
    }
}
