//! The comparison of SEARCH: without case, for all of Unicode.
//!
//! Two characters are the same when their folded forms are. A character folds to the lower case of its upper case, each step
//! taken only where it gives one character (else the character stays as it is for that step). So `A` is `a`, `É` is `é`,
//! `Σ`, `σ` and `ς` are one, as are `K` and the Kelvin sign, `ı` and `i`, `ſ` and `s`; `ß` is `ẞ` and is not `ss`. This is the
//! casemap of RFC 5051 (i;unicode-casemap) without its decomposition: `é` is not `e`, nor is it `e` with a combining accent
//! behind it. Nothing else is changed: blanks and line ends count.

/// The folded form of a character.
pub fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let upper = single(character.to_uppercase()).unwrap_or(character);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    if mapped.next().is_some() { None } else { first }
}

/// Adds the folded form of a text, in UTF-8.
pub fn fold_into(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let start = out.len();
        out.extend_from_slice(&rest.as_bytes()[..ascii]);
        out[start..].make_ascii_lowercase();
        rest = &rest[ascii..];
        let Some(character) = rest.chars().next() else { break };
        out.extend_from_slice(fold(character).encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[character.len_utf8()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding() {
        for (text, folded) in [
            ("Hello, World", "hello, world"),
            ("GRÜẞE Grüße", "grüße grüße"),
            ("ΣΊΣΥΦΟΣ σίσυφος", "σίσυφοσ σίσυφοσ"),
            ("ПРИВЕТ", "привет"),
            ("K\u{212a}ı\u{17f}", "kkis"),
            ("İ", "İ"),
            ("ﬁ ŉ", "ﬁ ŉ"),
            ("Ǆǅǆ", "ǆǆǆ"),
            ("日本語 🙂", "日本語 🙂"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            fold_into(text, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), folded, "{text}");
        }
    }

    #[test]
    fn folding_twice_changes_nothing() {
        for character in '\0'..=char::MAX {
            assert_eq!(fold(fold(character)), fold(character), "{character:?}");
        }
    }
}
