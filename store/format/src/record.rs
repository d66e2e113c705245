//! The frame of a record, and the walk over a batch's records.

use crate::cursor::{Malformed, Reader};
use crate::{BATCH_HEADER_BYTES, BatchHeader, Checksum, LogPosition, RECORD_ALIGNMENT, VolumeTag};

/// The frame's bytes in front of each record's payload.
pub const RECORD_HEADER_BYTES: usize = 24;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// What a record is. Numbers are for ever; a reader that meets one it does not know must not guess.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum RecordKind {
            $($(#[$doc])* $name = $value,)*
        }
        impl RecordKind {
            /// From its number.
            pub fn from_number(number: u8) -> Option<RecordKind> {
                match number {
                    $($value => Some(RecordKind::$name),)*
                    _ => None,
                }
            }
            #[cfg(test)]
            pub(crate) const ALL: &[RecordKind] = &[$(RecordKind::$name),*];
        }
    };
}
kinds! {
    /// A body whole.
    Body = 1,
    /// A piece of a streamed body.
    BodyChunk = 2,
    /// The list of a streamed body's pieces, and what is known of it.
    BodyEnd = 3,
    /// Messages put into a mailbox.
    Append = 16,
    /// Flags changed.
    Flags = 17,
    /// Messages removed.
    Expunge = 18,
    /// Messages copied within the account.
    Copy = 19,
    /// Messages moved within the account.
    Move = 20,
    /// Mailboxes made.
    MailboxCreate = 21,
    /// A mailbox deleted.
    MailboxDelete = 22,
    /// Mailboxes renamed.
    MailboxRename = 23,
    /// INBOX renamed: its messages go to a new mailbox.
    InboxRename = 24,
    /// A name subscribed to, or no longer.
    Subscribe = 25,
    /// How far messages of a mailbox are no longer recent.
    Recent = 26,
    /// Bodies moved by compaction.
    Moved = 27,
    /// The account's whole state, or its end when parts went before.
    Snapshot = 28,
    /// A part of a big snapshot. Not in the account's chain.
    SnapshotPart = 29,
    /// Messages put into a mailbox under a key, so that the same delivery is not stored twice.
    AppendKeyed = 30,
    /// Whose the account is from here on: a step of a move.
    Handover = 31,
    /// A part of a checkpoint's table of accounts.
    AccountTable = 48,
}

impl RecordKind {
    /// Whether it is a link of an account's chain, whose payload begins with the account and the link before.
    pub fn is_account_link(self) -> bool {
        matches!(self as u8, 16..=28 | 30 | 31)
    }
}

/// A record found in a batch, its checksum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Of its frame.
    pub position: LogPosition,
    /// What it is.
    pub kind: RecordKind,
    /// What is in it.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes it takes in the batch, with frame and alignment.
    pub fn occupied_bytes(&self) -> u64 {
        occupied_bytes(self.payload.len()) as u64
    }
}

/// Bytes that a record with so much payload takes in a batch.
pub fn occupied_bytes(payload: usize) -> usize {
    (RECORD_HEADER_BYTES + payload).next_multiple_of(RECORD_ALIGNMENT)
}

/// Fills in the frame of the record whose payload is `record[RECORD_HEADER_BYTES..]`. Gives its checksum.
pub fn seal_record(tag: VolumeTag, record: &mut [u8], kind: RecordKind, position: LogPosition) -> u32 {
    let length = u32::try_from(record.len()).expect("a record fits into a batch");
    record[4..8].copy_from_slice(&length.to_le_bytes());
    record[8..16].copy_from_slice(&position.0.to_le_bytes());
    record[16] = kind as u8;
    record[17..RECORD_HEADER_BYTES].fill(0);
    let sum = tag.checksum(&record[4..]);
    record[..4].copy_from_slice(&sum.to_le_bytes());
    sum
}

/// A frame as it stands there, before anything is verified: enough to know how many bytes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// CRC32C of the volume's tag and the record behind this field.
    pub checksum: u32,
    /// Of frame and payload.
    pub length: u32,
    /// Where it says it is.
    pub position: LogPosition,
    /// The kind's number.
    pub kind: u8,
}

impl RecordHeader {
    /// From the first `RECORD_HEADER_BYTES` of a record.
    pub fn parse(bytes: &[u8]) -> Result<RecordHeader, Malformed> {
        let mut reader = Reader::new(bytes);
        let header = RecordHeader {
            checksum: reader.u32("record checksum")?,
            length: reader.u32("record length")?,
            position: LogPosition(reader.u64("record position")?),
            kind: reader.u8("record kind")?,
        };
        reader.bytes(7, "record frame")?;
        if (header.length as usize) < RECORD_HEADER_BYTES {
            return Err(Malformed("record length"));
        }
        Ok(header)
    }
}

/// The record at the front of `bytes`, which must be the one at `position`, whole and undamaged.
pub fn parse_record(tag: VolumeTag, bytes: &[u8], position: LogPosition) -> Result<Record<'_>, Malformed> {
    let header = RecordHeader::parse(bytes)?;
    if header.position != position {
        return Err(Malformed("record position"));
    }
    let record = bytes.get(..header.length as usize).ok_or(Malformed("record length"))?;
    if tag.checksum(&record[4..]) != header.checksum {
        return Err(Malformed("record checksum"));
    }
    let kind = RecordKind::from_number(header.kind).ok_or(Malformed("record kind"))?;
    Ok(Record {
        position,
        kind,
        payload: &record[RECORD_HEADER_BYTES..],
    })
}

