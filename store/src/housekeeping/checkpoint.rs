//! Writing a checkpoint: the table of accounts into the journal, then the small files that point to it.
//!
//! The table is copied in parts while the volume goes on, so parts may be newer than the place where recovery begins to read.
//! That does no harm: a link that recovery reads again sets its account's head once more, in the same order.

use std::rc::Rc;

use pigeon_store_format::{
    ACCOUNT_ENTRY_BYTES, AccountTable, Checkpoint, LogPosition, RecordKind, SegmentUse, occupied_bytes,
};

use super::LastCheckpoint;
use crate::StoreError;
use crate::journal::{Purpose, Status};
use crate::volume::VolumeInner;
use crate::volume::counters::add;

/// Payload of one part of the table, at most, bytes.
const PART_BYTES_MAX: usize = 128 * 1024;

/// Writes a checkpoint; durable when it returns. With `clean` the volume is closed when it is written.
pub(super) async fn write(volume: &Rc<VolumeInner>, clean: bool) -> Result<(), StoreError> {
    let house = &volume.housekeeping;
    let _turn = house.checkpointing.acquire(1).await;
    let journal = &volume.journal;
    journal.check(Purpose::Checkpoint)?;
    // The place to read from, and the counts of live bytes as of that place.
    let (scan_from, scan_sequence) = journal.durable();
    let mut segments = volume.segments.uses();
    let (table, accounts) = write_table(volume).await?;
    journal.flush().await?;
    let change = |checkpoint: &mut Checkpoint| {
        // Those made since, or made and not yet begun.
        let known = segments.last().map_or(0, |last| last.number + 1);
        let made = checkpoint.segments.iter().filter(|made| made.number >= known);
        segments.extend(made.map(|made| SegmentUse {
            number: made.number,
            ..SegmentUse::default()
        }));
        checkpoint.clean = clean;
        checkpoint.scan_from = scan_from;
        checkpoint.scan_sequence = scan_sequence;
        (checkpoint.durable_end, checkpoint.durable_sequence) = journal.durable();
        checkpoint.scan_epoch = journal.epoch();
        checkpoint.table = table;
        checkpoint.accounts = accounts;
        checkpoint.segments = segments;
    };
    house.checkpoint_files.replace(&*volume.disk, change).await?;
    house.last_checkpoint.set(LastCheckpoint { scan_from, accounts });
    add(&volume.counters.checkpoints, 1);
    if clean {
        // Whoever waits for the next turn must write no more.
        journal.set_status(Status::Closed);
    }
    Ok(())
}

/// Gives the last part's position, and how many accounts there are.
async fn write_table(volume: &VolumeInner) -> Result<(LogPosition, u64), StoreError> {
    let journal = &volume.journal;
    let part_bytes = PART_BYTES_MAX.min(journal.payload_bytes_max() / 4);
    let part_accounts = (part_bytes / ACCOUNT_ENTRY_BYTES).max(1);
    let mut previous = LogPosition::NONE;
    let mut accounts = 0;
    let mut part = Vec::new();
    let shards = volume.heads.borrow().shard_count();
    for shard in 0..shards {
        let entries = volume.heads.borrow().copy_of_shard(shard);
        accounts += entries.len() as u64;
        for entry in entries {
            part.push(entry);
            if part.len() == part_accounts {
                previous = write_part(volume, previous, &part).await?;
                part.clear();
            }
        }
    }
    if !part.is_empty() {
        previous = write_part(volume, previous, &part).await?;
    }
    Ok((previous, accounts))
}

async fn write_part(
    volume: &VolumeInner,
    previous: LogPosition,
    part: &[(pigeon_store_format::AccountId, pigeon_store_format::AccountHead)],
) -> Result<LogPosition, StoreError> {
    let mut payload = Vec::with_capacity(16 + part.len() * ACCOUNT_ENTRY_BYTES);
    AccountTable::encode(&mut payload, previous, part);
    volume
        .journal
        .room(occupied_bytes(payload.len()), Purpose::Checkpoint)
        .await?;
    Ok(volume
        .journal
        .push(RecordKind::AccountTable, Purpose::Checkpoint, &payload, &[])
        .position)
}
