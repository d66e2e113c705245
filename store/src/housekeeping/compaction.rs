//! Compaction: what is live in a segment goes to the journal's end, then the segment is removed and its space is free. Where the
//! table of accounts is big, several segments share the checkpoint that ends it.
//!
//! Order: bodies, then the records that send messages to their new places, then snapshots of accounts whose records are in the
//! segment, then a checkpoint that no longer knows it, then the file. Cut off anywhere, the old places are still there and
//! still good.
//!
//! A body never loses its last copy: what is not in the account's index when it is asked can come to be there only through a body
//! that is not delivered yet, and segments with such bodies are not compacted.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{
    AccountId, Body, BodyChunk, BodyEnd, BodyEntry, Change, Extent, LogPosition, Message, MovedBody, RecordKind,
    occupied_bytes,
};

use super::compaction_plan::plan;
use super::{TABLE_SHARE, checkpoint, pause, table_bytes};
use crate::StoreError;
use crate::account::state::AccountState;
use crate::journal::outcome::Durable;
use crate::journal::segments::{Segment, Segments, segment_name};
use crate::journal::{Purpose, Status};
use crate::options::BODY_CHUNK_BYTES;
use crate::volume::VolumeInner;
use crate::volume::counters::add;

/// A nearly full volume compacts segments that have more live bytes than others would bother with, in percent.
const URGENT_LIVE_PERCENT: u64 = 90;

/// Compaction that gains less than this part of a segment is futile.
const LEAST_GAIN: u64 = 16;

/// Accounts whose records go into the journal together: alone, each would cost a block. Meanwhile they take no other change.
const ACCOUNTS_AT_ONCE: usize = 32;

/// Bytes of bodies moved before the accounts are told: each telling looks at all messages of the account.
const TELL_EVERY_BYTES: u64 = 8 * 1024 * 1024;

/// Compacts where that gives most: one segment, or as many as are worth the checkpoint that ends it. False when none is worth it.
pub(super) async fn compact_some(volume: &Rc<VolumeInner>) -> Result<bool, StoreError> {
    let table_bytes = table_bytes(volume);
    let cost_before = volume.counters.housekeeping_bytes.get();
    let mut emptied: Vec<Rc<Segment>> = Vec::new();
    let mut bytes = 0;
    let mut tried = false;
    while let Some(segment) = choose(volume) {
        tried = true;
        match empty(volume, &segment).await {
            Ok(()) => {
                bytes += segment.written_bytes.get();
                volume.segments.remove_used(segment.number);
                emptied.push(segment);
            }
            Err(error @ (StoreError::Damaged { .. } | StoreError::Io(_) | StoreError::TooMany)) => {
                let name = segment_name(segment.number);
                tracing::error!(volume = %volume.marker.volume, segment = %name, %error, "segment cannot be compacted, and is kept");
                segment.stuck.set(true);
            }
            Err(error) => {
                put_back(volume, emptied);
                return Err(error);
            }
        }
        if bytes >= TABLE_SHARE * table_bytes {
            break;
        }
    }
    if emptied.is_empty() {
        return Ok(tried);
    }
    if let Err(error) = checkpoint::write(volume, false).await {
        put_back(volume, emptied);
        return Err(error);
    }
    volume.drop_kept_readers();
    for segment in &emptied {
        let name = segment_name(segment.number);
        if let Err(error) = volume.disk.remove(&name).await {
            // Nothing refers to it; the next opening removes it.
            tracing::warn!(volume = %volume.marker.volume, segment = %name, %error, "cannot remove an empty segment");
        }
        add(&volume.counters.segments_compacted, 1);
    }
    let cost = volume.counters.housekeeping_bytes.get() - cost_before;
    // It would go round in circles: wait until more has come to be of no use.
    let futile = bytes.saturating_sub(cost) < volume.segments.segment_bytes() / LEAST_GAIN;
    volume
        .housekeeping
        .futile_at
        .set(futile.then(|| volume.segments.discharged_bytes()));
    volume.journal.set_full(None);
    volume.journal.segments_wanted.notify_all();
    Ok(true)
}

