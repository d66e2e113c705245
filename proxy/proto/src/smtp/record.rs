//! XPIGEON, our own parameter of RCPT between nodes of a cluster: the record of the recipient, so that the node that keeps the
//! mail makes no lookup, and the message's key (`key`), the same however often it is brought. Pairs of name and value, separated by tabs, in base64 (RFC 4648 section 5, without padding: a
//! parameter of SMTP has no `=`). Names that are not known are for the reader to leave alone.

use super::parameters::ParameterError;
use crate::redirect::FORWARDED_BYTES_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The pair's name of a message's key: of all tries to bring one message, and of no other.
pub const KEY: &str = "key";

/// A message's key as the pair's value has it: 32 hexadecimal digits.
pub fn encode_key(key: &[u8; 16]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// And back. `None`: it is none.
pub fn decode_key(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// Most bytes of names and values: the record's, and the key.
const HELD_BYTES_MAX: usize = FORWARDED_BYTES_MAX + KEY.len() + 32;
/// Most bytes of the parameter: the names and values, two bytes around each of up to 64 pairs, in base64, and the keyword.
pub(super) const RECORD_BYTES_MAX: usize = (HELD_BYTES_MAX + 2 * PAIRS_MAX) * 4 / 3 + 16;
const PAIRS_MAX: usize = 64;

/// The value of the parameter. `None`: it does not fit, or holds control characters.
pub fn encode(pairs: &[(String, String)]) -> Option<String> {
    let text = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>();
    let encoded = URL_SAFE_NO_PAD.encode(text.join("\t"));
    decode(&encoded).ok().filter(|decoded| **decoded == *pairs)?;
    Some(encoded)
}

/// Names and values, in their order.
pub(super) fn decode(value: &str) -> Result<Box<[(String, String)]>, ParameterError> {
    let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| ParameterError::Malformed)?;
    let text = String::from_utf8(bytes).map_err(|_| ParameterError::Malformed)?;
    let mut pairs = Vec::new();
    let mut held = 0_usize;
    for pair in text.split('\t') {
        let (name, value) = pair.split_once('=').ok_or(ParameterError::Malformed)?;
        held = held.saturating_add(name.len()).saturating_add(value.len());
        let is_text = !name.is_empty() && !pair.chars().any(char::is_control);
        if !is_text || held > HELD_BYTES_MAX || pairs.len() == PAIRS_MAX {
            return Err(ParameterError::Malformed);
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_there_and_back() {
        let key = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff];
        let text = encode_key(&key);
        assert_eq!(text, "000102030405060708090a0b0c0d0eff");
        assert_eq!(decode_key(&text), Some(key));
        assert_eq!(decode_key(&text.to_uppercase()), Some(key));
        for wrong in [
            "",
            "00",
            "+00102030405060708090a0b0c0d0eff",
            "000102030405060708090a0b0c0d0effff",
        ] {
            assert_eq!(decode_key(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn there_and_back() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let pairs = [
            pair("id", "11111111-1111-4111-8111-111111111111"),
            pair("volume", ""),
            pair("x", "a=b ü"),
        ];
        let encoded = encode(&pairs).expect("it fits");
        assert!(!encoded.contains('='));
        assert_eq!(decode(&encoded).as_deref(), Ok(&pairs[..]));
        let longest: Vec<_> = (0..PAIRS_MAX).map(|_| pair("n", &"v".repeat(13))).collect();
        let encoded = encode(&longest).expect("it fits");
        assert!(
            encoded.len() + " XPIGEON=".len() <= RECORD_BYTES_MAX,
            "{}",
            encoded.len()
        );
        assert_eq!(encode(&[pair("long", &"v".repeat(HELD_BYTES_MAX))]), None);
        assert_eq!(encode(&[pair("a", "b\tc=d")]), None);
        for text in ["", "a", "=b", "a=b\t", "a=b\u{1}"] {
            assert_eq!(
                decode(&URL_SAFE_NO_PAD.encode(text)),
                Err(ParameterError::Malformed),
                "{text:?}"
            );
        }
        assert_eq!(decode("!"), Err(ParameterError::Malformed));
        assert_eq!(decode("/w"), Err(ParameterError::Malformed));
        assert_eq!(decode("_w"), Err(ParameterError::Malformed));
    }
}
