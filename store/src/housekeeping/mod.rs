//! Work behind the scenes: segments ahead, snapshots, checkpoints, compaction, eviction.
//!
//! Two loops run beside each other, so that a long compaction never keeps the next segment waiting. Everything here can fail or
//! be cut off at any point and be done again.

mod checkpoint;
mod checkpoint_files;
mod compaction;
mod compaction_plan;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join, select};
use pigeon_engine::sync::{Notify, Semaphore};
use pigeon_store_format::{
    ACCOUNT_ENTRY_BYTES, Change, Checkpoint, LogPosition, MailboxId, SEGMENTS_MAX, SegmentUse, Uid,
};

use self::checkpoint_files::CheckpointFiles;
pub(crate) use self::checkpoint_files::write_checkpoint_files;
use crate::StoreError;
use crate::account::AccountCell;
use crate::account::state::AccountState;
use crate::journal::segments::{Segment, segment_name};
use crate::journal::{Purpose, Status};
use crate::volume::VolumeInner;

/// How often housekeeping looks for work without being poked.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Bytes of a segment that is not needed soon that are zeroed at once, and the pause behind them: a pace of 64 MB/s.
const ZEROING_BYTES: u64 = 256 * 1024;
const ZEROING_PAUSE: Duration = Duration::from_millis(4);

/// Bytes zeroed at once of a segment that is needed soon: without a turn of the background in between, which a busy core gives
/// only now and then.
const ZEROING_HURRY_BYTES: u64 = 8 * 1024 * 1024;

/// Between two checkpoints at least so many times the bytes of the table of accounts are written.
const TABLE_SHARE: u64 = 4;

/// Mailboxes shown as recent that wait to be written down, at most.
const RECENTS_MAX: usize = 4096;

/// What housekeeping remembers.
pub(crate) struct Housekeeping {
    wanted: Notify,
    snapshots: RefCell<Vec<Rc<AccountCell>>>,
    recents: RefCell<Vec<(Rc<AccountCell>, MailboxId, Uid)>>,
    /// One checkpoint at a time.
    checkpointing: Semaphore,
    last_checkpoint: Cell<LastCheckpoint>,
    checkpoint_files: CheckpointFiles,
    /// Made, but not yet listed in the checkpoint files, so not yet to be used.
    unlisted: RefCell<Option<Rc<Segment>>>,
    /// Compaction gained next to nothing when so many bytes had come to be of no use.
    futile_at: Cell<Option<u64>>,
    /// Journal bytes after which the next look is due.
    looked_at: Cell<LogPosition>,
}

/// Of the last checkpoint.
#[derive(Clone, Copy, Debug, Default)]
struct LastCheckpoint {
    scan_from: LogPosition,
    accounts: u64,
}

impl LastCheckpoint {
    /// Where the journal has to be for the next one to be due: the table of accounts, which is written with each, must stay a
    /// small part of what is written.
    fn next_due(self, checkpoint_bytes: u64) -> LogPosition {
        let table_bytes = self.accounts.saturating_mul(ACCOUNT_ENTRY_BYTES as u64);
        let distance = checkpoint_bytes
            .max(TABLE_SHARE * table_bytes)
            .saturating_add(table_bytes);
        LogPosition(self.scan_from.0.saturating_add(distance))
    }
}

impl Housekeeping {
    /// `checkpoint` is as it is on the disk; `None` when the volume is not to be written.
    pub(crate) fn new(checkpoint: Option<Checkpoint>) -> Self {
        let last_checkpoint = checkpoint
            .as_ref()
            .map_or(LastCheckpoint::default(), |checkpoint| LastCheckpoint {
                scan_from: checkpoint.scan_from,
                accounts: checkpoint.accounts,
            });
        Self {
            wanted: Notify::new(),
            snapshots: RefCell::default(),
            recents: RefCell::default(),
            checkpointing: Semaphore::new(1),
            last_checkpoint: Cell::new(last_checkpoint),
            checkpoint_files: CheckpointFiles::new(checkpoint),
            unlisted: RefCell::default(),
            futile_at: Cell::new(None),
            looked_at: Cell::default(),
        }
    }

    pub(crate) fn poke(&self) {
        self.wanted.notify_all();
    }

    /// A batch is durable: looks for work now and then.
    pub(crate) fn batch_written(&self, volume: &VolumeInner) {
        let (durable, _) = volume.journal.durable();
        let every = (volume.options.checkpoint_bytes / 16).max(1);
        // With next to no room any deletion may make some.
        if durable.0 - self.looked_at.get().0 >= every || volume.journal.is_nearly_full() {
            self.looked_at.set(durable);
            self.poke();
        }
    }

