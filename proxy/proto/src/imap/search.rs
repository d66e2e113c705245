//! SEARCH (RFC 3501 section 6.4.4), ESEARCH's return options (RFC 4731) and the MODSEQ key (RFC 7162).
//!
//! Strings arrive in the client's charset and leave here as UTF-8. Matching is done elsewhere.

use super::cursor::{Cursor, Parsed, Syntax};
use super::date::parse_date;
use super::flags::{KEYWORD_BYTES_MAX, system};
use super::sequence::SequenceSet;
use encoding_rs::Encoding;

/// Keys in one search. A guess well above what clients and their virtual folders ask.
const KEYS_MAX: usize = 1024;
/// Nesting of NOT, OR and parentheses. Clients write a list of alternatives as a chain of ORs.
const DEPTH_MAX: usize = 100;

/// What to search and how to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// `None`: answer `* SEARCH`; else `* ESEARCH` with these.
    pub returns: Option<SearchReturn>,
    /// All of these must match. `Err` when the charset is not known: answer NO [BADCHARSET ...].
    pub keys: Result<Vec<SearchKey>, UnknownCharset>,
}

/// The client named a charset that strings cannot be converted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCharset;

/// Result options of RFC 4731; none at all means ALL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
}

/// One condition on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// Every message.
    All,
    /// All of these.
    And(Vec<SearchKey>),
    /// Either.
    Or(Box<(SearchKey, SearchKey)>),
    /// Not this.
    Not(Box<SearchKey>),
    /// By message sequence number.
    Sequence(SequenceSet),
    /// By UID.
    Uid(SequenceSet),
    /// Has this bit of `flags::system`.
    Flag(u8),
    /// `\Recent` in this session.
    Recent,
    /// Has this keyword, in any case.
    Keyword(String),
    /// Internal date is before this day (days since the Unix epoch, UTC).
    Before(i64),
    /// Internal date is on this day.
    On(i64),
    /// Internal date is on or after this day.
    Since(i64),
    /// The Date field is before this day, time and zone ignored.
    SentBefore(i64),
    /// The Date field is on this day.
    SentOn(i64),
    /// The Date field is on or after this day.
    SentSince(i64),
    /// More octets than this.
    Larger(u32),
    /// Fewer octets than this.
    Smaller(u32),
    /// A field of this name contains the text (any value when it is empty).
    Header {
        /// The field's name, as asked.
        name: String,
        /// What it must contain.
        text: String,
    },
    /// The body contains the text.
    Body(String),
    /// Header or body contain the text.
    Text(String),
    /// Mod-sequence is at least this.
    ModSeq(u64),
}

impl SearchReturn {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut returns = SearchReturn::default();
        cursor.parenthesised(16, |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_str() {
                "MIN" => returns.min = true,
                "MAX" => returns.max = true,
                "ALL" => returns.all = true,
                "COUNT" => returns.count = true,
                "SAVE" => return Err(Syntax("SEARCHRES is not supported")),
                _ => return Err(Syntax("Unknown search result option")),
            }
            Ok(())
        })?;
        if returns == SearchReturn::default() {
            returns.all = true;
        }
        Ok(returns)
    }
}

impl Search {
    /// What follows `SEARCH SP`.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut returns = None;
        if cursor.word("RETURN") {
            cursor.space()?;
            returns = Some(SearchReturn::parse(cursor)?);
            cursor.space()?;
        }
        let mut charset = Charset::Unnamed;
        if cursor.word("CHARSET") {
            cursor.space()?;
            let label = cursor.astring()?;
            match Charset::of(&label) {
                Some(known) => charset = known,
                None => {
                    // The keys cannot be read, and need not be.
                    cursor.take_while(|_| true);
                    return Ok(Search {
                        returns,
                        keys: Err(UnknownCharset),
                    });
                }
            }
            cursor.space()?;
        }
        let mut parser = KeyParser { charset, keys: 0 };
        let mut keys = vec![parser.key(cursor, 0)?];
        while !cursor.is_at_end() {
            cursor.space()?;
            if cursor.is_at_end() {
                break;
            }
            keys.push(parser.key(cursor, 0)?);
        }
        cursor.end()?;
        Ok(Search {
            returns,
            keys: Ok(keys),
        })
    }

    /// Whether a key asks for mod-sequences, which enables CONDSTORE and puts MODSEQ in the answer (RFC 7162 3.1.5).
    pub fn uses_mod_seq(&self) -> bool {
        self.keys
            .as_ref()
            .is_ok_and(|keys| keys.iter().any(SearchKey::uses_mod_seq))
    }
}

