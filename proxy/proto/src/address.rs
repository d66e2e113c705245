//! Mail addresses as RFC 5321 section 4.1.2 and RFC 6531 section 3.3 write them: local parts (quoted too), domains,
//! address literals, and the paths of MAIL and RCPT.
//!
//! An `Address` is well formed, bounded, and kept in one piece of memory: the local part without its quotes, the domain
//! with ASCII letters in lower case, because that is how it is looked up. Whether it exists is not known here. Underscores
//! are let into domains, as real senders have them; nothing else beyond the grammar is.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Most bytes of an address. RFC 5321 section 4.5.3.1.3 asks for 256 in a path at least; the local part alone may be
/// longer than the 64 of section 4.5.3.1.1, which encoded sender addresses exceed in practice.
pub const ADDRESS_BYTES_MAX: usize = 320;
/// Most bytes of a domain (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Most bytes of a label of a domain (RFC 1035 section 2.3.4), in its ASCII form.
pub const LABEL_BYTES_MAX: usize = 63;

/// `local@domain`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The unquoted local part, `@`, the domain.
    text: Box<str>,
    local_bytes: u16,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Not the grammar of RFC 5321 section 4.1.2.
    Syntax,
    /// The local part is one that section 4.1.2 does not allow.
    LocalPart,
    /// The domain or address literal is one that section 4.1.2 or RFC 5890 does not allow.
    Domain,
    /// Over a bound of this module.
    TooLong,
    /// Not UTF-8 (RFC 6531).
    NotUtf8,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Syntax => "expected an address like <local@domain>",
            AddressError::LocalPart => "bad local part of the address",
            AddressError::Domain => "bad domain of the address",
            AddressError::TooLong => "address too long",
            AddressError::NotUtf8 => "the address is not UTF-8",
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Without brackets around it.
    pub fn parse(text: &[u8]) -> Result<Address, AddressError> {
        let text = std::str::from_utf8(text).map_err(|_| AddressError::NotUtf8)?;
        let (address, rest) = mailbox(text)?;
        if rest.is_empty() {
            Ok(address)
        } else {
            Err(AddressError::Syntax)
        }
    }

    /// From its parts; the local part is given without quotes and may hold anything but control characters.
    pub fn from_parts(local: &str, domain: &str) -> Result<Address, AddressError> {
        if local.is_empty() || local.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        check_domain(domain)?;
        Address::assemble(local, domain)
    }

    fn assemble(local: &str, domain: &str) -> Result<Address, AddressError> {
        let bytes = local.len() + 1 + domain.len();
        if bytes > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let local_bytes = u16::try_from(local.len()).map_err(|_| AddressError::TooLong)?;
        let mut text = String::with_capacity(bytes);
        text.push_str(local);
        text.push('@');
        text.push_str(domain);
        text[local.len()..].make_ascii_lowercase();
        Ok(Address {
            text: text.into_boxed_str(),
            local_bytes,
        })
    }

    /// The local part, without quotes; its case is as it was given.
    pub fn local(&self) -> &str {
        &self.text[..usize::from(self.local_bytes)]
    }

    /// The domain, in lower case; an address literal with its brackets.
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.local_bytes) + 1..]
    }

    /// The domain in its ASCII form (RFC 5890), as directories and the DNS have it.
    pub fn ascii_domain(&self) -> Cow<'_, str> {
        if self.domain().is_ascii() {
            return Cow::Borrowed(self.domain());
        }
        // That it converts was checked when it was parsed.
        idna::domain_to_ascii(self.domain()).map_or(Cow::Borrowed(self.domain()), Cow::Owned)
    }

    /// The address of an address literal (`[192.0.2.1]`, `[IPv6:2001:db8::1]`).
    pub fn literal(&self) -> Option<IpAddr> {
        literal_address(self.domain())
    }

    /// Whether it may be used without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text.as_bytes())
    }
}

/// As it is written in a path or header: quoted where it has to be.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if dot_string_bytes(self.local()) == Some(self.local().len()) {
            return f.write_str(&self.text);
        }
        f.write_str("\"")?;
        for piece in self.local().split_inclusive(['"', '\\']) {
            match piece.strip_suffix(['"', '\\']) {
                Some(before) => write!(f, "{before}\\{}", &piece[before.len()..])?,
                None => f.write_str(piece)?,
            }
        }
        write!(f, "\"@{}", self.domain())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

