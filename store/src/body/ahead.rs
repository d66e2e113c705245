//! Reading ahead for somebody who says which messages come next: mail that came together lies together in the journal, so one long
//! read brings several messages where each would be a short one of its own.
//!
//! Nothing is guessed: a long read is made when at least two of the messages that are wanted lie close to each other, and it ends with
//! the last of them that fits. Its bytes are kept as they came from the disk, and a record is verified when it is asked for; what is
//! damaged or cut off is not found here, but read by itself, which tells what is wrong with it.

use std::rc::Rc;

use bytes::Bytes;
use pigeon_engine::file::AlignedBuffer;
use pigeon_engine::sync::Permit;
use pigeon_store_format::{BLOCK_BYTES, LogPosition, Message, RecordKind, parse_record};

use crate::journal::segments::Segment;
use crate::volume::VolumeInner;
use crate::volume::counters::add;

/// The longest read: half of it costs a third more CPU for a byte.
pub(crate) const PIECE_BYTES_MAX: usize = 512 * 1024;
/// Bytes of others that may lie between two messages: reading them costs less than a further read.
const GAP_BYTES: u64 = 32 * 1024;
/// What a record of a body takes beside the message, and for each further recipient, usually; of many recipients no more are looked at.
/// When it is more, the last record of a piece is read by itself.
const RECORD_BYTES: usize = 512;
const SHARER_BYTES: usize = 128;
const SHARERS_MAX: usize = 64;

/// Who reads messages of one volume, one after the other. Holds up to 512 KiB until dropped: keep it no longer than that lasts. When
/// too many do (`VolumeOptions::read_ahead_bytes`), the others read each message by itself.
pub struct ReadAhead {
    volume: Rc<VolumeInner>,
    piece: Option<Piece>,
    /// A long read up to there has failed: what lies before it is read message by message.
    failed_until: u64,
    /// One of those who may hold a piece.
    permit: Option<Permit>,
}

/// Bytes of the journal as they are on the disk.
struct Piece {
    start: LogPosition,
    buffer: AlignedBuffer,
    length: usize,
}

/// A read that is worth while: `bytes`, whole blocks, from the start of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    start: LogPosition,
    bytes: usize,
}

impl ReadAhead {
    pub(crate) fn new(volume: Rc<VolumeInner>) -> Self {
        Self {
            volume,
            piece: None,
            failed_until: 0,
            permit: None,
        }
    }

    /// The record of a message that is in no cache, if the last long read brought it or one now does for it and some of those that
    /// follow. `None`: it has to be read by itself.
    pub(crate) async fn read(
        &mut self,
        segment: &Segment,
        message: &Message,
        following: impl Iterator<Item = Message>,
    ) -> Option<(RecordKind, Bytes)> {
        if let Some(found) = self.find(message.body.position) {
            add(&self.volume.counters.read_ahead, 1);
            return Some(found);
        }
        let volume = self.volume.clone();
        let is_bad = message.body.position.0 < self.failed_until
            || self.piece.as_ref().is_some_and(|piece| piece.covers(message));
        if is_bad || (self.permit.is_none() && volume.ahead.available() == 0) {
            return None;
        }
        let written = volume.segments.start_of(segment.number).0 + segment.written_bytes.get();
        let following = following.filter(|next| !volume.bodies.holds(next.body.position));
        let plan = plan(message, following, written)?;
        if self.permit.is_none() {
            self.permit = Some(volume.ahead.try_acquire(1)?);
        }
        let buffer = match self.piece.take() {
            Some(piece) if piece.buffer.len() >= plan.bytes => piece.buffer,
            _ => AlignedBuffer::zeroed(plan.bytes),
        };
        let turn = volume.reads.acquire(1).await;
        let offset = volume.segments.offset_of(plan.start);
        let (result, buffer) = segment.file.read(offset, buffer, plan.bytes).await;
        drop(turn);
        let Ok(length) = result else {
            // Who reads the message by itself hears what is wrong.
            self.failed_until = plan.start.0 + plan.bytes as u64;
            return None;
        };
        let length = length.min(plan.bytes);
        add(&volume.counters.reads, 1);
        add(&volume.counters.read_bytes, length as u64);
        self.piece = Some(Piece {
            start: plan.start,
            buffer,
            length,
        });
        self.find(message.body.position)
    }