/// What was emptied stays: no checkpoint says that it may go.
fn put_back(volume: &VolumeInner, emptied: Vec<Rc<Segment>>) {
    emptied
        .into_iter()
        .for_each(|segment| volume.segments.add_used(segment));
}

fn choose(volume: &VolumeInner) -> Option<Rc<Segment>> {
    if let Some(futile_at) = volume.housekeeping.futile_at.get() {
        let since = volume.segments.discharged_bytes().wrapping_sub(futile_at);
        let least = volume.segments.segment_bytes() / LEAST_GAIN;
        if since < least.max(table_bytes(volume)) {
            return None;
        }
    }
    let current = volume.segments.number_of(volume.journal.frontier());
    let first_open = volume.open_bodies.first_segment().unwrap_or(u64::MAX);
    // The writer may still be in the segment before the frontier's.
    let (durable, _) = volume.journal.durable();
    let behind = current.min(first_open).min(volume.segments.number_of(durable));
    let urgent = volume.journal.is_nearly_full();
    let percent = if urgent {
        URGENT_LIVE_PERCENT
    } else {
        u64::from(volume.options.compaction_live_percent)
    };
    let share = |segment: &Segment| segment.live_bytes.get() * 100 / segment.written_bytes.get().max(1);
    let sealed = volume.segments.all_used().into_iter();
    let sealed = sealed.filter(|segment| segment.number < behind && !segment.stuck.get());
    let most = volume.journal.compaction_bytes_max();
    sealed
        .filter(|segment| share(segment) <= percent && segment.live_bytes.get() <= most)
        .min_by_key(|segment| share(segment))
}

/// Moves what is live in a segment to the journal's end; durable when it returns.
async fn empty(volume: &Rc<VolumeInner>, segment: &Rc<Segment>) -> Result<(), StoreError> {
    let plan = plan(volume, segment).await?;
    let mut moves = Moves {
        volume,
        told: HashMap::new(),
        bytes: 0,
        bytes_at_pause: 0,
    };
    for same in plan.whole.chunk_by(|one, next| one.0 == next.0) {
        let accounts: Vec<AccountId> = same.iter().map(|(_, account)| *account).collect();
        moves.move_whole(segment, same[0].0, &accounts).await?;
    }
    for end in plan.streamed {
        moves.move_streamed(segment, end).await?;
    }
    moves.tell().await?;
    release_chains(volume, segment).await
}

/// Writes snapshots of all accounts that need records of the segment to be loaded.
async fn release_chains(volume: &Rc<VolumeInner>, segment: &Segment) -> Result<(), StoreError> {
    let from = volume.segments.start_of(segment.number);
    let to = volume.segments.start_of(segment.number + 1);
    let needs = |state: &AccountState| state.chain.segments.iter().any(|item| item.segment == segment.number);
    let shards = volume.heads.borrow().shard_count();
    for shard in 0..shards {
        let accounts = volume.heads.borrow().between(shard, from, to);
        for some in accounts.chunks(ACCOUNTS_AT_ONCE) {
            let mut under_way = Vec::new();
            for account in some {
                let cell = volume.account(*account).await?;
                let needed = needs(&cell.state.borrow());
                if needed && let Some(durable) = volume.push_snapshot(&cell, Purpose::Compaction).await? {
                    under_way.push((cell, durable));
                }
            }
            volume.journal.hurry();
            for (cell, durable) in under_way {
                durable.await?;
                assert!(!needs(&cell.state.borrow()), "a snapshot needs nothing from before it");
            }
            pause(volume).await;
        }
    }
    Ok(())
}

/// Bodies on their way to the journal's end.
struct Moves<'v> {
    volume: &'v Rc<VolumeInner>,
    /// What each account has to be told.
    told: HashMap<AccountId, Vec<MovedBody>>,
    bytes: u64,
    bytes_at_pause: u64,
}

