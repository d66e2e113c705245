//! A volume: opened, driven, maintained and closed by its owner, used by everyone on its core.

pub(crate) mod accounts;
pub(crate) mod counters;
pub(crate) mod heads;
mod read;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use pigeon_engine::sync::Semaphore;
use pigeon_store_format::{AccountId, BodyReference, Marker, VolumeId};

use self::accounts::Accounts;
use self::counters::Counters;
pub use self::counters::VolumeStats;
use self::heads::HeadTable;
use crate::body::OpenedBody;
use crate::body::ahead::{PIECE_BYTES_MAX, ReadAhead};
use crate::body::cache::BodyCache;
use crate::body::open::OpenBodies;
use crate::disk::Disk;
use crate::housekeeping::Housekeeping;
use crate::journal::segments::Segments;
use crate::journal::{Journal, Status};
use crate::recovery::{Damage, Recovered};
use crate::{Account, BodyReader, BodyWriter, Delivered, Delivery, FinishedBody, OpenError, StoreError, VolumeOptions};

/// Reads under way at once, at most: more make a disk no faster, and each takes a buffer.
const READS_MAX: usize = 64;

/// A body's record whose size is not known: most are not longer.
const USUAL_BODY_BYTES: usize = 16 * 1024;

/// Readers that `read_body` keeps open.
const KEPT_READERS: usize = 8;

/// An open volume. Clones are the same volume.
#[derive(Clone)]
pub struct Volume {
    inner: Rc<VolumeInner>,
}

/// What everything in the volume shares.
pub(crate) struct VolumeInner {
    pub(crate) disk: Rc<dyn Disk>,
    pub(crate) options: VolumeOptions,
    pub(crate) marker: Marker,
    pub(crate) segments: Rc<Segments>,
    pub(crate) journal: Journal,
    pub(crate) heads: RefCell<HeadTable>,
    pub(crate) accounts: Accounts,
    pub(crate) bodies: BodyCache,
    /// Of those who hold a piece that was read ahead.
    pub(crate) ahead: Semaphore,
    pub(crate) open_bodies: OpenBodies,
    /// Bytes that writers of bodies may hold, all together.
    pub(crate) ingest: Semaphore,
    pub(crate) reads: Semaphore,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) counters: Counters,
    pub(crate) damage: Vec<Damage>,
    opened: OpenCounts,
    kept_readers: RefCell<Vec<(BodyReference, Rc<OpenedBody>)>>,
}

/// What opening cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenCounts {
    pub(crate) bytes: u64,
    pub(crate) batches: u64,
    pub(crate) full_scan: bool,
}

/// What a volume can do at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Everything.
    Writable,
    /// Everything but new mail: the disk is nearly full.
    NearlyFull,
    /// Reads only, for the reason given: damage was found at opening.
    ReadOnly(String),
    /// Reads only until it is opened again, for the reason given: a write failed.
    Poisoned(String),
    /// Nothing more.
    Closed,
}

impl Volume {
    /// Makes a new, empty volume in the disk's directory. Fails when one is there.
    pub async fn create(disk: Rc<dyn Disk>, id: VolumeId, options: &VolumeOptions) -> Result<(), StoreError> {
        crate::recovery::create(disk, id, options).await
    }

    /// Opens the volume that must be there, and recovers what the journal holds. The volume takes changes once `drive` and
    /// `maintain` run.
    pub async fn open(disk: Rc<dyn Disk>, expected: VolumeId, options: VolumeOptions) -> Result<Volume, OpenError> {
        let recovered = crate::recovery::open(disk.clone(), expected).await?;
        Ok(Volume {
            inner: Rc::new(VolumeInner::new(disk, options, recovered)),
        })
    }