    /// A record that the piece has as a whole, with nothing wrong.
    fn find(&self, position: LogPosition) -> Option<(RecordKind, Bytes)> {
        let piece = self.piece.as_ref()?;
        let offset = usize::try_from(position.0.checked_sub(piece.start.0)?).ok()?;
        let bytes = piece.buffer.get(offset..piece.length)?;
        let record = parse_record(self.volume.journal.tag(), bytes, position).ok()?;
        Some((record.kind, Bytes::copy_from_slice(record.payload)))
    }
}

impl Piece {
    /// Whether a message's record should be here as a whole.
    fn covers(&self, message: &Message) -> bool {
        message.body.position >= self.start && record_end(message) <= self.start.0 + self.length as u64
    }
}

/// The read for a message and those that follow it as closely, none of them beyond `written`.
fn plan(message: &Message, following: impl Iterator<Item = Message>, written: u64) -> Option<Plan> {
    let block = BLOCK_BYTES as u64;
    let start = message.body.position.0 / block * block;
    let mut end = record_end(message);
    let mut is_worth_while = false;
    for next in following {
        let position = next.body.position.0;
        let next_end = record_end(&next);
        let is_near = position >= message.body.position.0 && position <= end.saturating_add(GAP_BYTES);
        if !is_near || next_end > written || next_end - start > PIECE_BYTES_MAX as u64 {
            break;
        }
        end = end.max(next_end);
        is_worth_while = true;
    }
    let bytes = (end - start).next_multiple_of(block).min(PIECE_BYTES_MAX as u64) as usize;
    is_worth_while.then_some(Plan {
        start: LogPosition(start),
        bytes,
    })
}

/// Bytes of a message's record, about. Of a streamed one that is the record behind its chunks, which is short.
pub(crate) fn record_bytes(message: &Message) -> usize {
    let further = usize::from(message.body.sharers.saturating_sub(1)).min(SHARERS_MAX);
    let around = RECORD_BYTES + further * SHARER_BYTES;
    match message.body.streamed {
        true => around,
        false => message.size as usize + around,
    }
}

fn record_end(message: &Message) -> u64 {
    message.body.position.0.saturating_add(record_bytes(message) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pigeon_store_format::{BodyReference, BodyTraits, Flags, ModSeq, Uid};

    const KIB: u64 = 1024;
    const FAR: u64 = u64::MAX / 2;

    fn message(position: u64, size: u64) -> Message {
        Message {
            uid: Uid(1),
            size: size as u32,
            mod_seq: ModSeq(1),
            flags: Flags::NONE,
            internal_date: 0,
            body: BodyReference {
                position: LogPosition(position),
                entry: 0,
                sharers: 1,
                streamed: false,
                traits: BodyTraits::default(),
            },
        }
    }

    fn planned(positions: &[u64], size: u64, written: u64) -> Option<(u64, usize)> {
        let messages: Vec<Message> = positions.iter().map(|position| message(*position, size)).collect();
        let (first, following) = messages.split_first().expect("one at least");
        plan(first, following.iter().copied(), written).map(|plan| (plan.start.0, plan.bytes))
    }

    #[test]
    fn a_long_read_ends_with_the_last_near_message_that_fits() {
        let size = 4 * KIB;
        assert_eq!(planned(&[5000], size, FAR), None, "there is but one");
        assert_eq!(planned(&[5000, 10_000], size, FAR), Some((4096, 12 * 1024)));
        let third_is_far = [5000, 10_000, 10_000 + size + RECORD_BYTES as u64 + GAP_BYTES + 1];
        assert_eq!(planned(&third_is_far, size, FAR), Some((4096, 12 * 1024)));
        assert_eq!(
            planned(&[5000, 10_000], size, 10_000 + size),
            None,
            "not beyond what is written"
        );
        assert_eq!(planned(&[500_000, 10_000], size, FAR), None, "it lies before");
        let many: Vec<u64> = (0..200).map(|number| number * 5000).collect();
        let (_, bytes) = planned(&many, size, FAR).expect("they lie close together");
        assert!((PIECE_BYTES_MAX - 8192..=PIECE_BYTES_MAX).contains(&bytes), "{bytes}");
        assert_eq!(
            planned(&[0, 310 * KIB], 300 * KIB, FAR),
            None,
            "they do not fit together"
        );
        assert_eq!(planned(&[u64::MAX - 9, u64::MAX - 5], size, FAR), None, "nonsense");
    }
}
