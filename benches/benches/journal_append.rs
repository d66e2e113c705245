//! Durable appends: the store's journal with 1, 16 and 64 deliveries in flight, beside a raw io_uring loop that writes the
//! same number of bytes a batch to a file of the same kind on the same disk, in turn (A B A B), so that the ratio holds
//! while the disk's speed drifts. A plain program, not criterion: both sides are driven by their own loop.
//!
//! `cargo bench -p pigeon-benches --bench journal_append [-- SECONDS]`

// The raw loop is the physical limit that the store is measured against; it has no other place in the project.
#![allow(unsafe_code)]

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};
use pigeon_engine::runtime::EngineOptions;
use pigeon_store::disk::EngineDisk;
use pigeon_store::{AccountId, Delivery, Flags, Limits, Volume, VolumeId, VolumeOptions};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const BLOCK: usize = 4096;
const SEGMENT_BYTES: u64 = 256 << 20;
/// RWF_DSYNC of pwritev2(2).
const RWF_DSYNC: i32 = 0x2;

fn main() {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(2.0);
    let length = Duration::from_secs_f64(seconds);
    let directory = target_directory().join(format!("bench-journal-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory beside the program");
    println!("| message bytes | in flight | store, appends/s | raw io_uring, appends/s | store / raw, median |");
    println!("| --- | --- | --- | --- | --- |");
    for message_bytes in [4096, 16 * 1024] {
        for in_flight in [1, 16, 64] {
            let (mut store, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let ours = store_appends(&directory, message_bytes, in_flight, length);
                let limit = raw_appends(&directory, ours.bytes_per_batch, ours.per_batch, length);
                store.push(ours.per_second);
                raw.push(limit);
                ratios.push(ours.per_second / limit);
            }
            println!(
                "| {message_bytes} | {in_flight} | {:.0} | {:.0} | {:.2} |",
                median(&mut store),
                median(&mut raw),
                median(&mut ratios)
            );
        }
    }
    // Ours, made above; what stays behind costs disk space only.
    let _ = std::fs::remove_dir_all(&directory);
}

struct Ours {
    per_second: f64,
    /// What the journal put into one durable write, on average: the raw loop does the same.
    per_batch: f64,
    bytes_per_batch: usize,
}

/// Appends into a new volume from one core, `in_flight` deliveries at a time.
fn store_appends(directory: &Path, message_bytes: usize, in_flight: usize, length: Duration) -> Ours {
    let path = directory.join("volume");
    let _ = std::fs::remove_dir_all(&path);
    let (sender, receiver) = std::sync::mpsc::channel();
    let options = EngineOptions {
        cores: Some(pigeon_engine::placement::CpuSet::available().expect("the CPUs of this process")),
        control_cpus: None,
        receive_buffers: 16,
        receive_buffer_bytes: 4096,
        core_queue_depth: 16,
    };
    let main = move || {
        let (path, sender) = (path.clone(), sender.clone());
        async move {
            if pigeon_engine::current_core().0 == 0 {
                let ours = on_first_core(path, message_bytes, in_flight, length).await;
                sender.send(ours).expect("the bench waits");
            }
        }
    };
    pigeon_engine::runtime::run(options, main, |_| async {}).expect("the engine starts");
    receiver.recv().expect("the first core has sent its figures")
}

async fn on_first_core(path: PathBuf, message_bytes: usize, in_flight: usize, length: Duration) -> Ours {
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
    let message = Bytes::from(message(message_bytes));
    // Not counted: the first segment, and the first use of each account.
    deliver_for(&volume, &message, in_flight, Duration::from_millis(200)).await;
    let before = volume.stats();
    let start = Instant::now();
    let count = deliver_for(&volume, &message, in_flight, length).await;
    let elapsed = start.elapsed().as_secs_f64();
    let after = volume.stats();
    volume.close().await;
    let _ = (driver.await, keeper.await);
    let batches = (after.batches - before.batches).max(1);
    let bytes =
        usize::try_from((after.journal_bytes - before.journal_bytes) / batches).expect("a batch fits into memory");
    Ours {
        per_second: count as f64 / elapsed,
        per_batch: count as f64 / batches as f64,
        bytes_per_batch: bytes.next_multiple_of(BLOCK),
    }
}

async fn deliver_for(volume: &Volume, message: &Bytes, in_flight: usize, length: Duration) -> u64 {
    let until = Instant::now() + length;
    let senders = (0..in_flight).map(|index| {
        let (volume, message) = (volume.clone(), message.clone());
        async move {
            let mut account = [0; 16];
            account[0] = u8::try_from(index).expect("at most 64 in flight");
            let mut count = 0;
            while Instant::now() < until {
                deliver(&volume, AccountId(account), message.clone()).await;
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
    };
    for result in volume.deliver(body, vec![delivery]).await {
        result.expect("delivered");
    }
}

/// One durable write of `bytes` after the other, each counted as `per_write` appends.
fn raw_appends(directory: &Path, bytes: usize, per_write: f64, length: Duration) -> f64 {
    let path = directory.join("raw");
    preallocate(&path);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .expect("made just now");
    let layout = Layout::from_size_align(bytes, BLOCK).expect("a block is a power of two");
    // SAFETY: the layout is not empty: a batch has at least a block.
    let buffer = unsafe { alloc_zeroed(layout) };
    assert!(!buffer.is_null(), "there is memory for a batch");
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8)
        .expect("a ring");
    let vector = [libc::iovec {
        iov_base: buffer.cast(),
        iov_len: bytes,
    }];
    // SAFETY: the buffer outlives the ring, which is dropped before it is freed.
    unsafe { ring.submitter().register_buffers(&vector) }.expect("RLIMIT_MEMLOCK allows a batch");
    let until = Instant::now() + length;
    let (start, mut writes, mut position) = (Instant::now(), 0_u64, 0_u64);
    while Instant::now() < until {
        let entry = opcode::WriteFixed::new(
            types::Fd(file.as_raw_fd()),
            buffer,
            u32::try_from(bytes).expect("a batch is below 4 GiB"),
            0,
        )
        .offset(position)
        .rw_flags(RWF_DSYNC)
        .build();
        // SAFETY: buffer and file live until the completion, which is waited for below.
        unsafe { ring.submission().push(&entry) }.expect("one entry at a time");
        ring.submit_and_wait(1).expect("the kernel takes it");
        let written = ring.completion().next().expect("one completion").result();
        assert_eq!(usize::try_from(written), Ok(bytes), "a whole write");
        writes += 1;
        position += bytes as u64;
        if position + bytes as u64 > SEGMENT_BYTES {
            position = 0;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    drop(ring);
    // SAFETY: allocated above with this layout, and the kernel is done with it.
    unsafe { dealloc(buffer, layout) };
    writes as f64 * per_write / elapsed
}

/// A file as the store's segments are: every block allocated and written.
fn preallocate(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|file| file.len() == SEGMENT_BYTES) {
        return;
    }
    std::fs::write(path, vec![0; SEGMENT_BYTES as usize]).expect("room for a segment");
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .expect("the disk takes it");
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// `target/release`, from `target/release/deps/journal_append-...`.
fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the program's own path");
    program
        .ancestors()
        .nth(2)
        .expect("target/release/deps/program")
        .to_owned()
}