impl SearchKey {
    fn uses_mod_seq(&self) -> bool {
        match self {
            SearchKey::ModSeq(_) => true,
            SearchKey::And(keys) => keys.iter().any(SearchKey::uses_mod_seq),
            SearchKey::Or(both) => both.0.uses_mod_seq() || both.1.uses_mod_seq(),
            SearchKey::Not(key) => key.uses_mod_seq(),
            _ => false,
        }
    }
}

/// What the strings of a search are written in.
#[derive(Clone, Copy)]
enum Charset {
    /// None was named: US-ASCII by the book; UTF-8 is taken too.
    Unnamed,
    Ascii,
    Other(&'static Encoding),
}

impl Charset {
    fn of(label: &[u8]) -> Option<Self> {
        if label.eq_ignore_ascii_case(b"US-ASCII") || label.eq_ignore_ascii_case(b"ASCII") {
            return Some(Charset::Ascii);
        }
        let encoding = Encoding::for_label_no_replacement(label)?;
        // UTF-16 cannot stand in IMAP strings, which have no NUL.
        (encoding.is_ascii_compatible() || encoding == encoding_rs::ISO_2022_JP).then_some(Charset::Other(encoding))
    }

    fn decode(self, bytes: &[u8]) -> Parsed<String> {
        let text = match self {
            Charset::Ascii if !bytes.is_ascii() => None,
            Charset::Unnamed | Charset::Ascii => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Charset::Other(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(|text| text.into_owned()),
        };
        text.ok_or(Syntax("A search string is not valid in its charset"))
    }
}

struct KeyParser {
    charset: Charset,
    keys: usize,
}

impl KeyParser {
    fn key(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Parsed<SearchKey> {
        self.keys += 1;
        if self.keys > KEYS_MAX || depth > DEPTH_MAX {
            return Err(Syntax("Search is too complex"));
        }
        if cursor.peek() == Some(b'(') {
            let mut keys = cursor.parenthesised(KEYS_MAX, |cursor| self.key(cursor, depth + 1))?;
            return match keys.len() {
                0 => Err(Syntax("Empty search group")),
                1 => Ok(keys.remove(0)),
                _ => Ok(SearchKey::And(keys)),
            };
        }
        if SequenceSet::starts(cursor) {
            return Ok(SearchKey::Sequence(SequenceSet::parse(cursor)?));
        }
        let name = cursor.atom()?.to_ascii_uppercase();
        if let Some(key) = Self::flag_key(&name) {
            return Ok(key);
        }
        Ok(match name.as_str() {
            "ALL" => SearchKey::All,
            "NOT" => {
                cursor.space()?;
                not(self.key(cursor, depth + 1)?)
            }
            "OR" => {
                cursor.space()?;
                let first = self.key(cursor, depth + 1)?;
                cursor.space()?;
                SearchKey::Or(Box::new((first, self.key(cursor, depth + 1)?)))
            }
            "UID" => {
                cursor.space()?;
                SearchKey::Uid(SequenceSet::parse(cursor)?)
            }
            "KEYWORD" => SearchKey::Keyword(Self::keyword(cursor)?),
            "UNKEYWORD" => not(SearchKey::Keyword(Self::keyword(cursor)?)),
            "BEFORE" => SearchKey::Before(Self::date(cursor)?),
            "ON" => SearchKey::On(Self::date(cursor)?),
            "SINCE" => SearchKey::Since(Self::date(cursor)?),
            "SENTBEFORE" => SearchKey::SentBefore(Self::date(cursor)?),
            "SENTON" => SearchKey::SentOn(Self::date(cursor)?),
            "SENTSINCE" => SearchKey::SentSince(Self::date(cursor)?),
            "LARGER" => SearchKey::Larger(Self::number(cursor)?),
            "SMALLER" => SearchKey::Smaller(Self::number(cursor)?),
            "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => {
                let text = self.text(cursor)?;
                SearchKey::Header { name, text }
            }
            "HEADER" => {
                cursor.space()?;
                let name = cursor.astring()?;
                let name = std::str::from_utf8(&name)
                    .map_err(|_| Syntax("Invalid field name"))?
                    .to_owned();
                SearchKey::Header {
                    name,
                    text: self.text(cursor)?,
                }
            }
            "BODY" => SearchKey::Body(self.text(cursor)?),
            "TEXT" => SearchKey::Text(self.text(cursor)?),
            "MODSEQ" => Self::mod_seq(cursor)?,
            _ => return Err(Syntax("Unknown search key")),
        })
    }

