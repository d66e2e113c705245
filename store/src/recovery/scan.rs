//! Reading the journal from a checkpoint, or from its beginning, to its end.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use pigeon_store_format::{
    BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Change, Checkpoint, Link, LogPosition, Malformed, Marker, Record,
    records, salvage_records, verify_batch,
};

use super::Damage;
use super::files::Files;
use crate::account::commit::{base_of, space_of};
use crate::account::state::LinkPlace;
use crate::disk::DiskFile;
use crate::journal::JournalEnd;
use crate::journal::segments::{Segment, Segments, segment_name};
use crate::journal::walk::Walk;
use crate::volume::OpenCounts;
use crate::volume::heads::HeadTable;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1024 * 1024;

pub(super) struct Scan<'f> {
    pub(super) marker: Marker,
    pub(super) segments: Rc<Segments>,
    pub(super) files: &'f Files,
    pub(super) heads: HeadTable,
    position: LogPosition,
    /// Of the batch expected at `position`; `None`: any.
    sequence: Option<u64>,
    epoch: u32,
    damage: Vec<Damage>,
    /// Links found within damage.
    salvaged_links: HashSet<LogPosition>,
    counts: OpenCounts,
}

/// What the scan found.
pub(super) struct Found {
    pub(super) heads: HeadTable,
    pub(super) end: JournalEnd,
    pub(super) damage: Vec<Damage>,
    pub(super) counts: OpenCounts,
}

/// What is at a place where a batch should begin.
enum Place {
    Good {
        header: BatchHeader,
    },
    /// No batch, or one that is not whole.
    Invalid,
    /// The disk does not say.
    Unreadable(io::Error),
}

impl<'f> Scan<'f> {
    pub(super) fn new(marker: Marker, segments: Rc<Segments>, files: &'f Files) -> Self {
        Scan {
            marker,
            segments,
            files,
            heads: HeadTable::new(),
            position: LogPosition(0),
            sequence: None,
            epoch: marker.epoch,
            damage: Vec::new(),
            salvaged_links: HashSet::new(),
            counts: OpenCounts::default(),
        }
    }

    pub(super) fn walk(&self, number: u64, file: Rc<dyn DiskFile>) -> Walk {
        let window = WINDOW_BYTES.max(self.marker.batch_bytes_max as usize);
        Walk::new(file, self.marker.tag, self.segments.start_of(number), window)
    }

    pub(super) fn start(&mut self, position: LogPosition, sequence: u64, epoch: u32) {
        self.position = position;
        self.sequence = Some(sequence);
        self.epoch = self.epoch.max(epoch);
    }

    /// From the beginning of a segment, without knowing what comes.
    pub(super) fn begin_at(&mut self, number: u64) {
        self.position = self.segments.start_of(number);
        // The very first batch has sequence 1.
        self.sequence = (number == 0).then_some(1);
    }

    pub(super) fn found_no_damage(&self) -> bool {
        self.damage.is_empty()
    }

    /// A segment that the checkpoint knows is not there.
    pub(super) fn note_missing(&mut self, number: u64) {
        let (from, to) = (
            self.segments.start_of(number),
            self.segments.start_of(number.saturating_add(1)),
        );
        self.note(
            from,
            to,
            "the segment file is missing, or has the wrong length".to_owned(),
            0,
        );
    }

    fn note(&mut self, from: LogPosition, to: LogPosition, what: String, salvaged: u64) {
        let offset = self.segments.offset_of(from);
        let place = format!("offset {offset} of {}", segment_name(self.segments.number_of(from)));
        self.damage.push(Damage {
            from,
            to,
            place,
            what,
            salvaged,
            accounts: Vec::new(),
        });
    }

    /// Reads to the journal's end. With `whole`, from the very beginning, where compaction may have left gaps.
    pub(super) async fn run(&mut self, checkpoint: Option<&Checkpoint>, whole: bool) {
        let durable_end = checkpoint.map_or(LogPosition::NONE, |checkpoint| checkpoint.durable_end);
        let clean_end = checkpoint
            .filter(|checkpoint| checkpoint.clean)
            .map(|checkpoint| checkpoint.durable_end);
        loop {
            let number = self.segments.number_of(self.position);
            let Some(file) = self.files.file(number) else {
                if !self.pass_missing_segment(number, durable_end, whole).await {
                    return;
                }
                continue;
            };
            let mut walk = self.walk(number, file.clone());
            let place = self.run_segment(number, &file, &mut walk).await;
            self.counts.bytes += walk.read_bytes;
            let unreadable = match place {
                // The whole segment is read.
                Place::Good { .. } => continue,
                Place::Invalid => None,
                Place::Unreadable(error) => Some(error),
            };
            if unreadable.is_none() {
                if self.continues_in_next(number).await {
                    self.position = self.segments.start_of(number + 1);
                    continue;
                }
                if clean_end == Some(self.position) {
                    return;
                }
            }
            let what = match &unreadable {
                None => "an invalid batch with valid ones behind it".to_owned(),
                Some(error) => format!("unreadable: {error}"),
            };
            if let Some((position, header)) = self.find_later(number).await {
                self.pass_damage(position, what).await;
                self.sequence = Some(header.sequence);
                continue;
            }
            if self.position < durable_end {
                let checkpoint = checkpoint.expect("its end is known");
                self.pass_damage(durable_end, what).await;
                self.sequence = Some(checkpoint.durable_sequence);
                continue;
            }
            if let Some(error) = unreadable {
                // Whether anything was written here cannot be known, so nothing may be written.
                let end = LogPosition(self.position.0.saturating_add(u64::from(self.marker.batch_bytes_max)));
                self.note(self.position, end, format!("unreadable: {error}"), 0);
            }
            return;
        }
    }

