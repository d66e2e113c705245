//! The tree of a message's parts, as byte ranges of the stored message.
//!
//! Parts are kept in one list in the order of the message (a part before its children), each with the end of its subtree, so
//! that neither reading nor dropping recurses. A structure is bounded: [`PARTS_MAX`] parts, [`NESTING_MAX`] levels,
//! [`KEPT_BYTES_MAX`] bytes of text; what is beyond is described as flat, or without its parameters.

use std::ops::Range;

use super::content::{Content, ContentType};
use super::envelope::Envelope;
use super::scanner::StructureScanner;
use super::{Text, serialise};

/// Most parts of a message (the limit that Dovecot has); what follows belongs to the body of the part that holds it.
pub const PARTS_MAX: usize = 10_000;
/// Deepest nesting (Dovecot's too); deeper multiparts and messages are taken as parts without parts.
pub const NESTING_MAX: usize = 100;
/// Most bytes of field text kept of one message, roughly; beyond it parts lose everything but their type and encoding.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A body that is not looked into.
    Leaf,
    /// Parts between boundaries; may have none.
    Multipart,
    /// message/rfc822: exactly one child, the message in it.
    Message,
}

/// One part. Offsets are bytes from the start of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub kind: PartKind,
    /// The part that holds it; none for the message itself.
    pub parent: Option<u32>,
    /// One behind the last part below it.
    pub(crate) subtree_end: u32,
    /// Where its header starts.
    pub header_start: u64,
    /// Where its body starts: one behind the blank line.
    pub body_start: u64,
    /// One behind its body; the line end before a boundary belongs to the boundary (RFC 2046 5.1.1).
    pub body_end: u64,
    /// Line ends in the body.
    pub lines: u64,
    /// In a digest, parts without a type are messages.
    pub in_digest: bool,
    /// The Content-* fields; none when there are none.
    pub content: Option<Box<Content>>,
    /// The envelope, of the message itself and of those in message/rfc822.
    pub envelope: Option<Box<Envelope>>,
}

impl Part {
    /// The header with its blank line.
    pub fn header(&self) -> Range<u64> {
        self.header_start..self.body_start
    }

    /// The body.
    pub fn body(&self) -> Range<u64> {
        self.body_start..self.body_end
    }

    /// Octets of the body, which is the size that BODYSTRUCTURE gives.
    pub fn size(&self) -> u64 {
        self.body_end - self.body_start
    }

    /// The type as the part names it; none for text/plain by default.
    pub fn content_type(&self) -> Option<&ContentType> {
        self.content.as_ref().and_then(|content| content.content_type.as_ref())
    }

    /// Whether its type is text/*, by name or by default.
    pub fn is_text(&self) -> bool {
        self.content_type()
            .map_or(!self.in_digest, |content_type| content_type.is_kind("text"))
    }

    /// About how many bytes its fields take, beside the part itself.
    pub(crate) fn text_bytes(&self) -> usize {
        self.content
            .as_ref()
            .map_or(0, |content| size_of::<Content>() + content.text_bytes())
            + self
                .envelope
                .as_ref()
                .map_or(0, |envelope| size_of::<Envelope>() + envelope.text_bytes())
    }

    /// Content-Transfer-Encoding, as it stands.
    pub fn encoding(&self) -> Option<&Text> {
        self.content.as_ref().and_then(|content| content.encoding.as_ref())
    }
}

/// The parts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    pub(crate) parts: Vec<Part>,
    pub(crate) size: u64,
}

impl Structure {
    /// Scans a message that is in memory.
    pub fn of(message: &[u8]) -> Self {
        let mut scanner = StructureScanner::new();
        scanner.push(message);
        scanner.finish()
    }

    /// Octets of the message.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All parts; the message itself is the first, and a part stands before its children.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The message itself.
    pub fn root(&self) -> &Part {
        self.part(0)
    }

    /// The envelope of the message itself.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.root().envelope.as_deref()
    }

    /// A part by its index in [`Structure::parts`]. Panics beyond its end.
    pub fn part(&self, index: usize) -> &Part {
        &self.parts[index]
    }

    /// The indices of the parts right below one, in order.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.parts.get(index).map_or(0, |part| part.subtree_end as usize);
        let mut next = index + 1;
        std::iter::from_fn(move || {
            let child = next;
            if child >= end {
                return None;
            }
            next = self.parts[child].subtree_end as usize;
            Some(child)
        })
    }

    /// The first part below one.
    pub fn first_child(&self, index: usize) -> Option<usize> {
        self.children(index).next()
    }

    /// About how many bytes of memory this takes, for a cache's bound.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self
                .parts
                .iter()
                .map(|part| size_of::<Part>() + part.text_bytes())
                .sum::<usize>()
    }

    /// A compact form for a cache: about 15 bytes a part and the text. Read back by [`Structure::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        serialise::write(self)
    }

    /// Reads the compact form; none for anything else, whatever the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serialise::read(bytes)
    }
}
