//! The items of FETCH for which a message is read: ENVELOPE, BODY, BODYSTRUCTURE, and sections of its text, whole or in
//! part (RFC 3501 section 6.4.5).
//!
//! A section is a range of the stored bytes and is streamed from there; the fields of HEADER.FIELDS are filtered from the
//! header, twice when they are too many to be held, because a literal's length comes before its bytes.

use super::body::OpenMessage;
use super::fetch::Broken;
use super::session::Session;
use bytes::Bytes;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::fetch::SectionLabel;
use pigeon_proto::imap::{FetchItem, Section, SectionFetch, SectionText, write};
use pigeon_proto::message::{FieldFilter, SectionPath, partial, write_body, write_body_structure};
use std::ops::Range;

/// Filtered header fields that are held, bytes; more are filtered a second time while they are sent.
const FILTERED_BYTES_MAX: u64 = 64 << 10;

impl<S: ByteStream> Session<S> {
    /// Writes an item that has to be read, with its name.
    pub(super) async fn write_read(&mut self, open: &mut OpenMessage, item: &FetchItem) -> Result<(), Broken> {
        let cache = &self.config.summaries;
        match item {
            FetchItem::Envelope => {
                let envelope = open.envelope(cache).await?;
                self.wire.out.extend_from_slice(b"ENVELOPE ");
                self.wire.out.extend_from_slice(&envelope);
            }
            FetchItem::Body => {
                let structure = open.structure(cache).await?;
                self.wire.out.extend_from_slice(b"BODY ");
                write_body(&structure, &mut self.wire.out);
            }
            FetchItem::BodyStructure => {
                let structure = open.structure(cache).await?;
                self.wire.out.extend_from_slice(b"BODYSTRUCTURE ");
                write_body_structure(&structure, &mut self.wire.out);
            }
            FetchItem::Section(section) => self.write_section(open, section).await?,
            FetchItem::Uid | FetchItem::Flags | FetchItem::InternalDate | FetchItem::Size | FetchItem::ModSeq => {
                unreachable!("written from the index")
            }
        }
        Ok(())
    }

    async fn write_section(&mut self, open: &mut OpenMessage, fetch: &SectionFetch) -> Result<(), Broken> {
        let range = match (fetch.section.part.is_empty(), &fetch.section.text) {
            (true, SectionText::All) => Some(open.all()),
            (true, SectionText::Text) => Some(open.text()),
            (true, SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)) => {
                Some(open.header())
            }
            _ => {
                let structure = open.structure(&self.config.summaries).await?;
                structure.section(&SectionPath::from(&fetch.section))
            }
        };
        write_label(&mut self.wire.out, fetch);
        let Some(range) = range else {
            self.wire.out.extend_from_slice(b"NIL");
            return Ok(());
        };
        match &fetch.section.text {
            SectionText::HeaderFields(names) => self.write_fields(open, range, names, false, fetch.partial).await,
            SectionText::HeaderFieldsNot(names) => self.write_fields(open, range, names, true, fetch.partial).await,
            _ => self.write_range(open, partial(range, fetch.partial)).await,
        }
    }

    /// A range of the message as a literal.
    async fn write_range(&mut self, open: &OpenMessage, range: Range<u64>) -> Result<(), Broken> {
        if range.is_empty() {
            self.wire.out.extend_from_slice(b"\"\"");
            return Ok(());
        }
        let mut range = range;
        // The first piece is read before anything is promised: a message that cannot be read gets its NO.
        let mut piece = open.read(&range).await?;
        write::literal_start(&mut self.wire.out, range.end - range.start);
        self.wire.literal_open = true;
        loop {
            range.start += piece.len() as u64;
            self.wire.push(piece).await?;
            if range.is_empty() {
                break;
            }
            piece = open.read(&range).await?;
        }
        self.wire.literal_open = false;
        Ok(())
    }

    async fn write_fields(
        &mut self,
        open: &OpenMessage,
        header: Range<u64>,
        names: &[String],
        not: bool,
        window: Option<(u32, u32)>,
    ) -> Result<(), Broken> {
        let mut filter = FieldFilter::new(names, not);
        let mut held = Vec::new();
        let mut length = 0u64;
        open.scan(header.clone(), |piece| {
            let done = filter.push(piece, &mut held);
            if length + held.len() as u64 > FILTERED_BYTES_MAX {
                length += held.len() as u64;
                held.clear();
            }
            done
        })
        .await?;
        filter.finish(&mut held);
        let is_whole = length == 0;
        length += held.len() as u64;
        let wanted = partial(0..length, window);
        if is_whole {
            // Within `held`, whose length fits.
            write::literal(&mut self.wire.out, &held[wanted.start as usize..wanted.end as usize]);
            return Ok(());
        }
        drop(held);
        write::literal_start(&mut self.wire.out, wanted.end - wanted.start);
        self.wire.literal_open = true;
        let mut filter = FieldFilter::new(names, not);
        let mut position = 0u64;
        let mut range = header;
        let mut done = range.is_empty();
        while !done {
            let piece = open.read(&range).await?;
            range.start += piece.len() as u64;
            let mut filtered = Vec::new();
            done = filter.push(&piece, &mut filtered) || range.is_empty();
            if done {
                std::mem::replace(&mut filter, FieldFilter::new(names, not)).finish(&mut filtered);
            }
            let from = wanted.start.clamp(position, position + filtered.len() as u64) - position;
            let to = wanted.end.clamp(position, position + filtered.len() as u64) - position;
            position += filtered.len() as u64;
            // Both lie within `filtered`.
            self.wire
                .push(Bytes::from(filtered).slice(from as usize..to as usize))
                .await?;
        }
        self.wire.literal_open = false;
        Ok(())
    }
}

/// The item's name as the client asked, with a space behind it.
fn write_label(out: &mut Vec<u8>, fetch: &SectionFetch) {
    match fetch.label {
        SectionLabel::Rfc822 => out.extend_from_slice(b"RFC822"),
        SectionLabel::Rfc822Header => out.extend_from_slice(b"RFC822.HEADER"),
        SectionLabel::Rfc822Text => out.extend_from_slice(b"RFC822.TEXT"),
        SectionLabel::Body => write_section_label(out, &fetch.section),
    }
    if let Some((offset, _)) = fetch.partial {
        out.push(b'<');
        write::number(out, u64::from(offset));
        out.push(b'>');
    }
    out.push(b' ');
}

fn write_section_label(out: &mut Vec<u8>, section: &Section) {
    out.extend_from_slice(b"BODY[");
    for (index, number) in section.part.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        write::number(out, u64::from(*number));
    }
    let (name, fields): (&str, &[String]) = match &section.text {
        SectionText::All => ("", &[]),
        SectionText::Header => ("HEADER", &[]),
        SectionText::HeaderFields(names) => ("HEADER.FIELDS", names),
        SectionText::HeaderFieldsNot(names) => ("HEADER.FIELDS.NOT", names),
        SectionText::Text => ("TEXT", &[]),
        SectionText::Mime => ("MIME", &[]),
    };
    if !section.part.is_empty() && !name.is_empty() {
        out.push(b'.');
    }
    out.extend_from_slice(name.as_bytes());
    for (index, field) in fields.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        write::astring(out, field.as_bytes());
    }
    if !fields.is_empty() {
        out.push(b')');
    }
    out.push(b']');
}
