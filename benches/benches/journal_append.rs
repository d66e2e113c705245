//! Durable appends with 1, 16 and 64 in flight, beside a raw io_uring loop that writes batches of the same average size to a
//! file of the same kind on the same disk. Three tables: the journal alone (a record of that size through room, copy,
//! checksum, batch and durable write), whole deliveries (with quota, index and the account's link), and both for so long that
//! segments are zeroed beside them, which the raw loop never has to do.
//!
//! The two sides take turns on the same core (A B A B), so that the ratio holds while the disk's speed drifts. In the first
//! two tables no segment is zeroed meanwhile: each turn begins when those ahead are there, and ends before the current one is
//! full. A plain program, not criterion: both sides are driven by their own loop.
//!
//! `cargo bench -p pigeon-benches --bench journal_append [-- SECONDS [BYTES [IN_FLIGHT [TABLE]]]]`: seconds of each turn; 0
//! for all sizes, all depths, all tables.

// The raw loop is the physical limit that the store is measured against; it has no other place in the project.
#![allow(unsafe_code)]

#[path = "journal_append/raw.rs"]
mod raw;

use bytes::Bytes;
use pigeon_engine::runtime::EngineOptions;
use pigeon_store::disk::EngineDisk;
use pigeon_store::{AccountId, Delivery, Flags, Limits, Volume, VolumeId, VolumeOptions};
use raw::RawLoop;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const TURNS: usize = 5;
const SEGMENT_BYTES: u64 = 256 << 20;
/// What is written before a row's first turn, bytes: more than the cache of bodies holds.
const WARM_BYTES: u64 = 48 << 20;
/// What all turns of a row may write, bytes, so that they stay within one segment.
const ROW_BYTES_MAX: u64 = SEGMENT_BYTES - WARM_BYTES - (16 << 20);
/// Each sender looks at the clock once in so many appends.
const LOOK_AT_CLOCK_EVERY: u64 = 8;
/// Waiting for segments ahead, a look in so much time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is appended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Record,
    Delivery,
}

/// What the program was asked for.
#[derive(Clone, Copy)]
struct Asked {
    turn: Duration,
    bytes: Option<usize>,
    in_flight: Option<usize>,
    table: Option<usize>,
}

