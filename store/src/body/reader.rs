//! Reading a message's bytes: whole records only, each verified, so that damage is an error and never other bytes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{
    Body, BodyChunk, BodyEnd, BodyReference, ContentInfo, Extent, LogPosition, Message, RecordKind, Uid,
};

use super::BodyInfo;
use super::ahead::{ReadAhead, record_bytes};
use super::cache::Keeping;
use crate::journal::segments::Segment;
use crate::options::READ_MAX;
use crate::volume::VolumeInner;
use crate::{Mailbox, StoreError};

/// An open body of one message. It stays readable while the reader is held.
pub struct BodyReader {
    volume: Rc<VolumeInner>,
    body: Rc<OpenedBody>,
    /// Where the message is, for the report of damage.
    place: Option<(Mailbox, Uid)>,
}

/// What a reader knows of its body.
pub(crate) struct OpenedBody {
    info: BodyInfo,
    prepend: Bytes,
    content: Content,
}

enum Content {
    Whole(Bytes),
    Streamed(StreamedContent),
}

struct StreamedContent {
    body: u64,
    /// Whether and how its chunks go into the cache of bodies.
    keeping: Keeping,
    /// The first chunk that was not offered to it: to read a message twice is one use of it.
    not_offered: Cell<usize>,
    /// Offset of the chunk within the shared bytes, and where it is.
    extents: Vec<(u64, Extent)>,
    /// Keeps the files open.
    segments: Vec<Rc<Segment>>,
    /// The chunk read last: pieces of it are asked for one after the other.
    last: RefCell<Option<(usize, Bytes)>>,
}

impl VolumeInner {
    /// Opens a body, whose record has about so many bytes. `MessageGone` when what was there has moved.
    pub(crate) async fn open_body(
        &self,
        reference: BodyReference,
        expected_bytes: usize,
    ) -> Result<Rc<OpenedBody>, StoreError> {
        if let Some(payload) = self.bodies.find(reference.position) {
            return self.open_payload(reference, payload, Keeping::Kept);
        }
        let read = self.read_body_record(reference.position, expected_bytes).await?;
        self.open_record(reference, read, Keeping::Kept)
    }

    /// As `open_body`, for one of several messages, of which these follow.
    pub(crate) async fn open_body_ahead(
        &self,
        message: &Message,
        ahead: &mut ReadAhead,
        following: impl Iterator<Item = Message>,
    ) -> Result<Rc<OpenedBody>, StoreError> {
        let reference = message.body;
        let position = reference.position;
        if let Some(payload) = self.bodies.find(position) {
            return self.open_payload(reference, payload, Keeping::Offered);
        }
        let segment = self.segments.at(position).ok_or_else(|| self.no_segment(position))?;
        let read = match ahead.read(&segment, message, following).await {
            Some(read) => read,
            None => self.read_body_record(position, record_bytes(message)).await?,
        };
        self.open_record(reference, read, Keeping::Offered)
    }

    async fn read_body_record(
        &self,
        position: LogPosition,
        expected_bytes: usize,
    ) -> Result<(RecordKind, Bytes), StoreError> {
        let segment = self.segments.at(position).ok_or_else(|| self.no_segment(position))?;
        self.read_record(&segment, position, expected_bytes).await
    }

    /// With a record that was read from the disk.
    fn open_record(
        &self,
        reference: BodyReference,
        (kind, payload): (RecordKind, Bytes),
        keeping: Keeping,
    ) -> Result<Rc<OpenedBody>, StoreError> {
        let position = reference.position;
        let expected = match reference.streamed {
            false => RecordKind::Body,
            true => RecordKind::BodyEnd,
        };
        if kind != expected {
            return Err(damaged_at(position, "not such a body"));
        }
        self.bodies.keep(position, payload.clone(), keeping);
        self.open_payload(reference, payload, keeping)
    }

    fn open_payload(
        &self,
        reference: BodyReference,
        payload: Bytes,
        keeping: Keeping,
    ) -> Result<Rc<OpenedBody>, StoreError> {
        match reference.streamed {
            false => whole(reference, payload),
            true => self.streamed(reference, &payload, keeping),
        }
    }

    /// What it means that the segment of a body is not there: the body has moved, unless nothing moves any more.
    fn no_segment(&self, position: LogPosition) -> StoreError {
        if self.damage.is_empty() {
            return StoreError::MessageGone;
        }
        damaged_at(position, "its segment is missing")
    }

    fn streamed(
        &self,
        reference: BodyReference,
        payload: &Bytes,
        keeping: Keeping,
    ) -> Result<Rc<OpenedBody>, StoreError> {
        let position = reference.position;
        let end = BodyEnd::decode(payload).map_err(|error| damaged_at(position, error.0))?;
        let entry = end
            .entries
            .entry(reference.entry)
            .ok_or_else(|| damaged_at(position, "no such entry"))?;
        let mut extents = Vec::with_capacity(end.extents().len());
        let mut segments: Vec<Rc<Segment>> = Vec::new();
        let mut offset = 0;
        for extent in end.extents() {
            extents.push((offset, extent));
            offset += u64::from(extent.length);
            let number = self.segments.number_of(extent.position);
            if !segments.iter().any(|segment| segment.number == number) {
                let segment = self.segments.used(number);
                segments.push(segment.ok_or_else(|| self.no_segment(extent.position))?);
            }
        }
        let prepend = Bytes::copy_from_slice(entry.prepend);
        let content = Content::Streamed(StreamedContent {
            body: end.body,
            keeping: match self.bodies.keeps_streamed(end.info.size) {
                true => keeping,
                false => Keeping::Not,
            },
            not_offered: Cell::new(0),
            extents,
            segments,
            last: RefCell::new(None),
        });
        Ok(opened(reference, end.info, prepend, content))
    }
}

