//! The checkpoint: the small file that says where recovery begins, and the table of accounts that it points to in the
//! journal.

use crate::cursor::{Malformed, Put, Reader};
use crate::{AccountId, LogPosition, VolumeId, checksum};

/// The checkpoint's file name.
pub const CHECKPOINT_NAME: &str = "checkpoint";

/// The longest checkpoint file: 16 MiB tell of 700,000 segments.
pub const CHECKPOINT_BYTES_MAX: usize = 16 * 1024 * 1024;

const MAGIC: [u8; 16] = *b"PigeonAir chkpnt";
const CHECKSUM_AT: usize = 20;
const VERSION: u16 = 1;

/// A segment and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SegmentUse {
    /// Its number: position divided by the bytes of a segment.
    pub number: u64,
    /// Bytes of its records that are still of use, about.
    pub live_bytes: u64,
    /// Bytes written to it, with headers and padding.
    pub written_bytes: u64,
}

/// What the checkpoint file holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Of this volume.
    pub volume: VolumeId,
    /// Rises with each checkpoint.
    pub number: u64,
    /// The volume was closed: nothing follows `durable_end`.
    pub clean: bool,
    /// Recovery reads the journal from here on; a batch begins here, or the journal's end is here.
    pub scan_from: LogPosition,
    /// The sequence of the batch at `scan_from`.
    pub scan_sequence: u64,
    /// The journal was durable up to here when the checkpoint was written: damage before it is no torn tail.
    pub durable_end: LogPosition,
    /// The sequence of the batch at `durable_end`.
    pub durable_sequence: u64,
    /// The highest epoch in the journal.
    pub epoch: u32,
    /// The last part of the table of accounts, which leads to the others; `NONE` when there is no account.
    pub table: LogPosition,
    /// Accounts in the table.
    pub accounts: u64,
    /// All segments that hold something, ascending, as of `scan_from`.
    pub segments: Vec<SegmentUse>,
}

impl Checkpoint {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 + 24 * self.segments.len());
        bytes.put_bytes(&MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_u16(u16::from(self.clean));
        bytes.put_u32(0);
        bytes.put_bytes(&self.volume.0);
        bytes.put_u64(self.number);
        bytes.put_u64(self.scan_from.0);
        bytes.put_u64(self.scan_sequence);
        bytes.put_u64(self.durable_end.0);
        bytes.put_u64(self.durable_sequence);
        bytes.put_u32(self.epoch);
        bytes.put_count(self.segments.len());
        bytes.put_u64(self.table.0);
        bytes.put_u64(self.accounts);
        for segment in &self.segments {
            bytes.put_u64(segment.number);
            bytes.put_u64(segment.live_bytes);
            bytes.put_u64(segment.written_bytes);
        }
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From its bytes.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.array::<16>("checkpoint magic")? != MAGIC {
            return Err(Malformed("checkpoint magic"));
        }
        let version = reader.u16("checkpoint version")?;
        let flags = reader.u16("checkpoint flags")?;
        let stored = reader.u32("checkpoint checksum")?;
        let mut zeroed = bytes.to_vec();
        zeroed[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
        if checksum(&zeroed) != stored {
            return Err(Malformed("checkpoint checksum"));
        }
        if version != VERSION {
            return Err(Malformed("checkpoint version"));
        }
        let mut checkpoint = Checkpoint {
            volume: VolumeId(reader.array("checkpoint volume")?),
            number: reader.u64("checkpoint number")?,
            clean: flags & 1 != 0,
            scan_from: LogPosition(reader.u64("checkpoint scan position")?),
            scan_sequence: reader.u64("checkpoint scan sequence")?,
            durable_end: LogPosition(reader.u64("checkpoint durable end")?),
            durable_sequence: reader.u64("checkpoint durable sequence")?,
            epoch: reader.u32("checkpoint epoch")?,
            ..Checkpoint::default()
        };
        let count = reader.u32("checkpoint segments")?;
        checkpoint.table = LogPosition(reader.u64("checkpoint table")?);
        checkpoint.accounts = reader.u64("checkpoint accounts")?;
        let mut items = Reader::new(reader.items(count, 24, "checkpoint segments")?);
        for _ in 0..count {
            checkpoint.segments.push(SegmentUse {
                number: items.u64("segment number")?,
                live_bytes: items.u64("segment live bytes")?,
                written_bytes: items.u64("segment written bytes")?,
            });
        }
        reader.end("checkpoint end")?;
        if !checkpoint.segments.is_sorted_by(|one, next| one.number < next.number) {
            return Err(Malformed("checkpoint segments"));
        }
        Ok(checkpoint)
    }
}