fn main() {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let whole = |index: usize| {
        let number = numbers.get(index).map(|number| *number as usize);
        number.filter(|number| *number > 0)
    };
    let asked = Asked {
        turn: Duration::from_secs_f64(numbers.first().copied().unwrap_or(0.5)),
        bytes: whole(1),
        in_flight: whole(2),
        table: whole(3),
    };
    let directory = target_directory().join(format!("bench-journal-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory beside the program");
    let options = EngineOptions {
        cores: Some(pigeon_engine::placement::CpuSet::available().expect("the CPUs of this process")),
        control_cpus: None,
        receive_buffers: 16,
        receive_buffer_bytes: 4096,
        pipes: 0,
        core_queue_depth: 16,
        open_files: 4096,
        open_files_for: "a measurement".to_owned(),
    };
    let place = directory.clone();
    let main = move || {
        let place = place.clone();
        async move {
            if pigeon_engine::current_core().0 == 0 {
                all_tables(&place, asked).await;
            }
        }
    };
    pigeon_engine::runtime::run(options, main, |_| async {}).expect("the engine starts");
    // Ours, made above; what stays behind costs disk space only.
    let _ = std::fs::remove_dir_all(&directory);
}

async fn all_tables(directory: &Path, asked: Asked) {
    let raw = RawLoop::new(&directory.join("raw"), SEGMENT_BYTES);
    let tables = [
        (Kind::Record, false, "Journal appends, no segment zeroed meanwhile"),
        (Kind::Delivery, false, "Whole deliveries, no segment zeroed meanwhile"),
        (Kind::Record, true, "Journal appends, segments zeroed beside them"),
        (Kind::Delivery, true, "Whole deliveries, segments zeroed beside them"),
    ];
    for (index, (kind, zeroing, title)) in tables.into_iter().enumerate() {
        if asked.table.is_some_and(|only| only != index + 1) {
            continue;
        }
        println!("{title}\n");
        println!("| bytes | in flight | appends/s | raw, appends/s | ratio | CPU us | in a batch | batches/s |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
        for bytes in [4096, 16 * 1024] {
            for in_flight in [1, 16, 64] {
                let wanted = asked.bytes.is_none_or(|only| only == bytes)
                    && asked.in_flight.is_none_or(|only| only == in_flight);
                if wanted {
                    let row = Row {
                        kind,
                        zeroing,
                        bytes,
                        in_flight,
                        turn: asked.turn,
                    };
                    row.measure(directory, &raw).await;
                }
            }
        }
        println!();
    }
}

struct Row {
    kind: Kind,
    zeroing: bool,
    bytes: usize,
    in_flight: usize,
    turn: Duration,
}

/// What one turn of ours gave.
struct Turn {
    per_second: f64,
    processor_us: f64,
    per_batch: f64,
    batches_per_second: f64,
    bytes_per_batch: usize,
}

impl Row {
    /// In a new volume, beside the raw loop.
    async fn measure(&self, directory: &Path, raw: &RawLoop) {
        let path = directory.join("volume");
        let _ = std::fs::remove_dir_all(&path);
        let disk = Rc::new(EngineDisk::new(&path));
        let id = VolumeId([7; 16]);
        let options = VolumeOptions {
            segment_bytes: SEGMENT_BYTES,
            sleep: Some(Rc::new(|duration| Box::pin(pigeon_engine::sleep(duration)))),
            ..VolumeOptions::default()
        };
        Volume::create(disk.clone(), id, &options)
            .await
            .expect("an empty directory");
        let volume = Volume::open(disk, id, options).await.expect("made just now");
        let driver = pigeon_engine::spawn(volume.drive());
        let keeper = pigeon_engine::runtime::spawn_background(volume.maintain());
        let message = Bytes::from(message(self.bytes));
        // Not counted: the first use of each account and of each buffer, and the cache of bodies on its way to its full size.
        let warm = Row { in_flight: 64, ..*self };
        warm.append_for(&volume, &message, Duration::from_secs(10), WARM_BYTES)
            .await;
        let (mut turns, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..TURNS {
            while volume.stats().segments_ready < 2 && (index == 0 || !self.zeroing) {
                pigeon_engine::sleep(LOOK_EVERY).await;
            }
            let turn = self.take_turn(&volume, &message).await;
            let writes = raw.writes_per_second(turn.bytes_per_batch, 1, self.turn.min(Duration::from_millis(500)));
            limits.push(writes * turn.per_batch);
            ratios.push(turn.per_second / (writes * turn.per_batch));
            turns.push(turn);
        }
        volume.close().await;
        let _ = (driver.await, keeper.await);
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.0} |",
            self.bytes,
            self.in_flight,
            median(turns.iter().map(|turn| turn.per_second)),
            median(limits.into_iter()),
            median(ratios.into_iter()),
            median(turns.iter().map(|turn| turn.processor_us)),
            median(turns.iter().map(|turn| turn.per_batch)),
            median(turns.iter().map(|turn| turn.batches_per_second)),
        );
    }

    async fn take_turn(&self, volume: &Volume, message: &Bytes) -> Turn {
        let bytes_max = if self.zeroing {
            u64::MAX
        } else {
            ROW_BYTES_MAX / TURNS as u64
        };
        let before = volume.stats();
        let (start, processor) = (Instant::now(), raw::thread_processor_time());
        let count = self.append_for(volume, message, self.turn, bytes_max).await;
        let elapsed = start.elapsed().as_secs_f64();
        let processor = raw::thread_processor_time().saturating_sub(processor);
        let after = volume.stats();
        let batches = (after.batches - before.batches).max(1);
        let written = (after.journal_bytes - before.journal_bytes) / batches;
        Turn {
            per_second: count as f64 / elapsed,
            processor_us: processor.as_secs_f64() * 1e6 / count as f64,
            per_batch: count as f64 / batches as f64,
            batches_per_second: batches as f64 / elapsed,
            bytes_per_batch: usize::try_from(written).expect("a batch fits into memory"),
        }
    }

    /// Appends one after the other from each of `in_flight` tasks. Gives how many there were.
    async fn append_for(&self, volume: &Volume, message: &Bytes, length: Duration, bytes_max: u64) -> u64 {
        let until = Instant::now() + length;
        // What an append takes at most, with records and padding.
        let most = self.bytes + if self.in_flight == 1 { 8192 } else { 1024 };
        let left = Rc::new(Cell::new(bytes_max / most as u64));
        let senders = (0..self.in_flight).map(|index| {
            let (volume, message, kind, left) = (volume.clone(), message.clone(), self.kind, left.clone());
            async move {
                let mut account = [0; 16];
                account[0] = u8::try_from(index).expect("at most 64 in flight");
                let mut count = 0_u64;
                while left.get() > 0 && (!count.is_multiple_of(LOOK_AT_CLOCK_EVERY) || Instant::now() < until) {
                    left.set(left.get() - 1);
                    match kind {
                        Kind::Record => volume
                            .append_unreferenced(message.clone())
                            .await
                            .expect("there is room"),
                        Kind::Delivery => deliver(&volume, AccountId(account), message.clone()).await,
                    }
                    count += 1;
                }
                count
            }
        });
        let tasks: Vec<_> = senders.map(pigeon_engine::spawn).collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.expect("no sender panics");
        }
        count
    }
}

async fn deliver(volume: &Volume, account: AccountId, message: Bytes) {
    let mut writer = volume.begin_body(&[account]).await.expect("there is room");
    writer.write(message).await.expect("there is room");
    let body = writer.finish().await.expect("there is room");
    let delivery = Delivery {
        account,
        limits: Limits {
            bytes: None,
            messages: None,
        },
        mailbox: "INBOX".to_owned(),
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: 1_700_000_000,
        create_mailbox: false,
        prepend: Bytes::new(),
        key: None,
    };
    for result in volume.deliver(body, vec![delivery]).await {
        result.expect("delivered");
    }
}

fn message(bytes: usize) -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog, and does so again.....\r\n";
    let mut message = b"Subject: bench\r\n\r\n".to_vec();
    while message.len() < bytes {
        message.extend_from_slice(line);
    }
    message.truncate(bytes - 2);
    message.extend_from_slice(b"\r\n");
    message
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Where the volume goes: `PIGEON_BENCH_DIRECTORY`, or else `target/release`, from `target/release/deps/journal_append-...`.
fn target_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("PIGEON_BENCH_DIRECTORY") {
        return PathBuf::from(directory);
    }
    let program = std::env::current_exe().expect("the program's own path");
    program
        .ancestors()
        .nth(2)
        .expect("target/release/deps/program")
        .to_owned()
}
