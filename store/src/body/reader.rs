//! Reading a message's bytes: whole records only, each verified, so that damage is an error and never other bytes.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{
    Body, BodyChunk, BodyEnd, BodyReference, ContentInfo, Extent, LogPosition, RecordKind, parse_record,
};

use super::BodyInfo;
use super::ahead::Piece;
use crate::StoreError;
use crate::journal::segments::Segment;
use crate::options::{BODY_CHUNK_BYTES, READ_MAX};
use crate::volume::VolumeInner;
use crate::volume::counters::add;

/// An open body of one message. It stays readable while the reader is held.
pub struct BodyReader {
    volume: Rc<VolumeInner>,
    body: Rc<OpenedBody>,
    /// Whose it is, for the report of damage.
    name: String,
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
    /// Whether its chunks go into the cache of bodies.
    is_kept: bool,
    /// Offset of the chunk within the shared bytes, and where it is.
    extents: Vec<(u64, Extent)>,
    /// Keeps the files open.
    segments: Vec<Rc<Segment>>,
    /// The chunk read last: pieces of it are asked for one after the other.
    last: RefCell<Option<(usize, Bytes)>>,
}

impl VolumeInner {
    /// Opens a body. `MessageGone` when what was there has moved.
    pub(crate) async fn open_body(&self, reference: BodyReference) -> Result<Rc<OpenedBody>, StoreError> {
        let position = reference.position;
        if let Some(payload) = self.bodies.find(position) {
            return match reference.streamed {
                false => whole(reference, payload),
                true => self.streamed(reference, &payload),
            };
        }
        let segment = self.segments.at(position).ok_or_else(|| self.no_segment(position))?;
        let (kind, payload, in_a_run) = self.read_in_a_run(&segment, position).await?;
        if !matches!(kind, RecordKind::Body | RecordKind::BodyEnd) {
            return Err(damaged_at(position, "not a body"));
        }
        match in_a_run {
            // A whole mailbox that is read once must not drive out what is in use.
            true => self.bodies.offer(position, payload.clone()),
            false => self.bodies.insert_bytes(position, payload.clone()),
        }
        match kind {
            RecordKind::Body => whole(reference, payload),
            _ => self.streamed(reference, &payload),
        }
    }

    /// A record, from what was read ahead if it is there; and whether it is one of several that are read one after the other.
    async fn read_in_a_run(
        &self,
        segment: &Segment,
        position: LogPosition,
    ) -> Result<(RecordKind, Bytes, bool), StoreError> {
        if let Some(piece) = self.ahead.find(position)
            && let Some((kind, payload)) = self.whole_record(&piece, position)
        {
            add(&self.ahead.hits, 1);
            return Ok((kind, payload, true));
        }
        let written = self.segments.start_of(segment.number).0 + segment.written_bytes.get();
        if let Some(plan) = self.ahead.plan(position, LogPosition(written))
            && let Some(piece) = self.read_piece(segment, plan).await
            && let Some((kind, payload)) = self.whole_record(&piece, position)
        {
            return Ok((kind, payload, true));
        }
        let (kind, payload) = self.read_record(segment, position, BODY_CHUNK_BYTES / 8).await?;
        self.ahead.note_single(LogPosition(position.0 + payload.len() as u64));
        Ok((kind, payload, false))
    }

    /// The record at a position of a piece, if it is there as a whole and nothing is wrong with it.
    fn whole_record(&self, piece: &Piece, position: LogPosition) -> Option<(RecordKind, Bytes)> {
        let record = parse_record(self.journal.tag(), piece.from(position), position).ok()?;
        Some((record.kind, Bytes::copy_from_slice(record.payload)))
    }

    /// What it means that the segment of a body is not there: the body has moved, unless nothing moves any more.
    fn no_segment(&self, position: LogPosition) -> StoreError {
        if self.damage.is_empty() {
            return StoreError::MessageGone;
        }
        damaged_at(position, "its segment is missing")
    }

    fn streamed(&self, reference: BodyReference, payload: &Bytes) -> Result<Rc<OpenedBody>, StoreError> {
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
            is_kept: self.bodies.keeps_streamed(end.info.size),
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
            name: String::new(),
        }
    }

    /// What is known of its bytes.
    pub fn info(&self) -> BodyInfo {
        self.body.info
    }

    /// With a name for the report of damage.
    pub(crate) fn named(mut self, name: String) -> Self {
        self.name = name;
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
        let (offset, extent) = streamed.extents[index];
        let content = self
            .read_chunk(streamed, offset, extent)
            .await
            .map_err(|error| match error {
                StoreError::Damaged { what } if !self.name.is_empty() => StoreError::Damaged {
                    what: format!("{}: {what}", self.name),
                },
                other => other,
            })?;
        *streamed.last.borrow_mut() = Some((index, content.clone()));
        Ok(content)
    }

    async fn read_chunk(&self, streamed: &StreamedContent, offset: u64, extent: Extent) -> Result<Bytes, StoreError> {
        let volume = &self.volume;
        let number = volume.segments.number_of(extent.position);
        let segment = streamed
            .segments
            .iter()
            .find(|segment| segment.number == number)
            .ok_or(StoreError::MessageGone)?;
        let kept = match streamed.is_kept {
            true => volume.bodies.find(extent.position),
            false => None,
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
        if streamed.is_kept && !was_kept {
            volume.bodies.offer(extent.position, payload);
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
