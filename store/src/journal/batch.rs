//! The batch that is being filled.

use std::rc::Rc;

use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{
    BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Checksum, LogPosition, RECORD_HEADER_BYTES, RecordKind, VolumeTag,
    occupied_bytes, seal_record,
};

use super::outcome::Outcome;
use super::segments::Segment;
use crate::account::AccountCell;
use crate::account::commit::Pass;

/// What has to happen for a record when its batch is durable.
pub(crate) enum Effect {
    /// A link of an account's chain takes effect.
    Link { account: Rc<AccountCell>, _pass: Pass },
    /// A whole body goes into the cache.
    Body,
}

/// A record in a batch that has an effect.
pub(crate) struct Entry {
    pub(crate) kind: RecordKind,
    /// Of the record in the batch.
    pub(crate) offset: usize,
    /// Of frame and payload.
    pub(crate) length: usize,
    pub(crate) effect: Effect,
}

/// A batch: its place in the journal is fixed when it is begun, its size when it is sealed.
pub(crate) struct Batch {
    pub(crate) buffer: AlignedBuffer,
    pub(crate) segment: Rc<Segment>,
    pub(crate) base: LogPosition,
    /// Bytes it may grow to, padding included.
    pub(crate) capacity: usize,
    used: usize,
    records: u32,
    /// Bytes of records that nobody waits for.
    lazy_bytes: usize,
    /// To be written as soon as the writer is free: someone waits for it.
    pub(crate) urgent: bool,
    sums: Checksum,
    pub(crate) entries: Vec<Entry>,
    pub(crate) outcome: Rc<Outcome>,
}

impl Batch {
    pub(crate) fn begin(
        buffer: AlignedBuffer,
        entries: Vec<Entry>,
        segment: Rc<Segment>,
        base: LogPosition,
        capacity: usize,
    ) -> Batch {
        assert!(
            capacity <= buffer.len() && capacity.is_multiple_of(BLOCK_BYTES),
            "a batch fits its buffer"
        );
        assert!(base.0.is_multiple_of(BLOCK_BYTES as u64), "a batch begins a block");
        Batch {
            buffer,
            segment,
            base,
            capacity,
            used: BATCH_HEADER_BYTES,
            records: 0,
            lazy_bytes: 0,
            urgent: false,
            sums: Checksum::new(),
            entries,
            outcome: Rc::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes left for records with their frames.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.used
    }

    /// Where the next record will be.
    pub(crate) fn next_position(&self) -> LogPosition {
        LogPosition(self.base.0 + self.used as u64)
    }

    /// Writes a record of the given pieces, which fit. Gives its offset and its length with the frame. A lazy one lets the
    /// batch wait for more.
    pub(crate) fn push<'p>(
        &mut self,
        tag: VolumeTag,
        kind: RecordKind,
        lazy: bool,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> (usize, usize) {
        let start = self.used;
        let mut end = start + RECORD_HEADER_BYTES;
        for piece in pieces {
            self.buffer[end..end + piece.len()].copy_from_slice(piece);
            end += piece.len();
        }
        let position = self.next_position();
        let sum = seal_record(tag, &mut self.buffer[start..end], kind, position);
        self.sums.update(&sum.to_le_bytes());
        self.records += 1;
        self.used = start + occupied_bytes(end - start - RECORD_HEADER_BYTES);
        assert!(self.used <= self.capacity, "the caller asked for room");
        self.buffer[end..self.used].fill(0);
        if lazy {
            self.lazy_bytes += self.used - start;
        } else {
            self.urgent = true;
        }
        (start, end - start)
    }

    /// Bytes that the lazy records cost: with the padding, when the batch is there for them alone.
    pub(crate) fn lazy_cost(&self) -> u64 {
        if self.lazy_bytes + BATCH_HEADER_BYTES == self.used {
            return self.used.next_multiple_of(BLOCK_BYTES) as u64;
        }
        self.lazy_bytes as u64
    }

    /// Bytes of header and records so far.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Fills in the header and the padding. Gives the bytes to write.
    pub(crate) fn seal(&mut self, tag: VolumeTag, sequence: u64, epoch: u32, under_way: u32) -> usize {
        assert!(!self.is_empty(), "an empty batch is not written");
        let header = BatchHeader {
            bytes: u32::try_from(self.used).expect("a batch is far below 4 GiB"),
            tag: tag.value(),
            position: self.base,
            sequence,
            records: self.records,
            records_checksum: self.sums.finish(),
            epoch,
            under_way,
        };
        self.buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
        let padded = self.used.next_multiple_of(BLOCK_BYTES);
        self.buffer[self.used..padded].fill(0);
        padded
    }
}