    /// The journal's writer: group commit. Spawn it once; it ends after `close`.
    pub fn drive(&self) -> impl Future<Output = ()> + 'static {
        crate::journal::writer::drive(self.inner.clone())
    }

    /// Housekeeping: segments ahead, snapshots, checkpoints, compaction, eviction. Spawn it once in the background; it ends
    /// after `close`.
    pub fn maintain(&self) -> impl Future<Output = ()> + 'static {
        crate::housekeeping::maintain(self.inner.clone())
    }

    /// Takes no more changes, waits for those under way, and writes a last checkpoint. `drive` and `maintain` end.
    pub async fn close(&self) {
        crate::housekeeping::close(&self.inner).await;
    }

    /// Looks for housekeeping work now, instead of when it is next due.
    pub fn poke(&self) {
        self.inner.housekeeping.poke();
    }

    /// This volume's identity.
    pub fn id(&self) -> VolumeId {
        self.inner.marker.volume
    }

    /// What it can do at the moment.
    pub fn state(&self) -> VolumeState {
        match self.inner.journal.status() {
            Status::Writable if self.inner.journal.is_nearly_full() => VolumeState::NearlyFull,
            Status::Writable => VolumeState::Writable,
            Status::ReadOnly(why) => VolumeState::ReadOnly(why),
            Status::Poisoned(why) => VolumeState::Poisoned(why),
            Status::Closing | Status::Closed => VolumeState::Closed,
        }
    }

    /// What was found damaged at opening: the reason why the volume is read-only.
    pub fn damage(&self) -> &[Damage] {
        &self.inner.damage
    }

    /// Its counters.
    pub fn stats(&self) -> VolumeStats {
        self.inner.stats()
    }

    /// The accounts that have something in this volume, in no order.
    pub fn account_ids(&self) -> Vec<AccountId> {
        self.inner.heads.borrow().accounts().collect()
    }

    /// Whether anything of an account is in this volume.
    pub fn knows(&self, id: AccountId) -> bool {
        self.inner.heads.borrow().find(id).is_some()
    }

    /// An account: loaded from its snapshot and the records since, or new and empty with an INBOX (which becomes durable with
    /// the first change).
    pub async fn account(&self, id: AccountId) -> Result<Account, StoreError> {
        let cell = self.inner.account(id).await?;
        Ok(Account {
            volume: self.inner.clone(),
            cell,
        })
    }

    /// Starts a body for some accounts of this volume, at most `options::BODY_ACCOUNTS_MAX`. Refuses when the volume takes
    /// no new mail.
    pub async fn begin_body(&self, accounts: &[AccountId]) -> Result<BodyWriter, StoreError> {
        self.inner.begin_body(accounts)
    }

    /// Stores a body once, and adds it to a mailbox of each recipient that has not got it yet. Returns when all that is durable, with one result for
    /// each delivery, in their order.
    pub async fn deliver(&self, body: FinishedBody, to: Vec<Delivery>) -> Vec<Result<Delivered, StoreError>> {
        self.inner.deliver(body, to).await
    }

    /// For benches alone: puts a whole body into the journal that no message will refer to, and returns when it is durable. Of
    /// a delivery that is the journal's part: waiting for room, the copy, the checksums, the batch and its durable write. The
    /// bytes are dead space from the start.
    #[doc(hidden)]
    pub async fn append_unreferenced(&self, content: Bytes) -> Result<(), StoreError> {
        self.inner.append_unreferenced(content).await
    }

    /// For somebody who reads several messages, one after the other: see `Mailbox::open_message_ahead`.
    pub fn read_ahead(&self) -> ReadAhead {
        ReadAhead::new(self.inner.clone())
    }

    /// Opens a body and reads once, as `BodyReader::read` does, with the last readers kept open: for short reads.
    pub async fn read_body(&self, body: BodyReference, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let kept = {
            let mut readers = self.inner.kept_readers.borrow_mut();
            let place = readers.iter().position(|(reference, _)| *reference == body);
            place.map(|index| {
                let kept = readers.remove(index);
                let opened = kept.1.clone();
                readers.push(kept);
                opened
            })
        };
        let opened = match kept {
            Some(opened) => opened,
            None => {
                let opened = self.inner.open_body(body, USUAL_BODY_BYTES).await?;
                let mut readers = self.inner.kept_readers.borrow_mut();
                if readers.len() >= KEPT_READERS {
                    readers.remove(0);
                }
                readers.push((body, opened.clone()));
                opened
            }
        };
        BodyReader::new(self.inner.clone(), opened).read(offset, length).await
    }
}

#[cfg(test)]
impl Volume {
    /// Puts accounts into the table that have nothing in the journal.
    pub(crate) fn fill_heads(&self, accounts: impl Iterator<Item = (AccountId, pigeon_store_format::AccountHead)>) {
        let mut heads = self.inner.heads.borrow_mut();
        accounts.for_each(|(account, head)| heads.set(account, head));
    }
}

impl VolumeInner {
    fn new(disk: Rc<dyn Disk>, options: VolumeOptions, recovered: Recovered) -> Self {
        let Recovered {
            marker,
            segments,
            heads,
            end,
            status,
            damage,
            counts,
            checkpoint,
        } = recovered;
        let batch_bytes_max = marker.batch_bytes_max as usize;
        VolumeInner {
            disk,
            journal: Journal::new(marker.tag, batch_bytes_max, segments.clone(), end, status),
            marker,
            segments,
            heads: RefCell::new(heads),
            accounts: Accounts::new(options.index_bytes_max),
            bodies: BodyCache::new(options.body_cache_bytes),
            ahead: Semaphore::new(options.read_ahead_bytes / PIECE_BYTES_MAX),
            open_bodies: OpenBodies::default(),
            ingest: Semaphore::new(options.ingest_bytes_max),
            reads: Semaphore::new(READS_MAX),
            housekeeping: Housekeeping::new(checkpoint),
            counters: Counters::default(),
            damage,
            opened: counts,
            kept_readers: RefCell::default(),
            options,
        }
    }

    /// Readers that nobody waits for must not keep memory or files.
    pub(crate) fn drop_kept_readers(&self) {
        self.kept_readers.borrow_mut().clear();
    }

    fn stats(&self) -> VolumeStats {
        let counters = &self.counters;
        let uses = self.segments.uses();
        VolumeStats {
            batches: counters.batches.get(),
            journal_bytes: counters.journal_bytes.get(),
            changes: counters.changes.get(),
            messages: counters.messages.get(),
            duplicates: counters.duplicates.get(),
            keys_forgotten: counters.keys_forgotten.get(),
            reads: counters.reads.get(),
            read_bytes: counters.read_bytes.get(),
            cache_hits: self.bodies.hits.get(),
            cache_misses: self.bodies.misses.get(),
            cache_bytes: self.bodies.bytes() as u64,
            read_ahead: counters.read_ahead.get(),
            damaged: counters.damaged.get(),
            accounts: self.heads.borrow().len() as u64,
            accounts_loaded: self.accounts.count() as u64,
            index_bytes: self.accounts.bytes() as u64,
            loads: counters.loads.get(),
            evictions: counters.evictions.get(),
            snapshots: counters.snapshots.get(),
            checkpoints: counters.checkpoints.get(),
            segments_compacted: counters.segments_compacted.get(),
            compaction_bytes: counters.compaction_bytes.get(),
            housekeeping_bytes: counters.housekeeping_bytes.get(),
            segments: uses.len() as u64,
            segments_ready: self.segments.ready_count() as u64,
            live_bytes: uses.iter().map(|segment| segment.live_bytes).sum(),
            written_bytes: uses.iter().map(|segment| segment.written_bytes).sum(),
            open_bytes: self.opened.bytes,
            open_batches: self.opened.batches,
            open_full_scan: self.opened.full_scan,
        }
    }
}
