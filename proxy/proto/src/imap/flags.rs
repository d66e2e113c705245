//! Flags of messages: the five system flags that a client may set, and keywords (RFC 3501 section 2.3.2).

use super::cursor::{Cursor, Parsed, Syntax};

/// Bytes of one keyword. A guess: longer than those that clients make.
pub const KEYWORD_BYTES_MAX: usize = 128;

/// Flags in one list; more cannot be kept anyway.
const LIST_MAX: usize = 64;

/// Bits of the system flags, in the order in which they are written.
pub mod system {
    /// `\Seen`
    pub const SEEN: u8 = 1;
    /// `\Answered`
    pub const ANSWERED: u8 = 1 << 1;
    /// `\Flagged`
    pub const FLAGGED: u8 = 1 << 2;
    /// `\Deleted`
    pub const DELETED: u8 = 1 << 3;
    /// `\Draft`
    pub const DRAFT: u8 = 1 << 4;

    /// Bits and names.
    pub const NAMES: [(u8, &str); 5] = [
        (SEEN, "\\Seen"),
        (ANSWERED, "\\Answered"),
        (FLAGGED, "\\Flagged"),
        (DELETED, "\\Deleted"),
        (DRAFT, "\\Draft"),
    ];
}

/// The flags of a STORE or APPEND.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagList {
    /// Bits of `system`.
    pub system: u8,
    /// Keywords as written, none twice in any case.
    pub keywords: Vec<String>,
}

impl FlagList {
    /// Adds one by its name; `false` when it is a system flag that nobody may set.
    fn add(&mut self, name: &str) -> bool {
        if name.starts_with('\\') {
            let Some((bit, _)) = system::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) else {
                return false;
            };
            self.system |= bit;
        } else if !self.keywords.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.keywords.push(name.to_owned());
        }
        true
    }

    /// `flag-list`, or `flag *(SP flag)` as STORE allows. `\Recent` is the server's: refused, but forgiven in an APPEND,
    /// where clients copy what they were shown.
    pub(super) fn parse(cursor: &mut Cursor<'_>, forgive_recent: bool) -> Parsed<Self> {
        let mut flags = FlagList::default();
        let mut one = |cursor: &mut Cursor<'_>| {
            let name = parse_flag(cursor)?;
            let forgiven = forgive_recent && name.eq_ignore_ascii_case("\\Recent");
            if forgiven || flags.add(&name) {
                Ok(())
            } else {
                Err(Syntax("Invalid system flag"))
            }
        };
        if cursor.peek() == Some(b'(') {
            cursor.parenthesised(LIST_MAX, one)?;
        } else {
            one(cursor)?;
            for _ in 1..LIST_MAX {
                if cursor.is_at_end() {
                    break;
                }
                cursor.space()?;
                one(cursor)?;
            }
        }
        Ok(flags)
    }
}

/// A keyword, or a system flag with its backslash.
pub(super) fn parse_flag(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let backslash = cursor.take(b'\\');
    let atom = cursor.atom().map_err(|_| Syntax("Invalid flag"))?;
    if atom.len() > KEYWORD_BYTES_MAX {
        return Err(Syntax("Keyword too long"));
    }
    Ok(if backslash {
        format!("\\{atom}")
    } else {
        atom.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let parse = |text: &str, forgive| {
            let mut cursor = Cursor::new(text.as_bytes());
            let flags = FlagList::parse(&mut cursor, forgive)?;
            cursor.end()?;
            Ok::<_, Syntax>((flags.system, flags.keywords.join(",")))
        };
        let table = [
            ("()", false, Ok((0, ""))),
            ("(\\Seen \\DELETED)", false, Ok((9, ""))),
            ("\\Seen $Forwarded NonJunk", false, Ok((1, "$Forwarded,NonJunk"))),
            ("(a A b)", false, Ok((0, "a,b"))),
            ("(\\Recent)", false, Err("Invalid system flag")),
            ("(\\Recent \\Draft)", true, Ok((16, ""))),
            ("(\\Foo)", true, Err("Invalid system flag")),
            ("(\\*)", false, Err("Invalid flag")),
            ("(a", false, Err("Missing argument")),
            ("", false, Err("Invalid flag")),
        ];
        for (text, forgive, expected) in table {
            let expected = expected
                .map(|(system, keywords)| (system, keywords.to_owned()))
                .map_err(Syntax);
            assert_eq!(parse(text, forgive), expected, "{text}");
        }
    }
}
