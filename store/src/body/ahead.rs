//! Reading ahead: who reads one message of a mailbox after the other gets them from a few long reads instead of a short one each,
//! because mail that came together lies together in the journal.
//!
//! A read close behind the end of an earlier one goes on with it: it takes `FIRST_BYTES`, and each one after it twice as much, up to
//! `MOST_BYTES`. Bytes are kept as they came from the disk, in one piece for each such run, and a record is verified when it is asked
//! for. What is damaged, cut off at the end, or was not written yet when the piece was read, is not found here: then the record is
//! read by itself, which tells what is wrong with it.
//!
//! Pieces are few (`SLOTS_MAX`), and a run keeps its place until it has not been used for `IDLE_LOOKUPS` lookups. So more readers than
//! there are places do not take them from each other, each long read for one message; those without one read as if this was not here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{BLOCK_BYTES, LogPosition};

/// The first long read of a run.
const FIRST_BYTES: usize = 64 * 1024;
/// The longest.
pub(crate) const MOST_BYTES: usize = 256 * 1024;
/// Runs that read ahead at once, at most.
const SLOTS_MAX: usize = 8;
/// How far behind the end of a run what continues it may begin: others' mail lies in between.
const GAP_BYTES: u64 = 64 * 1024;
/// How far before: the last record of a piece is cut off.
const BACK_BYTES: u64 = 160 * 1024;
/// Ends of single reads that are remembered.
const ENDS_MAX: usize = 16;
/// Lookups after which a run is over that nobody went on with.
const IDLE_LOOKUPS: u64 = 1000;

/// What was read ahead in a volume.
pub(crate) struct ReadAhead {
    slots_max: usize,
    state: RefCell<State>,
    /// Records that were there.
    pub(crate) hits: Cell<u64>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// Where single reads ended, the latest last.
    ends: VecDeque<u64>,
    lookups: u64,
    /// Of a piece that nobody needs any more.
    spare: Option<AlignedBuffer>,
}

/// A run, with its last piece.
struct Slot {
    start: u64,
    end: u64,
    /// Not while it is being read.
    piece: Option<Rc<Piece>>,
    last_use: u64,
}

/// Bytes of the journal as they are on the disk.
pub(crate) struct Piece {
    start: u64,
    buffer: AlignedBuffer,
    length: usize,
}

/// A read that is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Position of the first byte, at the start of a block.
    pub(crate) start: LogPosition,
    /// Whole blocks.
    pub(crate) bytes: usize,
}

impl ReadAhead {
    /// In so many bytes; nothing is read ahead when that is less than one piece.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            slots_max: (bytes / MOST_BYTES).min(SLOTS_MAX),
            state: RefCell::default(),
            hits: Cell::new(0),
        }
    }

    /// The piece that holds the byte at a position.
    pub(crate) fn find(&self, position: LogPosition) -> Option<Rc<Piece>> {
        let state = &mut *self.state.borrow_mut();
        state.lookups += 1;
        let now = state.lookups;
        state.slots.iter_mut().find_map(|slot| {
            let piece = slot.piece.as_ref().filter(|piece| piece.holds(position))?.clone();
            slot.last_use = now;
            Some(piece)
        })
    }

    /// Whether the record at a position, which is in no piece, is better read with what follows it: when it goes on with a run, or
    /// with a single read and there is a place for another run. Not beyond `end`, where what was written ends.
    pub(crate) fn plan(&self, position: LogPosition, end: LogPosition) -> Option<Plan> {
        let state = &mut *self.state.borrow_mut();
        let (index, bytes) = match state.slots.iter().position(|slot| goes_on(slot.end, position)) {
            Some(index) => {
                let last = (state.slots[index].end - state.slots[index].start) as usize;
                (index, last.saturating_mul(2).clamp(FIRST_BYTES, MOST_BYTES))
            }
            None => {
                let place = state.ends.iter().position(|end| goes_on(*end, position))?;
                let index = state.place(self.slots_max)?;
                state.ends.remove(place);
                (index, FIRST_BYTES)
            }
        };
        let block = BLOCK_BYTES as u64;
        let start = position.0 / block * block;
        let most = end.0.saturating_sub(start).next_multiple_of(block);
        let bytes = bytes.min(usize::try_from(most).unwrap_or(usize::MAX));
        let slot = &mut state.slots[index];
        let old = slot.piece.take();
        (slot.start, slot.end, slot.last_use) = (start, start + bytes as u64, state.lookups);
        state.put_by(old);
        let start = LogPosition(start);
        (bytes > 0).then_some(Plan { start, bytes })
    }

    /// A buffer for what was planned.
    pub(crate) fn buffer(&self, plan: Plan) -> AlignedBuffer {
        let spare = self.state.borrow_mut().spare.take();
        spare
            .filter(|spare| spare.len() == plan.bytes)
            .unwrap_or_else(|| AlignedBuffer::zeroed(plan.bytes))
    }

    /// What the planned read gave, `length` bytes of the buffer: kept, unless the run has gone elsewhere meanwhile.
    pub(crate) fn keep(&self, plan: Plan, buffer: AlignedBuffer, length: usize) -> Rc<Piece> {
        let piece = Rc::new(Piece {
            start: plan.start.0,
            length: length.min(buffer.len()),
            buffer,
        });
        let slots = &mut self.state.borrow_mut().slots;
        let slot = slots
            .iter_mut()
            .find(|slot| slot.start == plan.start.0 && slot.piece.is_none());
        if let Some(slot) = slot {
            slot.piece = Some(piece.clone());
        }
        piece
    }

    /// A record was read by itself; it ends there.
    pub(crate) fn note_single(&self, end: LogPosition) {
        if self.slots_max == 0 {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        if state.ends.len() >= ENDS_MAX {
            state.ends.pop_front();
        }
        state.ends.push_back(end.0);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.state.borrow_mut() = State::default();
    }
}

