//! The segment files that are in the directory when a volume opens.

use std::collections::BTreeMap;
use std::rc::Rc;

use pigeon_store_format::LogPosition;

use crate::OpenReason;
use crate::disk::{Disk, DiskFile};
use crate::journal::segments::{Segment, Segments, segment_name, segment_number};

/// Segment files by number; those of the wrong length, which were never finished, without a file.
pub(super) struct Files {
    files: BTreeMap<u64, Option<Rc<dyn DiskFile>>>,
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
            let file = disk
                .open(&name)
                .await
                .map_err(|error| OpenReason::Io(format!("opening {name}: {error}")))?;
            files.insert(number, (file.length() == segment_bytes).then_some(file));
        }
        Ok(Files { files })
    }

    /// The lowest segment that is whole.
    pub(super) fn first(&self) -> Option<u64> {
        self.files
            .iter()
            .find(|(_, file)| file.is_some())
            .map(|(number, _)| *number)
    }

    pub(super) fn file(&self, number: u64) -> Option<Rc<dyn DiskFile>> {
        self.files.get(&number).cloned().flatten()
    }

    /// The lowest whole segment above `number`.
    pub(super) fn next(&self, number: u64) -> Option<u64> {
        let above = self.files.range(number.checked_add(1)?..);
        above
            .into_iter()
            .find(|(_, file)| file.is_some())
            .map(|(number, _)| *number)
    }

    /// Makes the files that follow the journal's end ready for it, and removes those of no use: segments that compaction had
    /// emptied, and unfinished ones.
    pub(super) async fn settle(&self, disk: &dyn Disk, segments: &Segments, end: LogPosition) {
        // A segment at whose very beginning the journal ends is still to come.
        let mut next = end.0.div_ceil(segments.segment_bytes());
        for (number, file) in &self.files {
            if segments.used(*number).is_some() {
                continue;
            }
            match file {
                Some(file) if *number == next => {
                    segments.add_ready(Segment::new(*number, file.clone()));
                    next += 1;
                }
                _ => {
                    let name = segment_name(*number);
                    if let Err(error) = disk.remove(&name).await {
                        tracing::warn!(path = %disk.path(), file = %name, %error, "cannot remove a segment of no use");
                    }
                }
            }
        }
    }
}
