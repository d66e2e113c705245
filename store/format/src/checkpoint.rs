//! The checkpoint: the small file that says where recovery begins and which segments there are, and the table of accounts that
//! it points to in the journal.
//!
//! There are two files with the same content, written one after the other. What the content allows (writing to a new segment,
//! removing an old one, writing at all after an opening) is done only after both are written: so either of them alone tells
//! exactly what has to be there.

use crate::cursor::{Malformed, Put, Reader};
use crate::{AccountId, BLOCK_BYTES, LogPosition, VolumeId, VolumeTag, checksum};

/// The names of the two checkpoint files, in the order in which they are written.
pub const CHECKPOINT_NAMES: [&str; 2] = ["checkpoint-1", "checkpoint-2"];

/// The version of the checkpoint that this program writes, and the only one that it reads.
pub const CHECKPOINT_VERSION: u16 = 2;

/// The longest checkpoint file, bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most segments that a checkpoint can list, and so the most that a volume can have: 699,045, which hold 170 TiB at the
/// default size. Accounts are not in the file, so their number is not bounded by it.
pub const SEGMENTS_MAX: usize = (CHECKPOINT_BYTES_MAX - CHECKPOINT_HEAD_BYTES) / SEGMENT_USE_BYTES;

const CHECKPOINT_HEAD_BYTES: usize = 120;
const SEGMENT_USE_BYTES: usize = 24;

const MAGIC: [u8; 16] = *b"PigeonAir chkpnt";
const CHECKSUM_AT: usize = 20;
const CLEAN: u16 = 1;

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

/// What the checkpoint files hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of this volume.
    pub volume: VolumeId,
    /// The volume's own: a volume made anew under the same identity has another.
    pub tag: VolumeTag,
    /// Rises with each writing of the files: of two that differ the higher one is the newer.
    pub number: u64,
    /// The volume was closed: nothing follows `durable_end`.
    pub clean: bool,
    /// Recovery reads the journal from here on; a batch begins here, or the journal's end is here.
    pub scan_from: LogPosition,
    /// The sequence of the batch at `scan_from`.
    pub scan_sequence: u64,
    /// The journal was durable up to here when the files were written: damage before it is no torn tail.
    pub durable_end: LogPosition,
    /// The sequence of the batch at `durable_end`.
    pub durable_sequence: u64,
    /// No batch from `scan_from` on has a lower epoch.
    pub scan_epoch: u32,
    /// The highest epoch that any opening has had: written before that opening's first batch.
    pub epoch: u32,
    /// The last part of the table of accounts, which leads to the others; `NONE` when there is no account.
    pub table: LogPosition,
    /// Accounts in the table.
    pub accounts: u64,
    /// All segment files that are in use, or made and ready for use, ascending. Their counts are as of `scan_from`.
    pub segments: Vec<SegmentUse>,
}

/// The version of a checkpoint file whose frame is right: magic, and checksum over all its bytes.
pub fn checkpoint_version(bytes: &[u8]) -> Result<u16, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.array::<16>("checkpoint magic")? != MAGIC {
        return Err(Malformed("checkpoint magic"));
    }
    let version = reader.u16("checkpoint version")?;
    reader.u16("checkpoint flags")?;
    let stored = reader.u32("checkpoint checksum")?;
    let mut zeroed = bytes.to_vec();
    zeroed[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
    if checksum(&zeroed) != stored {
        return Err(Malformed("checkpoint checksum"));
    }
    Ok(version)
}

impl Checkpoint {
    /// Its bytes. At most `SEGMENTS_MAX` segments fit into a file that can be read again.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.segments.len() <= SEGMENTS_MAX, "no further segment is made then");
        let mut bytes = Vec::with_capacity(CHECKPOINT_HEAD_BYTES + SEGMENT_USE_BYTES * self.segments.len());
        bytes.put_bytes(&MAGIC);
        bytes.put_u16(CHECKPOINT_VERSION);
        bytes.put_u16(if self.clean { CLEAN } else { 0 });
        bytes.put_u32(0);
        bytes.put_bytes(&self.volume.0);
        bytes.put_u64(self.tag.value());
        bytes.put_u64(self.number);
        bytes.put_u64(self.scan_from.0);
        bytes.put_u64(self.scan_sequence);
        bytes.put_u64(self.durable_end.0);
        bytes.put_u64(self.durable_sequence);
        bytes.put_u32(self.scan_epoch);
        bytes.put_u32(self.epoch);
        bytes.put_u64(self.table.0);
        bytes.put_u64(self.accounts);
        bytes.put_count(self.segments.len());
        bytes.put_u32(0);
        for segment in &self.segments {
            bytes.put_u64(segment.number);
            bytes.put_u64(segment.live_bytes);
            bytes.put_u64(segment.written_bytes);
        }
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Whether a segment is in the list.
    pub fn lists(&self, number: u64) -> bool {
        self.segments
            .binary_search_by_key(&number, |segment| segment.number)
            .is_ok()
    }

