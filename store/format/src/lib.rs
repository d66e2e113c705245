//! The volume's bytes: pure functions between bytes and types, with no input or output. `docs/format.md` is the norm.
//!
//! Decoding takes any bytes: it gives the value or `Malformed`, and never panics. Encoding takes what the store has
//! checked against its limits.

mod batch;
mod body;
mod change;
mod checkpoint;
mod checksum;
mod cursor;
mod image;
mod item;
mod key;
#[cfg(test)]
mod layout;
mod marker;
mod ranges;
mod record;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod types;

pub use batch::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, RECORD_ALIGNMENT};
pub use body::{
    BODY_END_FIELDS_BYTES, BODY_FIELDS_BYTES, Body, BodyChunk, BodyEnd, BodyEntries, BodyEntry, CHUNK_FIELDS_BYTES,
    ContentInfo, EXTENT_BYTES, Extent, entry_bytes,
};
pub use change::{Change, FlagGroup, LINK_BYTES, Link, MovedBody, Transfer};
pub use checkpoint::{
    ACCOUNT_ENTRY_BYTES, AccountHead, AccountTable, CHECKPOINT_BYTES_MAX, CHECKPOINT_NAMES, CHECKPOINT_VERSION,
    Checkpoint, SEGMENTS_MAX, SegmentUse, checkpoint_version,
};
pub use checksum::{Checksum, VolumeTag, checksum};
pub use cursor::Malformed;
pub use image::{AccountImage, MailboxImage};
pub use item::{MESSAGE_BYTES, MailboxDefinition, NewKeyword, SegmentBytes, StreamedStart};
pub use key::{KEY_BYTES, KEY_LIFE_SECONDS, KEYS_MAX, KeyUse};
pub use marker::{FORMAT_VERSION, KIND_LOG, MARKER_BYTES, MARKER_NAME, Marker};
pub use ranges::{UID_RANGE_BYTES, UidRanges};
pub use record::{
    RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind, Records, occupied_bytes, parse_record, records,
    salvage_records, seal_record, verify_batch,
};
pub use snapshot::{SnapshotEnd, SnapshotPart, SnapshotPlace};
pub use standing::{Counterpart, MoveId, PLACE_BYTES_MAX, Standing, TAKEN_MAX};
pub use types::{
    AccountId, BodyReference, BodyTraits, Flags, LogPosition, MailboxId, Message, MessageKey, ModSeq, SpecialUse, Uid,
    UidValidity, VolumeId,
};
