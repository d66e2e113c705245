//! Reading the journal from a checkpoint, or from its beginning, to its end.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::rc::Rc;

use pigeon_store_format::{
    AccountId, BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Change, Checkpoint, Link, LogPosition, Malformed, Marker,
    Record, records, salvage_records, verify_batch,
};

use super::Damage;
use super::behind::Behind;
use super::files::Files;
use crate::account::commit::{base_of, space_of};
use crate::account::state::LinkPlace;
use crate::disk::DiskFile;
use crate::journal::JournalEnd;
use crate::journal::segments::{Segment, Segments, segment_name};
use crate::journal::walk::Walk;
use crate::volume::OpenCounts;
use crate::volume::heads::HeadTable;

/// Said of a gap when there is no checkpoint.
const ABSENT: &str = "segment files that are absent: compaction removed them, or they are lost";

/// Bytes read at once.
const WINDOW_BYTES: usize = 1024 * 1024;

pub(super) struct Scan<'f> {
    pub(super) marker: Marker,
    pub(super) segments: Rc<Segments>,
    pub(super) files: &'f Files,
    pub(super) checkpoint: Option<&'f Checkpoint>,
    pub(super) heads: HeadTable,
    pub(super) position: LogPosition,
    pub(super) expected: Expected,
    /// Of the last batch: none behind it has a lower one.
    pub(super) epoch: u32,
    losses: Vec<Loss>,
    /// Records found whole within damage.
    salvaged: HashSet<LogPosition>,
    /// Links found within damage that are none of the account's chain any more.
    stale: HashSet<LogPosition>,
    pub(super) counts: OpenCounts,
}

/// The sequence of the batch that should be at the scan's position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Exactly(u64),
    /// Batches before it are not there.
    AtLeast(u64),
}

impl Expected {
    fn admits(self, sequence: u64) -> bool {
        match self {
            Expected::Exactly(expected) => sequence == expected,
            Expected::AtLeast(least) => sequence >= least,
        }
    }

    /// Whether a batch was written when the expected one was durable, so that this one is not cut off but lost.
    pub(super) fn precedes(self, header: &BatchHeader) -> bool {
        match self {
            Expected::Exactly(expected) => header.durable_through() >= expected,
            Expected::AtLeast(least) => header.sequence >= least,
        }
    }

    /// The lowest it can be.
    pub(super) fn least(self) -> u64 {
        match self {
            Expected::Exactly(sequence) | Expected::AtLeast(sequence) => sequence,
        }
    }
}

/// A damage, and whom it concerns.
struct Loss {
    damage: Damage,
    /// What later links tell is about it. Not of segments that compaction may have removed.
    certain: bool,
    changes: BTreeSet<AccountId>,
    mail: BTreeSet<AccountId>,
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
    pub(super) fn new(
        marker: Marker,
        segments: Rc<Segments>,
        files: &'f Files,
        checkpoint: Option<&'f Checkpoint>,
    ) -> Self {
        Scan {
            marker,
            segments,
            files,
            checkpoint,
            heads: HeadTable::new(),
            position: LogPosition(0),
            expected: Expected::AtLeast(1),
            epoch: marker.epoch,
            losses: Vec::new(),
            salvaged: HashSet::new(),
            stale: HashSet::new(),
            counts: OpenCounts::default(),
        }
    }

    pub(super) fn walk(&self, number: u64, file: Rc<dyn DiskFile>) -> Walk {
        let window = WINDOW_BYTES.max(self.marker.batch_bytes_max as usize);
        Walk::new(file, self.marker.tag, self.segments.start_of(number), window)
    }

    pub(super) fn start(&mut self, position: LogPosition, sequence: u64, epoch: u32) {
        self.position = position;
        self.expected = Expected::Exactly(sequence);
        self.epoch = self.epoch.max(epoch);
    }

    /// From the beginning of a segment, without knowing what comes.
    pub(super) fn begin_at(&mut self, number: u64) {
        self.position = self.segments.start_of(number);
        self.expected = match number {
            0 => Expected::Exactly(1),
            _ => Expected::AtLeast(1),
        };
    }

