//! Reading one record from the disk, verified.

use bytes::Bytes;
use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{BLOCK_BYTES, LogPosition, RECORD_HEADER_BYTES, RecordHeader, RecordKind, parse_record};

use super::VolumeInner;
use super::counters::add;
use crate::StoreError;
use crate::journal::segments::{Segment, segment_name};

impl VolumeInner {
    /// The record at a position in its segment. `expected_bytes` is a guess at its length: one read when it is enough.
    pub(crate) async fn read_record(
        &self,
        segment: &Segment,
        position: LogPosition,
        expected_bytes: usize,
    ) -> Result<(RecordKind, Bytes), StoreError> {
        let damaged = |what: &str| {
            add(&self.counters.damaged, 1);
            let offset = self.segments.offset_of(position);
            let name = segment_name(segment.number);
            StoreError::Damaged {
                what: format!("journal position {position} (offset {offset} of {name}): {what}"),
            }
        };
        let offset = self.segments.offset_of(position);
        let start = offset / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let skip = (offset - start) as usize;
        let most = usize::try_from(self.segments.segment_bytes() - start).unwrap_or(usize::MAX);
        let mut wanted = (skip + expected_bytes.max(RECORD_HEADER_BYTES))
            .next_multiple_of(BLOCK_BYTES)
            .min(most);
        let mut least = (skip + RECORD_HEADER_BYTES).next_multiple_of(BLOCK_BYTES).min(most);
        let _turn = self.reads.acquire(1).await;
        loop {
            let buffer = AlignedBuffer::zeroed(wanted);
            let (result, buffer) = segment.file.read(start, buffer, wanted).await;
            if result.is_err() && wanted > least {
                // What cannot be read may lie behind the record: first the header, then no more than it says.
                wanted = least;
                continue;
            }
            let got = result.map_err(|error| {
                let name = segment_name(segment.number);
                StoreError::Io(format!("reading {wanted} bytes at offset {start} of {name}: {error}"))
            })?;
            add(&self.counters.reads, 1);
            add(&self.counters.read_bytes, got as u64);
            let bytes = buffer
                .get(skip..got)
                .ok_or_else(|| damaged("behind the end of the file"))?;
            let header = RecordHeader::parse(bytes).map_err(|error| damaged(error.0))?;
            let length = header.length as usize;
            if header.position != position || length > self.journal.payload_bytes_max() + RECORD_HEADER_BYTES {
                return Err(damaged("no record begins there"));
            }
            if length > bytes.len() {
                let longer = (skip + length).next_multiple_of(BLOCK_BYTES).min(most);
                if longer <= wanted {
                    return Err(damaged("behind the end of the segment"));
                }
                (wanted, least) = (longer, longer);
                continue;
            }
            let record = parse_record(self.journal.tag(), bytes, position).map_err(|error| damaged(error.0))?;
            return Ok((record.kind, Bytes::copy_from_slice(record.payload)));
        }
    }
}
