//! Group commit: writes batches in their order, and lets each take effect when it and all before it are durable.
//!
//! What waits goes to the disk before the batch that has just arrived takes effect, so that the disk has something to do while
//! those who waited for that batch go on.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{BATCH_HEADER_BYTES, LogPosition, RECORD_HEADER_BYTES};

use super::batch::{Batch, Effect, Entry};
use super::outcome::Outcome;
use super::segments::{Segment, segment_name};
use super::{Journal, Status, UnderWay};
use crate::StoreError;
use crate::housekeeping::yield_once;
use crate::volume::VolumeInner;

/// Batches under way to the disk at once, at most. With two, processor and disk work at the same time, and the disk goes on while
/// the core hears of a write's end. Each more would be one more that may be torn, for nothing that was measured.
pub(crate) const WRITES_MAX: usize = 2;

/// A batch is written beside another when it is at least so large a part of that one, otherwise it grows until that one is
/// durable: small batches cost the disk as much as bigger ones.
const BESIDE_PART: usize = 2;

/// Buffers kept for further batches: as many as are in use at once, one that is filled and one that takes effect beside those
/// that are written. A buffer made anew has to be zeroed, which costs more than all the records of a batch.
const SPARE_BUFFERS_MAX: usize = WRITES_MAX + 2;

/// When so many wait for a batch and the disk has nothing to do, the first half of them is woken first: what they put into the
/// journal is written while the others are woken, and the two halves take turns from then on.
const HALVES_FROM: usize = 8;

/// A batch that is ready to be written.
struct Sealed {
    batch: Batch,
    bytes: usize,
    sequence: u64,
    lazy_cost: u64,
}

/// A batch on its way to the disk.
struct Write {
    under_way: LocalBoxFuture<'static, (io::Result<()>, AlignedBuffer)>,
    /// Set when it has arrived; those before it may still be under way.
    arrived: Option<(io::Result<()>, AlignedBuffer)>,
    segment: Rc<Segment>,
    base: LogPosition,
    bytes: usize,
    sequence: u64,
    lazy_cost: u64,
    entries: Vec<Entry>,
    outcome: Rc<Outcome>,
}

impl Write {
    fn new(volume: &VolumeInner, sealed: Sealed) -> Write {
        let Sealed {
            batch,
            bytes,
            sequence,
            lazy_cost,
        } = sealed;
        let Batch {
            buffer,
            segment,
            base,
            entries,
            outcome,
            ..
        } = batch;
        let offset = volume.segments.offset_of(base);
        let file = segment.file.clone();
        Write {
            under_way: async move { file.write_durable(offset, buffer, bytes).await }.boxed_local(),
            arrived: None,
            segment,
            base,
            bytes,
            sequence,
            lazy_cost,
            entries,
            outcome,
        }
    }

    /// Looks whether it has arrived. The first call begins the write.
    fn poll(&mut self, context: &mut Context<'_>) {
        if self.arrived.is_none()
            && let Poll::Ready(arrived) = self.under_way.poll_unpin(context)
        {
            self.arrived = Some(arrived);
        }
    }
}

impl Journal {
    /// Takes the open batch when it is to be written now.
    fn seal(&self) -> Option<Sealed> {
        let mut state = self.state.borrow_mut();
        if matches!(state.status, Status::Poisoned(_) | Status::Closed) || state.writing.len() >= WRITES_MAX {
            return None;
        }
        let beside = state.writing.back().map_or(0, |batch| batch.bytes);
        let mut batch = state
            .open
            .take_if(|open| open.urgent && open.used() * BESIDE_PART >= beside)?;
        let lazy_cost = batch.lazy_cost();
        let sequence = state.sequence;
        let under_way = u32::try_from(state.writing.len()).expect("bounded by WRITES_MAX");
        let bytes = batch.seal(self.tag, sequence, self.epoch, under_way);
        state.sequence += 1;
        state.next = LogPosition(batch.base.0 + bytes as u64);
        let outcome = batch.outcome.clone();
        state.writing.push_back(UnderWay { outcome, bytes });
        drop(state);
        self.room_changed.notify_all();
        Some(Sealed {
            batch,
            bytes,
            sequence,
            lazy_cost,
        })
    }

    /// The oldest batch under way is durable.
    fn note_durable(&self, end: LogPosition, sequence: u64) {
        let mut state = self.state.borrow_mut();
        state.durable = end;
        state.durable_sequence = sequence + 1;
        state.writing.pop_front();
    }

    fn recycle(&self, buffer: AlignedBuffer, mut entries: Vec<Entry>) {
        entries.clear();
        let mut state = self.state.borrow_mut();
        if state.spare.len() < SPARE_BUFFERS_MAX {
            state.spare.push((buffer, entries));
        }
    }

