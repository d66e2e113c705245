//! What a volume is made and opened with, and its fixed limits, with the asserts that tie them together.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

/// The most one `read_body` gives, bytes.
pub const READ_MAX: usize = 256 * 1024;

/// Bodies up to this size are kept in memory until they are delivered and stored whole in one record; larger ones are
/// streamed into the journal in chunks of at most this size. Bytes.
pub const BODY_CHUNK_BYTES: usize = 128 * 1024;

/// The biggest message: its size is kept in 32 bits. Bytes.
pub const MESSAGE_BYTES_MAX: u64 = u32::MAX as u64;

/// The most accounts one body can be delivered to at once. A caller with more recipients on one volume splits them.
pub const BODY_ACCOUNTS_MAX: usize = 1000;

/// The most bytes that one recipient may have put in front of a shared body.
pub const PREPEND_BYTES_MAX: usize = 512;

/// The most mailboxes an account can have.
pub const MAILBOXES_MAX: usize = 10_000;

/// The longest mailbox name, bytes of UTF-8.
pub const MAILBOX_NAME_BYTES_MAX: usize = 1000;

/// The deepest nesting of mailbox names.
pub const MAILBOX_DEPTH_MAX: usize = 32;

/// The longest keyword, bytes.
pub const KEYWORD_BYTES_MAX: usize = 100;

/// Waits for a time; `pigeon_engine::sleep` in a node.
pub type Sleep = Rc<dyn Fn(Duration) -> LocalBoxFuture<'static, ()>>;

/// What a volume is made and opened with.
#[derive(Clone)]
pub struct VolumeOptions {
    /// Bytes of a journal segment: a multiple of 4096, at least four batches. Used when the volume is made; afterwards the
    /// marker tells. Default 256 MiB: a compaction moves at most that much, and a file of that size is zeroed ahead in
    /// about a second.
    pub segment_bytes: u64,
    /// The most bytes of a batch, one durable write. Multiple of 4096. Default 1 MiB: beyond it a write gets no faster
    /// per byte, and everyone in the batch waits longer.
    pub batch_bytes_max: usize,
    /// The first UIDVALIDITY of every new account. Used when the volume is made: give it the Unix time then, so that a
    /// volume that replaces a lost one never repeats a value.
    pub uid_validity_base: u32,
    /// The most bytes the volume's segments take; `None`: what the file system has.
    pub volume_bytes_max: Option<u64>,
    /// Bytes of the file system that the volume leaves free: no further segment is made that would take them, and new mail
    /// is refused once the last one is full. Default 4 MiB.
    pub reserve_bytes: u64,
    /// Memory for bodies read or delivered not long ago, bytes. Default 32 MiB.
    pub body_cache_bytes: usize,
    /// Memory for what is read ahead, over all who read one message after the other, bytes: 512 KiB for each of them. Those for whom
    /// there is none left read each message by itself. Default 8 MiB.
    pub read_ahead_bytes: usize,
    /// Memory for the indices of loaded accounts; accounts without sessions are evicted above it. Bytes. Default 128 MiB.
    pub index_bytes_max: usize,
    /// Memory for bodies on their way in, over all writers, bytes. Default 8 MiB. Above it bodies go to the journal in
    /// smaller pieces.
    pub ingest_bytes_max: usize,
    /// Journal bytes between two checkpoints: what an opening after a crash reads at most, about. Default 64 MiB.
    pub checkpoint_bytes: u64,
    /// A segment with no larger share of live bytes than this, in percent, is compacted. Default 50.
    pub compaction_live_percent: u8,
    /// Bytes that compaction moves before it gives other work a turn (and sleeps for `compaction_pause`). Default 1 MiB.
    pub compaction_bytes_per_turn: usize,
    /// Pause after each turn of compaction, when `sleep` is there. Default 2 ms.
    pub compaction_pause: Duration,
    /// Records of an account after its last snapshot before the next one is due, at least. Default 64.
    pub snapshot_records: u32,
    /// Waits for a time; `None` in tests: maintenance then yields only, and looks again only when it is poked.
    pub sleep: Option<Sleep>,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 * 1024 * 1024,
            batch_bytes_max: 1024 * 1024,
            uid_validity_base: 1,
            volume_bytes_max: None,
            reserve_bytes: 4 * 1024 * 1024,
            body_cache_bytes: 32 * 1024 * 1024,
            read_ahead_bytes: 8 * 1024 * 1024,
            index_bytes_max: 128 * 1024 * 1024,
            ingest_bytes_max: 8 * 1024 * 1024,
            checkpoint_bytes: 64 * 1024 * 1024,
            compaction_live_percent: 50,
            compaction_bytes_per_turn: 1024 * 1024,
            compaction_pause: Duration::from_millis(2),
            snapshot_records: 64,
            sleep: None,
        }
    }
}
