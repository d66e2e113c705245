//! The segment files that are in the directory when a volume opens.

use std::collections::BTreeMap;
use std::rc::Rc;

use pigeon_store_format::LogPosition;

use crate::OpenReason;
use crate::disk::{Disk, DiskFile};
use crate::journal::segments::{Segment, Segments, segment_name, segment_number};

/// Segment files by number, of any length.
pub(super) struct Files {
    files: BTreeMap<u64, Rc<dyn DiskFile>>,
    segment_bytes: u64,
}

/// What becomes of the files that are not in use, when the volume is to be written.
pub(super) struct Settled {
    /// Follow the journal's end, and are whole.
    pub(super) ready: Vec<Rc<Segment>>,
    /// Emptied by compaction, or never finished.
    pub(super) useless: Vec<String>,
}

impl Files {
    pub(super) async fn open(disk: &dyn Disk, segment_bytes: u64) -> Result<Files, OpenReason> {
        let names = disk
            .list()
            .await
            .map_err(|error| OpenReason::Io(format!("listing the volume: {error}")))?;
        let mut files = BTreeMap::new();
        for name in names {
            let Some(number) = segment_number(&name) else { continue };
            // No position is that high: such a name is not the journal's.
            if number >= u64::MAX / segment_bytes - 1 {
                continue;
            }
            let file = disk
                .open(&name)
                .await
                .map_err(|error| OpenReason::Io(format!("opening {name}: {error}")))?;
            files.insert(number, file);
        }
        Ok(Files { files, segment_bytes })
    }

    /// Waits until nothing is on its way to segments from `number` on: a killed process may have left writes under way, which
    /// must not land on what is written next.
    pub(super) async fn await_writes(&self, number: u64) -> Result<(), OpenReason> {
        for (number, file) in self.files.range(number..) {
            let settled = file.settle().await;
            settled.map_err(|error| OpenReason::Io(format!("{}: {error}", segment_name(*number))))?;
        }
        Ok(())
    }

    /// The lowest segment.
    pub(super) fn first(&self) -> Option<u64> {
        self.files.keys().next().copied()
    }

    /// The file of a segment, also one of the wrong length.
    pub(super) fn file(&self, number: u64) -> Option<Rc<dyn DiskFile>> {
        self.files.get(&number).cloned()
    }

    /// The length of a segment's file.
    pub(super) fn length(&self, number: u64) -> Option<u64> {
        self.files.get(&number).map(|file| file.length())
    }

    /// The lowest segment above `number`.
    pub(super) fn next(&self, number: u64) -> Option<u64> {
        let mut above = self.files.range(number.checked_add(1)?..);
        above.next().map(|(number, _)| *number)
    }

    /// Segments above `number`, ascending, each with whether it has the length of a segment.
    pub(super) fn above(&self, number: u64) -> impl Iterator<Item = (u64, bool)> {
        let above = self.files.iter().filter(move |(other, _)| **other > number);
        above.map(|(number, file)| (*number, file.length() == self.segment_bytes))
    }

    /// Segments whose files have the wrong length, ascending.
    pub(super) fn of_wrong_length(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.files.iter().map(|(number, file)| (*number, file.length()));
        all.filter(|(_, length)| *length != self.segment_bytes)
    }

    /// Sorts the files that are not in use. Only of a volume without damage.
    pub(super) fn settle(&self, segments: &Segments, end: LogPosition) -> Settled {
        // A segment at whose very beginning the journal ends is still to come.
        let mut next = end.0.div_ceil(self.segment_bytes);
        let mut settled = Settled {
            ready: Vec::new(),
            useless: Vec::new(),
        };
        for (number, file) in &self.files {
            if segments.used(*number).is_some() {
                continue;
            }
            if *number == next && file.length() == self.segment_bytes {
                settled.ready.push(Segment::new(*number, file.clone()));
                next += 1;
            } else {
                settled.useless.push(segment_name(*number));
            }
        }
        settled
    }
}
