//! XPIGEON, our own parameter of RCPT between nodes of a cluster: the record of the recipient, so that the node that keeps the
//! mail makes no lookup. Pairs of name and value, separated by tabs, in base64 (RFC 4648 section 5, without padding: a
//! parameter of SMTP has no `=`). Names that are not known are for the reader to leave alone.

use super::parameters::ParameterError;
use crate::redirect::FORWARDED_BYTES_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Most bytes of the parameter: the names and values, two bytes around each of up to 64 pairs, in base64, and the keyword.
pub(super) const RECORD_BYTES_MAX: usize = (FORWARDED_BYTES_MAX + 2 * PAIRS_MAX) * 4 / 3 + 16;
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
        if !is_text || held > FORWARDED_BYTES_MAX || pairs.len() == PAIRS_MAX {
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
        assert_eq!(encode(&[pair("long", &"v".repeat(FORWARDED_BYTES_MAX))]), None);
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
