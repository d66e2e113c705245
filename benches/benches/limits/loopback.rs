//! Bytes sent over loopback, copied from memory or spliced from one connection to another.
//!
//! Two ways of each. With a thread at the other end, which is what gives a rate: then the sender also pays for waking it, and that
//! is dear where it sleeps, which it does whenever it is faster than the sender. And all ends in one thread, where nobody sleeps
//! and nothing is woken, and only the calls of the end in question are counted: a server whose client is always behind comes near
//! to it, and it is what the kernel cannot do for less.

use crate::raw::thread_processor_time;
use crate::{GIB, MIB};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(100);
/// As much as the accounts of bulk mail hold: more than a core's own caches.
const SOURCE_BYTES: usize = 16 << 20;
const PIECES: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];
/// What is read or spliced at once, and what a pipe holds.
const READ_BYTES: usize = 256 << 10;

/// The best that was found.
pub(crate) struct Moved {
    /// CPU seconds of the sender for a GiB.
    pub copy: f64,
    /// MiB a second with a thread at either end.
    pub copy_rate: f64,
    /// CPU seconds of who reads it.
    pub receive: f64,
    /// CPU seconds of who passes it on.
    pub splice: f64,
    pub splice_rate: f64,
    /// What sending came to in each way.
    pub ways: Vec<(String, f64)>,
}

pub(crate) fn best() -> Moved {
    let source = vec![0x5a; SOURCE_BYTES];
    let mut moved = Moved {
        copy: f64::INFINITY,
        copy_rate: 0.0,
        receive: f64::INFINITY,
        splice: f64::INFINITY,
        splice_rate: 0.0,
        ways: Vec::new(),
    };
    for piece in PIECES {
        let alone: Vec<(f64, f64)> = (0..TURNS).map(|_| copy_alone(&source, piece)).collect();
        let sent = alone.iter().map(|turn| turn.0).fold(f64::INFINITY, f64::min);
        moved.receive = alone.iter().map(|turn| turn.1).fold(moved.receive, f64::min);
        moved
            .ways
            .push((format!("{} KiB at once, one thread", piece >> 10), sent));
        for low_water in [1, READ_BYTES] {
            let turns: Vec<(f64, f64)> = (0..TURNS).map(|_| copy_to_thread(&source, piece, low_water)).collect();
            let sent = turns.iter().map(|turn| turn.0).fold(f64::INFINITY, f64::min);
            moved.copy_rate = turns.iter().map(|turn| turn.1).fold(moved.copy_rate, f64::max);
            let way = format!(
                "{} KiB at once to a thread that wakes at {low_water} bytes",
                piece >> 10
            );
            moved.ways.push((way, sent));
        }
    }
    moved.copy = moved.ways.iter().map(|way| way.1).fold(f64::INFINITY, f64::min);
    for _ in 0..TURNS {
        for piece in PIECES {
            moved.splice = moved.splice.min(splice_alone(&source, piece));
        }
        let (used, rate) = splice_between_threads();
        moved.splice = moved.splice.min(used);
        moved.splice_rate = moved.splice_rate.max(rate);
    }
    moved
}

/// A connection over loopback.
pub(crate) fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let stream = TcpStream::connect(address).expect("it listens");
    (stream, listener.accept().expect("it has connected").0)
}

/// What `work` gives, and how much of this thread's processor it took.
pub(crate) fn counted<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = thread_processor_time();
    let done = work();
    *total += thread_processor_time().saturating_sub(start);
    done
}

/// Bytes that went, none where it would have to wait.
fn at_once(done: std::io::Result<usize>) -> usize {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        done => done.expect("the other end is this thread's own"),
    }
}

/// Both ends in this thread: the sender's and the receiver's CPU seconds for a GiB.
fn copy_alone(source: &[u8], piece: usize) -> (f64, f64) {
    let (mut from, mut to) = connected();
    from.set_nonblocking(true).expect("a socket");
    to.set_nonblocking(true).expect("a socket");
    let mut buffer = vec![0; READ_BYTES];
    let (mut sending, mut receiving, mut bytes) = (Duration::ZERO, Duration::ZERO, 0_u64);
    let (start, mut pieces) = (Instant::now(), source.chunks_exact(piece).cycle());
    while start.elapsed() < TURN {
        let piece = pieces.next().expect("it begins again");
        bytes += counted(&mut sending, || at_once(from.write(piece))) as u64;
        counted(&mut receiving, || while at_once(to.read(&mut buffer)) > 0 {});
    }
    let gib = bytes as f64 / GIB;
    (sending.as_secs_f64() / gib, receiving.as_secs_f64() / gib)
}

