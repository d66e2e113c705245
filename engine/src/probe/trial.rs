//! Tries on a small ring of its own what the engine will use: set-up flags, operations, the provided-buffer ring,
//! multishot accept and multishot receive. Needs no network: the sockets are Unix ones. Leaves nothing behind.
#![allow(
    unsafe_code,
    reason = "submission entries and the buffer ring point the kernel at memory; see each SAFETY comment"
)]

use super::{Feature, feature};
use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// io_uring cannot be used at all.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The system call that failed.
    pub(super) step: &'static str,
    pub(super) error: io::Error,
}

/// The operations the engine submits, with the kernel that brought each.
const OPERATIONS: &[(u8, Feature)] = &[
    (opcode::Accept::CODE, feature("IORING_OP_ACCEPT", 5, 5)),
    (opcode::Connect::CODE, feature("IORING_OP_CONNECT", 5, 5)),
    (opcode::Recv::CODE, feature("IORING_OP_RECV", 5, 6)),
    (opcode::Send::CODE, feature("IORING_OP_SEND", 5, 6)),
    (opcode::Shutdown::CODE, feature("IORING_OP_SHUTDOWN", 5, 11)),
    (opcode::Close::CODE, feature("IORING_OP_CLOSE", 5, 6)),
    (opcode::PollAdd::CODE, feature("IORING_OP_POLL_ADD", 5, 1)),
    (opcode::AsyncCancel::CODE, feature("IORING_OP_ASYNC_CANCEL", 5, 5)),
    (opcode::Timeout::CODE, feature("IORING_OP_TIMEOUT", 5, 4)),
    (opcode::Read::CODE, feature("IORING_OP_READ", 5, 6)),
    (opcode::Write::CODE, feature("IORING_OP_WRITE", 5, 6)),
    (opcode::ReadFixed::CODE, feature("IORING_OP_READ_FIXED", 5, 1)),
    (opcode::WriteFixed::CODE, feature("IORING_OP_WRITE_FIXED", 5, 1)),
    (opcode::Fsync::CODE, feature("IORING_OP_FSYNC", 5, 1)),
];

const SINGLE_ISSUER: Feature = feature("IORING_SETUP_SINGLE_ISSUER", 6, 0);
const DEFER_TASKRUN: Feature = feature("IORING_SETUP_DEFER_TASKRUN with IORING_SETUP_TASKRUN_FLAG", 6, 1);
const OPERATION_PROBE: Feature = feature("IORING_REGISTER_PROBE", 5, 6);
const BUFFER_RING: Feature = feature("provided-buffer rings (IORING_REGISTER_PBUF_RING)", 5, 19);
const MULTISHOT_ACCEPT: Feature = feature("multishot accept (IORING_ACCEPT_MULTISHOT)", 5, 19);
const MULTISHOT_RECEIVE: Feature = feature("multishot receive (IORING_RECV_MULTISHOT)", 6, 0);

const ENTRIES: u32 = 8;
const BUFFER_GROUP: u16 = 0;
/// The user data of the two operations that are tried.
const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
/// How long a completion that is due at once may take before the feature counts as missing.
const PATIENCE_SECONDS: u64 = 5;

/// What of the engine's needs this kernel lacks, tried one by one.
pub(super) fn missing_features() -> Result<Vec<Feature>, Refusal> {
    let plain = IoUring::new(ENTRIES).map_err(|error| Refusal::new("io_uring_setup", error))?;
    let mut missing = Vec::new();
    if IoUring::<squeue::Entry, cqueue::Entry>::builder()
        .setup_single_issuer()
        .build(ENTRIES)
        .is_err()
    {
        missing.push(SINGLE_ISSUER);
    }
    // With the flags where they are there, so that multishot is tried on the kind of ring that will be used.
    let engine_ring = IoUring::<squeue::Entry, cqueue::Entry>::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(ENTRIES);
    let mut ring = engine_ring.unwrap_or_else(|_| {
        missing.push(DEFER_TASKRUN);
        plain
    });
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe) {
        Err(_) => missing.push(OPERATION_PROBE),
        Ok(()) => missing.extend(
            OPERATIONS
                .iter()
                .filter(|(code, _)| !probe.is_supported(*code))
                .map(|(_, operation)| *operation),
        ),
    }
    if !multishot_accept_works(&mut ring) {
        missing.push(MULTISHOT_ACCEPT);
    }
    match receive_through_buffer_ring(&mut ring) {
        Receive::Works => {}
        Receive::NoBufferRing => missing.extend([BUFFER_RING, MULTISHOT_RECEIVE]),
        Receive::NotMultishot => missing.push(MULTISHOT_RECEIVE),
    }
    Ok(missing)
}