    /// A segment that the checkpoint knows is not there.
    pub(super) fn note_missing(&mut self, number: u64) {
        let (from, to) = self.range_of(number);
        let begun = self.checkpoint.is_some_and(|checkpoint| from < checkpoint.durable_end);
        let what = if begun {
            "the segment file is missing"
        } else {
            "the segment file is missing, and with it whatever was written to it"
        };
        self.note(from, to, what.to_owned());
    }

    /// A segment that the checkpoint knows has the wrong length.
    pub(super) fn note_length(&mut self, number: u64, length: u64) {
        let (start, end) = self.range_of(number);
        let from = LogPosition(start.0.saturating_add(length)).min(end);
        let what = format!("the segment file has {length} bytes instead of {}", end.0 - start.0);
        self.note(from, end, what);
    }

    /// Both checkpoint files are of no use.
    pub(super) fn note_no_checkpoint(&mut self, faults: &[String]) {
        let what = format!(
            "{}: all that is in the segment files can be read, but whether any is missing cannot be known",
            faults.join(", ")
        );
        self.losses.push(Loss::new(
            LogPosition::NONE,
            LogPosition::NONE,
            "checkpoint".to_owned(),
            what,
        ));
        let wrong: Vec<(u64, u64)> = self.files.of_wrong_length().collect();
        wrong
            .into_iter()
            .for_each(|(number, length)| self.note_length(number, length));
    }

    /// Files that can have come to be there in no way that the store knows.
    pub(super) fn note_unlisted(&mut self) {
        let Some(last) = self.checkpoint.and_then(|checkpoint| checkpoint.segments.last()) else {
            return;
        };
        let next = last.number.saturating_add(1);
        let above: Vec<(u64, bool)> = self.files.above(last.number).collect();
        for (number, _) in above {
            // The next one may just have been made, when nothing is in it.
            if number != next || self.segments.used(number).is_some() {
                let what =
                    "no checkpoint lists this segment file: it is another journal's, or the checkpoint is out of date";
                let from = self.segments.start_of(number);
                self.note(from, from, what.to_owned());
            }
        }
    }

    fn range_of(&self, number: u64) -> (LogPosition, LogPosition) {
        let end = self.segments.start_of(number.saturating_add(1));
        (self.segments.start_of(number), end)
    }

    fn note(&mut self, from: LogPosition, to: LogPosition, what: String) {
        let offset = self.segments.offset_of(from);
        // A truncated file ends where the next one begins.
        let name = segment_name(self.segments.number_of(from));
        self.losses
            .push(Loss::new(from, to, format!("offset {offset} of {name}"), what));
    }

    fn durable_end(&self) -> LogPosition {
        self.checkpoint
            .map_or(LogPosition::NONE, |checkpoint| checkpoint.durable_end)
    }

    /// Reads to the journal's end. With `whole`, from the very beginning, where compaction may have left gaps.
    pub(super) async fn run(&mut self, whole: bool) {
        let durable_end = self.durable_end();
        let clean_end = self
            .checkpoint
            .filter(|checkpoint| checkpoint.clean)
            .map(|_| durable_end);
        loop {
            let number = self.segments.number_of(self.position);
            let Some(file) = self.files.file(number) else {
                if !self.pass_absent_segment(number, whole) {
                    return;
                }
                continue;
            };
            let mut walk = self.walk(number, file.clone());
            let place = self.run_segment(number, &file, &mut walk).await;
            let blank = matches!(place, Place::Invalid) && self.is_blank(&mut walk).await;
            self.counts.bytes += walk.read_bytes;
            let unreadable = match place {
                // The whole segment is read.
                Place::Good { .. } => continue,
                Place::Invalid => None,
                Place::Unreadable(error) => Some(error),
            };
            if unreadable.is_none() {
                if self.continues_in_next(number).await || (whole && self.was_full(number)) {
                    self.position = self.segments.start_of(number + 1);
                    continue;
                }
                if clean_end == Some(self.position) && blank {
                    return;
                }
            }
            let gap = self.checkpoint.is_none() && self.files.file(number + 1).is_none();
            let what = match &unreadable {
                None if gap => format!("no batch, and then {ABSENT}"),
                None => "an invalid batch with valid ones behind it".to_owned(),
                Some(error) => format!("unreadable: {error}"),
            };
            match self.look_behind(number).await {
                Behind::Batch(position, sequence) => {
                    self.pass_damage(position, what).await;
                    if gap && let Some(loss) = self.losses.last_mut() {
                        loss.certain = false;
                    }
                    self.expected = Expected::Exactly(sequence);
                    continue;
                }
                Behind::Bytes(end, what) => {
                    self.pass_damage(end, what).await;
                    self.expected = Expected::AtLeast(self.expected.least());
                    continue;
                }
                Behind::Nothing => {}
            }
            if self.position < durable_end {
                let checkpoint = self.checkpoint.expect("its end is known");
                self.pass_damage(durable_end, "an invalid batch that was durable".to_owned())
                    .await;
                self.expected = Expected::Exactly(checkpoint.durable_sequence);
                continue;
            }
            if let Some(error) = unreadable {
                // Whether anything was written here cannot be known, so nothing may be written.
                let end = LogPosition(self.position.0.saturating_add(u64::from(self.marker.batch_bytes_max)));
                self.note(self.position, end, format!("unreadable: {error}"));
            }
            return;
        }
    }