    /// A link is durable: a snapshot may be due.
    pub(crate) fn link_durable(&self, account: &Rc<AccountCell>, least: u32) {
        if account.snapshot_due.get() {
            return;
        }
        let due = {
            let state = account.state.borrow();
            // A big image is written less often: a kilobyte of it for each link, so that snapshots of a large mailbox stay
            // a small part of what is written. A link costs a read when the account is loaded, which bounds it.
            let by_size = u32::try_from(state.chain.image_bytes / 1024).unwrap_or(u32::MAX);
            state.chain.links > least.max(by_size.min(32 * least))
        };
        if due {
            account.snapshot_due.set(true);
            self.snapshots.borrow_mut().push(account.clone());
            self.poke();
        }
    }

    /// Messages of a mailbox were shown as recent.
    pub(crate) fn note_recent(&self, account: &Rc<AccountCell>, mailbox: MailboxId, first: Uid) {
        let mut recents = self.recents.borrow_mut();
        // A volume that takes no changes writes none of them down; losing one makes messages recent once more.
        if recents.len() < RECENTS_MAX {
            recents.push((account.clone(), mailbox, first));
        }
        drop(recents);
        self.poke();
    }
}

/// See `Volume::maintain`.
pub(crate) async fn maintain(volume: Rc<VolumeInner>) {
    join(make_segments(&volume), keep_house(&volume)).await;
}

async fn make_segments(volume: &VolumeInner) {
    let journal = &volume.journal;
    loop {
        let wanted = journal.segments_wanted.notified();
        match journal.status() {
            Status::Closed => return,
            Status::Writable | Status::Closing if volume.segments.ready_count() < journal.segments_ahead() => {
                match make_segment(volume).await {
                    Ok(segment) => {
                        volume.segments.add_ready(segment);
                        journal.set_full(None);
                        continue;
                    }
                    Err(why) => {
                        if journal.full().is_none() {
                            tracing::warn!(volume = %volume.marker.volume, reason = %why, "no further segment can be made");
                            volume.housekeeping.poke();
                        }
                        journal.set_full(Some(why));
                    }
                }
            }
            Status::Writable | Status::Closing | Status::ReadOnly(_) | Status::Poisoned(_) => {}
        }
        wanted.await;
    }
}

/// Makes the next segment, or says why not.
async fn make_segment(volume: &VolumeInner) -> Result<Rc<Segment>, String> {
    let house = &volume.housekeeping;
    // One that could not be listed may be in a file all the same: it stays, and is listed now.
    let waiting = house.unlisted.borrow_mut().take();
    let segment = match waiting {
        Some(segment) => segment,
        None => make_segment_file(volume).await?,
    };
    let made = SegmentUse {
        number: segment.number,
        ..SegmentUse::default()
    };
    *house.unlisted.borrow_mut() = Some(segment.clone());
    let list = |checkpoint: &mut Checkpoint| {
        if !checkpoint.lists(made.number) {
            checkpoint.segments.push(made);
        }
        (checkpoint.durable_end, checkpoint.durable_sequence) = volume.journal.durable();
    };
    // From now on its absence is damage: whatever is written to it cannot be lost in silence.
    let listed = house.checkpoint_files.replace(&*volume.disk, list).await;
    listed.map_err(|error| format!("listing {}: {error}", segment_name(segment.number)))?;
    *house.unlisted.borrow_mut() = None;
    Ok(segment)
}

async fn make_segment_file(volume: &VolumeInner) -> Result<Rc<Segment>, String> {
    let segment_bytes = volume.segments.segment_bytes();
    let files = volume.segments.file_count() + 1;
    if files > SEGMENTS_MAX as u64 {
        return Err(format!("a volume has at most {SEGMENTS_MAX} segments"));
    }
    if let Some(most) = volume.options.volume_bytes_max
        && files.saturating_mul(segment_bytes) > most
    {
        return Err(format!("the volume may take {most} bytes"));
    }
    let free = volume
        .disk
        .free_bytes()
        .await
        .map_err(|error| format!("asking for free space: {error}"))?;
    if free < segment_bytes.saturating_add(volume.options.reserve_bytes) {
        return Err(format!("{free} bytes are free, a segment takes {segment_bytes}"));
    }
    let number = volume.segments.next_number();
    let name = segment_name(number);
    let pace = |zeroed| zeroing_pause(volume, zeroed).boxed_local();
    match volume.disk.create_zeroed(&name, segment_bytes, &pace).await {
        Ok(file) => Ok(Segment::new(number, file)),
        Err(error) => {
            // What is there of it is of no use, and may take the last space. When it cannot be removed, the next opening does.
            let _ = volume.disk.remove(&name).await;
            Err(format!("making {name}: {error}"))
        }
    }
}