impl Moves<'_> {
    async fn move_whole(
        &mut self,
        segment: &Segment,
        position: LogPosition,
        accounts: &[AccountId],
    ) -> Result<(), StoreError> {
        let volume = self.volume;
        let (kind, payload) = volume.read_record(segment, position, BODY_CHUNK_BYTES / 8).await?;
        let damaged = || StoreError::Damaged {
            what: format!("journal position {position}: not a body"),
        };
        if kind != RecordKind::Body {
            return Err(damaged());
        }
        let body = Body::decode(&payload).map_err(|_| damaged())?;
        let mut head = Vec::with_capacity(payload.len() - body.content.len());
        Body::encode_head(
            &mut head,
            body.info,
            body.entries.iter().map(|entry| blank_unless(entry, accounts)),
        );
        let bytes = occupied_bytes(head.len() + body.content.len());
        volume.journal.room(bytes, Purpose::Compaction).await?;
        let content = payload.slice_ref(body.content);
        let to = volume
            .journal
            .push(RecordKind::Body, Purpose::Compaction, &head, &[content])
            .position;
        self.note(
            accounts,
            MovedBody {
                from: position,
                to,
                start: LogPosition::NONE,
            },
        );
        self.count(bytes as u64).await
    }

    /// Moves a streamed body whole when any of it is in the segment, so that its pieces stay together.
    async fn move_streamed(&mut self, victim: &Segment, position: LogPosition) -> Result<(), StoreError> {
        let volume = self.volume;
        let missing = || StoreError::Damaged {
            what: format!("journal position {position}: its segment is missing"),
        };
        let damaged = || StoreError::Damaged {
            what: format!("journal position {position}: not a body's end"),
        };
        let Some(segment) = volume.segments.at(position) else {
            // Expunged, and its segment compacted, since the plan was made.
            return Ok(());
        };
        let (kind, payload) = volume.read_record(&segment, position, BODY_CHUNK_BYTES / 8).await?;
        if kind != RecordKind::BodyEnd {
            return Err(damaged());
        }
        let end = BodyEnd::decode(&payload).map_err(|_| damaged())?;
        let in_victim = |position: LogPosition| volume.segments.number_of(position) == victim.number;
        if !in_victim(position) && !end.extents().any(|extent| in_victim(extent.position)) {
            return Ok(());
        }
        let mut accounts = Vec::new();
        for account in end.entries.iter().filter_map(|entry| entry.account) {
            let cell = volume.account(account).await?;
            let refers = cell.state.borrow().refers_to(position);
            if refers && !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        if accounts.is_empty() {
            return Ok(());
        }
        let mut extents = Vec::with_capacity(end.extents().len());
        let mut offset = 0;
        for extent in end.extents() {
            let from = volume.segments.at(extent.position).ok_or_else(missing)?;
            let to = self.move_chunk(&from, end.body, offset, extent, &accounts).await?;
            extents.push(Extent {
                position: to,
                length: extent.length,
            });
            offset += u64::from(extent.length);
        }
        let mut new = Vec::with_capacity(payload.len());
        let entries = end.entries.iter().map(|entry| blank_unless(entry, &accounts));
        BodyEnd::encode(&mut new, end.info, end.body, entries, &extents);
        volume
            .journal
            .room(occupied_bytes(new.len()), Purpose::Compaction)
            .await?;
        let to = volume
            .journal
            .push(RecordKind::BodyEnd, Purpose::Compaction, &new, &[])
            .position;
        let start = extents.iter().map(|extent| extent.position).min().unwrap_or(to);
        self.note(
            &accounts,
            MovedBody {
                from: position,
                to,
                start,
            },
        );
        Ok(())
    }

    async fn move_chunk(
        &mut self,
        segment: &Segment,
        body: u64,
        offset: u64,
        extent: Extent,
        accounts: &[AccountId],
    ) -> Result<LogPosition, StoreError> {
        let volume = self.volume;
        let (kind, payload) = volume
            .read_record(segment, extent.position, extent.length as usize + 4096)
            .await?;
        let chunk = BodyChunk::decode(&payload).ok().filter(|chunk| {
            kind == RecordKind::BodyChunk
                && chunk.body == body
                && chunk.offset == offset
                && chunk.content.len() == extent.length as usize
        });
        let chunk = chunk.ok_or_else(|| StoreError::Damaged {
            what: format!("journal position {}: not the chunk of a body", extent.position),
        })?;
        let mut head = Vec::new();
        BodyChunk::encode_head(&mut head, body, offset, accounts.iter().copied());
        let bytes = occupied_bytes(head.len() + chunk.content.len());
        let content: Bytes = payload.slice_ref(chunk.content);
        volume.journal.room(bytes, Purpose::Compaction).await?;
        let to = volume
            .journal
            .push(RecordKind::BodyChunk, Purpose::Compaction, &head, &[content])
            .position;
        self.pace(bytes as u64).await?;
        Ok(to)
    }

    fn note(&mut self, accounts: &[AccountId], body: MovedBody) {
        for account in accounts {
            self.told.entry(*account).or_default().push(body);
        }
    }

    /// So much was moved: tells accounts and pauses now and then.
    async fn count(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.pace(bytes).await?;
        if self.bytes >= TELL_EVERY_BYTES {
            self.bytes = 0;
            self.bytes_at_pause = 0;
            self.tell().await?;
        }
        Ok(())
    }

    async fn pace(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.bytes += bytes;
        add(&self.volume.counters.compaction_bytes, bytes);
        if self.bytes - self.bytes_at_pause >= self.volume.options.compaction_bytes_per_turn as u64 {
            self.bytes_at_pause = self.bytes;
            pause(self.volume).await;
        }
        match self.volume.journal.status() {
            Status::Writable => Ok(()),
            _ => Err(StoreError::Closed),
        }
    }

    /// Sends the messages of all accounts to the new places; durable when it returns.
    async fn tell(&mut self) -> Result<(), StoreError> {
        let volume = self.volume;
        let at_once = (volume.journal.payload_bytes_max() / 4 / 24).max(1);
        let told: Vec<(AccountId, Vec<MovedBody>)> = std::mem::take(&mut self.told).into_iter().collect();
        for some in told.chunks(ACCOUNTS_AT_ONCE) {
            let mut under_way: Vec<Durable> = Vec::new();
            for (account, bodies) in some {
                let cell = volume.account(*account).await?;
                for bodies in bodies.chunks(at_once) {
                    if !under_way.is_empty() && cell.gate_is_busy() {
                        volume.journal.hurry();
                    }
                    let pass = cell.pass_alone().await;
                    let decide = |state: &AccountState| {
                        Ok(moved_change(state, bodies, &volume.segments).map(|change| (change, ())))
                    };
                    let pushed = volume.change(&cell, pass, Purpose::Compaction, decide).await?;
                    under_way.extend(pushed.map(|(durable, ())| durable));
                }
            }
            volume.journal.hurry();
            for durable in under_way {
                durable.await?;
            }
            pause(volume).await;
        }
        Ok(())
    }
}