fn whole(reference: BodyReference, payload: Bytes) -> Result<Rc<OpenedBody>, StoreError> {
    let position = reference.position;
    let body = Body::decode(&payload).map_err(|error| damaged_at(position, error.0))?;
    let entry = body
        .entries
        .entry(reference.entry)
        .ok_or_else(|| damaged_at(position, "no such entry"))?;
    let (prepend, info) = (payload.slice_ref(entry.prepend), body.info);
    let content = Content::Whole(payload.slice_ref(body.content));
    Ok(opened(reference, info, prepend, content))
}

fn opened(reference: BodyReference, info: ContentInfo, prepend: Bytes, content: Content) -> Rc<OpenedBody> {
    let front = prepend.len() as u64;
    let info = BodyInfo {
        size: info.size + front,
        header_bytes: u64::from(info.header_bytes) + front,
        traits: reference.traits,
    };
    Rc::new(OpenedBody { info, prepend, content })
}

impl BodyReader {
    pub(crate) fn new(volume: Rc<VolumeInner>, body: Rc<OpenedBody>) -> Self {
        BodyReader {
            volume,
            body,
            place: None,
        }
    }

    /// What is known of its bytes.
    pub fn info(&self) -> BodyInfo {
        self.body.info
    }

    /// With its place, for the report of damage.
    pub(crate) fn of(mut self, mailbox: Mailbox, uid: Uid) -> Self {
        self.place = Some((mailbox, uid));
        self
    }

    /// Up to `length` bytes (at most `READ_MAX`) from `offset`: fewer where a chunk ends, none at the end of the body only. Never
    /// bytes that were not written: damage is `StoreError::Damaged`.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let length = length.min(READ_MAX);
        if offset >= self.body.info.size || length == 0 {
            return Ok(Bytes::new());
        }
        let front = self.body.prepend.len() as u64;
        if offset < front {
            return Ok(piece_of(&self.body.prepend, offset, length));
        }
        let offset = offset - front;
        match &self.body.content {
            Content::Whole(content) => Ok(piece_of(content, offset, length)),
            Content::Streamed(streamed) => {
                let index = streamed
                    .extents
                    .partition_point(|(start, _)| *start <= offset)
                    .saturating_sub(1);
                let chunk = self.chunk(streamed, index).await?;
                let (start, _) = streamed.extents[index];
                Ok(piece_of(&chunk, offset - start, length))
            }
        }
    }

    async fn chunk(&self, streamed: &StreamedContent, index: usize) -> Result<Bytes, StoreError> {
        if let Some((last, chunk)) = &*streamed.last.borrow()
            && *last == index
        {
            return Ok(chunk.clone());
        }
        let content = self
            .read_chunk(streamed, index)
            .await
            .map_err(|error| match &self.place {
                Some((mailbox, uid)) => mailbox.name_damage(*uid, error),
                None => error,
            })?;
        *streamed.last.borrow_mut() = Some((index, content.clone()));
        Ok(content)
    }

    async fn read_chunk(&self, streamed: &StreamedContent, index: usize) -> Result<Bytes, StoreError> {
        let (offset, extent) = streamed.extents[index];
        let volume = &self.volume;
        let number = volume.segments.number_of(extent.position);
        let segment = streamed
            .segments
            .iter()
            .find(|segment| segment.number == number)
            .ok_or(StoreError::MessageGone)?;
        let kept = match streamed.keeping {
            Keeping::Not => None,
            Keeping::Offered | Keeping::Kept => volume.bodies.find(extent.position),
        };
        let was_kept = kept.is_some();
        let payload = match kept {
            Some(payload) => payload,
            None => {
                let (kind, payload) = volume
                    .read_record(segment, extent.position, extent.length as usize + 4096)
                    .await?;
                if kind != RecordKind::BodyChunk {
                    return Err(damaged_at(extent.position, "not a chunk of a body"));
                }
                payload
            }
        };
        let chunk = BodyChunk::decode(&payload).map_err(|error| damaged_at(extent.position, error.0))?;
        if chunk.body != streamed.body || chunk.offset != offset || chunk.content.len() != extent.length as usize {
            return Err(damaged_at(extent.position, "another body's chunk"));
        }
        let content = payload.slice_ref(chunk.content);
        let was_offered = matches!(streamed.keeping, Keeping::Offered) && index < streamed.not_offered.get();
        if !was_kept && !was_offered {
            streamed.not_offered.set(index + 1);
            volume.bodies.keep(extent.position, payload, streamed.keeping);
        }
        Ok(content)
    }
}

fn piece_of(content: &Bytes, offset: u64, length: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    content.slice(start..content.len().min(start.saturating_add(length)))
}

/// Damage in what should be a body.
pub(crate) fn damaged_at(position: LogPosition, what: &str) -> StoreError {
    StoreError::Damaged {
        what: format!("journal position {position}: {what}"),
    }
}