/// Waits while a segment that is made ahead is far enough: zeroing takes the disk from the journal. Gives the bytes to zero next.
async fn zeroing_pause(volume: &VolumeInner, zeroed: u64) -> u64 {
    let Some(sleep) = &volume.options.sleep else {
        return ZEROING_HURRY_BYTES;
    };
    let frontier = volume.journal.frontier();
    let used = volume.segments.offset_of(frontier);
    // New mail needs one segment ahead at any time, so this one has to be there before the current one is full.
    let ahead = volume.segments.ready_count() > 0 && zeroed > used + used / 4;
    if ahead && volume.journal.status() == Status::Writable {
        sleep(ZEROING_PAUSE).await;
        return ZEROING_BYTES;
    }
    ZEROING_HURRY_BYTES
}

async fn keep_house(volume: &Rc<VolumeInner>) {
    loop {
        let wanted = volume.housekeeping.wanted.notified();
        if matches!(volume.journal.status(), Status::Closing | Status::Closed) {
            return;
        }
        match once(volume).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(volume = %volume.marker.volume, %error, "housekeeping stopped, and goes on later");
            }
        }
        match &volume.options.sleep {
            Some(sleep) => drop(select(wanted, sleep(LOOK_EVERY)).await),
            None => wanted.await,
        }
    }
}

/// Does the most urgent work. True when there may be more.
async fn once(volume: &Rc<VolumeInner>) -> Result<bool, StoreError> {
    if volume.journal.status() != Status::Writable {
        return Ok(false);
    }
    let house = &volume.housekeeping;
    note_table_bytes(volume);
    let recents = std::mem::take(&mut *house.recents.borrow_mut());
    for (account, mailbox, first) in recents {
        write_recent(volume, account, mailbox, first).await?;
    }
    let due = house.snapshots.borrow_mut().pop();
    if let Some(account) = due {
        let result = volume.snapshot(&account, Purpose::Change).await;
        // After a failure the next link says again that it is due.
        account.snapshot_due.set(false);
        result?;
        return Ok(true);
    }
    crate::volume::counters::add(&volume.counters.evictions, volume.accounts.evict());
    let (durable, _) = volume.journal.durable();
    if durable >= house.last_checkpoint.get().next_due(volume.options.checkpoint_bytes) {
        checkpoint::write(volume, false).await?;
        return Ok(true);
    }
    compaction::compact_some(volume).await
}

/// Bytes of the table of accounts.
fn table_bytes(volume: &VolumeInner) -> u64 {
    (volume.heads.borrow().len() * ACCOUNT_ENTRY_BYTES) as u64
}

/// Tells the journal what the next checkpoint's table takes.
fn note_table_bytes(volume: &VolumeInner) {
    let bytes = table_bytes(volume);
    // Small ones are within what is kept anyway. Records have frames, and batches ends that nothing fits into.
    let kept = volume.segments.segment_bytes() / 16;
    let bytes = if bytes <= kept { 0 } else { bytes + bytes / 4 };
    volume.journal.set_table_bytes(bytes);
}

async fn write_recent(
    volume: &VolumeInner,
    account: Rc<AccountCell>,
    mailbox: MailboxId,
    first: Uid,
) -> Result<(), StoreError> {
    let pass = account.pass_shared().await;
    let decide = |state: &AccountState| {
        let there = state.standing.is_here() && state.mailboxes.contains_key(&mailbox);
        Ok(there.then_some((Change::Recent { mailbox, first }, ())))
    };
    // Nobody waits for it.
    volume.change(&account, pass, Purpose::Change, decide).await.map(drop)
}

/// Gives other work a turn, and pauses.
pub(crate) async fn pause(volume: &VolumeInner) {
    match &volume.options.sleep {
        Some(sleep) => sleep(volume.options.compaction_pause).await,
        None => yield_once().await,
    }
}

/// Ends the turn of this task once.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// See `Volume::close`.
pub(crate) async fn close(volume: &Rc<VolumeInner>) {
    let journal = &volume.journal;
    volume.drop_kept_readers();
    match journal.status() {
        Status::Closed => return,
        Status::Writable => {
            journal.set_status(Status::Closing);
            volume.housekeeping.poke();
            if let Err(error) = journal.flush().await {
                tracing::warn!(volume = %volume.marker.volume, %error, "closed without all changes");
            } else if let Err(error) = checkpoint::write(volume, true).await {
                // The next opening reads more of the journal, nothing else.
                tracing::warn!(volume = %volume.marker.volume, %error, "closed without a checkpoint");
            }
        }
        Status::Closing | Status::ReadOnly(_) | Status::Poisoned(_) => {}
    }
    journal.set_status(Status::Closed);
    volume.housekeeping.poke();
}