impl State {
    /// A place for a new run: a free one, or that of a run which is over.
    fn place(&mut self, slots_max: usize) -> Option<usize> {
        if self.slots.len() < slots_max {
            self.slots.push(Slot {
                start: 0,
                end: 0,
                piece: None,
                last_use: 0,
            });
            return Some(self.slots.len() - 1);
        }
        let now = self.lookups;
        self.slots.iter().position(|slot| now - slot.last_use > IDLE_LOOKUPS)
    }

    fn put_by(&mut self, piece: Option<Rc<Piece>>) {
        if let Some(piece) = piece.and_then(Rc::into_inner) {
            self.spare = Some(piece.buffer);
        }
    }
}

impl Piece {
    fn holds(&self, position: LogPosition) -> bool {
        position.0 >= self.start && position.0 < self.start + self.length as u64
    }

    /// From a position on; nothing for one that is not in it.
    pub(crate) fn from(&self, position: LogPosition) -> &[u8] {
        let offset = position.0.checked_sub(self.start).map(usize::try_from);
        let Some(Ok(offset)) = offset else { return &[] };
        self.buffer.get(offset..self.length).unwrap_or_default()
    }
}

fn goes_on(end: u64, position: LogPosition) -> bool {
    position.0 <= end.saturating_add(GAP_BYTES) && position.0.saturating_add(BACK_BYTES) >= end
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: LogPosition = LogPosition(u64::MAX / 2);

    fn read(ahead: &ReadAhead, position: u64) -> Option<Plan> {
        let plan = ahead.plan(LogPosition(position), FAR)?;
        ahead.keep(plan, ahead.buffer(plan), plan.bytes);
        Some(plan)
    }

    #[test]
    fn a_run_reads_twice_as_much_each_time_up_to_the_most() {
        let ahead = ReadAhead::new(MOST_BYTES);
        assert_eq!(read(&ahead, 5000), None, "nothing was read before");
        ahead.note_single(LogPosition(21_000));
        let mut position = 30_000;
        for bytes in [64, 128, 256, 256] {
            assert!(ahead.find(LogPosition(position)).is_none());
            let plan = read(&ahead, position).expect("it goes on");
            assert_eq!((plan.bytes, plan.start.0), (bytes * 1024, position / 4096 * 4096));
            let piece = ahead.find(LogPosition(position + 20_000)).expect("it is there");
            assert_eq!(
                piece.from(LogPosition(position)).len() as u64,
                plan.start.0 + plan.bytes as u64 - position
            );
            position = plan.start.0 + plan.bytes as u64 + 10_000;
        }
        assert_eq!(read(&ahead, position + (10 << 20)), None, "that is elsewhere");
    }

    #[test]
    fn nothing_is_read_beyond_what_was_written() {
        let ahead = ReadAhead::new(MOST_BYTES);
        ahead.note_single(LogPosition(8192));
        let plan = ahead
            .plan(LogPosition(8192), LogPosition(8192 + 5000))
            .expect("it goes on");
        assert_eq!(plan.bytes, 8192);
        assert_eq!(ahead.plan(LogPosition(16_384), LogPosition(16_384)), None);
    }

    #[test]
    fn more_runs_than_places_do_not_take_them_from_each_other() {
        let ahead = ReadAhead::new(MOST_BYTES);
        for start in [1 << 20, 2 << 20] {
            ahead.note_single(LogPosition(start));
        }
        assert!(read(&ahead, 1 << 20).is_some());
        assert_eq!(read(&ahead, 2 << 20), None, "the only place is taken");
        ahead.note_single(LogPosition(2 << 20));
        assert!(ahead.find(LogPosition(1 << 20)).is_some(), "and stays so");
        for _ in 0..=IDLE_LOOKUPS {
            assert!(ahead.find(LogPosition(7)).is_none());
        }
        assert!(read(&ahead, 2 << 20).is_some(), "nobody went on with the first");
        assert!(ahead.find(LogPosition(1 << 20)).is_none());
        assert!(
            ReadAhead::new(MOST_BYTES - 1).plan(LogPosition(1), FAR).is_none(),
            "no room"
        );
    }

    #[test]
    fn a_piece_that_comes_late_is_not_kept() {
        let ahead = ReadAhead::new(MOST_BYTES);
        ahead.note_single(LogPosition(1 << 20));
        let first = ahead.plan(LogPosition(1 << 20), FAR).expect("it goes on");
        let second = ahead
            .plan(LogPosition((1 << 20) + FIRST_BYTES as u64), FAR)
            .expect("it goes on");
        let late = ahead.keep(first, ahead.buffer(first), first.bytes);
        assert_eq!(late.from(first.start).len(), first.bytes, "who read it has it");
        assert!(ahead.find(first.start).is_none());
        ahead.keep(second, ahead.buffer(second), 100);
        assert!(ahead.find(second.start).is_some());
        assert!(
            ahead.find(LogPosition(second.start.0 + 100)).is_none(),
            "the file ended there"
        );
    }
}
