//! What FETCH asks for (RFC 3501 section 6.4.5, RFC 7162 for MODSEQ and CHANGEDSINCE).

use super::cursor::{Cursor, Parsed, Syntax, is_astring_char};

/// Items of one FETCH. A guess well above what clients ask.
const ITEMS_MAX: usize = 64;
/// Depth of a part's number, as in `1.2.3`.
const PART_DEPTH_MAX: usize = 32;
/// Names in one HEADER.FIELDS.
const FIELDS_MAX: usize = 128;

/// One thing to tell of each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItem {
    /// `UID`
    Uid,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY` without a section: BODYSTRUCTURE without extension data
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `MODSEQ` (RFC 7162)
    ModSeq,
    /// `BODY[...]`, and `RFC822` and its relatives
    Section(SectionFetch),
}

/// A part of a message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionFetch {
    /// What to give.
    pub section: Section,
    /// Leave `\Seen` alone.
    pub peek: bool,
    /// First octet and most octets to give.
    pub partial: Option<(u32, u32)>,
    /// How the answer calls it.
    pub label: SectionLabel,
}

/// How an answer calls a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionLabel {
    /// `BODY[...]`
    Body,
    /// `RFC822`
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.TEXT`
    Rfc822Text,
}

/// A section: which part, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Numbers as in `1.2`; empty for the message itself.
    pub part: Vec<u32>,
    /// What of the part.
    pub text: SectionText,
}