/// A thread throws away all that comes; it is woken when so much has come. CPU seconds of the sender for a GiB, and MiB a second.
fn copy_to_thread(source: &[u8], piece: usize, low_water: usize) -> (f64, f64) {
    let (mut from, to) = connected();
    set_low_water(&to, low_water);
    let reader = drain(to);
    let (mut used, mut bytes, start) = (Duration::ZERO, 0_u64, Instant::now());
    counted(&mut used, || {
        for piece in source.chunks_exact(piece).cycle() {
            if start.elapsed() >= TURN {
                break;
            }
            from.write_all(piece).expect("the reader reads");
            bytes += piece.len() as u64;
        }
    });
    let took = start.elapsed().as_secs_f64();
    drop(from);
    reader.join().expect("the reader ends with the connection");
    (used.as_secs_f64() * GIB / bytes as f64, bytes as f64 / MIB / took)
}

fn drain(mut stream: TcpStream) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    })
}

fn set_low_water(stream: &TcpStream, bytes: usize) {
    let value = libc::c_int::try_from(bytes).expect("a piece is below 2 GiB");
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("four bytes");
    // SAFETY: the kernel reads an int, which lives until it returns.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            length,
        )
    };
    assert_eq!(result, 0, "TCP has it");
}

fn pipe() -> (rustix::fd::OwnedFd, rustix::fd::OwnedFd) {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    fcntl_setpipe_size(&into, READ_BYTES).expect("below what everybody may have");
    (out, into)
}

/// All ends in this thread: CPU seconds of who passes a GiB on.
fn splice_alone(source: &[u8], piece: usize) -> f64 {
    let ((mut writer, from), (to, mut reader)) = (connected(), connected());
    for stream in [&writer, &from, &to, &reader] {
        stream.set_nonblocking(true).expect("a socket");
    }
    let ((out, into), mut buffer) = (pipe(), vec![0; READ_BYTES]);
    let moved = |done: rustix::io::Result<usize>| at_once(done.map_err(std::io::Error::from));
    let (mut used, mut bytes, start) = (Duration::ZERO, 0_u64, Instant::now());
    let mut pieces = source.chunks_exact(piece).cycle();
    while start.elapsed() < TURN {
        at_once(writer.write(pieces.next().expect("it begins again")));
        let mut left = counted(&mut used, || {
            moved(splice(&from, None, &into, None, READ_BYTES, SpliceFlags::NONBLOCK))
        });
        bytes += left as u64;
        while left > 0 {
            left -= counted(&mut used, || {
                moved(splice(&out, None, &to, None, left, SpliceFlags::NONBLOCK))
            });
            while at_once(reader.read(&mut buffer)) > 0 {}
        }
    }
    used.as_secs_f64() * GIB / bytes as f64
}

/// A thread writes and another reads: CPU seconds for a GiB, and MiB a second.
fn splice_between_threads() -> (f64, f64) {
    let ((mut writer, from), (to, reader)) = (connected(), connected());
    let reader = drain(reader);
    let writer = thread::spawn(move || {
        let piece = vec![0x5a; READ_BYTES];
        // Until it is not read any more.
        while writer.write_all(&piece).is_ok() {}
    });
    let (out, into) = pipe();
    let (mut used, mut bytes, start) = (Duration::ZERO, 0_u64, Instant::now());
    counted(&mut used, || {
        while start.elapsed() < TURN {
            let count = splice(&from, None, &into, None, READ_BYTES, SpliceFlags::empty()).expect("the writer writes");
            let mut left = count;
            while left > 0 {
                left -= splice(&out, None, &to, None, left, SpliceFlags::empty()).expect("the reader reads");
            }
            bytes += count as u64;
        }
    });
    let took = start.elapsed().as_secs_f64();
    drop((from, to));
    writer.join().expect("the writer ends with the connection");
    reader.join().expect("the reader ends with the connection");
    (used.as_secs_f64() * GIB / bytes as f64, bytes as f64 / MIB / took)
}