/// Where an account's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountHead {
    /// The last link of its chain.
    pub head: LogPosition,
    /// No record before this is needed to load the account.
    pub base: LogPosition,
}

/// Bytes of an account in the table.
pub const ACCOUNT_ENTRY_BYTES: usize = 32;

/// A part of the checkpoint's table of accounts, as a record's payload.
#[derive(Clone, Copy, Debug)]
pub struct AccountTable<'a> {
    /// The part before, `NONE` for the first.
    pub previous: LogPosition,
    items: &'a [u8],
}

impl<'a> AccountTable<'a> {
    /// From a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let previous = LogPosition(reader.u64("table link")?);
        let count = reader.u32("table count")?;
        reader.u32("table reserved")?;
        let items = reader.items(count, ACCOUNT_ENTRY_BYTES, "table items")?;
        reader.end("table end")?;
        Ok(Self { previous, items })
    }

    /// Its accounts.
    pub fn accounts(self) -> impl Iterator<Item = (AccountId, AccountHead)> + 'a {
        self.items.chunks_exact(ACCOUNT_ENTRY_BYTES).map_while(|item| {
            let mut reader = Reader::new(item);
            let account = AccountId(reader.array("account").ok()?);
            let head = LogPosition(reader.u64("head").ok()?);
            let base = LogPosition(reader.u64("base").ok()?);
            Some((account, AccountHead { head, base }))
        })
    }

    /// Writes a payload.
    pub fn encode(out: &mut Vec<u8>, previous: LogPosition, accounts: &[(AccountId, AccountHead)]) {
        out.put_u64(previous.0);
        out.put_count(accounts.len());
        out.put_u32(0);
        for (account, place) in accounts {
            out.put_bytes(&account.0);
            out.put_u64(place.head.0);
            out.put_u64(place.base.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back_and_nothing_else_passes() {
        let checkpoint = Checkpoint {
            volume: VolumeId([7; 16]),
            number: 4,
            clean: true,
            scan_from: LogPosition(1),
            scan_sequence: 2,
            durable_end: LogPosition(3),
            durable_sequence: 4,
            epoch: 5,
            table: LogPosition(6),
            accounts: 7,
            segments: vec![
                SegmentUse {
                    number: 1,
                    live_bytes: 2,
                    written_bytes: 3,
                },
                SegmentUse {
                    number: 4,
                    live_bytes: 5,
                    written_bytes: 6,
                },
            ],
        };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint));
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Checkpoint::decode(&damaged).is_err(), "byte {index}");
            assert!(Checkpoint::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn the_table_goes_there_and_back() {
        let accounts = [
            (
                AccountId([1; 16]),
                AccountHead {
                    head: LogPosition(5),
                    base: LogPosition(4),
                },
            ),
            (
                AccountId([2; 16]),
                AccountHead {
                    head: LogPosition(9),
                    base: LogPosition(8),
                },
            ),
        ];
        let mut payload = Vec::new();
        AccountTable::encode(&mut payload, LogPosition(77), &accounts);
        let table = AccountTable::decode(&payload).expect("it is one");
        assert_eq!(table.previous, LogPosition(77));
        assert_eq!(table.accounts().collect::<Vec<_>>(), accounts);
        for cut in 0..payload.len() {
            assert!(AccountTable::decode(&payload[..cut]).is_err());
        }
    }
}
