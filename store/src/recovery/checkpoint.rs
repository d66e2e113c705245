//! The two checkpoint files when a volume opens: which of them to go by, and what the table of accounts says.
//!
//! Either file alone is exact (see `pigeon_store_format::Checkpoint`), so one that is lost or damaged costs nothing. Without
//! both, nobody knows which segments there were.

use std::io;

use pigeon_store_format::{
    AccountTable, BATCH_HEADER_BYTES, BLOCK_BYTES, CHECKPOINT_BYTES_MAX, CHECKPOINT_NAMES, CHECKPOINT_VERSION,
    Checkpoint, LogPosition, Marker, RecordKind, checkpoint_version, parse_record,
};

use super::scan::Scan;
use crate::OpenReason;
use crate::disk::Disk;
use crate::journal::segments::{Segment, segment_name};

/// What the two files gave.
pub(super) struct Checkpoints {
    /// The newer of those that can be used.
    pub(super) newest: Option<Checkpoint>,
    /// What is wrong with the others, each by its name.
    pub(super) faults: Vec<String>,
}

/// Why a file is not used.
enum Fault {
    /// Another program's: the volume must not be touched.
    Refused(OpenReason),
    /// The disk does not say what is there.
    Unreadable(String),
    Useless(String),
}

/// Reads both files.
pub(super) async fn read_checkpoints(disk: &dyn Disk, marker: &Marker) -> Result<Checkpoints, OpenReason> {
    let mut newest: Option<Checkpoint> = None;
    let mut faults = Vec::new();
    let mut unreadable = None;
    for name in CHECKPOINT_NAMES {
        match read_one(disk, marker, name).await {
            Ok(checkpoint) => {
                if newest.as_ref().is_none_or(|best| best.number < checkpoint.number) {
                    newest = Some(checkpoint);
                }
            }
            Err(Fault::Refused(reason)) => return Err(reason),
            Err(Fault::Unreadable(what)) => {
                unreadable = Some(what.clone());
                faults.push(what);
            }
            Err(Fault::Useless(what)) => faults.push(what),
        }
    }
    for what in &faults {
        tracing::warn!(volume = %marker.volume, %what, "a checkpoint file is of no use");
    }
    match (&newest, unreadable) {
        // The next try may read it.
        (None, Some(what)) => Err(OpenReason::Io(what)),
        _ => Ok(Checkpoints { newest, faults }),
    }
}

async fn read_one(disk: &dyn Disk, marker: &Marker, name: &str) -> Result<Checkpoint, Fault> {
    let bytes = match disk.read_small(name, CHECKPOINT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Fault::Useless(format!("{name} is missing")));
        }
        // Nothing this long was written as a checkpoint.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(Fault::Useless(format!("{name} is damaged: {error}")));
        }
        Err(error) => return Err(Fault::Unreadable(format!("reading {name}: {error}"))),
    };
    let damaged = |what: &str| Fault::Useless(format!("{name} is damaged: {what}"));
    let version = checkpoint_version(&bytes).map_err(|error| damaged(error.0))?;
    if version != CHECKPOINT_VERSION {
        return Err(Fault::Refused(OpenReason::OtherCheckpoint {
            name: name.to_owned(),
            found: version,
            readable: CHECKPOINT_VERSION,
        }));
    }
    let checkpoint = Checkpoint::decode(&bytes).map_err(|error| damaged(error.0))?;
    if checkpoint.volume != marker.volume {
        return Err(Fault::Useless(format!("{name} is volume {}'s", checkpoint.volume)));
    }
    if checkpoint.tag != marker.tag {
        return Err(Fault::Useless(format!(
            "{name} is that of an earlier volume of the same identity"
        )));
    }
    Ok(checkpoint)
}

impl Scan<'_> {
    /// Notes every segment that the checkpoint lists and that is not there whole.
    pub(super) fn note_absent(&mut self, checkpoint: &Checkpoint) {
        for known in &checkpoint.segments {
            match self.files.length(known.number) {
                None => self.note_missing(known.number),
                Some(length) if length != self.segments.segment_bytes() => self.note_length(known.number, length),
                Some(_) => {}
            }
        }
    }

    /// Takes what the checkpoint knows: segments, and the table of accounts. The text says why that cannot be.
    pub(super) async fn begin_with(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        let last = self.segments.number_of(checkpoint.scan_from);
        for known in &checkpoint.segments {
            // Those behind are used when a batch is found in them.
            if known.number > last || known.written_bytes == 0 {
                continue;
            }
            if let Some(file) = self.files.file(known.number) {
                let segment = Segment::new(known.number, file);
                segment.live_bytes.set(known.live_bytes);
                segment.written_bytes.set(known.written_bytes);
                self.segments.add_used(segment);
            }
        }
        let mut position = checkpoint.table;
        let mut accounts = 0u64;
        while position != LogPosition::NONE {
            let payload = self.read_table_part(position).await?;
            let table = AccountTable::decode(&payload).map_err(|error| error.to_string())?;
            for (account, head) in table.accounts() {
                self.heads.set(account, head);
                accounts += 1;
            }
            if table.previous >= position {
                return Err("the table of accounts goes round in circles".to_owned());
            }
            position = table.previous;
        }
        if accounts != checkpoint.accounts {
            return Err(format!(
                "the table has {accounts} accounts, expected {}",
                checkpoint.accounts
            ));
        }
        self.start(checkpoint.scan_from, checkpoint.scan_sequence, checkpoint.scan_epoch);
        Ok(())
    }

    async fn read_table_part(&mut self, position: LogPosition) -> Result<Vec<u8>, String> {
        let number = self.segments.number_of(position);
        let offset = self.segments.offset_of(position);
        let file = self
            .files
            .file(number)
            .ok_or_else(|| format!("{} is missing", segment_name(number)))?;
        let start = offset / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let skip = (offset - start) as usize;
        let mut walk = self.walk(number, file);
        let least = self.marker.batch_bytes_max as usize + BLOCK_BYTES - BATCH_HEADER_BYTES;
        let bytes = walk
            .bytes_at(start, least)
            .await
            .map_err(|error| format!("reading the table: {error}"))?;
        let bytes = bytes.get(skip..).unwrap_or_default();
        let record = parse_record(self.marker.tag, bytes, position).map_err(|error| format!("the table: {error}"))?;
        if record.kind != RecordKind::AccountTable {
            return Err("the table: another record is there".to_owned());
        }
        Ok(record.payload.to_vec())
    }
}
