//! The compact form of a structure, for caches in memory: numbers of variable length, texts with their length before them.
//!
//! It is no format on disk: it may change with any version, which its first byte tells. Reading checks everything and never
//! panics; what it accepts keeps the invariants of [`Structure`] (subtrees nest, offsets rise, one child in a message).

use super::Text;
use super::addresses::Address;
use super::content::{Content, ContentType, Disposition, LANGUAGES_MAX, PARAMETERS_MAX, Parameter};
use super::envelope::{ADDRESSES_MAX, Envelope};
use super::structure::{NESTING_MAX, PARTS_MAX, Part, PartKind, Structure};

const VERSION: u8 = 1;

const HAS_CONTENT: u64 = 4;
const HAS_ENVELOPE: u64 = 8;
const IN_DIGEST: u64 = 16;

/// Writes the compact form.
pub(crate) fn write(structure: &Structure) -> Vec<u8> {
    let mut out = vec![VERSION];
    number(&mut out, structure.size);
    number(&mut out, structure.parts.len() as u64);
    for (index, part) in structure.parts.iter().enumerate() {
        let kind = match part.kind {
            PartKind::Leaf => 0,
            PartKind::Multipart => 1,
            PartKind::Message => 2,
        };
        let content = if part.content.is_some() { HAS_CONTENT } else { 0 };
        let envelope = if part.envelope.is_some() { HAS_ENVELOPE } else { 0 };
        let digest = if part.in_digest { IN_DIGEST } else { 0 };
        number(&mut out, kind | content | envelope | digest);
        number(&mut out, u64::from(part.subtree_end) - index as u64);
        number(&mut out, part.header_start);
        number(&mut out, part.body_start - part.header_start);
        number(&mut out, part.body_end - part.body_start);
        number(&mut out, part.lines);
        if let Some(content) = &part.content {
            write_content(&mut out, content);
        }
        if let Some(envelope) = &part.envelope {
            write_envelope(&mut out, envelope);
        }
    }
    out
}

