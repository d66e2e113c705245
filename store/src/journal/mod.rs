//! The journal: records go into the batch that is being filled while the batch before it is written.
//!
//! Invariants:
//! - A record's position is known when it is put into a batch; batches follow each other without gaps, except that the rest of a
//!   segment is left when the next record does not fit into it.
//! - At most `WRITES_MAX` batches are under way at once, and each says in its header how many before it are: so only those can be
//!   torn, and recovery knows.
//! - A batch is durable when it and all before it are. Its effects happen then, in the order of its records, and before anyone is
//!   told.
//! - `room` is a promise until the next await: what was asked for can be pushed without waiting.
//!
//! It does not know what the records mean; `writer` applies them.

pub(crate) mod batch;
pub(crate) mod outcome;
pub(crate) mod segments;
pub(crate) mod walk;
pub(crate) mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use pigeon_engine::file::AlignedBuffer;
use pigeon_engine::sync::{Notify, Semaphore};
use pigeon_store_format::{BATCH_HEADER_BYTES, BLOCK_BYTES, LogPosition, RecordKind, VolumeTag, occupied_bytes};

use self::batch::{Batch, Effect, Entry};
use self::outcome::{Durable, Outcome};
use self::segments::Segments;
use crate::StoreError;

/// What a record is for: what it may use of the last of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// New mail: leaves a segment's worth for the others.
    Body,
    /// Flags, expunges, mailboxes: leave half a segment for compaction.
    Change,
    /// Compaction: leaves an eighth of a segment, and room for all accounts, to the checkpoint that ends it.
    Compaction,
    /// A checkpoint: may use everything, and is written while the volume closes.
    Checkpoint,
}

impl Purpose {
    /// Nobody waits for such a record: it goes with the next batch that someone waits for, or when the batch is full, or when
    /// `hurry` says so. Alone it would cost a block.
    fn is_lazy(self) -> bool {
        matches!(self, Purpose::Compaction | Purpose::Checkpoint)
    }
}

/// Whether the journal takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Writable,
    ReadOnly(String),
    Poisoned(String),
    /// Only checkpoints.
    Closing,
    Closed,
}

/// Where the journal ends, and who wrote it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalEnd {
    pub(crate) position: LogPosition,
    /// Of the batch that will be written there.
    pub(crate) sequence: u64,
    /// Of the batches that will be written.
    pub(crate) epoch: u32,
}

pub(crate) struct Journal {
    tag: VolumeTag,
    epoch: u32,
    batch_bytes_max: usize,
    segments: Rc<Segments>,
    state: RefCell<State>,
    /// What a checkpoint's table of accounts takes, about: kept free for the one that ends a compaction.
    table_bytes: Cell<u64>,
    /// Those who wait for room form a line: one at a time looks again.
    line: Semaphore,
    room_changed: Notify,
    /// Wakes the writer.
    pub(crate) work: Notify,
    /// Wakes whoever makes segments ahead.
    pub(crate) segments_wanted: Notify,
}

struct State {
    status: Status,
    open: Option<Batch>,
    /// Buffers and lists of batches that are done.
    spare: Vec<(AlignedBuffer, Vec<Entry>)>,
    /// Where the next batch begins, when none is open.
    next: LogPosition,
    /// Of the next batch to be sealed.
    sequence: u64,
    durable: LogPosition,
    durable_sequence: u64,
    /// Of the batches under way to the disk, oldest first.
    writing: VecDeque<UnderWay>,
    /// Why no further segment can be made, when that was tried last.
    full: Option<String>,
}

/// A batch under way to the disk.
struct UnderWay {
    outcome: Rc<Outcome>,
    bytes: usize,
}

/// What was pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    pub(crate) position: LogPosition,
    kind: RecordKind,
    offset: usize,
    length: usize,
}

impl Journal {
    pub(crate) fn new(
        tag: VolumeTag,
        batch_bytes_max: usize,
        segments: Rc<Segments>,
        end: JournalEnd,
        status: Status,
    ) -> Self {
        let state = State {
            status,
            open: None,
            spare: Vec::new(),
            next: end.position,
            sequence: end.sequence,
            durable: end.position,
            durable_sequence: end.sequence,
            writing: VecDeque::new(),
            full: None,
        };
        Self {
            tag,
            epoch: end.epoch,
            batch_bytes_max,
            segments,
            state: RefCell::new(state),
            table_bytes: Cell::new(0),
            line: Semaphore::new(1),
            room_changed: Notify::new(),
            work: Notify::new(),
            segments_wanted: Notify::new(),
        }
    }

    pub(crate) fn tag(&self) -> VolumeTag {
        self.tag
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The most payload of one record.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.batch_bytes_max - BATCH_HEADER_BYTES - occupied_bytes(0)
    }

    pub(crate) fn status(&self) -> Status {
        self.state.borrow().status.clone()
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.state.borrow_mut().status = status;
        self.room_changed.notify_all();
        self.segments_wanted.notify_all();
        self.work.notify_all();
    }

