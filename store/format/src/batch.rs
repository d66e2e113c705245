//! The header of a batch: one durable write of the journal, valid as a whole or not at all.

use crate::cursor::{Malformed, Put, Reader};
use crate::{LogPosition, checksum};

/// Everything in a segment is in units of this: a batch begins and is padded to it. Bytes.
pub const BLOCK_BYTES: usize = 4096;

/// The header's bytes.
pub const BATCH_HEADER_BYTES: usize = 64;

/// Records begin at multiples of this, bytes.
pub const RECORD_ALIGNMENT: usize = 8;

const MAGIC: [u8; 8] = *b"PGNBATCH";

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Of header and records, without the padding to the block: a multiple of `RECORD_ALIGNMENT`.
    pub bytes: u32,
    /// The volume's own random number: mail cannot contain what passes for a batch.
    pub tag: u64,
    /// Where this header is: a batch from elsewhere, or left over in a reused place, does not pass.
    pub position: LogPosition,
    /// One more than that of the batch before.
    pub sequence: u64,
    /// Records in the batch, at least one.
    pub records: u32,
    /// CRC32C over the `checksum` fields of all records, in order: ties the header to exactly these records.
    pub records_checksum: u32,
    /// Rises with every opening of the volume for writing; never falls along the journal.
    pub epoch: u32,
    /// Batches before this one that were not known to be durable when it was written: they may be torn although this one is
    /// whole.
    pub under_way: u32,
}

impl BatchHeader {
    /// Writes it into the first `BATCH_HEADER_BYTES` of a batch.
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut tail = Vec::with_capacity(BATCH_HEADER_BYTES);
        tail.put_u32(self.bytes);
        tail.put_u64(self.tag);
        tail.put_u64(self.position.0);
        tail.put_u64(self.sequence);
        tail.put_u32(self.records);
        tail.put_u32(self.records_checksum);
        tail.put_u32(self.epoch);
        tail.put_u32(self.under_way);
        tail.put_u64(0);
        let mut header = [0; BATCH_HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&checksum(&tail).to_le_bytes());
        header[12..].copy_from_slice(&tail);
        header
    }

    /// Reads a header that must be at `position` of the volume with `tag`. `None` when it is not one: zeros, old bytes,
    /// another volume's, or damage.
    pub fn decode(bytes: &[u8], tag: u64, position: LogPosition) -> Option<BatchHeader> {
        let header = Self::parse(bytes).ok()?;
        (header.tag == tag && header.position == position).then_some(header)
    }

    fn parse(bytes: &[u8]) -> Result<BatchHeader, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>("batch magic")? != MAGIC {
            return Err(Malformed("batch magic"));
        }
        let stored = reader.u32("batch checksum")?;
        let mut fields = Reader::new(reader.bytes(BATCH_HEADER_BYTES - 12, "batch header")?);
        if checksum(fields.rest()) != stored {
            return Err(Malformed("batch checksum"));
        }
        let header = BatchHeader {
            bytes: fields.u32("batch bytes")?,
            tag: fields.u64("batch tag")?,
            position: LogPosition(fields.u64("batch position")?),
            sequence: fields.u64("batch sequence")?,
            records: fields.u32("batch records")?,
            records_checksum: fields.u32("batch records checksum")?,
            epoch: fields.u32("batch epoch")?,
            under_way: fields.u32("batch under way")?,
        };
        let length = header.bytes as usize;
        if length <= BATCH_HEADER_BYTES || !length.is_multiple_of(RECORD_ALIGNMENT) || header.records == 0 {
            return Err(Malformed("batch bytes"));
        }
        if u64::from(header.under_way) >= header.sequence {
            return Err(Malformed("batch under way"));
        }
        Ok(header)
    }

    /// The sequence of the last batch that was durable, with all before it, when this one was written: 0 before the first. When
    /// one of those is not whole, it is damage and no torn tail.
    pub fn durable_through(&self) -> u64 {
        self.sequence
            .saturating_sub(1)
            .saturating_sub(u64::from(self.under_way))
    }

    /// Bytes on disk: header, records and padding.
    pub fn padded_bytes(&self) -> u64 {
        u64::from(self.bytes).next_multiple_of(BLOCK_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            bytes: 4104,
            tag: 0x1122_3344_5566_7788,
            position: LogPosition(8192),
            sequence: 7,
            records: 3,
            records_checksum: 0xdead_beef,
            epoch: 2,
            under_way: 1,
        }
    }

    #[test]
    fn goes_there_and_back() {
        let bytes = header().encode();
        assert_eq!(
            BatchHeader::decode(&bytes, header().tag, header().position),
            Some(header())
        );
        assert_eq!(header().padded_bytes(), 8192);
        assert_eq!(header().durable_through(), 5);
        let alone = BatchHeader {
            under_way: 0,
            ..header()
        };
        assert_eq!(alone.durable_through(), 6);
        let first = BatchHeader { sequence: 1, ..alone };
        assert_eq!(first.durable_through(), 0);
        let more_than_there_are = BatchHeader {
            under_way: 7,
            ..header()
        };
        assert_eq!(
            BatchHeader::decode(&more_than_there_are.encode(), header().tag, header().position),
            None
        );
    }

    #[test]
    fn nothing_else_passes() {
        let bytes = header().encode();
        assert_eq!(
            BatchHeader::decode(&bytes, 1, header().position),
            None,
            "another volume's"
        );
        assert_eq!(
            BatchHeader::decode(&bytes, header().tag, LogPosition(4096)),
            None,
            "from elsewhere"
        );
        assert_eq!(
            BatchHeader::decode(&[0; 64], header().tag, header().position),
            None,
            "zeros"
        );
        for index in 0..BATCH_HEADER_BYTES {
            let mut bytes = bytes;
            bytes[index] ^= 0x10;
            assert_eq!(
                BatchHeader::decode(&bytes, header().tag, header().position),
                None,
                "byte {index}"
            );
            assert_eq!(
                BatchHeader::decode(&bytes[..index], header().tag, header().position),
                None,
                "cut at {index}"
            );
        }
    }
}