    /// Reads batches of a segment as long as they are good.
    async fn run_segment(&mut self, number: u64, file: &Rc<dyn DiskFile>, walk: &mut Walk) -> Place {
        let start = self.segments.start_of(number);
        loop {
            let offset = self.position.0 - start.0;
            if offset >= self.segments.segment_bytes() {
                // The last batch ended with the segment; its header is no longer of interest.
                return Place::Good { header: EMPTY_HEADER };
            }
            match self.place_at(walk, offset).await {
                Place::Good { header } => {
                    if self.segments.used(number).is_none() {
                        self.segments.add_used(Segment::new(number, file.clone()));
                    }
                    self.take_batch(walk, offset, &header).await;
                }
                other => return other,
            }
        }
    }

    /// Whether the expected batch is whole at an offset.
    async fn place_at(&self, walk: &mut Walk, offset: u64) -> Place {
        match walk.batch_at(offset).await {
            Err(error) => Place::Unreadable(error),
            Ok(None) => Place::Invalid,
            Ok(Some((header, bytes))) => {
                let expected = self.sequence.is_none_or(|sequence| sequence == header.sequence);
                let good =
                    expected && header.epoch >= self.epoch && verify_batch(self.marker.tag, &header, bytes).is_ok();
                if good { Place::Good { header } } else { Place::Invalid }
            }
        }
    }

    async fn take_batch(&mut self, walk: &mut Walk, offset: u64, header: &BatchHeader) {
        let tag = self.marker.tag;
        // The window still holds it.
        if let Ok(Some((_, bytes))) = walk.batch_at(offset).await
            && let Ok(all) = records(tag, header, bytes)
        {
            for record in all.flatten() {
                self.take_record(&record);
            }
        }
        let number = self.segments.number_of(header.position);
        if let Some(segment) = self.segments.used(number) {
            segment.written_bytes.set(offset + header.padded_bytes());
        }
        self.counts.batches += 1;
        self.position = LogPosition(header.position.0 + header.padded_bytes());
        self.sequence = Some(header.sequence + 1);
        self.epoch = header.epoch;
    }

    fn take_record(&mut self, record: &Record<'_>) {
        if !record.kind.is_account_link() {
            return;
        }
        if let Err(error) = self.take_link(record) {
            let end = LogPosition(record.position.0 + record.occupied_bytes());
            self.note(
                record.position,
                end,
                format!("a record that is whole, but malformed: {error}"),
                0,
            );
        }
    }

    fn take_link(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        let (link, fields) = Link::decode(record.payload)?;
        let change = Change::decode(record.kind, fields)?;
        let place = LinkPlace {
            position: record.position,
            segment: self.segments.number_of(record.position),
            occupied_bytes: record.occupied_bytes(),
        };
        let (live, dead) = space_of(&change, place, &self.segments);
        self.segments.charge(&live);
        self.segments.discharge(&dead);
        self.heads.link(link.account, record.position, base_of(&change));
        if !self.salvaged_links.contains(&link.previous)
            && let Some(damage) = self
                .damage
                .iter_mut()
                .find(|damage| (damage.from..damage.to).contains(&link.previous))
            && !damage.accounts.contains(&link.account)
        {
            damage.accounts.push(link.account);
        }
        Ok(())
    }

    /// The next batch may have been too big for the rest of its segment.
    async fn continues_in_next(&mut self, number: u64) -> bool {
        let Some(next) = number.checked_add(1) else {
            return false;
        };
        let Some(file) = self.files.file(next) else {
            return false;
        };
        let mut walk = self.walk(next, file);
        let good = matches!(self.place_at(&mut walk, 0).await, Place::Good { .. });
        self.counts.bytes += walk.read_bytes;
        good && self.sequence.is_some()
    }

    /// The segment where the journal should go on is not there. True when it goes on behind it.
    async fn pass_missing_segment(&mut self, number: u64, durable_end: LogPosition, whole: bool) -> bool {
        let Some(next) = self.files.next(number) else {
            if self.position < durable_end {
                self.note(self.position, durable_end, "the segment file is missing".to_owned(), 0);
            }
            return false;
        };
        let Some(file) = self.files.file(next) else {
            return false;
        };
        let mut walk = self.walk(next, file);
        let header = walk.header_at(0).await.ok().flatten();
        let Some(header) = header.filter(|header| self.sequence.is_none_or(|sequence| header.sequence >= sequence))
        else {
            // Made ahead, and never used.
            return false;
        };
        if !whole {
            // Behind a checkpoint nothing is compacted away before there is another checkpoint.
            let to = self.segments.start_of(next);
            self.note(self.position, to, "the segment file is missing".to_owned(), 0);
        }
        self.position = self.segments.start_of(next);
        self.sequence = Some(header.sequence);
        true
    }

