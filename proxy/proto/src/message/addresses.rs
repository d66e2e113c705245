//! Address lists (RFC 5322 3.4) in the four-part form of IMAP (RFC 3501 7.4.2): groups, comments as names, quoted strings,
//! obsolete routes, and everything that people send instead.
//!
//! Garbage is tolerated: what has no local part or domain gets a placeholder in its place, because NIL would make a group of
//! it; the names are the ones that Dovecot uses, which clients know. Encoded words stay encoded, as IMAP requires.

use super::Text;
use super::lexer::{Lexer, is_address_atom};

/// Stands for a local part that is missing.
pub const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";
/// Stands for a domain that is missing.
pub const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";
/// Stands for the domain of an address in angle brackets that never end or hold something else.
pub const SYNTAX_ERROR: &[u8] = b"SYNTAX_ERROR";

/// One address, or the start or end of a group.
///
/// A group starts with an address that has a mailbox (its name) and no host, and ends with one that has neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, or the comment of an address without one.
    pub name: Option<Text>,
    /// The source route of old (RFC 5322 4.4).
    pub route: Option<Text>,
    /// The local part without quotes.
    pub mailbox: Option<Text>,
    /// The domain, or an address literal with its brackets.
    pub host: Option<Text>,
}

impl Address {
    pub(crate) fn text_bytes(&self) -> usize {
        let fields = [&self.name, &self.route, &self.mailbox, &self.host];
        64 + fields.into_iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}

/// Reads an unfolded value and adds its addresses to `list`, which grows to `max` entries at most.
pub fn parse_addresses(value: &[u8], list: &mut Vec<Address>, max: usize) {
    let mut parser = Parser {
        lexer: Lexer::new(value),
        words: Words::default(),
        comment: None,
        in_group: false,
    };
    while list.len() < max {
        match parser.next() {
            Some(address) => list.push(address),
            None => return,
        }
    }
}

/// The words of a phrase or local part, in both readings.
#[derive(Default)]
struct Words {
    /// Joined by one blank where there was any: a display name.
    phrase: Vec<u8>,
    /// Joined without: a local part. None once two words stand apart without a dot between them.
    local_part: Option<Vec<u8>>,
    count: usize,
}

impl Words {
    fn add(&mut self, word: &[u8], is_apart: bool) {
        if is_apart && !self.phrase.is_empty() {
            self.phrase.push(b' ');
        }
        self.phrase.extend_from_slice(word);
        if self.count == 0 {
            self.local_part = Some(word.to_vec());
        } else if let Some(local_part) = &mut self.local_part {
            if is_apart && !local_part.ends_with(b".") && !word.starts_with(b".") {
                self.local_part = None;
            } else {
                local_part.extend_from_slice(word);
            }
        }
        self.count += 1;
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    words: Words,
    comment: Option<Vec<u8>>,
    in_group: bool,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Address> {
        self.words = Words::default();
        self.comment = None;
        loop {
            let is_apart = self.skip_blanks_and_comments();
            match self.lexer.peek() {
                None => {
                    if !self.words.is_empty() {
                        return Some(self.without_domain());
                    }
                    return std::mem::take(&mut self.in_group).then(Address::default);
                }
                Some(b',') => {
                    self.lexer.bump();
                    if !self.words.is_empty() {
                        return Some(self.without_domain());
                    }
                    self.comment = None;
                }
                Some(b';') => {
                    if !self.words.is_empty() {
                        // The semicolon is read again: it ends the group after this address.
                        let address = self.without_domain();
                        if !self.in_group {
                            self.lexer.bump();
                        }
                        return Some(address);
                    }
                    self.lexer.bump();
                    self.comment = None;
                    if std::mem::take(&mut self.in_group) {
                        return Some(Address::default());
                    }
                }
                Some(b':') => {
                    self.lexer.bump();
                    if !self.in_group {
                        self.in_group = true;
                        let name = std::mem::take(&mut self.words.phrase);
                        return Some(Address {
                            mailbox: Some(name.into()),
                            ..Address::default()
                        });
                    }
                    self.words = Words::default();
                }
                Some(b'<') => return Some(self.angle_address()),
                Some(b'@') => return Some(self.plain_address()),
                Some(b'"') => {
                    let word = self.lexer.quoted_string();
                    self.words.add(&word, is_apart);
                }
                Some(byte) if is_address_atom(byte) => {
                    let word = self.lexer.take_while(is_address_atom);
                    self.words.add(word, is_apart);
                }
                Some(_) => self.lexer.bump(),
            }
        }
    }

    /// Goes over blanks and comments and remembers the last comment.
    fn skip_blanks_and_comments(&mut self) -> bool {
        let mut any = false;
        loop {
            any |= self.lexer.skip_blanks();
            if self.lexer.peek() != Some(b'(') {
                return any;
            }
            self.comment = Some(self.lexer.comment());
            any = true;
        }
    }

    fn name_of_comment(&mut self) -> Option<Text> {
        self.comment
            .take()
            .map(|comment| super::lexer::trim(&comment).into())
            .filter(|name: &Text| !name.is_empty())
    }

    /// One word is a local part; several are a name.
    fn without_domain(&mut self) -> Address {
        let words = std::mem::take(&mut self.words);
        let (name, mailbox) = match words.local_part {
            Some(local_part) if words.count == 1 || local_part.len() == words.phrase.len() => {
                (self.name_of_comment(), local_part)
            }
            _ => (Some(words.phrase.into()), MISSING_MAILBOX.to_vec()),
        };
        Address {
            name,
            route: None,
            mailbox: Some(mailbox.into()),
            host: Some(MISSING_DOMAIN.into()),
        }
    }

    /// `local-part@domain (comment)`
    fn plain_address(&mut self) -> Address {
        let words = std::mem::take(&mut self.words);
        let mailbox = words.local_part.filter(|text| !text.is_empty()).unwrap_or_else(|| {
            if words.phrase.is_empty() {
                MISSING_MAILBOX.to_vec()
            } else {
                words.phrase
            }
        });
        self.lexer.bump();
        let host = self.domain();
        self.skip_to_separator(true);
        Address {
            name: self.name_of_comment(),
            route: None,
            mailbox: Some(mailbox.into()),
            host: Some(host),
        }
    }

    /// `name <@route:local-part@domain>`
    fn angle_address(&mut self) -> Address {
        let name = std::mem::take(&mut self.words).phrase;
        let name: Option<Text> = (!name.is_empty()).then(|| name.into());
        self.lexer.bump();
        self.lexer.skip_cfws();
        let route = self.route();
        let mut mailbox = Words::default();
        loop {
            let is_apart = self.lexer.skip_cfws();
            match self.lexer.peek() {
                Some(b'"') => {
                    let word = self.lexer.quoted_string();
                    mailbox.add(&word, is_apart);
                }
                Some(byte) if is_address_atom(byte) => {
                    let word = self.lexer.take_while(is_address_atom);
                    mailbox.add(word, is_apart);
                }
                _ => break,
            }
        }
        let mut host: Text = MISSING_DOMAIN.into();
        if self.lexer.eat(b'@') {
            host = self.domain();
        }
        self.lexer.skip_cfws();
        if !self.lexer.eat(b'>') {
            host = SYNTAX_ERROR.into();
            self.lexer.take_while(|byte| !matches!(byte, b'>' | b',' | b';' | b'<'));
            self.lexer.eat(b'>');
        }
        self.skip_to_separator(false);
        let mailbox = match mailbox {
            words if words.is_empty() => MISSING_MAILBOX.to_vec(),
            Words {
                local_part: Some(local_part),
                ..
            } => local_part,
            words => words.phrase,
        };
        Address {
            name,
            route,
            mailbox: Some(mailbox.into()),
            host: Some(host),
        }
    }

    /// `@a,@b:` before a local part; none, and nothing read, when no colon follows.
    fn route(&mut self) -> Option<Text> {
        let mut ahead = self.lexer.clone();
        let mut route = Vec::new();
        loop {
            ahead.skip_cfws();
            match ahead.peek()? {
                b':' if !route.is_empty() => {
                    ahead.bump();
                    self.lexer = ahead;
                    return Some(route.into());
                }
                b'@' => {
                    ahead.bump();
                    if !route.is_empty() && !route.ends_with(b",") {
                        return None;
                    }
                    route.push(b'@');
                    ahead.skip_cfws();
                    let domain = ahead.take_while(|byte| is_address_atom(byte) || matches!(byte, b'[' | b']'));
                    route.extend_from_slice(domain);
                }
                b',' => {
                    ahead.bump();
                    if !route.is_empty() && !route.ends_with(b",") {
                        route.push(b',');
                    }
                }
                _ => return None,
            }
        }
    }

    /// Atoms and dots with blanks or comments between them, or a literal in brackets.
    fn domain(&mut self) -> Text {
        let mut domain = Vec::new();
        loop {
            let is_apart = self.skip_blanks_and_comments();
            let part = match self.lexer.peek() {
                Some(b'[') => self.literal(),
                Some(byte) if is_address_atom(byte) => {
                    let starts_with_dot = byte == b'.';
                    if is_apart && !domain.is_empty() && !domain.ends_with(b".") && !starts_with_dot {
                        break;
                    }
                    self.lexer.take_while(is_address_atom).to_vec()
                }
                _ => break,
            };
            domain.extend_from_slice(&part);
        }
        if domain.is_empty() {
            MISSING_DOMAIN.into()
        } else {
            domain.into()
        }
    }

    /// `[...]`, with its brackets and without blanks.
    fn literal(&mut self) -> Vec<u8> {
        let mut literal = self
            .lexer
            .take_while(|byte| byte != b']' && byte != b',' && byte != b'>')
            .to_vec();
        if self.lexer.eat(b']') {
            literal.push(b']');
        }
        literal.retain(|byte| !super::lexer::is_blank(*byte));
        literal
    }

    /// Goes to the end of an address, over what should not be there, and over the comma. The semicolon of a group stays.
    fn skip_to_separator(&mut self, keep_comments: bool) {
        loop {
            if keep_comments {
                self.skip_blanks_and_comments();
            } else {
                self.lexer.skip_cfws();
            }
            match self.lexer.peek() {
                None => return,
                Some(b';') if self.in_group => return,
                Some(b',' | b';') => return self.lexer.bump(),
                Some(b'"') => drop(self.lexer.quoted_string()),
                Some(_) => self.lexer.bump(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> String {
        let mut list = Vec::new();
        parse_addresses(value.as_bytes(), &mut list, 100);
        let text = |text: &Option<Text>| {
            text.as_ref()
                .map_or("-".into(), |text| String::from_utf8_lossy(text).into_owned())
        };
        let one = |a: &Address| [&a.name, &a.route, &a.mailbox, &a.host].map(text).join("|");
        list.iter().map(one).collect::<Vec<_>>().join(" ; ")
    }

    #[test]
    fn address_lists() {
        for (value, expected) in [
            ("", ""),
            (" , ,, ", ""),
            ("a@b.example", "-|-|a|b.example"),
            ("a@b.example, c@d.example", "-|-|a|b.example ; -|-|c|d.example"),
            ("Ann <ann@example.org>", "Ann|-|ann|example.org"),
            ("\"Doe, J.\" <j@example.org>", "Doe, J.|-|j|example.org"),
            ("John Q. Public <jqp@example.org>", "John Q. Public|-|jqp|example.org"),
            ("jane@example.org (Jane (J) Doe)", "Jane (J) Doe|-|jane|example.org"),
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                "Pete|-|pete|silly.test",
            ),
            (
                "A Group:Ed <joe@where.test>,x@y.test; , z@y.test",
                "-|-|A Group|- ; Ed|-|joe|where.test ; -|-|x|y.test ; -|-|-|- ; -|-|z|y.test",
            ),
            ("Undisclosed: ;", "-|-|Undisclosed|- ; -|-|-|-"),
            ("open: a@b.example", "-|-|open|- ; -|-|a|b.example ; -|-|-|-"),
            (
                "one: ; , two: a@b",
                "-|-|one|- ; -|-|-|- ; -|-|two|- ; -|-|a|b ; -|-|-|-",
            ),
            (
                "g: local; x@y",
                "-|-|g|- ; -|-|local|MISSING_DOMAIN ; -|-|-|- ; -|-|x|y",
            ),
            (
                "<@r.example,@s.example:x@y.example>",
                "-|@r.example,@s.example|x|y.example",
            ),
            ("\"a b\"@example.org", "-|-|a b|example.org"),
            ("\"a\".b@example.org", "-|-|a.b|example.org"),
            ("a . b @ test . example", "-|-|a.b|test.example"),
            ("a@[127.0.0.1], b@[IPv6:::1]", "-|-|a|[127.0.0.1] ; -|-|b|[IPv6:::1]"),
            (
                "=?utf-8?q?J=C3=BC?= =?utf-8?q?rgen?= <j@x>",
                "=?utf-8?q?J=C3=BC?= =?utf-8?q?rgen?=|-|j|x",
            ),
            ("Jürgen <j@x>", "Jürgen|-|j|x"),
            ("local", "-|-|local|MISSING_DOMAIN"),
            ("<local>", "-|-|local|MISSING_DOMAIN"),
            ("<>", "-|-|MISSING_MAILBOX|MISSING_DOMAIN"),
            (
                "no address at all",
                "no address at all|-|MISSING_MAILBOX|MISSING_DOMAIN",
            ),
            ("DAEMON (Mail System)", "Mail System|-|DAEMON|MISSING_DOMAIN"),
            ("@host.example", "-|-|MISSING_MAILBOX|host.example"),
            ("x@", "-|-|x|MISSING_DOMAIN"),
            ("a@b@c.example, d@e", "-|-|a|b ; -|-|d|e"),
            ("a@b c@d, e@f", "-|-|a|b ; -|-|e|f"),
            (
                "open <x@example.org, next@example.org",
                "open|-|x|SYNTAX_ERROR ; -|-|next|example.org",
            ),
            ("\"open <x@example.org>", "-|-|open <x@example.org>|MISSING_DOMAIN"),
            ("a@b;c@d", "-|-|a|b ; -|-|c|d"),
            ("a@b ()", "-|-|a|b"),
            ("(only)", ""),
            ("<a b@c>", "-|-|a b|c"),
            ("\"\" <e@x>", "-|-|e|x"),
            (": a@b;", "-|-||- ; -|-|a|b ; -|-|-|-"),
            ("a:b:c@d;", "-|-|a|- ; -|-|c|d ; -|-|-|-"),
            (">]<x@y>", "-|-|x|y"),
        ] {
            assert_eq!(show(value), expected, "{value:?}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let mut list = Vec::new();
        parse_addresses("a@b,".repeat(5000).as_bytes(), &mut list, 1000);
        assert_eq!(list.len(), 1000);
    }
}