    /// Up to where everything is durable, and the sequence of the batch there.
    pub(crate) fn durable(&self) -> (LogPosition, u64) {
        let state = self.state.borrow();
        (state.durable, state.durable_sequence)
    }

    /// No record pushed from now on is before this.
    pub(crate) fn frontier(&self) -> LogPosition {
        let state = self.state.borrow();
        state.open.as_ref().map_or(state.next, Batch::next_position)
    }

    /// Why no further segment can be made; `None` when one can, or that was not tried.
    pub(crate) fn full(&self) -> Option<String> {
        self.state.borrow().full.clone()
    }

    /// Tells what became of making segments ahead.
    pub(crate) fn set_full(&self, full: Option<String>) {
        self.state.borrow_mut().full = full;
        self.room_changed.notify_all();
    }

    /// Bytes that can be written before a further segment has to be made.
    pub(crate) fn bytes_left(&self) -> u64 {
        let segment_bytes = self.segments.segment_bytes();
        let ready = segment_bytes * self.segments.ready_count() as u64;
        // A position at a segment's very beginning is in a segment that is still among the ready ones, or to be made.
        let offset = self.segments.offset_of(self.frontier());
        let current = if offset == 0 { 0 } else { segment_bytes - offset };
        ready + current
    }

    /// What must be left behind a record of this purpose, bytes.
    pub(crate) fn reserve(&self, purpose: Purpose) -> u64 {
        let segment_bytes = self.segments.segment_bytes();
        let table_bytes = self.table_bytes.get();
        match purpose {
            // A compaction that ends with a big table has to move more than that to gain anything.
            Purpose::Body => segment_bytes + 3 * table_bytes,
            Purpose::Change => segment_bytes / 2 + 5 * table_bytes / 2,
            Purpose::Compaction => segment_bytes / 8 + table_bytes,
            Purpose::Checkpoint => 0,
        }
    }

    /// Tells what a checkpoint's table of accounts takes now, bytes.
    pub(crate) fn set_table_bytes(&self, bytes: u64) {
        if self.table_bytes.replace(bytes) != bytes {
            self.segments_wanted.notify_all();
        }
    }

    /// Segments that have to be ready ahead, so that what every purpose leaves is there: one to go on with, and what new mail leaves.
    pub(crate) fn segments_ahead(&self) -> usize {
        let reserved = self.reserve(Purpose::Body).div_ceil(self.segments.segment_bytes());
        usize::try_from(reserved).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Whether new mail is refused for lack of space: some body might not fit any more.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let biggest = (self.batch_bytes_max + BLOCK_BYTES) as u64;
        self.full().is_some() && self.bytes_left() < self.reserve(Purpose::Body) + biggest
    }

    /// The most live bytes of a segment that compaction may move now. When no further segment can be made it leaves to deletions
    /// what is theirs, unless they are refused already: space that comes free may be gone to another program at once, and a
    /// volume that has used up its last room for copies can never be emptied.
    pub(crate) fn compaction_bytes_max(&self) -> u64 {
        if self.full().is_none() {
            return u64::MAX;
        }
        let (left, step) = (self.bytes_left(), 4 * BLOCK_BYTES as u64);
        let deletions = self.reserve(Purpose::Change);
        let keep = if left < deletions + step {
            self.reserve(Purpose::Compaction)
        } else {
            deletions
        };
        // Copies have heads, end in blocks that are not full, and are followed by what tells the accounts.
        left.saturating_sub(keep + step) / 9 * 8
    }

    /// Whether a record of this purpose would be refused now.
    pub(crate) fn check(&self, purpose: Purpose) -> Result<(), StoreError> {
        match &self.state.borrow().status {
            Status::Writable => {}
            Status::ReadOnly(why) => return Err(StoreError::ReadOnly(why.clone())),
            Status::Poisoned(why) => return Err(StoreError::Poisoned(why.clone())),
            Status::Closing if purpose == Purpose::Checkpoint => {}
            Status::Closing | Status::Closed => return Err(StoreError::Closed),
        }
        if purpose == Purpose::Body && self.is_nearly_full() {
            self.segments_wanted.notify_all();
            return Err(StoreError::NearlyFull);
        }
        Ok(())
    }

