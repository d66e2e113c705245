//! The tokens that structured header fields share (RFC 5322 3.2, RFC 2045 5.1): white space, comments, quoted strings
//! and atoms. It works on unfolded values, accepts any bytes, and never fails: what is not closed ends with the value.

/// Walks over one unfolded field value.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// The next byte, which stays.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Goes over one byte.
    pub(crate) fn bump(&mut self) {
        self.at = (self.at + 1).min(self.input.len());
    }

    /// Goes over `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.bump();
        }
        is_next
    }

    /// All that is left, which stays.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Goes over blanks; says whether there were any.
    pub(crate) fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(is_blank) {
            self.bump();
        }
        self.at > start
    }

    /// Goes over blanks and comments (CFWS); says whether there were any.
    pub(crate) fn skip_cfws(&mut self) -> bool {
        let start = self.at;
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'(') {
                return self.at > start;
            }
            self.comment();
        }
    }

    /// Goes over the comment that begins here, and gives its text without the outer parentheses and backslashes.
    pub(crate) fn comment(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 0u32;
        while let Some(byte) = self.peek() {
            self.bump();
            match byte {
                b'(' => {
                    if depth > 0 {
                        text.push(byte);
                    }
                    depth = depth.saturating_add(1);
                }
                b')' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break;
                    }
                    text.push(byte);
                }
                b'\\' => {
                    if let Some(escaped) = self.peek() {
                        self.bump();
                        text.push(escaped);
                    }
                }
                _ => text.push(byte),
            }
        }
        text
    }

    /// Goes over the quoted string that begins here, and gives its text without quotes and backslashes.
    pub(crate) fn quoted_string(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        self.bump();
        while let Some(byte) = self.peek() {
            self.bump();
            match byte {
                b'"' => break,
                b'\\' => {
                    if let Some(escaped) = self.peek() {
                        self.bump();
                        text.push(escaped);
                    }
                }
                _ => text.push(byte),
            }
        }
        text
    }

    /// Takes bytes as long as `accept` likes them.
    pub(crate) fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !accept(*byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

/// A space, a tab, or what is left of a line end.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// May stand in a token of MIME (RFC 2045 5.1); bytes outside of ASCII are let through.
pub(crate) fn is_token(byte: u8) -> bool {
    !matches!(
        byte,
        0..=b' '
            | 127
            | b'('
            | b')'
            | b'<'
            | b'>'
            | b'@'
            | b','
            | b';'
            | b':'
            | b'\\'
            | b'"'
            | b'/'
            | b'['
            | b']'
            | b'?'
            | b'='
    )
}

/// May stand in an atom of an address; dots too, and everything that no rule gives a meaning.
pub(crate) fn is_address_atom(byte: u8) -> bool {
    !is_blank(byte)
        && !matches!(
            byte,
            b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'"' | b'[' | b']'
        )
}

/// Without the blanks at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_nest_and_end_with_the_value() {
        for (input, text, rest) in [
            ("(a) b", "a", " b"),
            ("(a (b) \\) c)d", "a (b) ) c", "d"),
            ("(open", "open", ""),
            ("(open \\", "open ", ""),
            ("()", "", ""),
        ] {
            let mut lexer = Lexer::new(input.as_bytes());
            assert_eq!(lexer.comment(), text.as_bytes(), "{input}");
            assert_eq!(lexer.rest(), rest.as_bytes(), "{input}");
        }
    }

    #[test]
    fn quoted_strings_lose_their_quoting() {
        for (input, text, rest) in [("\"a\\\"b\" c", "a\"b", " c"), ("\"open", "open", ""), ("\"\"", "", "")] {
            let mut lexer = Lexer::new(input.as_bytes());
            assert_eq!(lexer.quoted_string(), text.as_bytes(), "{input}");
            assert_eq!(lexer.rest(), rest.as_bytes(), "{input}");
        }
    }
}