    /// The first header of a later batch behind the place where the expected one is not.
    async fn find_later(&mut self, number: u64) -> Option<(LogPosition, BatchHeader)> {
        let start = self.segments.start_of(number);
        let mut from = self.position.0 - start.0 + BLOCK_BYTES as u64;
        let mut number = number;
        let mut most = self.segments.segment_bytes();
        loop {
            if let Some(file) = self.files.file(number) {
                let found = self.find_in_segment(number, file, from, most).await;
                if found.is_some() {
                    return found;
                }
            }
            // A later segment that was begun has a batch at its beginning, or damage there and batches soon behind.
            number = self.files.next(number)?;
            from = 0;
            most = 4 * u64::from(self.marker.batch_bytes_max);
        }
    }

    async fn find_in_segment(
        &mut self,
        number: u64,
        file: Rc<dyn DiskFile>,
        from: u64,
        most: u64,
    ) -> Option<(LogPosition, BatchHeader)> {
        let start = self.segments.start_of(number);
        let mut walk = self.walk(number, file);
        let mut offset = from;
        let mut found = None;
        while offset < self.segments.segment_bytes().min(from.saturating_add(most)) {
            // What cannot be read is no batch.
            if let Ok(Some(header)) = walk.header_at(offset).await
                && self.sequence.is_none_or(|sequence| header.sequence > sequence)
                && header.epoch >= self.epoch
            {
                found = Some((LogPosition(start.0 + offset), header));
                break;
            }
            offset += BLOCK_BYTES as u64;
        }
        self.counts.bytes += walk.read_bytes;
        found
    }

    /// Notes damage from here to `to`, takes what is whole of it, and goes on there.
    async fn pass_damage(&mut self, to: LogPosition, what: String) {
        let from = self.position;
        let index = self.damage.len();
        self.note(from, to, what, 0);
        let mut salvaged = 0;
        while self.position < to {
            let number = self.segments.number_of(self.position);
            let end = self.segments.start_of(number + 1).min(to);
            if let Some(file) = self.files.file(number) {
                salvaged += self.salvage(number, file, end).await;
            }
            self.position = end;
        }
        if let Some(damage) = self.damage.get_mut(index) {
            damage.salvaged = salvaged;
        }
    }

    /// Takes the whole records of a segment from here to `end`.
    async fn salvage(&mut self, number: u64, file: Rc<dyn DiskFile>, end: LogPosition) -> u64 {
        if self.segments.used(number).is_none() {
            self.segments.add_used(Segment::new(number, file.clone()));
        }
        let start = self.segments.start_of(number);
        let batch_bytes = u64::from(self.marker.batch_bytes_max);
        let mut walk = self.walk(number, file);
        let mut offset = self.position.0 - start.0;
        let last = end.0 - start.0;
        // Behind the records taken so far: a record may lie in two windows.
        let mut taken = LogPosition::NONE;
        let mut salvaged = 0;
        while offset < last {
            let least = usize::try_from((2 * batch_bytes).min(last - offset)).unwrap_or(usize::MAX);
            let Ok(bytes) = walk.bytes_at(offset, least).await else {
                offset += BLOCK_BYTES as u64;
                continue;
            };
            let bytes = bytes[..bytes.len().min(least)].to_vec();
            for record in salvage_records(self.marker.tag, &bytes, LogPosition(start.0 + offset)) {
                if record.position < taken {
                    continue;
                }
                taken = LogPosition(record.position.0 + record.occupied_bytes());
                salvaged += 1;
                if record.kind.is_account_link() {
                    self.salvaged_links.insert(record.position);
                }
                self.take_record(&record);
            }
            offset += batch_bytes;
        }
        self.counts.bytes += walk.read_bytes;
        if let Some(segment) = self.segments.used(number) {
            segment.written_bytes.set(segment.written_bytes.get().max(last));
        }
        salvaged
    }

    pub(super) fn finish(self) -> Found {
        Found {
            heads: self.heads,
            end: JournalEnd {
                position: self.position,
                sequence: self.sequence.unwrap_or(1),
                epoch: self.epoch.saturating_add(1),
            },
            damage: self.damage,
            counts: self.counts,
        }
    }
}

/// Stands for "nothing more in this segment".
const EMPTY_HEADER: BatchHeader = BatchHeader {
    bytes: BATCH_HEADER_BYTES as u32,
    tag: 0,
    position: LogPosition(0),
    sequence: 0,
    records: 0,
    records_checksum: 0,
    epoch: 0,
};