    fn flag_key(name: &str) -> Option<SearchKey> {
        let (negated, positive) = match name.strip_prefix("UN") {
            Some(positive) => (true, positive),
            None => (false, name),
        };
        let bit = match positive {
            "ANSWERED" => system::ANSWERED,
            "DELETED" => system::DELETED,
            "DRAFT" => system::DRAFT,
            "FLAGGED" => system::FLAGGED,
            "SEEN" => system::SEEN,
            "RECENT" if !negated => return Some(SearchKey::Recent),
            "OLD" if !negated => return Some(not(SearchKey::Recent)),
            "NEW" if !negated => {
                return Some(SearchKey::And(vec![
                    SearchKey::Recent,
                    not(SearchKey::Flag(system::SEEN)),
                ]));
            }
            _ => return None,
        };
        Some(if negated {
            not(SearchKey::Flag(bit))
        } else {
            SearchKey::Flag(bit)
        })
    }

    fn keyword(cursor: &mut Cursor<'_>) -> Parsed<String> {
        cursor.space()?;
        let keyword = cursor.atom()?;
        if keyword.len() > KEYWORD_BYTES_MAX {
            Err(Syntax("Keyword too long"))
        } else {
            Ok(keyword.to_owned())
        }
    }

    fn date(cursor: &mut Cursor<'_>) -> Parsed<i64> {
        cursor.space()?;
        parse_date(cursor)
    }

    fn number(cursor: &mut Cursor<'_>) -> Parsed<u32> {
        cursor.space()?;
        cursor.number()
    }

    fn text(&self, cursor: &mut Cursor<'_>) -> Parsed<String> {
        cursor.space()?;
        self.charset.decode(&cursor.astring()?)
    }

