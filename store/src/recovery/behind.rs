//! What is behind the place where the expected batch is not: nothing when a write was cut off there, otherwise damage.
//!
//! A write that was cut off, now or in an earlier life of the volume, reaches no further than the batches that can be under way
//! at once. Everything else was zeroed before it was used, so any other byte behind the end was written as part of a batch that
//! cannot be read any more.

use std::rc::Rc;

use pigeon_store_format::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, LogPosition};

use super::scan::Scan;
use crate::disk::DiskFile;
use crate::journal::segments::segment_name;
use crate::journal::walk::Walk;
use crate::journal::writer::WRITES_MAX;

/// The most batches that any program writes at once (docs/format.md, section 4).
const BATCHES_UNDER_WAY: u64 = 2;
const _: () = assert!(WRITES_MAX as u64 <= BATCHES_UNDER_WAY);

/// Of a later segment only the beginning is looked at, so many of the biggest batches: one that was begun has something there.
const LATER_BATCHES: u64 = 4;

/// See the module.
pub(super) enum Behind {
    Nothing,
    /// The header of a later batch, with its sequence.
    Batch(LogPosition, u64),
    /// Bytes that no write cut off here can have left: where they end, and what they are.
    Bytes(LogPosition, String),
}

/// Bytes that should not be there.
#[derive(Default)]
struct Stray {
    what: Option<String>,
    end: LogPosition,
}

/// What to look at in one segment.
struct Stretch {
    number: u64,
    /// Offsets in the segment.
    from: u64,
    to: u64,
    /// What is before this offset may be left of a write that was cut off.
    torn_to: u64,
}

impl Scan<'_> {
    /// Looks behind the place where the expected batch is not, in segment `number`.
    pub(super) async fn look_behind(&mut self, number: u64) -> Behind {
        let segment_bytes = self.segments.segment_bytes();
        let batch_bytes = u64::from(self.marker.batch_bytes_max);
        let torn = BATCHES_UNDER_WAY * batch_bytes;
        let offset = self.position.0 - self.segments.start_of(number).0;
        // What no checkpoint lists is noted as such; the next one to be made may be there already.
        let listed = self.checkpoint.and_then(|checkpoint| checkpoint.segments.last());
        let last = listed.map_or(u64::MAX, |last| last.number.saturating_add(1));
        let mut stray = Stray::default();
        let mut stretch = Stretch {
            number,
            from: offset,
            to: segment_bytes,
            torn_to: offset + torn,
        };
        loop {
            if let Some(file) = self.files.file(stretch.number) {
                let mut walk = self.walk(stretch.number, file.clone());
                let found = self.look_into(&stretch, &file, &mut walk, &mut stray).await;
                self.counts.bytes += walk.read_bytes;
                if let Some((position, sequence)) = found {
                    return Behind::Batch(position, sequence);
                }
            }
            let Some(next) = self.files.next(stretch.number).filter(|next| *next <= last) else {
                break;
            };
            // A batch that did not fit into the rest of its segment went to the beginning of the next.
            let fits = segment_bytes - offset >= torn;
            stretch = Stretch {
                number: next,
                from: 0,
                to: (LATER_BATCHES * batch_bytes).min(segment_bytes),
                torn_to: if fits || next != number + 1 { 0 } else { torn },
            };
        }
        match stray.what {
            Some(what) => Behind::Bytes(stray.end, what),
            None => Behind::Nothing,
        }
    }

    /// The first header of a batch in a stretch that was written when the expected one was durable. One that was under way
    /// together with it says nothing: with nothing else behind them both are cut off. Other bytes that should not be there go to `stray`.
    async fn look_into(
        &self,
        stretch: &Stretch,
        file: &Rc<dyn DiskFile>,
        walk: &mut Walk,
        stray: &mut Stray,
    ) -> Option<(LogPosition, u64)> {
        let start = self.segments.start_of(stretch.number);
        let mut offset = stretch.from;
        while offset < stretch.to.min(file.length()) {
            let position = LogPosition(start.0 + offset);
            // What cannot be read is no batch.
            if let Ok(bytes) = walk.bytes_at(offset, BLOCK_BYTES).await {
                let block = &bytes[..bytes.len().min(BLOCK_BYTES)];
                if let Some(header) = self.header_in(block) {
                    let later = self.expected.precedes(&header) && header.epoch >= self.epoch;
                    if header.position == position && later {
                        return Some((position, header.sequence));
                    }
                    let ahead = header.position >= self.position && header.sequence >= self.expected.least();
                    if header.position != position && ahead {
                        stray.note(position, || {
                            format!(
                                "batch {} of position {} is at another place",
                                header.sequence, header.position
                            )
                        });
                    }
                }
                if offset >= stretch.torn_to && block.iter().any(|byte| *byte != 0) {
                    stray.note(position, || {
                        let name = segment_name(stretch.number);
                        format!("an invalid batch, and bytes at offset {offset} of {name} where no batch can be read")
                    });
                }
            }
            offset += BLOCK_BYTES as u64;
        }
        None
    }

    /// A batch header of this volume, wherever it should be.
    fn header_in(&self, block: &[u8]) -> Option<BatchHeader> {
        let head = block.get(..BATCH_HEADER_BYTES)?;
        let position = u64::from_le_bytes(head[24..32].try_into().ok()?);
        BatchHeader::decode(head, self.marker.tag.value(), LogPosition(position))
    }
}

impl Stray {
    fn note(&mut self, position: LogPosition, what: impl FnOnce() -> String) {
        if self.what.is_none() {
            self.what = Some(what());
        }
        self.end = LogPosition(position.0 + BLOCK_BYTES as u64);
    }
}