/// The path of RCPT TO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, in any case (RFC 5321 section 4.1.1.3): this server's.
    Postmaster,
    /// An address; a source route before it was dropped (appendix C).
    Address(Address),
}

/// Reads a MAIL path from the front of `text`: `<>` is `None`. Gives what follows the closing bracket.
pub fn reverse_path(text: &[u8]) -> Result<(Option<Address>, &[u8]), AddressError> {
    if let Some(rest) = text.strip_prefix(b"<>") {
        return Ok((None, rest));
    }
    let (inside, rest) = bracketed(text)?;
    path_address(inside).map(|address| (Some(address), rest))
}

/// Reads a RCPT path from the front of `text`. Gives what follows the closing bracket.
pub fn forward_path(text: &[u8]) -> Result<(ForwardPath, &[u8]), AddressError> {
    let (inside, rest) = bracketed(text)?;
    if inside.eq_ignore_ascii_case("postmaster") {
        return Ok((ForwardPath::Postmaster, rest));
    }
    path_address(inside).map(|address| (ForwardPath::Address(address), rest))
}

/// What stands between `<` and the `>` that no quotes hide, and what follows.
fn bracketed(text: &[u8]) -> Result<(&str, &[u8]), AddressError> {
    let inside = text.strip_prefix(b"<").ok_or(AddressError::Syntax)?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let path = std::str::from_utf8(&inside[..at]).map_err(|_| AddressError::NotUtf8)?;
                return Ok((path, &inside[at + 1..]));
            }
            _ => {}
        }
    }
    Err(AddressError::Syntax)
}

fn path_address(path: &str) -> Result<Address, AddressError> {
    let mut text = path;
    if text.starts_with('@') {
        let (route, address) = text.split_once(':').ok_or(AddressError::Syntax)?;
        for hop in route.split(',') {
            check_domain(hop.strip_prefix('@').ok_or(AddressError::Syntax)?)?;
        }
        text = address;
    }
    let (address, rest) = mailbox(text)?;
    if rest.is_empty() {
        Ok(address)
    } else {
        Err(AddressError::Syntax)
    }
}

fn mailbox(text: &str) -> Result<(Address, &str), AddressError> {
    let (local, rest): (Cow<'_, str>, &str) = if text.starts_with('"') {
        let (local, rest) = quoted_string(text)?;
        (Cow::Owned(local), rest)
    } else {
        let bytes = dot_string_bytes(text).ok_or(AddressError::LocalPart)?;
        (Cow::Borrowed(&text[..bytes]), &text[bytes..])
    };
    let domain = rest.strip_prefix('@').ok_or(AddressError::Syntax)?;
    check_domain(domain)?;
    Ok((Address::assemble(&local, domain)?, ""))
}

/// The length of the dot-string that `text` begins with; `None` when it begins with none.
fn dot_string_bytes(text: &str) -> Option<usize> {
    let mut atom_bytes = 0;
    let mut end = text.len();
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'.' {
            if atom_bytes == 0 {
                return None;
            }
            atom_bytes = 0;
        } else if is_atom_byte(byte) {
            atom_bytes += 1;
        } else {
            end = at;
            break;
        }
    }
    // C1 controls are letters to nobody.
    (atom_bytes > 0 && !text[..end].chars().any(char::is_control)).then_some(end)
}

/// atext of RFC 5322 section 3.2.3, and UTF-8 by RFC 6531.
fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// The contents of the quoted string that `text` begins with, and what follows it.
fn quoted_string(text: &str) -> Result<(String, &str), AddressError> {
    let mut contents = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if contents.is_empty() => break,
            '"' => return Ok((contents, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, quoted)) if quoted.is_ascii() && !quoted.is_control() => contents.push(quoted),
                _ => break,
            },
            _ if character.is_control() => break,
            _ => contents.push(character),
        }
    }
    Err(AddressError::LocalPart)
}

