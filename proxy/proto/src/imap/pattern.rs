//! Patterns of LIST and LSUB (RFC 3501 section 6.3.8): `*` is any run of characters, `%` any run without the separator.

use super::mailbox_name::{self, INBOX, NAME_BYTES_MAX, SEPARATOR};

/// A canonical pattern in UTF-8: reference and mailbox argument joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `None` for what cannot be a name (not modified UTF-7, or too long): it matches nothing.
    text: Option<Vec<char>>,
}

impl Pattern {
    /// From reference and pattern on the wire. The reference is simply put in front (RFC 3501 section 6.3.8).
    pub fn from_wire(reference: &[u8], pattern: &[u8]) -> Self {
        let mut wire = Vec::with_capacity(reference.len().saturating_add(pattern.len()));
        wire.extend_from_slice(reference);
        wire.extend_from_slice(pattern);
        let text = mailbox_name::decode(&wire)
            .filter(|text| text.len() <= NAME_BYTES_MAX)
            .map(|text| mailbox_name::normalise_inbox(&text).chars().collect());
        Self { text }
    }

    /// The pattern without wildcards when it has none: names one mailbox.
    pub fn as_exact(&self) -> Option<String> {
        let text = self.text.as_ref()?;
        (!text.iter().any(|character| matches!(character, '*' | '%'))).then(|| text.iter().collect())
    }

    /// Whether `name` (UTF-8) matches. Time is at most length of the pattern times length of the name, memory a constant
    /// times the pattern: all states of the pattern advance together, nothing backtracks.
    pub fn matches(&self, name: &str) -> bool {
        let Some(text) = &self.text else { return false };
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        skip_wildcards(text, &mut reached);
        let mut next = vec![false; text.len() + 1];
        // INBOX has no case (RFC 3501 section 5.1), also where the pattern spells only a part of it.
        let caseless = match name.strip_prefix(INBOX) {
            Some(rest) if rest.is_empty() || rest.starts_with(SEPARATOR) => INBOX.len(),
            _ => 0,
        };
        for (index, character) in name.chars().enumerate() {
            next.fill(false);
            for (state, expected) in text.iter().enumerate() {
                if !reached[state] {
                    continue;
                }
                match expected {
                    '*' => next[state] = true,
                    '%' => next[state] |= character != SEPARATOR,
                    expected => {
                        next[state + 1] |=
                            *expected == character || (index < caseless && expected.eq_ignore_ascii_case(&character));
                    }
                }
            }
            skip_wildcards(text, &mut next);
            std::mem::swap(&mut reached, &mut next);
        }
        reached[text.len()]
    }
}

/// A wildcard may stand for nothing: a state before it is also a state behind it.
fn skip_wildcards(text: &[char], states: &mut [bool]) {
    for (state, expected) in text.iter().enumerate() {
        if states[state] && matches!(expected, '*' | '%') {
            states[state + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        let table = [
            ("", "*", "a/b", true),
            ("", "%", "a", true),
            ("", "%", "a/b", false),
            ("", "%/%", "a/b", true),
            ("", "a*", "a/b/c", true),
            ("", "a%", "a/b", false),
            ("a/", "%", "a/b", true),
            ("a/", "%", "a/b/c", false),
            ("", "inbox", "INBOX", true),
            ("", "inbox/%", "INBOX/a", true),
            ("", "INB*", "INBOX", true),
            ("", "iNb*", "INBOX", true),
            ("", "%nbox/%", "INBOX/a", true),
            ("", "inb*/A", "INBOX/a", false),
            ("", "inb*", "INBOXES", false),
            ("", "%b%d%", "abcde", true),
            ("", "*b/%", "a/b/c", true),
            ("", "", "a", false),
            ("", "&APw-*", "über", true),
            ("", "&APw-b", "über", false),
            ("", "&ANw-%", "Über", true),
            ("", "a&b", "a&b", false),
            ("", "*%*%*", "x/y", true),
        ];
        for (reference, pattern, name, expected) in table {
            let matched = Pattern::from_wire(reference.as_bytes(), pattern.as_bytes()).matches(name);
            assert_eq!(matched, expected, "{reference}{pattern} on {name}");
        }
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let pattern = Pattern::from_wire(b"", "%a*".repeat(300).as_bytes());
        assert!(!pattern.matches(&"a".repeat(299)));
        assert!(pattern.matches(&"a".repeat(900)));
    }
}