/// Accepts a connection and is told that more will come.
fn multishot_accept_works(ring: &mut IoUring) -> bool {
    let attempt = || -> io::Result<(UnixListener, UnixStream)> {
        // An abstract name that nobody else on this machine has. Not one of an earlier trial of this process either: its
        // listener lives on in the kernel until its ring is gone, which happens in the background.
        static TRIALS: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "pigeon-probe-{}-{}",
            std::process::id(),
            TRIALS.fetch_add(1, Ordering::Relaxed)
        );
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        let client = UnixStream::connect_addr(&address)?;
        Ok((listener, client))
    };
    let Ok((listener, _client)) = attempt() else {
        return false;
    };
    let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
        .build()
        .user_data(ACCEPT);
    let Some(first) = push(ring, entry).and_then(|()| wait(ring, ACCEPT)) else {
        return false;
    };
    if first.result() < 0 {
        return false;
    }
    // SAFETY: a non-negative result of accept is a descriptor that nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(first.result()) });
    cqueue::more(first.flags())
    // The listener closes here; the pending accept ends with the ring.
}

enum Receive {
    Works,
    NoBufferRing,
    NotMultishot,
}

/// Receives into a provided buffer and is told that more will come.
fn receive_through_buffer_ring(ring: &mut IoUring) -> Receive {
    let Some(memory) = BufferRingMemory::new() else {
        return Receive::NoBufferRing;
    };
    // SAFETY: the memory is page-aligned, holds one entry, and outlives the registration: it is unregistered below
    // before the memory is dropped, or the memory is leaked.
    let registered = unsafe {
        ring.submitter()
            .register_buf_ring_with_flags(memory.ring_address(), 1, BUFFER_GROUP, 0)
    };
    if registered.is_err() {
        return Receive::NoBufferRing;
    }
    memory.publish_buffer();
    let (works, ended) = receive_once(ring);
    if !ended || ring.submitter().unregister_buf_ring(BUFFER_GROUP).is_err() {
        // The kernel may still hold it; two pages once a process are a fair price for not freeing them under it.
        std::mem::forget(memory);
    }
    if works { Receive::Works } else { Receive::NotMultishot }
}

/// Whether a multishot receive worked, and whether it has ended, so that its buffer is no longer the kernel's.
fn receive_once(ring: &mut IoUring) -> (bool, bool) {
    let Ok((receiver, mut sender)) = UnixStream::pair() else {
        return (false, true);
    };
    if sender.write_all(b"pigeon").is_err() {
        return (false, true);
    }
    let entry = opcode::RecvMulti::new(Fd(receiver.as_raw_fd()), BUFFER_GROUP)
        .build()
        .user_data(RECEIVE);
    if push(ring, entry).is_none() {
        return (false, true);
    }
    let Some(first) = wait(ring, RECEIVE) else {
        return (false, false);
    };
    let more = cqueue::more(first.flags());
    let works = first.result() == 6 && more && cqueue::buffer_select(first.flags()) == Some(0);
    drop(sender);
    let ended = !more || wait(ring, RECEIVE).is_some_and(|last| !cqueue::more(last.flags()));
    (works, ended)
}

fn push(ring: &mut IoUring, entry: squeue::Entry) -> Option<()> {
    // SAFETY: the entries pushed here name only descriptors, which the caller keeps open until the completion, and
    // the buffer group, whose memory outlives the operation.
    let pushed = unsafe { ring.submission().push(&entry) };
    pushed.ok()
}

/// The next completion of the operation, within `PATIENCE_SECONDS`.
fn wait(ring: &mut IoUring, operation: u64) -> Option<cqueue::Entry> {
    let patience = Timespec::new().sec(PATIENCE_SECONDS);
    let arguments = SubmitArgs::new().timespec(&patience);
    // An error is a time-out or an interruption; whether a completion came shows in the queue.
    let _ = ring.submitter().submit_with_args(1, &arguments);
    ring.completion().find(|completion| completion.user_data() == operation)
}

/// One page of buffer ring with one entry, and one page of buffer.
struct BufferRingMemory {
    pages: NonNull<u8>,
    layout: Layout,
    page_bytes: u32,
}

impl BufferRingMemory {
    fn new() -> Option<BufferRingMemory> {
        let page_bytes = u32::try_from(rustix::param::page_size()).ok()?;
        let layout = Layout::from_size_align(page_bytes as usize * 2, page_bytes as usize).ok()?;
        // SAFETY: the layout's size is two pages, which is not zero.
        let pages = unsafe { alloc_zeroed(layout) };
        NonNull::new(pages).map(|pages| BufferRingMemory {
            pages,
            layout,
            page_bytes,
        })
    }

    fn ring_address(&self) -> u64 {
        self.pages.as_ptr().addr() as u64
    }

    /// Hands the one buffer to the kernel.
    fn publish_buffer(&self) {
        let ring: *mut BufRingEntry = self.pages.as_ptr().cast();
        // SAFETY: the first page is zeroed, aligned and ours, and all-zero is a valid entry; the kernel reads the entry
        // only after the tail below has moved.
        let entry = unsafe { &mut *ring };
        entry.set_addr(self.ring_address() + u64::from(self.page_bytes));
        entry.set_len(self.page_bytes);
        entry.set_bid(0);
        // SAFETY: `ring` is the first entry of the ring.
        let tail = unsafe { BufRingEntry::tail(ring) };
        // SAFETY: the tail is an aligned u16 inside our page; while the ring is registered both sides touch it only
        // atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(1, Ordering::Release);
    }
}

impl Drop for BufferRingMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.pages.as_ptr(), self.layout) };
    }
}