/// Whether `domain` is a domain or an address literal as RFC 5321 section 4.1.2 has them, or an international domain name.
/// For the name in HELO too.
pub fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > DOMAIN_BYTES_MAX {
        return Err(AddressError::TooLong);
    }
    if domain.starts_with('[') {
        return check_literal(domain);
    }
    if !domain.is_ascii() {
        let ascii = idna::domain_to_ascii(domain).map_err(|_| AddressError::Domain)?;
        return if ascii.is_ascii() {
            check_domain(&ascii)
        } else {
            Err(AddressError::Domain)
        };
    }
    let well_formed = domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        (1..=LABEL_BYTES_MAX).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    });
    if well_formed { Ok(()) } else { Err(AddressError::Domain) }
}

/// RFC 5321 section 4.1.3.
fn check_literal(domain: &str) -> Result<(), AddressError> {
    let inside = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(AddressError::Domain)?;
    if literal_address(domain).is_some() {
        return Ok(());
    }
    let (tag, content) = inside.split_once(':').ok_or(AddressError::Domain)?;
    let is_tag = !tag.is_empty()
        && !tag.eq_ignore_ascii_case("IPv6")
        && !tag.ends_with('-')
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_content = !content.is_empty() && content.bytes().all(|byte| matches!(byte, 33..=90 | 94..=126));
    if is_tag && is_content {
        Ok(())
    } else {
        Err(AddressError::Domain)
    }
}

