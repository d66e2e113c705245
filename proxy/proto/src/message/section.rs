//! Sections (RFC 3501 6.4.5): `1.2.MIME`, `HEADER`, `2.TEXT` and the like, and the bytes of a message that they name.

use std::ops::Range;

use crate::imap::fetch;

use super::structure::{PartKind, Structure};

/// What of a part is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionText {
    /// No keyword: the body of a part, or the whole message.
    Whole,
    /// HEADER, and what HEADER.FIELDS and HEADER.FIELDS.NOT filter: the header of a message with its blank line.
    Header,
    /// TEXT: the body of a message.
    Text,
    /// MIME: the header of a part with its blank line.
    Mime,
}

/// A section without the field names of HEADER.FIELDS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionPath {
    /// Part numbers, from 1; empty for the message itself.
    pub parts: Vec<u32>,
    /// What of it.
    pub text: SectionText,
}

impl From<&fetch::Section> for SectionPath {
    /// The path of what FETCH asked for; the header to be filtered for HEADER.FIELDS.
    fn from(section: &fetch::Section) -> Self {
        use fetch::SectionText as Asked;
        let text = match section.text {
            Asked::All => SectionText::Whole,
            Asked::Header | Asked::HeaderFields(_) | Asked::HeaderFieldsNot(_) => SectionText::Header,
            Asked::Text => SectionText::Text,
            Asked::Mime => SectionText::Mime,
        };
        Self {
            parts: section.part.clone(),
            text,
        }
    }
}

/// The bytes of a range that `<offset.count>` asks for: none of them beyond its end (RFC 3501 6.4.5).
pub fn partial(range: Range<u64>, partial: Option<(u32, u32)>) -> Range<u64> {
    let Some((offset, count)) = partial else { return range };
    let start = range.start.saturating_add(u64::from(offset)).min(range.end);
    start..start.saturating_add(u64::from(count)).min(range.end)
}

impl Structure {
    /// The bytes of the message that a section names; none when there is no such part (which IMAP answers with an empty
    /// string or NIL).
    ///
    /// A part that has no parts has itself as part 1, once (RFC 3501: "every message has at least one part number").
    pub fn section(&self, path: &SectionPath) -> Option<Range<u64>> {
        let index = self.part_at(&path.parts)?;
        let part = self.part(index);
        let message = if path.parts.is_empty() {
            Some(part)
        } else {
            (part.kind == PartKind::Message)
                .then(|| self.first_child(index))
                .flatten()
                .map(|child| self.part(child))
        };
        match path.text {
            SectionText::Whole if path.parts.is_empty() => Some(0..self.size()),
            SectionText::Whole => Some(part.body()),
            SectionText::Mime if path.parts.is_empty() => None,
            SectionText::Mime => Some(part.header()),
            SectionText::Header => message.map(|message| message.header()),
            SectionText::Text => message.map(|message| message.body()),
        }
    }

    /// The index of a part by its number, as in `BODY[1.2]`; the root for no number.
    pub fn part_at(&self, numbers: &[u32]) -> Option<usize> {
        let mut index = 0;
        // Whether the number that named this part named it as part 1 of itself.
        let mut is_itself = false;
        for number in numbers {
            let mut here = index;
            let mut in_message = false;
            if self.part(index).kind == PartKind::Message && (index != 0 || is_itself) {
                here = self.first_child(index)?;
                in_message = true;
            }
            if self.part(here).kind == PartKind::Multipart {
                let nth = usize::try_from(number.checked_sub(1)?).ok()?;
                index = self.children(here).nth(nth)?;
                is_itself = false;
            } else if *number == 1 && (in_message || !is_itself) {
                index = here;
                is_itself = true;
            } else {
                return None;
            }
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_ranges_end_with_the_section() {
        for (asked, expected) in [
            (None, 10..20),
            (Some((0, 5)), 10..15),
            (Some((5, 100)), 15..20),
            (Some((10, 1)), 20..20),
            (Some((u32::MAX, u32::MAX)), 20..20),
        ] {
            assert_eq!(partial(10..20, asked), expected, "{asked:?}");
        }
    }
}