    /// `MODSEQ [entry-name SP entry-type-req] mod-sequence-valzer`: we keep one mod-sequence a message, so the entry is
    /// read and makes no difference (RFC 7162 3.1.5 lets a server do so).
    fn mod_seq(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
        cursor.space()?;
        if cursor.peek() == Some(b'"') {
            cursor.string()?;
            cursor.space()?;
            match cursor.atom()?.to_ascii_lowercase().as_str() {
                "priv" | "shared" | "all" => {}
                _ => return Err(Syntax("Unknown entry type")),
            }
            cursor.space()?;
        }
        Ok(SearchKey::ModSeq(cursor.number64()?))
    }
}

fn not(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

#[cfg(test)]
mod tests {
    use super::SearchKey::*;
    use super::*;

    fn parse(text: &[u8]) -> Parsed<Search> {
        let mut cursor = Cursor::new(text);
        let search = Search::parse(&mut cursor)?;
        cursor.end()?;
        Ok(search)
    }

    fn keys(text: &str) -> Vec<SearchKey> {
        parse(text.as_bytes()).expect(text).keys.expect(text)
    }

    fn header(name: &str, text: &str) -> SearchKey {
        Header {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn keys_of_every_kind() {
        let set = |number| SequenceSet::single(number);
        let table = [
            ("ALL", vec![All]),
            ("unseen", vec![not(Flag(system::SEEN))]),
            ("NEW", vec![And(vec![Recent, not(Flag(system::SEEN))])]),
            ("OLD", vec![not(Recent)]),
            ("1 UID 2", vec![Sequence(set(1)), Uid(set(2))]),
            (
                "KEYWORD $Junk UNKEYWORD x",
                vec![Keyword("$Junk".into()), not(Keyword("x".into()))],
            ),
            ("BEFORE 2-Jan-1970 SENTON \"1-Feb-1970\"", vec![Before(1), SentOn(31)]),
            (
                "FROM smith SUBJECT \"a b\"",
                vec![header("FROM", "smith"), header("SUBJECT", "a b")],
            ),
            ("HEADER Message-ID <a@b>", vec![header("Message-ID", "<a@b>")]),
            (
                "OR SEEN NOT TO x",
                vec![Or(Box::new((Flag(system::SEEN), not(header("TO", "x")))))],
            ),
            (
                "(SEEN (DRAFT)) LARGER 10",
                vec![And(vec![Flag(system::SEEN), Flag(system::DRAFT)]), Larger(10)],
            ),
            ("MODSEQ 5", vec![ModSeq(5)]),
            ("MODSEQ \"/flags/\\\\draft\" all 620162338", vec![ModSeq(620_162_338)]),
            ("TEXT {3}\r\na b BODY x", vec![Text("a b".into()), Body("x".into())]),
        ];
        for (text, expected) in table {
            assert_eq!(keys(text), expected, "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "FOO",
            "()",
            "SEEN)",
            "(SEEN",
            "NOT",
            "OR SEEN",
            "BEFORE x",
            "UNRECENT",
            "LARGER x",
            "SUBJECT",
            "RETURN (SAVE) ALL",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_and_number_are_bounded() {
        for text in [
            "(".repeat(5000),
            "NOT ".repeat(5000) + "SEEN",
            "OR ".repeat(5000),
            "ALL ".repeat(5000),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Syntax("Search is too complex")));
        }
        assert!(parse(("OR SEEN ".repeat(90) + "ALL").as_bytes()).is_ok());
    }

    #[test]
    fn charsets() {
        let text = |input: &[u8]| parse(input).map(|search| search.keys);
        let subject = |text: &str| Ok(Ok(vec![header("SUBJECT", text)]));
        assert_eq!(text(b"CHARSET UTF-8 SUBJECT {2}\r\n\xc3\xbc"), subject("ü"));
        assert_eq!(text(b"CHARSET iso-8859-1 SUBJECT {1}\r\n\xfc"), subject("ü"));
        assert_eq!(text(b"CHARSET \"Shift_JIS\" SUBJECT {2}\r\n\x93\xfa"), subject("日"));
        assert_eq!(text(b"SUBJECT {2}\r\n\xc3\xbc"), subject("ü"));
        assert_eq!(text(b"CHARSET X-KLINGON SUBJECT x"), Ok(Err(UnknownCharset)));
        assert_eq!(text(b"CHARSET UTF-16 SUBJECT x"), Ok(Err(UnknownCharset)));
        assert_eq!(text(b"CHARSET ISO-2022-KR SUBJECT x"), Ok(Err(UnknownCharset)));
        assert!(text(b"CHARSET US-ASCII SUBJECT {2}\r\n\xc3\xbc").is_err());
        assert!(text(b"CHARSET UTF-8 SUBJECT {1}\r\n\xfc").is_err());
    }

    #[test]
    fn return_options() {
        let returns = |text: &str| parse(text.as_bytes()).expect(text).returns;
        assert_eq!(returns("ALL"), None);
        assert_eq!(
            returns("RETURN () ALL"),
            Some(SearchReturn {
                all: true,
                ..SearchReturn::default()
            })
        );
        assert_eq!(
            returns("RETURN (MIN max) ALL"),
            Some(SearchReturn {
                min: true,
                max: true,
                ..SearchReturn::default()
            })
        );
        assert!(
            parse(b"RETURN (COUNT) CHARSET UTF-8 OR SEEN MODSEQ 4")
                .expect("valid")
                .uses_mod_seq()
        );
    }
}