/// Reads the compact form.
pub(crate) fn read(bytes: &[u8]) -> Option<Structure> {
    let mut reader = Reader(bytes.strip_prefix(&[VERSION])?);
    let size = reader.number()?;
    let count = reader.count(PARTS_MAX)?;
    let mut parts: Vec<Part> = Vec::with_capacity(count);
    // The parts whose subtrees are being read: index and end.
    let mut open: Vec<(u32, u32)> = Vec::new();
    for index in 0..count as u32 {
        while open.last().is_some_and(|(_, end)| *end == index) {
            open.pop();
        }
        let parent = open.last().map(|(parent, _)| *parent);
        if parent.is_none() != (index == 0) || open.len() > NESTING_MAX {
            return None;
        }
        let part = reader.part(index, parent, size)?;
        let end = open.last().map_or(count as u32, |(_, end)| *end);
        let has_children = part.subtree_end > index + 1;
        if part.subtree_end > end || (index == 0 && part.subtree_end != end) {
            return None;
        }
        let is_only_child = parent.is_some_and(|parent| parts[parent as usize].kind == PartKind::Message);
        let fits = part.kind == PartKind::Multipart || has_children == (part.kind == PartKind::Message);
        if !fits || (is_only_child && part.subtree_end != end) {
            return None;
        }
        open.push((index, part.subtree_end));
        parts.push(part);
    }
    (reader.0.is_empty() && !parts.is_empty()).then_some(Structure { parts, size })
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// 0 for none, else the length and one.
fn option(out: &mut Vec<u8>, value: &Option<Text>) {
    match value {
        None => out.push(0),
        Some(value) => {
            number(out, value.len() as u64 + 1);
            out.extend_from_slice(value);
        }
    }
}

fn write_parameters(out: &mut Vec<u8>, parameters: &[Parameter]) {
    number(out, parameters.len() as u64);
    for parameter in parameters {
        text(out, &parameter.name);
        text(out, &parameter.value);
    }
}

fn write_content(out: &mut Vec<u8>, content: &Content) {
    out.push(u8::from(content.content_type.is_some()) | u8::from(content.disposition.is_some()) << 1);
    if let Some(content_type) = &content.content_type {
        text(out, &content_type.kind);
        text(out, &content_type.subtype);
        write_parameters(out, &content_type.parameters);
    }
    if let Some(disposition) = &content.disposition {
        text(out, &disposition.kind);
        write_parameters(out, &disposition.parameters);
    }
    for value in [
        &content.encoding,
        &content.id,
        &content.description,
        &content.md5,
        &content.location,
    ] {
        option(out, value);
    }
    number(out, content.languages.len() as u64);
    content.languages.iter().for_each(|language| text(out, language));
}

fn write_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    for value in [
        &envelope.date,
        &envelope.subject,
        &envelope.in_reply_to,
        &envelope.message_id,
    ] {
        option(out, value);
    }
    for list in envelope.lists() {
        number(out, list.len() as u64);
        for address in list {
            for value in [&address.name, &address.route, &address.mailbox, &address.host] {
                option(out, value);
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 127);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn count(&mut self, max: usize) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= max)
    }

    fn bytes(&mut self, length: u64) -> Option<Text> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes.into())
    }

    fn text(&mut self) -> Option<Text> {
        let length = self.number()?;
        self.bytes(length)
    }

    fn option(&mut self) -> Option<Option<Text>> {
        match self.number()? {
            0 => Some(None),
            length => self.bytes(length - 1).map(Some),
        }
    }

    fn list<T>(&mut self, max: usize, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count(max)?;
        (0..count).map(|_| item(self)).collect()
    }

    fn part(&mut self, index: u32, parent: Option<u32>, size: u64) -> Option<Part> {
        let flags = self.number()?;
        let kind = match flags & 3 {
            0 => PartKind::Leaf,
            1 => PartKind::Multipart,
            2 => PartKind::Message,
            _ => return None,
        };
        if flags > 31 {
            return None;
        }
        let subtree = u32::try_from(self.number()?).ok().filter(|subtree| *subtree > 0)?;
        let header_start = self.number()?;
        let body_start = header_start.checked_add(self.number()?)?;
        let body_end = body_start.checked_add(self.number()?).filter(|end| *end <= size)?;
        let lines = self.number()?;
        let content = if flags & HAS_CONTENT != 0 {
            Some(Box::new(self.content()?))
        } else {
            None
        };
        let envelope = if flags & HAS_ENVELOPE != 0 {
            Some(Box::new(self.envelope()?))
        } else {
            None
        };
        let subtree_end = index.checked_add(subtree)?;
        let in_digest = flags & IN_DIGEST != 0;
        Some(Part {
            kind,
            parent,
            subtree_end,
            header_start,
            body_start,
            body_end,
            lines,
            in_digest,
            content,
            envelope,
        })
    }

    fn parameters(&mut self) -> Option<Vec<Parameter>> {
        self.list(PARAMETERS_MAX, |reader| {
            Some(Parameter {
                name: reader.text()?,
                value: reader.text()?,
            })
        })
    }

    fn content(&mut self) -> Option<Content> {
        let flags = self.byte().filter(|flags| *flags < 4)?;
        let content_type = if flags & 1 != 0 {
            Some(ContentType {
                kind: self.text()?,
                subtype: self.text()?,
                parameters: self.parameters()?,
            })
        } else {
            None
        };
        let disposition = if flags & 2 != 0 {
            Some(Disposition {
                kind: self.text()?,
                parameters: self.parameters()?,
            })
        } else {
            None
        };
        Some(Content {
            content_type,
            disposition,
            encoding: self.option()?,
            id: self.option()?,
            description: self.option()?,
            md5: self.option()?,
            location: self.option()?,
            languages: self.list(LANGUAGES_MAX, Self::text)?,
        })
    }

    fn addresses(&mut self) -> Option<Vec<Address>> {
        self.list(ADDRESSES_MAX, |reader| {
            Some(Address {
                name: reader.option()?,
                route: reader.option()?,
                mailbox: reader.option()?,
                host: reader.option()?,
            })
        })
    }

    fn envelope(&mut self) -> Option<Envelope> {
        Some(Envelope {
            date: self.option()?,
            subject: self.option()?,
            in_reply_to: self.option()?,
            message_id: self.option()?,
            from: self.addresses()?,
            sender: self.addresses()?,
            reply_to: self.addresses()?,
            to: self.addresses()?,
            cc: self.addresses()?,
            bcc: self.addresses()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: a@b (c)\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\nContent-Language: en, de\r\nContent-Disposition: inline; a=b\r\n\r\none\r\n--q\r\nContent-Type: message/rfc822\r\n\r\nTo: g: x@y;\r\n\r\nhello\r\n--q--\r\n";

    #[test]
    fn written_and_read_back() {
        for message in [MESSAGE, b"", b"Subject: x\r\n\r\n"] {
            let structure = Structure::of(message);
            assert_eq!(read(&write(&structure)), Some(structure));
        }
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let bytes = write(&Structure::of(MESSAGE));
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
        for index in 0..bytes.len() {
            for value in [0, 1, 127, 128, 255, bytes[index] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[index] = value;
                if let Some(structure) = read(&damaged) {
                    // Whatever was read is walked without a panic, and written as it was read.
                    assert_eq!(read(&write(&structure)).as_ref(), Some(&structure));
                    let mut out = Vec::new();
                    crate::message::write_body_structure(&structure, &mut out);
                }
            }
        }
    }
}