    /// Whether nothing was ever written to the block where the next batch should be.
    async fn is_blank(&self, walk: &mut Walk) -> bool {
        let bytes = walk.bytes_at(self.segments.offset_of(self.position), BLOCK_BYTES).await;
        bytes.is_ok_and(|bytes| bytes.iter().take(BLOCK_BYTES).all(|byte| *byte == 0))
    }

    /// Whether all that the checkpoint knows to be in a segment has been read.
    fn was_full(&self, number: u64) -> bool {
        let Some(checkpoint) = self.checkpoint else {
            return false;
        };
        let known = checkpoint.segments.iter().find(|known| known.number == number);
        number < self.segments.number_of(checkpoint.scan_from)
            && known.is_some_and(|known| known.written_bytes == self.segments.offset_of(self.position))
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
                let expected = self.expected.admits(header.sequence);
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
        self.expected = Expected::Exactly(header.sequence.saturating_add(1));
        self.epoch = header.epoch;
    }

    fn take_record(&mut self, record: &Record<'_>) {
        if !record.kind.is_account_link() {
            return;
        }
        if let Err(error) = self.take_link(record, false) {
            let end = LogPosition(record.position.0 + record.occupied_bytes());
            self.note(
                record.position,
                end,
                format!("a record that is whole, but malformed: {error}"),
            );
        }
    }

    /// Takes a link. One that was salvaged from damage may be left over from a write that was cut off and written again: then it
    /// is none of the account's chain.
    fn take_link(&mut self, record: &Record<'_>, salvaged: bool) -> Result<(), Malformed> {
        let (link, fields) = Link::decode(record.payload)?;
        let change = Change::decode(record.kind, fields)?;
        // The checkpoint's table may be newer than the place where reading begins.
        let head = self
            .heads
            .find(link.account)
            .map_or(LogPosition::NONE, |place| place.head);
        let is_new = record.position > head;
        if salvaged && is_new && (link.previous < head || self.stale.contains(&link.previous)) {
            self.stale.insert(record.position);
            return Ok(());
        }
        let place = LinkPlace {
            position: record.position,
            segment: self.segments.number_of(record.position),
            occupied_bytes: record.occupied_bytes(),
        };
        let (live, dead) = space_of(&change, place, &self.segments);
        self.segments.charge(&live);
        self.segments.discharge(&dead);
        if is_new {
            self.heads.link(link.account, record.position, base_of(&change));
        }
        self.name_losses(&link, &change);
        Ok(())
    }

    /// Finds out what damage before a link means for its account.
    fn name_losses(&mut self, link: &Link, change: &Change<'_>) {
        let salvaged = &self.salvaged;
        for loss in self.losses.iter_mut().filter(|loss| loss.certain) {
            let lost = |position: LogPosition| loss.damage.covers(position) && !salvaged.contains(&position);
            match change {
                Change::Append { messages, .. } if messages.iter().any(|message| lost(message.body.position)) => {
                    loss.mail.insert(link.account);
                }
                // What a snapshot covers, it holds.
                Change::Snapshot(end) if end.covers >= loss.damage.to => {
                    loss.changes.remove(&link.account);
                    continue;
                }
                Change::Snapshot(end) if end.covers >= link.previous => continue,
                _ => {}
            }
            if lost(link.previous) {
                loss.changes.insert(link.account);
            }
        }
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
        good && matches!(self.expected, Expected::Exactly(_))
    }

