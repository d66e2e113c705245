//! The limit: a loop that does nothing but write one registered buffer durably: one write after the other, or some at a time, each
//! to a place of its own.

use io_uring::{IoUring, opcode, types};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
/// What the ring has room for.
const IN_FLIGHT_MAX: u32 = 8;
/// RWF_DSYNC of pwritev2(2).
const RWF_DSYNC: i32 = 0x2;

/// The file it writes.
pub(crate) struct RawLoop {
    file: File,
    file_bytes: u64,
}

impl RawLoop {
    /// Makes the file as the store's segments are: every block allocated and written.
    pub(crate) fn new(path: &Path, file_bytes: u64) -> RawLoop {
        std::fs::write(path, vec![0; usize::try_from(file_bytes).expect("64 bits")]).expect("room for a segment");
        File::open(path)
            .and_then(|file| file.sync_all())
            .expect("the disk takes it");
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .expect("made just now");
        RawLoop { file, file_bytes }
    }

    /// Durable writes of `bytes` a second, `in_flight` of them at a time (1 to `IN_FLIGHT_MAX`). Blocks the thread: the engine's core
    /// has nothing else to do meanwhile.
    pub(crate) fn writes_per_second(&self, bytes: usize, in_flight: u32, length: Duration) -> f64 {
        assert!((1..=IN_FLIGHT_MAX).contains(&in_flight), "the ring has no more entries");
        let bytes = bytes.next_multiple_of(BLOCK).max(BLOCK);
        let layout = Layout::from_size_align(bytes, BLOCK).expect("a block is a power of two");
        // SAFETY: the layout is not empty.
        let buffer = unsafe { alloc_zeroed(layout) };
        assert!(!buffer.is_null(), "there is memory for a batch");
        // SAFETY: it was just allocated with so many bytes. Not zeros: a disk may know those.
        unsafe { std::slice::from_raw_parts_mut(buffer, bytes) }.fill(0x5a);
        let mut ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(IN_FLIGHT_MAX)
            .expect("a ring");
        let vector = [libc::iovec {
            iov_base: buffer.cast(),
            iov_len: bytes,
        }];
        // SAFETY: the buffer outlives the ring, which is dropped before it is freed.
        unsafe { ring.submitter().register_buffers(&vector) }.expect("RLIMIT_MEMLOCK allows a batch");
        let start = Instant::now();
        let (mut writes, mut position, mut under_way) = (0_u64, 0_u64, 0);
        loop {
            while under_way < in_flight && start.elapsed() < length {
                let entry = opcode::WriteFixed::new(
                    types::Fd(self.file.as_raw_fd()),
                    buffer,
                    u32::try_from(bytes).expect("a batch is below 4 GiB"),
                    0,
                )
                .offset(position)
                .rw_flags(RWF_DSYNC)
                .build();
                // SAFETY: buffer and file live until the completion: the loop ends when none is under way.
                unsafe { ring.submission().push(&entry) }.expect("no more entries than the ring has");
                under_way += 1;
                position += bytes as u64;
                if position + bytes as u64 > self.file_bytes {
                    position = 0;
                }
            }
            if under_way == 0 {
                break;
            }
            ring.submit_and_wait(1).expect("the kernel takes it");
            for completion in ring.completion() {
                assert_eq!(usize::try_from(completion.result()), Ok(bytes), "a whole write");
                writes += 1;
                under_way -= 1;
            }
        }
        let elapsed = start.elapsed().as_secs_f64();
        drop(ring);
        // SAFETY: allocated above with this layout, and the kernel is done with it.
        unsafe { dealloc(buffer, layout) };
        writes as f64 / elapsed
    }
}

/// What the calling thread has used of its processor, user and system.
pub(crate) fn thread_processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which is ours.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every thread has this clock");
    Duration::new(
        u64::try_from(time.tv_sec).expect("not negative"),
        u32::try_from(time.tv_nsec).expect("below a second"),
    )
}
