//! Group commit: writes one batch after the other, and lets each take effect.

use std::rc::Rc;

use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{BATCH_HEADER_BYTES, LogPosition, RECORD_HEADER_BYTES};

use super::batch::{Batch, Effect, Entry};
use super::outcome::Outcome;
use super::segments::segment_name;
use super::{Journal, Status};
use crate::StoreError;
use crate::volume::VolumeInner;

/// Buffers kept for further batches: one to fill while one is written, and one between.
const SPARE_BUFFERS_MAX: usize = 2;

/// A batch on its way to the disk.
struct Sealed {
    batch: Batch,
    bytes: usize,
    sequence: u64,
}

impl Journal {
    /// Takes the open batch when there is something in it.
    fn seal(&self) -> Option<Sealed> {
        let mut state = self.state.borrow_mut();
        if matches!(state.status, Status::Poisoned(_) | Status::Closed) {
            return None;
        }
        let mut batch = state.open.take_if(|open| open.urgent)?;
        let sequence = state.sequence;
        let bytes = batch.seal(self.tag, sequence, self.epoch);
        state.sequence += 1;
        state.next = LogPosition(batch.base.0 + bytes as u64);
        state.writing = Some(batch.outcome.clone());
        drop(state);
        self.room_changed.notify_all();
        Some(Sealed { batch, bytes, sequence })
    }

    fn recycle(&self, buffer: AlignedBuffer, mut entries: Vec<Entry>) {
        entries.clear();
        let mut state = self.state.borrow_mut();
        if state.spare.len() < SPARE_BUFFERS_MAX {
            state.spare.push((buffer, entries));
        }
    }

    /// No further acknowledgement, for those in the open batch either.
    fn poison(&self, why: String, writing: &Outcome) {
        tracing::error!(reason = %why, "volume takes no changes until it is opened again");
        let open = {
            let mut state = self.state.borrow_mut();
            state.status = Status::Poisoned(why.clone());
            state.writing = None;
            state.open.take()
        };
        writing.settle(Err(StoreError::Poisoned(why.clone())));
        if let Some(open) = open {
            open.outcome.settle(Err(StoreError::Poisoned(why)));
        }
        self.room_changed.notify_all();
        self.segments_wanted.notify_all();
    }
}

/// The journal's writer; see `Volume::drive`.
pub(crate) async fn drive(volume: Rc<VolumeInner>) {
    let journal = &volume.journal;
    loop {
        let work = journal.work.notified();
        let Some(Sealed { batch, bytes, sequence }) = journal.seal() else {
            if matches!(journal.status(), Status::Closed) {
                return;
            }
            work.await;
            continue;
        };
        let lazy_cost = batch.lazy_cost();
        let Batch {
            buffer,
            segment,
            base,
            entries,
            outcome,
            ..
        } = batch;
        let offset = volume.segments.offset_of(base);
        let (result, buffer) = segment.file.write_durable(offset, buffer, bytes).await;
        if let Err(error) = result {
            let name = segment_name(segment.number);
            let why = format!("writing batch {sequence}, {bytes} bytes at offset {offset} of {name}: {error}");
            journal.poison(why, &outcome);
            drop(entries);
            continue;
        }
        let end = LogPosition(base.0 + bytes as u64);
        segment.written_bytes.set(offset + bytes as u64);
        {
            let mut state = journal.state.borrow_mut();
            state.durable = end;
            state.durable_sequence = sequence + 1;
            state.writing = None;
        }
        for entry in &entries {
            apply(&volume, base, &buffer, entry);
        }
        volume.counters.batch_written(bytes as u64, lazy_cost);
        journal.recycle(buffer, entries);
        outcome.settle(Ok(()));
        volume.housekeeping.batch_written(&volume);
    }
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
