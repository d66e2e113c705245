//! Opening a volume: the marker, the last checkpoint, and the journal behind it.
//!
//! - Without a marker, with another volume's, with a newer format's, or with another kind's: refused, nothing touched.
//! - An invalid batch with nothing valid behind it is a write that power loss cut off: it was never acknowledged, and its place is
//!   written again.
//! - An invalid batch with a valid one behind it, or before the end that the checkpoint knows, is damage: the volume opens for
//!   reading only, and says what is lost.
//! - Without a good checkpoint the whole journal is read: everything is in it.

mod damage;
mod files;
mod scan;

use std::rc::Rc;

use pigeon_store_format::{
    AccountTable, BATCH_HEADER_BYTES, BLOCK_BYTES, CHECKPOINT_BYTES_MAX, CHECKPOINT_NAME, Checkpoint, FORMAT_VERSION,
    KIND_LOG, LogPosition, MARKER_BYTES, MARKER_NAME, Marker, RecordKind, VolumeId, VolumeTag, parse_record,
};

pub use self::damage::Damage;
use self::files::Files;
use self::scan::Scan;
use crate::disk::Disk;
use crate::housekeeping::LastCheckpoint;
use crate::journal::segments::{Segment, Segments, segment_name};
use crate::journal::{JournalEnd, Status};
use crate::volume::OpenCounts;
use crate::volume::heads::HeadTable;
use crate::{OpenError, OpenReason, StoreError, VolumeOptions};

/// What opening found.
pub(crate) struct Recovered {
    pub(crate) marker: Marker,
    pub(crate) segments: Rc<Segments>,
    pub(crate) heads: HeadTable,
    pub(crate) end: JournalEnd,
    pub(crate) status: Status,
    pub(crate) damage: Vec<Damage>,
    pub(crate) counts: OpenCounts,
    pub(crate) checkpoint: LastCheckpoint,
}

/// The most a batch may be: sizes of buffers follow from it.
const BATCH_BYTES_LIMIT: u32 = 64 * 1024 * 1024;

fn check_sizes(segment_bytes: u64, batch_bytes_max: u32) -> Result<(), String> {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    let batch = u64::from(batch_bytes_max);
    if !batch.is_multiple_of(BLOCK) || batch < 2 * BLOCK || batch_bytes_max > BATCH_BYTES_LIMIT {
        return Err(format!(
            "a batch of {batch} bytes: expected a multiple of {BLOCK} from {} on",
            2 * BLOCK
        ));
    }
    if !segment_bytes.is_multiple_of(BLOCK) || segment_bytes < 4 * batch || segment_bytes > 1 << 40 {
        return Err(format!(
            "a segment of {segment_bytes} bytes: expected a multiple of {BLOCK} from four batches on"
        ));
    }
    Ok(())
}

/// See `Volume::create`.
pub(crate) async fn create(disk: Rc<dyn Disk>, id: VolumeId, options: &VolumeOptions) -> Result<(), StoreError> {
    let failed = |what: &str, error: std::io::Error| StoreError::Io(format!("{what} in {}: {error}", disk.path()));
    let batch_bytes_max = u32::try_from(options.batch_bytes_max).unwrap_or(u32::MAX);
    check_sizes(options.segment_bytes, batch_bytes_max).map_err(StoreError::Io)?;
    disk.create_directory()
        .await
        .map_err(|error| failed("making the directory", error))?;
    let names = disk.list().await.map_err(|error| failed("listing", error))?;
    if names.iter().any(|name| name == MARKER_NAME) {
        return Err(StoreError::Io(format!(
            "making a volume in {}: there is one already",
            disk.path()
        )));
    }
    if let Some(name) = names.iter().find(|name| name.as_str() == CHECKPOINT_NAME) {
        return Err(StoreError::Io(format!(
            "making a volume in {}: {name} of another is there",
            disk.path()
        )));
    }
    // The first segment may be left over from a making that was cut off.
    let first = segment_name(0);
    if names.contains(&first) {
        disk.remove(&first)
            .await
            .map_err(|error| failed(&format!("removing {first}"), error))?;
    }
    let made = disk
        .create_zeroed(&first, options.segment_bytes, &|_| Box::pin(std::future::ready(())))
        .await;
    made.map_err(|error| failed(&format!("making {first}"), error))?;
    // The marker comes last: with it the volume is there.
    let marker = Marker {
        version: FORMAT_VERSION,
        kind: KIND_LOG,
        volume: id,
        tag: VolumeTag::new(disk.random()),
        segment_bytes: options.segment_bytes,
        batch_bytes_max,
        epoch: 1,
        uid_validity_base: options.uid_validity_base.max(1),
    };
    disk.write_small(MARKER_NAME, marker.encode())
        .await
        .map_err(|error| failed("writing the marker", error))
}

