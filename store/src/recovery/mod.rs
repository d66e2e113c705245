//! Opening a volume: the marker, the checkpoint, and the journal behind it.
//!
//! - Without a marker, with another volume's, with another format's, or with another kind's: refused, nothing touched.
//! - An invalid batch with nothing behind it is a write that power loss cut off: it was never acknowledged, and its place is
//!   written again.
//! - An invalid batch with anything behind it that no write cut off can have left, or before the end that the checkpoint knows,
//!   is damage; so is a segment that the checkpoint lists and that is not there. Then the volume opens for reading only, and
//!   says what is lost.
//! - The checkpoint lists every segment that may hold something, so that a lost one is told from one that compaction removed.
//!   Without both checkpoint files nobody can tell: all mail that is there can be read, and nothing is written.
//! - Before the volume is writable its checkpoint says so durably: that the journal may go on behind it, and with which epoch.

mod behind;
mod checkpoint;
mod damage;
mod files;
mod scan;

use std::rc::Rc;

use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{
    BLOCK_BYTES, CHECKPOINT_NAMES, Checkpoint, FORMAT_VERSION, KIND_LOG, LogPosition, MARKER_BYTES, MARKER_NAME,
    Marker, SegmentUse, VolumeId, VolumeTag,
};

use self::checkpoint::read_checkpoints;
pub use self::damage::Damage;
use self::files::Files;
use self::scan::Scan;
use crate::disk::{Disk, DiskFile};
use crate::housekeeping::write_checkpoint_files;
use crate::journal::segments::{Segments, segment_name, segment_number};
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
    /// As it is on the disk. `None` when the volume is not to be written.
    pub(crate) checkpoint: Option<Checkpoint>,
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
    let refused = |why: String| Err(StoreError::Io(format!("making a volume in {}: {why}", disk.path())));
    if names.iter().any(|name| name == MARKER_NAME) {
        return refused("there is one already".to_owned());
    }
    // What is there without a marker may be mail whose marker was lost. Only what a making that was cut off leaves may go: the
    // first segment, with nothing in it, and checkpoints of no mail.
    let first = segment_name(0);
    for name in &names {
        let foreign = match segment_number(name) {
            Some(number) => number != 0,
            None => CHECKPOINT_NAMES.contains(&name.as_str()) && !tells_of_no_mail(&*disk, name).await,
        };
        if foreign {
            return refused(format!("{name} of another is there"));
        }
    }
    if names.contains(&first) {
        let file = disk
            .open(&first)
            .await
            .map_err(|error| failed(&format!("opening {first}"), error))?;
        if !begins_blank(&*file)
            .await
            .map_err(|error| failed(&format!("reading {first}"), error))?
        {
            return refused(format!("{first} of another is there"));
        }
        drop(file);
        disk.remove(&first)
            .await
            .map_err(|error| failed(&format!("removing {first}"), error))?;
    }
    let made = disk
        .create_zeroed(&first, options.segment_bytes, &|_| {
            Box::pin(std::future::ready(options.segment_bytes))
        })
        .await;
    made.map_err(|error| failed(&format!("making {first}"), error))?;
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
    write_checkpoint_files(&*disk, &first_checkpoint(&marker)).await?;
    // The marker comes last: with it the volume is there.
    disk.write_small(MARKER_NAME, marker.encode())
        .await
        .map_err(|error| failed("writing the marker", error))
}

/// Of a volume with nothing in it.
fn first_checkpoint(marker: &Marker) -> Checkpoint {
    Checkpoint {
        volume: marker.volume,
        tag: marker.tag,
        number: 1,
        clean: true,
        scan_from: LogPosition(0),
        scan_sequence: 1,
        durable_end: LogPosition(0),
        durable_sequence: 1,
        scan_epoch: marker.epoch,
        epoch: marker.epoch,
        table: LogPosition::NONE,
        accounts: 0,
        segments: vec![SegmentUse::default()],
    }
}

/// Whether a checkpoint file is that of a volume with nothing in it.
async fn tells_of_no_mail(disk: &dyn Disk, name: &str) -> bool {
    let Ok(bytes) = disk.read_small(name, MARKER_BYTES * 2).await else {
        return false;
    };
    Checkpoint::decode(&bytes).is_ok_and(|checkpoint| checkpoint.durable_end == LogPosition(0))
}