    /// Waits until records that take `bytes` together (see `occupied_bytes`) fit into the open batch. They do until the
    /// caller awaits something else.
    pub(crate) async fn room(&self, bytes: usize, purpose: Purpose) -> Result<(), StoreError> {
        if bytes > self.batch_bytes_max - BATCH_HEADER_BYTES {
            return Err(StoreError::TooMany);
        }
        if self.line.available() > 0 && self.try_room(bytes, purpose)? {
            return Ok(());
        }
        let _place = self.line.acquire(1).await;
        loop {
            let changed = self.room_changed.notified();
            if self.try_room(bytes, purpose)? {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Bytes that fit now without waiting.
    pub(crate) fn room_now(&self) -> usize {
        self.state.borrow().open.as_ref().map_or(0, Batch::room)
    }

    fn try_room(&self, bytes: usize, purpose: Purpose) -> Result<bool, StoreError> {
        self.check(purpose)?;
        let needed = self.reserve(purpose) + bytes as u64 + (BATCH_HEADER_BYTES + BLOCK_BYTES) as u64;
        if self.bytes_left() < needed {
            self.segments_wanted.notify_all();
            return if self.full().is_some() {
                Err(StoreError::NearlyFull)
            } else {
                Ok(false)
            };
        }
        let mut state = self.state.borrow_mut();
        if let Some(open) = &state.open {
            if open.room() >= bytes {
                return Ok(true);
            }
            if !open.is_empty() {
                drop(state);
                self.hurry();
                return Ok(false);
            }
        }
        // Nothing is in the open batch, or there is none: begin one where the bytes fit.
        if let Some(empty) = state.open.take() {
            let Batch { buffer, entries, .. } = empty;
            state.spare.push((buffer, entries));
        }
        let segment_bytes = self.segments.segment_bytes();
        let offset = self.segments.offset_of(state.next);
        let left = if offset == 0 { 0 } else { segment_bytes - offset };
        if left < (BATCH_HEADER_BYTES + bytes) as u64 {
            let number = state.next.0.div_ceil(segment_bytes);
            if self.segments.use_ready(number).is_none() {
                drop(state);
                self.segments_wanted.notify_all();
                return if self.full().is_some() {
                    Err(StoreError::NearlyFull)
                } else {
                    Ok(false)
                };
            }
            state.next = self.segments.start_of(number);
            self.segments_wanted.notify_all();
        }
        let base = state.next;
        let segment = self.segments.at(base).expect("the segment that is written is in use");
        let left = segment_bytes - self.segments.offset_of(base);
        let capacity = usize::try_from(left).unwrap_or(usize::MAX).min(self.batch_bytes_max);
        let (buffer, entries) = state
            .spare
            .pop()
            .unwrap_or_else(|| (AlignedBuffer::zeroed(self.batch_bytes_max), Vec::new()));
        state.open = Some(Batch::begin(buffer, entries, segment, base, capacity));
        Ok(true)
    }

    /// Where the next pushed record will be. Only after `room`.
    pub(crate) fn next_position(&self) -> LogPosition {
        self.state
            .borrow()
            .open
            .as_ref()
            .expect("room was asked for")
            .next_position()
    }

    /// Puts a record into the open batch. Only after `room`.
    pub(crate) fn push(&self, kind: RecordKind, purpose: Purpose, head: &[u8], content: &[Bytes]) -> Pushed {
        self.push_pieces(
            kind,
            purpose,
            std::iter::once(head).chain(content.iter().map(|piece| &piece[..])),
        )
    }

    /// As `push`, of any pieces.
    pub(crate) fn push_pieces<'p>(
        &self,
        kind: RecordKind,
        purpose: Purpose,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> Pushed {
        let mut state = self.state.borrow_mut();
        let open = state.open.as_mut().expect("room was asked for");
        let position = open.next_position();
        let (offset, length) = open.push(self.tag, kind, purpose.is_lazy(), pieces);
        drop(state);
        if !purpose.is_lazy() {
            self.work.notify_all();
        }
        Pushed {
            position,
            kind,
            offset,
            length,
        }
    }

    /// Gives what was just pushed an effect. Before the next await.
    pub(crate) fn attach(&self, pushed: Pushed, effect: Effect) {
        let mut state = self.state.borrow_mut();
        let open = state.open.as_mut().expect("the record was just pushed");
        let Pushed {
            kind, offset, length, ..
        } = pushed;
        open.entries.push(Entry {
            kind,
            offset,
            length,
            effect,
        });
    }

    /// Ends when what was just pushed is durable. Before the next await.
    pub(crate) fn durable_when(&self) -> Durable {
        Durable::of(
            &self
                .state
                .borrow()
                .open
                .as_ref()
                .expect("a record was just pushed")
                .outcome,
        )
    }

    /// Someone waits for what was pushed so far.
    pub(crate) fn hurry(&self) {
        if let Some(open) = self.state.borrow_mut().open.as_mut().filter(|open| !open.is_empty()) {
            open.urgent = true;
        }
        self.work.notify_all();
    }

    /// Waits until everything pushed so far is durable.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        self.hurry();
        let outcome = {
            let state = self.state.borrow();
            let open = state
                .open
                .as_ref()
                .filter(|open| !open.is_empty())
                .map(|open| open.outcome.clone());
            open.or_else(|| state.writing.back().map(|batch| batch.outcome.clone()))
        };
        match outcome {
            Some(outcome) => Durable::of(&outcome).await,
            None => Ok(()),
        }
    }
}
