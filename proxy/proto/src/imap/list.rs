//! LIST with its extensions (RFC 3501 section 6.3.8, RFC 5258, RFC 5819, RFC 6154), and STATUS items.

use super::cursor::{Cursor, Parsed, Syntax, is_list_char};
use super::pattern::Pattern;

/// Patterns in one LIST. A guess.
const PATTERNS_MAX: usize = 32;
const OPTIONS_MAX: usize = 32;

/// A LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Asked with options or several patterns: answer as RFC 5258 says.
    pub extended: bool,
    /// Which mailboxes.
    pub select: ListSelect,
    /// What to tell of each.
    pub returns: ListReturn,
    /// The mailbox argument was the empty string: tell separator and root only.
    pub root_only: bool,
    /// Patterns with the reference in front.
    pub patterns: Vec<Pattern>,
}

/// Selection options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSelect {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `REMOTE`: taken, and adds nothing, as there are no remote mailboxes.
    pub remote: bool,
    /// `RECURSIVEMATCH`
    pub recursive_match: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
}

/// Return options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `STATUS (...)`, empty for none
    pub status: Vec<StatusItem>,
}

/// What STATUS tells (RFC 3501 section 6.3.10 and extensions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT`
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `SIZE` (RFC 8438)
    Size,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq,
    /// `APPENDLIMIT` (RFC 7889)
    AppendLimit,
    /// `DELETED` (RFC 9208)
    Deleted,
    /// `DELETED-STORAGE` (RFC 9208)
    DeletedStorage,
}

impl StatusItem {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::Size => "SIZE",
            StatusItem::HighestModSeq => "HIGHESTMODSEQ",
            StatusItem::AppendLimit => "APPENDLIMIT",
            StatusItem::Deleted => "DELETED",
            StatusItem::DeletedStorage => "DELETED-STORAGE",
        }
    }

    /// `"(" status-att *(SP status-att) ")"`; an item named twice is told once.
    pub(super) fn parse_all(cursor: &mut Cursor<'_>) -> Parsed<Vec<StatusItem>> {
        const ALL: [StatusItem; 10] = [
            StatusItem::Messages,
            StatusItem::Recent,
            StatusItem::UidNext,
            StatusItem::UidValidity,
            StatusItem::Unseen,
            StatusItem::Size,
            StatusItem::HighestModSeq,
            StatusItem::AppendLimit,
            StatusItem::Deleted,
            StatusItem::DeletedStorage,
        ];
        let mut items = Vec::new();
        cursor.parenthesised(OPTIONS_MAX, |cursor| {
            let name = cursor.atom()?;
            let item = ALL
                .iter()
                .find(|item| item.name().eq_ignore_ascii_case(name))
                .ok_or(Syntax("Unknown STATUS item"))?;
            if !items.contains(item) {
                items.push(*item);
            }
            Ok(())
        })?;
        if items.is_empty() {
            Err(Syntax("No STATUS items"))
        } else {
            Ok(items)
        }
    }
}

fn list_mailbox<'a>(cursor: &mut Cursor<'a>) -> Parsed<std::borrow::Cow<'a, [u8]>> {
    cursor.string_or(is_list_char)
}

/// Reference and one pattern, as LSUB has them too.
pub(super) fn parse_reference_and_pattern(cursor: &mut Cursor<'_>) -> Parsed<(bool, Pattern)> {
    let reference = cursor.astring()?;
    cursor.space()?;
    let pattern = list_mailbox(cursor)?;
    Ok((pattern.is_empty(), Pattern::from_wire(&reference, &pattern)))
}

impl List {
    /// What follows `LIST SP`.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut extended = false;
        let mut select = ListSelect::default();
        if cursor.peek() == Some(b'(') {
            extended = true;
            select = Self::parse_select(cursor)?;
            cursor.space()?;
        }
        let reference = cursor.astring()?;
        cursor.space()?;
        let mut root_only = false;
        let patterns = if cursor.peek() == Some(b'(') {
            extended = true;
            let patterns = cursor.parenthesised(PATTERNS_MAX, |cursor| {
                Ok(Pattern::from_wire(&reference, &list_mailbox(cursor)?))
            })?;
            if patterns.is_empty() {
                return Err(Syntax("No mailbox patterns"));
            }
            patterns
        } else {
            let pattern = list_mailbox(cursor)?;
            root_only = pattern.is_empty();
            vec![Pattern::from_wire(&reference, &pattern)]
        };
        let mut returns = ListReturn::default();
        if !cursor.is_at_end() {
            cursor.space()?;
            if !cursor.is_at_end() {
                extended = true;
                if !cursor.word("RETURN") {
                    return Err(Syntax("Unexpected argument"));
                }
                cursor.space()?;
                returns = Self::parse_returns(cursor)?;
            }
        }
        cursor.end()?;
        // With options, the empty pattern is no question for the separator (RFC 5258 section 3).
        Ok(List {
            extended,
            select,
            returns,
            root_only: root_only && !extended,
            patterns,
        })
    }

    fn parse_select(cursor: &mut Cursor<'_>) -> Parsed<ListSelect> {
        let mut select = ListSelect::default();
        cursor.parenthesised(OPTIONS_MAX, |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_str() {
                "SUBSCRIBED" => select.subscribed = true,
                "REMOTE" => select.remote = true,
                "RECURSIVEMATCH" => select.recursive_match = true,
                "SPECIAL-USE" => select.special_use = true,
                _ => return Err(Syntax("Unknown LIST selection option")),
            }
            Ok(())
        })?;
        if select.recursive_match && !select.subscribed && !select.special_use {
            return Err(Syntax("RECURSIVEMATCH needs another selection option"));
        }
        Ok(select)
    }

    fn parse_returns(cursor: &mut Cursor<'_>) -> Parsed<ListReturn> {
        let mut returns = ListReturn::default();
        cursor.parenthesised(OPTIONS_MAX, |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_str() {
                "SUBSCRIBED" => returns.subscribed = true,
                "CHILDREN" => returns.children = true,
                "SPECIAL-USE" => returns.special_use = true,
                "STATUS" => {
                    cursor.space()?;
                    returns.status = StatusItem::parse_all(cursor)?;
                }
                _ => return Err(Syntax("Unknown LIST return option")),
            }
            Ok(())
        })?;
        Ok(returns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parsed<List> {
        List::parse(&mut Cursor::new(text.as_bytes()))
    }

    #[test]
    fn forms() {
        let plain = parse("\"\" *").expect("plain");
        assert!(!plain.extended && !plain.root_only && plain.patterns.len() == 1);
        assert!(parse("\"\" \"\"").expect("root").root_only);
        assert!(!parse("() \"\" \"\"").expect("extended").root_only);
        let full = parse("(SUBSCRIBED RECURSIVEMATCH) \"\" (\"INBOX\" a/%) RETURN (CHILDREN STATUS (MESSAGES size MESSAGES) SPECIAL-USE)")
            .expect("full");
        assert!(
            full.select.subscribed && full.select.recursive_match && full.returns.children && full.returns.special_use
        );
        assert_eq!(full.returns.status, [StatusItem::Messages, StatusItem::Size]);
        assert_eq!(full.patterns.len(), 2);
        for text in [
            "",
            "\"\"",
            "(RECURSIVEMATCH) \"\" *",
            "\"\" ()",
            "\"\" * RETURN",
            "\"\" * RETURN (FOO)",
            "\"\" * x",
            "(FOO) \"\" *",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