/// Verifies a batch as a whole: header, every record, and that the header was made for exactly these records. `batch`
/// holds at least `header.bytes`.
pub fn verify_batch(tag: VolumeTag, header: &BatchHeader, batch: &[u8]) -> Result<(), Malformed> {
    let mut sums = Checksum::new();
    let mut count = 0u32;
    for record in records(tag, header, batch)? {
        let record = record?;
        let offset = (record.position.0 - header.position.0) as usize;
        sums.update(&batch[offset..offset + 4]);
        count += 1;
    }
    if count != header.records || sums.finish() != header.records_checksum {
        return Err(Malformed("batch records"));
    }
    Ok(())
}

/// The records of a batch, one by one; ends after the first that is not valid.
pub fn records<'a>(tag: VolumeTag, header: &BatchHeader, batch: &'a [u8]) -> Result<Records<'a>, Malformed> {
    let batch = batch.get(..header.bytes as usize).ok_or(Malformed("batch bytes"))?;
    Ok(Records {
        tag,
        batch,
        base: header.position,
        offset: BATCH_HEADER_BYTES,
    })
}

/// See `records`.
pub struct Records<'a> {
    tag: VolumeTag,
    batch: &'a [u8],
    base: LogPosition,
    offset: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.batch.len() {
            return None;
        }
        let position = LogPosition(self.base.0.checked_add(self.offset as u64)?);
        let parsed = parse_record(self.tag, &self.batch[self.offset..], position);
        match &parsed {
            Ok(record) => self.offset += record.occupied_bytes() as usize,
            Err(_) => self.offset = self.batch.len(),
        }
        Some(parsed)
    }
}

/// Every record in `bytes` that is whole, wherever it begins: what can still be had from a damaged batch. `position` is that of
/// `bytes[0]`, a multiple of `RECORD_ALIGNMENT`.
pub fn salvage_records(tag: VolumeTag, bytes: &[u8], position: LogPosition) -> Vec<Record<'_>> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset + RECORD_HEADER_BYTES <= bytes.len() {
        let Some(at) = position.0.checked_add(offset as u64) else {
            break;
        };
        match parse_record(tag, &bytes[offset..], LogPosition(at)) {
            Ok(record) => {
                offset += record.occupied_bytes() as usize;
                found.push(record);
            }
            Err(_) => offset += RECORD_ALIGNMENT,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> VolumeTag {
        VolumeTag::new(9)
    }

    fn batch(payloads: &[&[u8]]) -> (BatchHeader, Vec<u8>) {
        let base = LogPosition(40960);
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        let mut sums = Checksum::new();
        for payload in payloads {
            let offset = bytes.len();
            bytes.resize(offset + RECORD_HEADER_BYTES, 0);
            bytes.extend_from_slice(payload);
            let sum = seal_record(
                tag(),
                &mut bytes[offset..],
                RecordKind::Body,
                LogPosition(base.0 + offset as u64),
            );
            sums.update(&sum.to_le_bytes());
            bytes.resize(bytes.len().next_multiple_of(RECORD_ALIGNMENT), 0);
        }
        let header = BatchHeader {
            bytes: bytes.len() as u32,
            tag: tag().value(),
            position: base,
            sequence: 1,
            records: payloads.len() as u32,
            records_checksum: sums.finish(),
            epoch: 1,
            under_way: 0,
        };
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
        (header, bytes)
    }

    #[test]
    fn walks_a_batch() {
        let (header, bytes) = batch(&[b"one", b"", b"three and more"]);
        verify_batch(tag(), &header, &bytes).expect("it is whole");
        let payloads: Vec<_> = records(tag(), &header, &bytes)
            .expect("in bounds")
            .map(|r| r.expect("valid").payload)
            .collect();
        assert_eq!(payloads, [&b"one"[..], b"", b"three and more"]);
    }

    #[test]
    fn any_flipped_bit_of_a_record_breaks_the_batch() {
        let (header, bytes) = batch(&[b"one", b"two", b"three and more"]);
        let mut used = vec![false; bytes.len()];
        for record in records(tag(), &header, &bytes).expect("in bounds") {
            let record = record.expect("valid");
            let start = (record.position.0 - header.position.0) as usize;
            used[start..start + RECORD_HEADER_BYTES + record.payload.len()].fill(true);
        }
        for index in BATCH_HEADER_BYTES..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert_eq!(
                verify_batch(tag(), &header, &damaged).is_err(),
                used[index],
                "byte {index}"
            );
            let left = salvage_records(
                tag(),
                &damaged[BATCH_HEADER_BYTES..],
                LogPosition(header.position.0 + 64),
            )
            .len();
            assert_eq!(left, if used[index] { 2 } else { 3 }, "byte {index}");
        }
    }

    #[test]
    fn a_record_of_the_same_size_from_an_older_batch_at_the_same_place_does_not_pass() {
        let (header, bytes) = batch(&[b"one", b"two"]);
        let (_, other) = batch(&[b"one", b"TWO"]);
        let mut mixed = bytes.clone();
        let second = BATCH_HEADER_BYTES + occupied_bytes(3);
        mixed[second..].copy_from_slice(&other[second..]);
        assert!(
            records(tag(), &header, &mixed)
                .expect("in bounds")
                .all(|record| record.is_ok()),
            "each is valid alone"
        );
        assert!(verify_batch(tag(), &header, &mixed).is_err(), "but not as this batch");
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for kind in RecordKind::ALL {
            assert_eq!(RecordKind::from_number(*kind as u8), Some(*kind));
        }
        assert_eq!(RecordKind::from_number(0), None);
        assert_eq!(RecordKind::Snapshot as u8, 28);
    }
}