/// Whether nothing was ever written to a segment's beginning.
async fn begins_blank(file: &dyn DiskFile) -> std::io::Result<bool> {
    let (result, buffer) = file.read(0, AlignedBuffer::zeroed(BLOCK_BYTES), BLOCK_BYTES).await;
    let got = result?.min(BLOCK_BYTES);
    Ok(buffer[..got].iter().all(|byte| *byte == 0))
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
    let checkpoints = read_checkpoints(&*disk, &marker).await.map_err(refuse)?;
    let files = Files::open(&*disk, marker.segment_bytes).await.map_err(refuse)?;
    let Some(first) = files.first() else {
        return Err(refuse(OpenReason::MissingSegment(LogPosition(0))));
    };
    let segments = Rc::new(Segments::new(marker.segment_bytes));
    let newest = checkpoints.newest.as_ref();
    if let Some(checkpoint) = newest {
        let first_written = segments.number_of(checkpoint.scan_from);
        files.await_writes(first_written).await.map_err(refuse)?;
    }
    let mut scan = Scan::new(marker, segments.clone(), &files, newest);
    let mut full_scan = true;
    match newest {
        Some(checkpoint) => {
            scan.note_absent(checkpoint);
            match scan.begin_with(checkpoint).await {
                Ok(()) => full_scan = false,
                Err(why) => {
                    tracing::warn!(volume = %expected, reason = %why, "the table of accounts is of no use: reading the whole journal");
                    segments.clear();
                    scan = Scan::new(marker, segments.clone(), &files, newest);
                    scan.note_absent(checkpoint);
                }
            }
        }
        None => scan.note_no_checkpoint(&checkpoints.faults),
    }
    if full_scan {
        scan.begin_at(first);
    }
    scan.run(full_scan).await;
    scan.note_unlisted();
    let found = scan.finish();
    let (status, checkpoint) = match (found.damage.first(), checkpoints.newest) {
        (None, Some(checkpoint)) => match begin_writing(&*disk, &files, &segments, checkpoint, found.end).await {
            Ok(checkpoint) => (Status::Writable, Some(checkpoint)),
            Err(error) => {
                let why = format!("the checkpoint cannot say that the volume is open: {error}");
                tracing::error!(volume = %expected, reason = %why, "volume is read-only until it is opened again");
                (Status::ReadOnly(why), None)
            }
        },
        (Some(first), _) => {
            for damage in &found.damage {
                tracing::error!(volume = %expected, %damage, "volume damaged: it is read-only");
            }
            let more = match found.damage.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            (Status::ReadOnly(format!("{first}{more}")), None)
        }
        (None, None) => unreachable!("a volume without a checkpoint is damaged"),
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
        checkpoint,
    })
}

/// Makes the volume writable: says durably that the journal may go on behind its end, and with which epoch. Only then are files
/// of no use removed: none that a checkpoint lists is ever missing.
async fn begin_writing(
    disk: &dyn Disk,
    files: &Files,
    segments: &Segments,
    mut checkpoint: Checkpoint,
    end: JournalEnd,
) -> Result<Checkpoint, StoreError> {
    let settled = files.settle(segments, end.position);
    checkpoint.number += 1;
    checkpoint.clean = false;
    checkpoint.epoch = end.epoch;
    // Writing the files makes durable what the disk has taken before, so all that was read is.
    checkpoint.durable_end = end.position;
    checkpoint.durable_sequence = end.sequence;
    let listed = checkpoint.segments.last().map_or(0, |last| last.number + 1);
    checkpoint.segments.extend(
        settled
            .ready
            .iter()
            .filter(|segment| segment.number >= listed)
            .map(|segment| SegmentUse {
                number: segment.number,
                ..SegmentUse::default()
            }),
    );
    write_checkpoint_files(disk, &checkpoint).await?;
    settled
        .ready
        .into_iter()
        .for_each(|segment| segments.add_ready(segment));
    for name in settled.useless {
        if let Err(error) = disk.remove(&name).await {
            tracing::warn!(path = %disk.path(), file = %name, %error, "cannot remove a segment of no use");
        }
    }
    Ok(checkpoint)
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
    if marker.version < FORMAT_VERSION {
        return Err(OpenReason::OlderFormat {
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