/// The change that sends messages to the new places of their bodies; `None` when none is left that has to go.
fn moved_change(state: &AccountState, bodies: &[MovedBody], segments: &Segments) -> Option<Change<'static>> {
    let by_place: HashMap<LogPosition, &MovedBody> = bodies.iter().map(|body| (body.from, body)).collect();
    let mut seen: HashMap<(LogPosition, u16), Message> = HashMap::new();
    for mailbox in state.mailboxes.values() {
        let mailbox = mailbox.state.borrow();
        for message in mailbox
            .messages
            .iter()
            .filter(|message| by_place.contains_key(&message.body.position))
        {
            seen.insert((message.body.position, message.body.entry), *message);
        }
    }
    let (mut dead, mut live) = (Vec::new(), Vec::new());
    let mut gone: BTreeMap<LogPosition, MovedBody> = BTreeMap::new();
    for ((from, _), mut message) in seen {
        let body = by_place.get(&from)?;
        segments.add_share(&mut dead, &message, state.start_of(&message));
        message.body.position = body.to;
        segments.add_share(&mut live, &message, message.body.streamed.then_some(body.start));
        gone.insert(from, **body);
    }
    (!gone.is_empty()).then(|| Change::Moved {
        bodies: gone.into_values().collect(),
        dead,
        live,
    })
}

fn blank_unless<'e>(entry: BodyEntry<'e>, live: &[AccountId]) -> BodyEntry<'e> {
    if entry.account.is_some_and(|account| live.contains(&account)) {
        return entry;
    }
    BodyEntry {
        account: None,
        prepend: &[],
    }
}