fn literal_address(domain: &str) -> Option<IpAddr> {
    let inside = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inside.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => inside.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_grammar() {
        let cases: &[(&str, &str, &str, &str)] = &[
            ("alice@example.org", "alice", "example.org", "alice@example.org"),
            ("Alice@EXAMPLE.Org", "Alice", "example.org", "Alice@example.org"),
            ("a.b.c+d=e@x", "a.b.c+d=e", "x", "a.b.c+d=e@x"),
            (
                "!#$%&'*+-/=?^_`{|}~@x.y",
                "!#$%&'*+-/=?^_`{|}~",
                "x.y",
                "!#$%&'*+-/=?^_`{|}~@x.y",
            ),
            ("\"alice\"@example.org", "alice", "example.org", "alice@example.org"),
            ("\"a b\"@example.org", "a b", "example.org", "\"a b\"@example.org"),
            ("\"a@b\"@example.org", "a@b", "example.org", "\"a@b\"@example.org"),
            (
                r#""a\"b\\c\d"@example.org"#,
                r#"a"b\cd"#,
                "example.org",
                r#""a\"b\\cd"@example.org"#,
            ),
            ("\">\"@example.org", ">", "example.org", "\">\"@example.org"),
            ("\".\"@example.org", ".", "example.org", "\".\"@example.org"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"),
            (
                "a@[IPv6:2001:DB8::1]",
                "a",
                "[ipv6:2001:db8::1]",
                "a@[ipv6:2001:db8::1]",
            ),
            ("a@[x-tag:anything!]", "a", "[x-tag:anything!]", "a@[x-tag:anything!]"),
            (
                "a@under_score.example",
                "a",
                "under_score.example",
                "a@under_score.example",
            ),
            (
                "jürgen@bücher.example",
                "jürgen",
                "bücher.example",
                "jürgen@bücher.example",
            ),
            ("\"jür gen\"@x", "jür gen", "x", "\"jür gen\"@x"),
        ];
        for (text, local, domain, printed) in cases {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.local(), address.domain()), (*local, *domain), "{text}");
            assert_eq!(address.to_string(), *printed);
            assert_eq!(printed.parse::<Address>().unwrap(), address, "{printed}");
            assert_eq!(Address::from_parts(local, domain).unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address() {
        let long_label = format!("a@{}.example", "x".repeat(64));
        let long_domain = format!("a@{}x", "x23456789.".repeat(26));
        let long_local = format!("{}@example.org", "x".repeat(ADDRESS_BYTES_MAX));
        let cases: &[(&str, AddressError)] = &[
            ("", AddressError::LocalPart),
            ("alice", AddressError::Syntax),
            ("@example.org", AddressError::LocalPart),
            ("alice@", AddressError::Domain),
            (".alice@example.org", AddressError::LocalPart),
            ("alice.@example.org", AddressError::LocalPart),
            ("al..ice@example.org", AddressError::LocalPart),
            ("al ice@example.org", AddressError::Syntax),
            ("al\u{7f}ice@example.org", AddressError::Syntax),
            ("al\u{85}ice@example.org", AddressError::LocalPart),
            ("alice@example.org ", AddressError::Domain),
            ("alice@example..org", AddressError::Domain),
            ("alice@.example.org", AddressError::Domain),
            ("alice@example.org.", AddressError::Domain),
            ("alice@-example.org", AddressError::Domain),
            ("alice@example-.org", AddressError::Domain),
            ("alice@exam\0ple.org", AddressError::Domain),
            ("alice@b@example.org", AddressError::Domain),
            ("\"alice@example.org", AddressError::LocalPart),
            ("\"\"@example.org", AddressError::LocalPart),
            ("\"al\nice\"@example.org", AddressError::LocalPart),
            ("\"al\\", AddressError::LocalPart),
            ("\"al\"ice@example.org", AddressError::Syntax),
            ("a@[]", AddressError::Domain),
            ("a@[192.0.2.1", AddressError::Domain),
            ("a@[192.0.2]", AddressError::Domain),
            ("a@[192.0.2.256]", AddressError::Domain),
            ("a@[IPv6:192.0.2.1]", AddressError::Domain),
            ("a@[tag-:x]", AddressError::Domain),
            ("a@[tag:x[y]", AddressError::Domain),
            ("a@\u{200b}", AddressError::Domain),
            (&long_label, AddressError::Domain),
            (&long_domain, AddressError::TooLong),
            (&long_local, AddressError::TooLong),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Address>(), Err(*expected), "{text:?}");
        }
        assert_eq!(Address::parse(b"al\xffice@example.org"), Err(AddressError::NotUtf8));
    }

    #[test]
    fn forms_of_a_domain() {
        let address: Address = "a@Bücher.example".parse().unwrap();
        assert_eq!(address.ascii_domain(), "xn--bcher-kva.example");
        assert!(!address.is_ascii());
        assert_eq!(
            "a@[IPv6:2001:db8::1]".parse::<Address>().unwrap().literal(),
            Some("2001:db8::1".parse().unwrap())
        );
        assert_eq!(
            "a@[192.0.2.1]".parse::<Address>().unwrap().literal(),
            Some("192.0.2.1".parse().unwrap())
        );
        assert_eq!("a@example.org".parse::<Address>().unwrap().literal(), None);
    }

    /// The address, `None` for the null sender, and what follows the path.
    type ReversePath<'a> = Result<(Option<&'a str>, &'a str), AddressError>;

    #[test]
    fn paths_of_mail() {
        let cases: &[(&str, ReversePath<'_>)] = &[
            ("<> SIZE=1", Ok((None, " SIZE=1"))),
            ("<a@x> BODY=7BIT", Ok((Some("a@x"), " BODY=7BIT"))),
            ("<@relay.example,@other.example:a@x>", Ok((Some("a@x"), ""))),
            ("<\"a>b\"@x>", Ok((Some("\"a>b\"@x"), ""))),
            ("a@x", Err(AddressError::Syntax)),
            ("<a@x", Err(AddressError::Syntax)),
            ("< a@x>", Err(AddressError::LocalPart)),
            ("<@relay.example>", Err(AddressError::Syntax)),
            ("<@relay.example,other:a@x>", Err(AddressError::Syntax)),
            ("<@:a@x>", Err(AddressError::Domain)),
            ("<postmaster>", Err(AddressError::Syntax)),
            ("<a@x>>", Ok((Some("a@x"), ">"))),
        ];
        for (text, expected) in cases {
            let path = reverse_path(text.as_bytes());
            let expected = expected.map(|(address, rest)| (address.map(|text| text.parse().unwrap()), rest.as_bytes()));
            assert_eq!(path, expected, "{text}");
        }
    }

    #[test]
    fn paths_of_rcpt() {
        let (path, rest) = forward_path(b"<PostMaster> NOTIFY=NEVER").unwrap();
        assert_eq!((path, rest), (ForwardPath::Postmaster, b" NOTIFY=NEVER".as_slice()));
        let (path, _) = forward_path(b"<@r.example:b@x>").unwrap();
        assert_eq!(path, ForwardPath::Address("b@x".parse().unwrap()));
        assert_eq!(forward_path(b"<>"), Err(AddressError::LocalPart));
        assert_eq!(forward_path(b"<root>"), Err(AddressError::Syntax));
    }
}