    /// The segment where the journal should go on is not there. True when it may go on behind it.
    fn pass_absent_segment(&mut self, number: u64, whole: bool) -> bool {
        let next = self.files.next(number);
        let listed = self.checkpoint.is_some_and(|checkpoint| checkpoint.lists(number));
        let compacted = self
            .checkpoint
            .is_some_and(|checkpoint| whole && !listed && number < self.segments.number_of(checkpoint.scan_from));
        // A listed one is noted already.
        if !listed && !compacted {
            let durable_end = self.durable_end();
            if next.is_none() && self.position >= durable_end {
                return false;
            }
            let to = next.map_or(durable_end, |next| self.segments.start_of(next));
            if self.checkpoint.is_none() {
                self.note(self.position, to, ABSENT.to_owned());
                if let Some(loss) = self.losses.last_mut() {
                    loss.certain = false;
                }
            } else {
                self.note(self.position, to, "segment files are missing".to_owned());
            }
        }
        let Some(next) = next else {
            return false;
        };
        self.position = self.segments.start_of(next);
        self.expected = Expected::AtLeast(self.expected.least());
        true
    }

    /// Notes damage from here to `to`, takes what is whole of it, and goes on there.
    async fn pass_damage(&mut self, to: LogPosition, what: String) {
        let from = self.position;
        let index = self.losses.len();
        self.note(from, to, what);
        let mut salvaged = 0;
        while self.position < to {
            let number = self.segments.number_of(self.position);
            if let Some(file) = self.files.file(number) {
                let end = self.segments.start_of(number + 1).min(to);
                salvaged += self.salvage(number, file, end).await;
            }
            let next = self.files.next(number);
            self.position = next.map_or(to, |next| self.segments.start_of(next).min(to));
        }
        if let Some(loss) = self.losses.get_mut(index) {
            loss.damage.salvaged = salvaged;
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
                self.salvaged.insert(record.position);
                if record.kind.is_account_link() {
                    // A malformed one is part of the damage that is noted.
                    let _ = self.take_link(&record, true);
                }
            }
            offset += batch_bytes;
        }
        self.counts.bytes += walk.read_bytes;
        if let Some(segment) = self.segments.used(number) {
            segment.written_bytes.set(segment.written_bytes.get().max(last));
        }
        salvaged
    }

    pub(super) fn finish(mut self) -> Found {
        self.name_lost_heads();
        let epoch = self.checkpoint.map_or(0, |checkpoint| checkpoint.epoch).max(self.epoch);
        Found {
            heads: self.heads,
            end: JournalEnd {
                position: self.position,
                sequence: self.expected.least(),
                epoch: epoch.saturating_add(1),
            },
            damage: self.losses.into_iter().map(Loss::finish).collect(),
            counts: self.counts,
        }
    }

    /// Accounts whose last link, which the checkpoint knows, is lost.
    fn name_lost_heads(&mut self) {
        for loss in self.losses.iter_mut().filter(|loss| loss.certain) {
            let (from, to) = (loss.damage.from, loss.damage.to);
            for shard in 0..self.heads.shard_count() {
                for account in self.heads.between(shard, from, to) {
                    let head = self.heads.find(account).map_or(LogPosition::NONE, |place| place.head);
                    if loss.damage.covers(head) && !self.salvaged.contains(&head) {
                        loss.changes.insert(account);
                    }
                }
            }
        }
    }
}

impl Loss {
    fn new(from: LogPosition, to: LogPosition, place: String, what: String) -> Loss {
        Loss {
            damage: Damage {
                from,
                to,
                place,
                what,
                salvaged: 0,
                accounts: Vec::new(),
                mail_of: Vec::new(),
            },
            certain: true,
            changes: BTreeSet::new(),
            mail: BTreeSet::new(),
        }
    }

    fn finish(self) -> Damage {
        Damage {
            accounts: self.changes.into_iter().collect(),
            mail_of: self.mail.into_iter().collect(),
            ..self.damage
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
    under_way: 0,
};