/// See `Volume::open`.
pub(crate) async fn open(disk: Rc<dyn Disk>, expected: VolumeId) -> Result<Recovered, OpenError> {
    let path = disk.path();
    let refuse = |reason: OpenReason| OpenError {
        volume: expected,
        path: path.clone(),
        reason,
    };
    let marker = read_marker(&*disk, expected).await.map_err(refuse)?;
    if let Err(what) = check_sizes(marker.segment_bytes, marker.batch_bytes_max) {
        return Err(refuse(OpenReason::BadMarker(what)));
    }
    let files = Files::open(&*disk, marker.segment_bytes).await.map_err(refuse)?;
    let Some(first) = files.first() else {
        return Err(refuse(OpenReason::MissingSegment(LogPosition(0))));
    };
    let segments = Rc::new(Segments::new(marker.segment_bytes));
    let mut scan = Scan::new(marker, segments.clone(), &files);

    let checkpoint = read_checkpoint(&*disk, expected).await.map_err(refuse)?;
    let mut last_checkpoint = LastCheckpoint::default();
    let mut full_scan = true;
    if let Some(checkpoint) = &checkpoint {
        match scan.begin_with(checkpoint).await {
            Ok(()) => {
                full_scan = false;
                last_checkpoint = LastCheckpoint {
                    number: checkpoint.number,
                    scan_from: checkpoint.scan_from,
                };
                scan.run(Some(checkpoint), false).await;
            }
            Err(why) => {
                tracing::warn!(volume = %expected, reason = %why, "the checkpoint is of no use: reading the whole journal");
                segments.clear();
                scan = Scan::new(marker, segments.clone(), &files);
                let missing = checkpoint
                    .segments
                    .iter()
                    .filter(|known| files.file(known.number).is_none());
                missing.for_each(|known| scan.note_missing(known.number));
            }
        }
    }
    if full_scan {
        scan.begin_at(first);
        scan.run(checkpoint.as_ref(), true).await;
    }
    if let Some(checkpoint) = checkpoint.filter(|checkpoint| checkpoint.clean)
        && scan.found_no_damage()
    {
        // From now on something may follow what the checkpoint calls the end.
        let opened = Checkpoint {
            clean: false,
            ..checkpoint
        };
        if let Err(error) = disk.write_small(CHECKPOINT_NAME, opened.encode()).await {
            tracing::warn!(volume = %expected, %error, "cannot mark the checkpoint as no longer the end");
        }
    }
    let found = scan.finish();
    let status = match found.damage.first() {
        None => {
            files.settle(&*disk, &segments, found.end.position).await;
            Status::Writable
        }
        Some(first) => {
            for damage in &found.damage {
                tracing::error!(volume = %expected, %damage, "journal damaged: volume is read-only");
            }
            let more = match found.damage.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            Status::ReadOnly(format!("{first}{more}"))
        }
    };
    let counts = OpenCounts {
        full_scan,
        ..found.counts
    };
    Ok(Recovered {
        marker,
        segments,
        heads: found.heads,
        end: found.end,
        status,
        damage: found.damage,
        counts,
        checkpoint: last_checkpoint,
    })
}

async fn read_marker(disk: &dyn Disk, expected: VolumeId) -> Result<Marker, OpenReason> {
    // A newer format's marker may be longer.
    let bytes = match disk.read_small(MARKER_NAME, 64 * MARKER_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(OpenReason::NoMarker),
        Err(error) => return Err(OpenReason::Io(format!("reading {MARKER_NAME}: {error}"))),
    };
    let marker = Marker::decode(&bytes).map_err(|error| OpenReason::BadMarker(error.to_string()))?;
    if marker.version > FORMAT_VERSION {
        return Err(OpenReason::NewerFormat {
            found: marker.version,
            readable: FORMAT_VERSION,
        });
    }
    if marker.kind != KIND_LOG {
        return Err(OpenReason::OtherKind(marker.kind));
    }
    if marker.volume != expected {
        return Err(OpenReason::OtherVolume(marker.volume));
    }
    Ok(marker)
}

async fn read_checkpoint(disk: &dyn Disk, expected: VolumeId) -> Result<Option<Checkpoint>, OpenReason> {
    let bytes = match disk.read_small(CHECKPOINT_NAME, CHECKPOINT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // Nothing this long was written as a checkpoint: it is damaged, and the whole journal is read instead.
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => return Ok(None),
        Err(error) => return Err(OpenReason::Io(format!("reading {CHECKPOINT_NAME}: {error}"))),
    };
    match Checkpoint::decode(&bytes) {
        Ok(checkpoint) if checkpoint.volume == expected => Ok(Some(checkpoint)),
        Ok(checkpoint) => {
            tracing::warn!(volume = %expected, found = %checkpoint.volume, "the checkpoint is another volume's");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(volume = %expected, %error, "the checkpoint is damaged");
            Ok(None)
        }
    }
}

impl Scan<'_> {
    /// Takes what the checkpoint knows: segments, and the table of accounts. The text says why that cannot be.
    async fn begin_with(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        for known in &checkpoint.segments {
            let Some(file) = self.files.file(known.number) else {
                self.note_missing(known.number);
                continue;
            };
            let segment = Segment::new(known.number, file);
            segment.live_bytes.set(known.live_bytes);
            segment.written_bytes.set(known.written_bytes);
            self.segments.add_used(segment);
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
        self.start(checkpoint.scan_from, checkpoint.scan_sequence, checkpoint.epoch);
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
