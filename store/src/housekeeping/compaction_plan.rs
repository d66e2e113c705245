//! The first half of compaction: what in a segment is still of use.
//!
//! The records tell which accounts to ask, and the accounts' indices tell what is live. Counters are not trusted with that.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use pigeon_store_format::{AccountId, Body, BodyChunk, BodyEnd, LogPosition, RecordKind, records, verify_batch};

use super::pause;
use crate::StoreError;
use crate::journal::segments::{Segment, segment_name};
use crate::journal::walk::Walk;
use crate::volume::VolumeInner;

/// What has to leave a segment.
pub(super) struct Plan {
    /// Whole bodies, with an account that refers to each: sorted, one item for each account.
    pub(super) whole: Vec<(LogPosition, AccountId)>,
    /// Ends of streamed bodies that may have something there.
    pub(super) streamed: BTreeSet<LogPosition>,
}

/// Reads the segment once and asks every account that it names.
pub(super) async fn plan(volume: &Rc<VolumeInner>, segment: &Rc<Segment>) -> Result<Plan, StoreError> {
    let accounts = accounts_named_in(volume, segment).await?;
    let from = volume.segments.start_of(segment.number);
    let to = volume.segments.start_of(segment.number + 1);
    let mut plan = Plan {
        whole: Vec::new(),
        streamed: BTreeSet::new(),
    };
    for (count, account) in accounts.into_iter().enumerate() {
        let cell = volume.account(account).await?;
        {
            let state = cell.state.borrow();
            for mailbox in state.mailboxes.values() {
                let mailbox = mailbox.state.borrow();
                let whole = mailbox.messages.iter().filter(|message| !message.body.streamed);
                let here = whole
                    .map(|message| message.body.position)
                    .filter(|position| (from..to).contains(position));
                plan.whole.extend(here.map(|position| (position, account)));
            }
            let here = state.starts.iter().filter(|(end, start)| **start < to && **end >= from);
            plan.streamed.extend(here.map(|(end, _)| *end));
        }
        if count % 64 == 63 {
            pause(volume).await;
        }
    }
    plan.whole.sort_unstable();
    plan.whole.dedup();
    Ok(plan)
}

async fn accounts_named_in(volume: &VolumeInner, segment: &Rc<Segment>) -> Result<HashSet<AccountId>, StoreError> {
    let mut accounts = HashSet::new();
    let tag = volume.journal.tag();
    let window = (volume.marker.batch_bytes_max as usize).max(volume.options.compaction_bytes_per_turn.min(1 << 20));
    let mut walk = Walk::new(
        segment.file.clone(),
        tag,
        volume.segments.start_of(segment.number),
        window,
    );
    let mut offset = 0;
    let mut paused_at = 0;
    while offset < segment.written_bytes.get() {
        let damaged = |what: &str| StoreError::Damaged {
            what: format!("batch at offset {offset} of {}: {what}", segment_name(segment.number)),
        };
        let batch = walk.batch_at(offset).await.map_err(|error| {
            StoreError::Io(format!(
                "reading offset {offset} of {}: {error}",
                segment_name(segment.number)
            ))
        })?;
        let (header, bytes) = batch.ok_or_else(|| damaged("no batch"))?;
        verify_batch(tag, &header, bytes).map_err(|error| damaged(error.0))?;
        for record in records(tag, &header, bytes).map_err(|error| damaged(error.0))? {
            let record = record.map_err(|error| damaged(error.0))?;
            match record.kind {
                RecordKind::Body => {
                    let body = Body::decode(record.payload).map_err(|error| damaged(error.0))?;
                    accounts.extend(body.entries.iter().filter_map(|entry| entry.account));
                }
                RecordKind::BodyChunk => {
                    let chunk = BodyChunk::decode(record.payload).map_err(|error| damaged(error.0))?;
                    accounts.extend(chunk.accounts());
                }
                RecordKind::BodyEnd => {
                    let end = BodyEnd::decode(record.payload).map_err(|error| damaged(error.0))?;
                    accounts.extend(end.entries.iter().filter_map(|entry| entry.account));
                }
                // Links and snapshots are found through the table of accounts.
                _ => {}
            }
        }
        offset += header.padded_bytes();
        if offset - paused_at >= volume.options.compaction_bytes_per_turn as u64 {
            paused_at = offset;
            pause(volume).await;
        }
    }
    Ok(accounts)
}
