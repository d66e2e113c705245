//! A volume: opened, driven, maintained and closed by its owner, used by everyone on its core.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{AccountId, BodyReference, VolumeId};

use crate::disk::Disk;
use crate::{Account, Appended, BodyReader, BodyWriter, Delivery, FinishedBody, OpenError, StoreError, VolumeOptions};

/// An open volume. Clones are the same volume.
#[derive(Clone)]
pub struct Volume {
    inner: Rc<Inner>,
}

struct Inner {}

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

/// Counters and gauges, all since opening unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeStats {
    /// Batches written durably.
    pub batches: u64,
    /// Bytes written, with padding.
    pub journal_bytes: u64,
    /// Messages delivered or appended.
    pub messages: u64,
}

impl Volume {
    /// Makes a new, empty volume. `AlreadyExists` in the error's text when one is there.
    pub async fn create(disk: Rc<dyn Disk>, id: VolumeId, options: &VolumeOptions) -> Result<(), StoreError> {
        let _ = (disk, id, options);
        unimplemented!()
    }

    /// Opens the volume that must be there, and recovers what the journal holds. The volume takes changes once `drive` and
    /// `maintain` run.
    pub async fn open(disk: Rc<dyn Disk>, expected: VolumeId, options: VolumeOptions) -> Result<Volume, OpenError> {
        let _ = (disk, expected, options);
        unimplemented!()
    }

    /// The journal's writer: group commit. Spawn it once; it ends after `close`.
    pub fn drive(&self) -> impl Future<Output = ()> + 'static {
        let inner = self.inner.clone();
        async move { drop(inner) }
    }

    /// Housekeeping: segments ahead, snapshots, checkpoints, compaction, eviction. Spawn it once in the background; it ends
    /// after `close`.
    pub fn maintain(&self) -> impl Future<Output = ()> + 'static {
        let inner = self.inner.clone();
        async move { drop(inner) }
    }

    /// Takes no more changes, waits for those under way, and writes a last checkpoint. `drive` and `maintain` end.
    pub async fn close(&self) {
        unimplemented!()
    }

    /// This volume's identity.
    pub fn id(&self) -> VolumeId {
        unimplemented!()
    }

    /// What it can do at the moment.
    pub fn state(&self) -> VolumeState {
        unimplemented!()
    }

    /// Its counters.
    pub fn stats(&self) -> VolumeStats {
        unimplemented!()
    }

    /// An account: loaded from its snapshot and the records since, or new and empty with an INBOX (which becomes durable with
    /// the first change).
    pub async fn account(&self, id: AccountId) -> Result<Account, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// Starts a body for some accounts of this volume, at most `options::BODY_ACCOUNTS_MAX`. Refuses when the volume takes
    /// no new mail.
    pub async fn begin_body(&self, accounts: &[AccountId]) -> Result<BodyWriter, StoreError> {
        let _ = accounts;
        unimplemented!()
    }

    /// Stores a body once, and adds it to a mailbox of each recipient. Returns when all that is durable, with one result for
    /// each delivery, in their order.
    pub async fn deliver(&self, body: FinishedBody, to: Vec<Delivery>) -> Vec<Result<Appended, StoreError>> {
        let _ = (body, to);
        unimplemented!()
    }

    /// Opens a message's body for reading; it stays readable while the reader is held, also when the message is expunged or
    /// compaction moves it. `MessageGone` when the reference is old and the body has moved: look the message up again.
    pub async fn open_body(&self, body: BodyReference) -> Result<BodyReader, StoreError> {
        let _ = body;
        unimplemented!()
    }

    /// `open_body` and one `BodyReader::read`, with the last readers kept open: for short reads.
    pub async fn read_body(&self, body: BodyReference, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let _ = (body, offset, length);
        unimplemented!()
    }
}
