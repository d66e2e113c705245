//! What the volume counts.

use std::cell::Cell;

use pigeon_store_format::Change;

/// Counters since opening.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) batches: Cell<u64>,
    pub(crate) journal_bytes: Cell<u64>,
    pub(crate) changes: Cell<u64>,
    pub(crate) messages: Cell<u64>,
    pub(crate) duplicates: Cell<u64>,
    pub(crate) keys_forgotten: Cell<u64>,
    pub(crate) reads: Cell<u64>,
    pub(crate) read_bytes: Cell<u64>,
    pub(crate) read_ahead: Cell<u64>,
    pub(crate) damaged: Cell<u64>,
    pub(crate) loads: Cell<u64>,
    pub(crate) evictions: Cell<u64>,
    pub(crate) snapshots: Cell<u64>,
    pub(crate) checkpoints: Cell<u64>,
    pub(crate) segments_compacted: Cell<u64>,
    pub(crate) compaction_bytes: Cell<u64>,
    /// Of the journal: what compaction and checkpoints took, padding included.
    pub(crate) housekeeping_bytes: Cell<u64>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().wrapping_add(more));
}

impl Counters {
    pub(crate) fn batch_written(&self, bytes: u64, lazy_cost: u64) {
        add(&self.batches, 1);
        add(&self.housekeeping_bytes, lazy_cost);
        add(&self.journal_bytes, bytes);
    }

    pub(crate) fn change_durable(&self, change: &Change<'_>) {
        add(&self.changes, 1);
        if let Change::Append { messages, .. } = change {
            add(&self.messages, messages.len() as u64);
        }
    }
}

/// Counters since opening, and gauges of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeStats {
    /// Batches written durably.
    pub batches: u64,
    /// Bytes written, with padding.
    pub journal_bytes: u64,
    /// Changes of accounts made durable.
    pub changes: u64,
    /// Messages delivered or appended.
    pub messages: u64,
    /// Deliveries not stored because the account had them already, by their keys.
    pub duplicates: u64,
    /// Keys forgotten before their time, because the account had too many.
    pub keys_forgotten: u64,
    /// Reads from the disk after opening.
    pub reads: u64,
    /// Bytes of these reads.
    pub read_bytes: u64,
    /// Bodies and chunks of bodies found in the cache.
    pub cache_hits: u64,
    /// Those that were not there.
    pub cache_misses: u64,
    /// Bytes in the cache.
    pub cache_bytes: u64,
    /// Bodies that a read for an earlier one had brought along.
    pub read_ahead: u64,
    /// Records found damaged.
    pub damaged: u64,
    /// Accounts with mail.
    pub accounts: u64,
    /// Accounts loaded.
    pub accounts_loaded: u64,
    /// Memory of loaded accounts, bytes, about.
    pub index_bytes: u64,
    /// Accounts read from the disk.
    pub loads: u64,
    /// Accounts put out of memory.
    pub evictions: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Segments emptied and removed.
    pub segments_compacted: u64,
    /// Bytes of bodies moved.
    pub compaction_bytes: u64,
    /// Bytes of the journal that compaction and checkpoints took.
    pub housekeeping_bytes: u64,
    /// Segments with something in them.
    pub segments: u64,
    /// Segments made ahead.
    pub segments_ready: u64,
    /// Bytes in segments that are of use, about.
    pub live_bytes: u64,
    /// Bytes written to the segments there are.
    pub written_bytes: u64,
    /// Bytes of journal that opening read.
    pub open_bytes: u64,
    /// Batches that opening read.
    pub open_batches: u64,
    /// Opening read the whole journal, for lack of a good checkpoint.
    pub open_full_scan: bool,
}