    /// No further acknowledgement, for what is under way and in the open batch either.
    fn poison(&self, why: &str) {
        tracing::error!(reason = %why, "volume takes no changes until it is opened again");
        let (writing, open) = {
            let mut state = self.state.borrow_mut();
            state.status = Status::Poisoned(why.to_owned());
            (std::mem::take(&mut state.writing), state.open.take())
        };
        let writing = writing.into_iter().map(|batch| batch.outcome);
        for outcome in writing.chain(open.map(|open| open.outcome)) {
            drop(outcome.settle(Err(StoreError::Poisoned(why.to_owned()))));
        }
        self.room_changed.notify_all();
        self.segments_wanted.notify_all();
    }
}

/// The journal's writer; see `Volume::drive`.
pub(crate) async fn drive(volume: Rc<VolumeInner>) {
    let journal = &volume.journal;
    // Oldest first.
    let mut writes: VecDeque<Write> = VecDeque::with_capacity(WRITES_MAX);
    loop {
        let work = journal.work.notified();
        let arrived = writes.front_mut().and_then(|write| write.arrived.take());
        if let Some((result, buffer)) = arrived
            && let Some(write) = writes.pop_front()
        {
            take_in(&volume, &mut writes, write, result, buffer).await;
            continue;
        }
        start(&volume, &mut writes).await;
        if writes.is_empty() {
            if matches!(journal.status(), Status::Closed) {
                return;
            }
            work.await;
            continue;
        }
        let mut work = pin!(work);
        poll_fn(|context| {
            // All of them are polled: each wakes this task when it arrives.
            writes.iter_mut().for_each(|write| write.poll(context));
            let arrived = writes.front().is_some_and(|write| write.arrived.is_some());
            let more = writes.len() < WRITES_MAX && work.as_mut().poll(context).is_ready();
            if arrived || more {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// Begins to write what is to be written now. True when there was anything.
async fn start(volume: &VolumeInner, writes: &mut VecDeque<Write>) -> bool {
    let before = writes.len();
    while let Some(sealed) = volume.journal.seal() {
        let mut write = Write::new(volume, sealed);
        poll_fn(|context| {
            write.poll(context);
            Poll::Ready(())
        })
        .await;
        writes.push_back(write);
    }
    writes.len() > before
}

/// The oldest write has arrived: the next begins, then the batch takes effect, and those who waited go on.
async fn take_in(
    volume: &VolumeInner,
    writes: &mut VecDeque<Write>,
    write: Write,
    result: io::Result<()>,
    buffer: AlignedBuffer,
) {
    let journal = &volume.journal;
    let Write {
        segment,
        base,
        bytes,
        sequence,
        lazy_cost,
        entries,
        outcome,
        ..
    } = write;
    let offset = volume.segments.offset_of(base);
    if let Err(error) = result {
        let name = segment_name(segment.number);
        journal.poison(&format!(
            "writing batch {sequence}, {bytes} bytes at offset {offset} of {name}: {error}"
        ));
        // Those who waited for batches behind it were told. Nothing may be on its way when the volume is opened again.
        for write in writes.drain(..).filter(|write| write.arrived.is_none()) {
            drop(write.under_way.await);
        }
        return;
    }
    segment.written_bytes.set(offset + bytes as u64);
    journal.note_durable(LogPosition(base.0 + bytes as u64), sequence);
    if start(volume, writes).await {
        volume.disk.submit();
    }
    for entry in &entries {
        apply(volume, base, &buffer, entry);
    }
    volume.counters.batch_written(bytes as u64, lazy_cost);
    journal.recycle(buffer, entries);
    let mut waiting = outcome.settle(Ok(()));
    volume.housekeeping.batch_written(volume);
    if writes.is_empty() && waiting.count() >= HALVES_FROM {
        waiting.wake_half();
        yield_once().await;
        if start(volume, writes).await {
            volume.disk.submit();
        }
    }
    drop(waiting);
}

fn apply(volume: &VolumeInner, base: LogPosition, buffer: &[u8], entry: &Entry) {
    debug_assert!(entry.offset >= BATCH_HEADER_BYTES);
    let payload = &buffer[entry.offset + RECORD_HEADER_BYTES..entry.offset + entry.length];
    let position = LogPosition(base.0 + entry.offset as u64);
    match &entry.effect {
        Effect::Link { account, _pass: _ } => volume.link_durable(account, entry.kind, position, payload),
        Effect::Body => volume.bodies.insert(position, payload),
    }
}
