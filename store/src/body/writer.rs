//! A body on its way in: kept in memory while it is small, streamed into the journal when it is not.
//!
//! Memory is bounded twice: a writer holds at most one chunk, and all writers of a volume together hold what
//! `VolumeOptions::ingest_bytes_max` allows; beyond that they pass on smaller pieces at once. Nobody waits for that budget, only
//! for the journal, which always moves on.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use pigeon_engine::sync::Permit;
use pigeon_store_format::{AccountId, BodyChunk, CHUNK_FIELDS_BYTES, ContentInfo, Extent, RecordKind, occupied_bytes};

use super::BodyInfo;
use super::open::OpenBody;
use super::scan::Scanner;
use crate::StoreError;
use crate::journal::Purpose;
use crate::options::{BODY_ACCOUNTS_MAX, BODY_CHUNK_BYTES, MESSAGE_BYTES_MAX, PREPEND_BYTES_MAX};
use crate::volume::VolumeInner;

/// Pieces up to this are copied together, so that a body of tiny pieces does not cost a handle each. Bytes.
const SMALL_PIECE_BYTES: usize = 512;

/// Without budget a writer still collects so much before it passes it on: less would cost a record each. Bytes.
const LEAST_CHUNK_BYTES: usize = 16 * 1024;

/// A body on its way in. Dropped: the body is given up, and what was written of it is dead space.
pub struct BodyWriter {
    volume: Rc<VolumeInner>,
    accounts: Rc<[AccountId]>,
    scanner: Scanner,
    chunk_bytes_max: usize,
    pieces: Vec<Bytes>,
    small: BytesMut,
    pending_bytes: usize,
    permits: Vec<Permit>,
    streamed: Option<Streamed>,
}

/// What is in the journal of a streamed body.
pub(crate) struct Streamed {
    pub(crate) body: u64,
    pub(crate) extents: Vec<Extent>,
    pub(crate) guard: OpenBody,
}

/// A whole body that waits for its delivery. Dropped: given up.
pub struct FinishedBody {
    pub(crate) accounts: Rc<[AccountId]>,
    pub(crate) info: ContentInfo,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) streamed: Option<Streamed>,
    pub(crate) permits: Vec<Permit>,
}

impl FinishedBody {
    /// What is known of its bytes.
    pub fn info(&self) -> BodyInfo {
        BodyInfo {
            size: self.info.size,
            header_bytes: u64::from(self.info.header_bytes),
            traits: self.info.traits,
        }
    }
}

impl VolumeInner {
    pub(crate) fn begin_body(self: &Rc<Self>, accounts: &[AccountId]) -> Result<BodyWriter, StoreError> {
        self.journal.check(Purpose::Body)?;
        if accounts.len() > BODY_ACCOUNTS_MAX || accounts.len() * 16 > self.journal.payload_bytes_max() / 4 {
            return Err(StoreError::TooMany);
        }
        Ok(BodyWriter {
            volume: self.clone(),
            accounts: accounts.into(),
            scanner: Scanner::new(),
            // Small batches are for tests; a chunk leaves room for the accounts beside it.
            chunk_bytes_max: BODY_CHUNK_BYTES.min(self.journal.payload_bytes_max() / 4),
            pieces: Vec::new(),
            small: BytesMut::new(),
            pending_bytes: 0,
            permits: Vec::new(),
            streamed: None,
        })
    }
}

impl BodyWriter {
    /// Takes the next piece. Waits while the journal is behind. `TooLarge` beyond `MESSAGE_BYTES_MAX`; `NearlyFull`,
    /// `Poisoned` when the volume cannot take it: give the body up then.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let size = self.scanner.size().saturating_add(chunk.len() as u64);
        if size > MESSAGE_BYTES_MAX - PREPEND_BYTES_MAX as u64 {
            return Err(StoreError::TooLarge);
        }
        self.scanner.take(&chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.pending_bytes >= self.chunk_bytes_max {
                self.flush().await?;
            }
            let piece = rest.split_to(rest.len().min(self.chunk_bytes_max - self.pending_bytes));
            match self.volume.ingest.try_acquire(piece.len()) {
                Some(permit) => {
                    self.permits.push(permit);
                    self.hold(piece);
                }
                None => {
                    self.hold(piece);
                    if self.pending_bytes >= LEAST_CHUNK_BYTES.min(self.chunk_bytes_max) {
                        self.flush().await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.scanner.size()
    }

    /// Ends the body. It is not durable before it is delivered.
    pub async fn finish(mut self) -> Result<FinishedBody, StoreError> {
        if self.streamed.is_some() && self.pending_bytes > 0 {
            self.flush().await?;
        }
        self.collect_small();
        Ok(FinishedBody {
            accounts: self.accounts,
            info: self.scanner.info(),
            pieces: self.pieces,
            streamed: self.streamed,
            permits: self.permits,
        })
    }

    fn hold(&mut self, piece: Bytes) {
        self.pending_bytes += piece.len();
        if piece.len() <= SMALL_PIECE_BYTES {
            self.small.extend_from_slice(&piece);
        } else {
            self.collect_small();
            self.pieces.push(piece);
        }
    }

    fn collect_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }

    /// Passes what is held on to the journal.
    async fn flush(&mut self) -> Result<(), StoreError> {
        self.collect_small();
        let journal = &self.volume.journal;
        let payload = CHUNK_FIELDS_BYTES + 16 * self.accounts.len() + self.pending_bytes;
        journal.room(occupied_bytes(payload), Purpose::Body).await?;
        let position = journal.next_position();
        let volume = &self.volume;
        let streamed = self.streamed.get_or_insert_with(|| Streamed {
            body: position.0,
            extents: Vec::new(),
            guard: volume.open_bodies.begin(volume.segments.number_of(position)),
        });
        let offset: u64 = streamed.extents.iter().map(|extent| u64::from(extent.length)).sum();
        let mut head = Vec::with_capacity(CHUNK_FIELDS_BYTES + 16 * self.accounts.len());
        BodyChunk::encode_head(&mut head, streamed.body, offset, self.accounts.iter().copied());
        journal.push(RecordKind::BodyChunk, Purpose::Body, &head, &self.pieces);
        let length = u32::try_from(self.pending_bytes).expect("a chunk fits into a batch");
        streamed.extents.push(Extent { position, length });
        self.pieces.clear();
        self.permits.clear();
        self.pending_bytes = 0;
        Ok(())
    }
}