/// What of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SectionText {
    /// All of the message, or the body of the part.
    #[default]
    All,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS`, names as asked
    HeaderFields(Vec<String>),
    /// `HEADER.FIELDS.NOT`, names as asked
    HeaderFieldsNot(Vec<String>),
    /// `TEXT`
    Text,
    /// `MIME`, only with a part
    Mime,
}

impl FetchItem {
    fn whole_section(text: SectionText, peek: bool, label: SectionLabel) -> Self {
        FetchItem::Section(SectionFetch {
            section: Section { part: Vec::new(), text },
            peek,
            partial: None,
            label,
        })
    }

    /// `fetch-att` list or macro.
    pub(super) fn parse_all(cursor: &mut Cursor<'_>) -> Parsed<Vec<FetchItem>> {
        if cursor.peek() == Some(b'(') {
            let items = cursor.parenthesised(ITEMS_MAX, Self::parse)?;
            if items.is_empty() {
                return Err(Syntax("No items to fetch"));
            }
            return Ok(without_repeats(items));
        }
        use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
        Ok(if cursor.word("ALL") {
            vec![Flags, InternalDate, Size, Envelope]
        } else if cursor.word("FAST") {
            vec![Flags, InternalDate, Size]
        } else if cursor.word("FULL") {
            vec![Flags, InternalDate, Size, Envelope, Body]
        } else {
            vec![Self::parse(cursor)?]
        })
    }

    fn parse(cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
        // `[` is an atom character, so the name is read up to it by hand.
        let name = cursor.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        let item = match name.to_ascii_uppercase().as_slice() {
            b"UID" => FetchItem::Uid,
            b"FLAGS" => FetchItem::Flags,
            b"INTERNALDATE" => FetchItem::InternalDate,
            b"RFC822.SIZE" => FetchItem::Size,
            b"ENVELOPE" => FetchItem::Envelope,
            b"BODYSTRUCTURE" => FetchItem::BodyStructure,
            b"MODSEQ" => FetchItem::ModSeq,
            b"RFC822" => Self::whole_section(SectionText::All, false, SectionLabel::Rfc822),
            b"RFC822.HEADER" => Self::whole_section(SectionText::Header, true, SectionLabel::Rfc822Header),
            b"RFC822.TEXT" => Self::whole_section(SectionText::Text, false, SectionLabel::Rfc822Text),
            b"BODY" if cursor.peek() == Some(b'[') => Self::parse_section(cursor, false)?,
            b"BODY" => FetchItem::Body,
            b"BODY.PEEK" => Self::parse_section(cursor, true)?,
            b"" if cursor.is_at_end() => return Err(Syntax("Missing argument")),
            _ => return Err(Syntax("Unknown item to fetch")),
        };
        Ok(item)
    }

    fn parse_section(cursor: &mut Cursor<'_>, peek: bool) -> Parsed<FetchItem> {
        cursor.expect(b'[', "Section expected")?;
        let section = Section::parse(cursor)?;
        cursor.expect(b']', "Section not closed")?;
        let mut partial = None;
        if cursor.take(b'<') {
            let offset = cursor.number()?;
            cursor.expect(b'.', "Invalid partial range")?;
            let length = cursor.non_zero()?;
            cursor.expect(b'>', "Invalid partial range")?;
            partial = Some((offset, length));
        }
        Ok(FetchItem::Section(SectionFetch {
            section,
            peek,
            partial,
            label: SectionLabel::Body,
        }))
    }
}

impl Section {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Section> {
        let mut part = Vec::new();
        while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            if part.len() >= PART_DEPTH_MAX {
                return Err(Syntax("Part number too deep"));
            }
            part.push(cursor.non_zero()?);
            if !cursor.take(b'.') {
                return Ok(Section {
                    part,
                    text: SectionText::All,
                });
            }
        }
        let name = cursor
            .take_while(|byte| byte.is_ascii_alphabetic() || byte == b'.')
            .to_ascii_uppercase();
        let text = match name.as_slice() {
            b"HEADER" => SectionText::Header,
            b"TEXT" => SectionText::Text,
            b"MIME" if !part.is_empty() => SectionText::Mime,
            b"HEADER.FIELDS" => SectionText::HeaderFields(Self::parse_fields(cursor)?),
            b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(Self::parse_fields(cursor)?),
            b"" if part.is_empty() => SectionText::All,
            _ => return Err(Syntax("Unknown section")),
        };
        Ok(Section { part, text })
    }

    fn parse_fields(cursor: &mut Cursor<'_>) -> Parsed<Vec<String>> {
        cursor.space()?;
        let fields = cursor.parenthesised(FIELDS_MAX, |cursor| {
            let name = cursor.string_or(is_astring_char)?;
            // `ftext` of RFC 5322: what may be in a field's name.
            if name.is_empty() || !name.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b':') {
                return Err(Syntax("Invalid field name"));
            }
            Ok(String::from_utf8_lossy(&name).into_owned())
        })?;
        if fields.is_empty() {
            Err(Syntax("No field names"))
        } else {
            Ok(fields)
        }
    }
}

fn without_repeats(items: Vec<FetchItem>) -> Vec<FetchItem> {
    let mut unique: Vec<FetchItem> = Vec::with_capacity(items.len());
    for item in items {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parsed<Vec<FetchItem>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let items = FetchItem::parse_all(&mut cursor)?;
        cursor.end()?;
        Ok(items)
    }

    #[test]
    fn simple_items_and_macros() {
        use FetchItem::*;
        assert_eq!(parse("fast"), Ok(vec![Flags, InternalDate, Size]));
        assert_eq!(parse("FULL"), Ok(vec![Flags, InternalDate, Size, Envelope, Body]));
        assert_eq!(
            parse("(UID Flags uid BODY BODYSTRUCTURE modseq)"),
            Ok(vec![Uid, Flags, Body, BodyStructure, ModSeq])
        );
        assert_eq!(parse("(ALL)"), Err(Syntax("Unknown item to fetch")));
        assert_eq!(parse("()"), Err(Syntax("No items to fetch")));
        assert_eq!(parse(""), Err(Syntax("Missing argument")));
    }

    #[test]
    fn sections() {
        let section = |text: &str| match parse(text).as_deref() {
            Ok([FetchItem::Section(section)]) => Ok(section.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.0),
        };
        let body = |part: &[u32], text, peek, partial| {
            Ok(SectionFetch {
                section: Section {
                    part: part.to_vec(),
                    text,
                },
                peek,
                partial,
                label: SectionLabel::Body,
            })
        };
        assert_eq!(section("BODY[]"), body(&[], SectionText::All, false, None));
        assert_eq!(
            section("body.peek[]<0.10>"),
            body(&[], SectionText::All, true, Some((0, 10)))
        );
        assert_eq!(section("BODY[1]"), body(&[1], SectionText::All, false, None));
        assert_eq!(section("BODY[1.2.MIME]"), body(&[1, 2], SectionText::Mime, false, None));
        assert_eq!(section("BODY[3.HEADER]"), body(&[3], SectionText::Header, false, None));
        assert_eq!(
            section("BODY[TEXT]<5.4294967295>"),
            body(&[], SectionText::Text, false, Some((5, u32::MAX)))
        );
        let fields = vec!["Subject".to_owned(), "From".to_owned()];
        assert_eq!(
            section("BODY.PEEK[HEADER.FIELDS (Subject \"From\")]"),
            body(&[], SectionText::HeaderFields(fields.clone()), true, None)
        );
        assert_eq!(
            section("BODY[2.HEADER.FIELDS.NOT (Subject From)]"),
            body(&[2], SectionText::HeaderFieldsNot(fields), false, None)
        );
        for (text, reason) in [
            ("BODY[MIME]", "Unknown section"),
            ("BODY[1.]", "Unknown section"),
            ("BODY[0]", "Number must not be zero"),
            ("BODY[HEADER.FIELDS ()]", "No field names"),
            ("BODY[HEADER.FIELDS (a:b)]", "Invalid field name"),
            ("BODY[]<0.0>", "Number must not be zero"),
            ("BODY[]<0>", "Invalid partial range"),
            ("BODY[", "Section not closed"),
            ("BODY.PEEK", "Section expected"),
            ("BINARY[1]", "Unknown item to fetch"),
        ] {
            assert_eq!(section(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn old_names() {
        let items = parse("RFC822.HEADER").expect("valid");
        let [FetchItem::Section(header)] = items.as_slice() else {
            panic!("{items:?}")
        };
        assert!(
            header.peek && header.section.text == SectionText::Header && header.label == SectionLabel::Rfc822Header
        );
    }
}