    /// From its bytes, which are of version `CHECKPOINT_VERSION`.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, Malformed> {
        if checkpoint_version(bytes)? != CHECKPOINT_VERSION {
            return Err(Malformed("checkpoint version"));
        }
        let mut reader = Reader::new(bytes);
        reader.bytes(18, "checkpoint head")?;
        let flags = reader.u16("checkpoint flags")?;
        reader.u32("checkpoint checksum")?;
        let mut checkpoint = Checkpoint {
            volume: VolumeId(reader.array("checkpoint volume")?),
            tag: VolumeTag::new(reader.u64("checkpoint tag")?),
            number: reader.u64("checkpoint number")?,
            clean: flags & CLEAN != 0,
            scan_from: LogPosition(reader.u64("checkpoint scan position")?),
            scan_sequence: reader.u64("checkpoint scan sequence")?,
            durable_end: LogPosition(reader.u64("checkpoint durable end")?),
            durable_sequence: reader.u64("checkpoint durable sequence")?,
            scan_epoch: reader.u32("checkpoint scan epoch")?,
            epoch: reader.u32("checkpoint epoch")?,
            table: LogPosition(reader.u64("checkpoint table")?),
            accounts: reader.u64("checkpoint accounts")?,
            segments: Vec::new(),
        };
        let count = reader.u32("checkpoint segments")?;
        reader.u32("checkpoint reserved")?;
        let mut items = Reader::new(reader.items(count, SEGMENT_USE_BYTES, "checkpoint segments")?);
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
        let whole = |position: LogPosition| position.0.is_multiple_of(BLOCK_BYTES as u64);
        if !whole(checkpoint.scan_from)
            || !whole(checkpoint.durable_end)
            || checkpoint.scan_from > checkpoint.durable_end
            || checkpoint.scan_sequence > checkpoint.durable_sequence
        {
            return Err(Malformed("checkpoint positions"));
        }
        if checkpoint.scan_epoch > checkpoint.epoch {
            return Err(Malformed("checkpoint epochs"));
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

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            volume: VolumeId([7; 16]),
            tag: VolumeTag::new(9),
            number: 4,
            clean: true,
            scan_from: LogPosition(4096),
            scan_sequence: 2,
            durable_end: LogPosition(3 * 4096),
            durable_sequence: 4,
            scan_epoch: 5,
            epoch: 6,
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
        }
    }

    #[test]
    fn goes_there_and_back_and_nothing_else_passes() {
        let bytes = checkpoint().encode();
        assert_eq!(bytes.len(), CHECKPOINT_HEAD_BYTES + 2 * SEGMENT_USE_BYTES);
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint()));
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Checkpoint::decode(&damaged).is_err(), "byte {index}");
            assert!(Checkpoint::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn what_cannot_be_is_malformed() {
        let changes: [fn(&mut Checkpoint); 5] = [
            |it| it.scan_from = LogPosition(4097),
            |it| it.durable_end = LogPosition(0),
            |it| it.scan_sequence = 5,
            |it| it.scan_epoch = 7,
            |it| it.segments.reverse(),
        ];
        for change in changes {
            let mut wrong = checkpoint();
            change(&mut wrong);
            assert!(Checkpoint::decode(&wrong.encode()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn another_version_is_known_as_such() {
        let mut bytes = checkpoint().encode();
        bytes[16] = 3;
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(checkpoint_version(&bytes), Ok(3));
        assert_eq!(Checkpoint::decode(&bytes), Err(Malformed("checkpoint version")));
    }

    #[test]
    fn the_longest_one_can_be_read_again() {
        let mut long = checkpoint();
        let numbers = 0..SEGMENTS_MAX as u64;
        long.segments = numbers
            .map(|number| SegmentUse {
                number,
                ..SegmentUse::default()
            })
            .collect();
        let bytes = long.encode();
        assert!(bytes.len() <= CHECKPOINT_BYTES_MAX && bytes.len() + SEGMENT_USE_BYTES > CHECKPOINT_BYTES_MAX);
        assert_eq!(Checkpoint::decode(&bytes), Ok(long));
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
