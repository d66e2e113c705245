//! What this machine does without a mail server: durable appends to its disk and bytes sent and passed on over loopback. `benches/peers/run`
//! sets servers beside it. A plain program that prints one object of JSON; about four seconds.
//!
//! `cargo bench -p pigeon-benches --bench limits [-- DIRECTORY]`: a directory on the disk in question; without, the current one.

// The raw loop is the physical limit; it has no other place in the project.
#![allow(unsafe_code)]

#[path = "journal_append/raw.rs"]
mod raw;

use raw::{RawLoop, thread_processor_time};
use rustix::pipe::{SpliceFlags, splice};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

const FILE_BYTES: u64 = 256 << 20;
/// A message of 4 KiB with what is noted of it, and as many as there are sessions in `benches/peers/run`.
const MESSAGE_BYTES: usize = 4608;
const MESSAGES: usize = 50;
const TURN: Duration = Duration::from_millis(500);
/// Turns of sending, and how long each is.
const SENDS: usize = 5;
const SEND_TURN: Duration = Duration::from_millis(200);
/// What is written or spliced at once.
const PIECE_BYTES: usize = 256 << 10;
const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;

fn main() {
    // What cargo adds is none of ours.
    let directory = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let directory = directory.map_or_else(|| PathBuf::from("."), PathBuf::from);
    let path = directory.join(format!("pigeon-limits-{}", std::process::id()));
    let disk = RawLoop::new(&path, FILE_BYTES);
    let writes_4k = disk.writes_per_second(4096, TURN);
    let writes_50 = disk.writes_per_second(MESSAGES * MESSAGE_BYTES, TURN);
    let copied = best(|| send(copy));
    let spliced = best(|| send(pass_on));
    // Ours, made above; what stays behind costs disk space only.
    let _ = std::fs::remove_file(&path);
    println!(
        "{{\"writes_4k\": {writes_4k:.0}, \"writes_50\": {writes_50:.0}, \
         \"copy_cpu_s_per_gib\": {:.4}, \"copy_mib_per_second\": {:.0}, \
         \"splice_cpu_s_per_gib\": {:.4}, \"splice_mib_per_second\": {:.0}}}",
        copied.processor, copied.rate, spliced.processor, spliced.rate
    );
}

/// What a sender came to.
struct Sent {
    /// Seconds of its processor, a GiB; the other ends' are their own.
    processor: f64,
    /// MiB a second.
    rate: f64,
}

/// The best of some turns: whatever else the machine does makes it worse, and never better.
fn best(turn: impl Fn() -> Sent) -> Sent {
    let turns = (0..SENDS).map(|_| turn());
    turns
        .reduce(|best, next| Sent {
            processor: best.processor.min(next.processor),
            rate: best.rate.max(next.rate),
        })
        .expect("there are some")
}

/// A connection over loopback, and what throws away all that comes by it.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let stream = TcpStream::connect(address).expect("it listens");
    (stream, listener.accept().expect("it has connected").0)
}

fn drain(mut stream: TcpStream) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    })
}

/// Runs a sender over loopback to a reader that throws away what comes; `sender` gives how many bytes it has sent.
fn send(sender: impl FnOnce(&mut TcpStream) -> u64) -> Sent {
    let (mut stream, other) = connected();
    let reader = drain(other);
    let (start, processor) = (Instant::now(), thread_processor_time());
    let bytes = sender(&mut stream) as f64;
    let (took, used) = (start.elapsed(), thread_processor_time().saturating_sub(processor));
    drop(stream);
    reader.join().expect("the reader ends with the connection");
    Sent {
        processor: used.as_secs_f64() * GIB / bytes,
        rate: bytes / MIB / took.as_secs_f64(),
    }
}

fn copy(stream: &mut TcpStream) -> u64 {
    let (piece, start, mut sent) = (vec![0x5a; PIECE_BYTES], Instant::now(), 0);
    while start.elapsed() < SEND_TURN {
        stream.write_all(&piece).expect("the reader reads");
        sent += PIECE_BYTES as u64;
    }
    sent
}

/// What comes by one connection, passed on to another by way of a pipe, as a proxy does.
fn pass_on(stream: &mut TcpStream) -> u64 {
    let (mut source, from) = connected();
    let writer = thread::spawn(move || {
        let piece = vec![0x5a; PIECE_BYTES];
        // Until it is not read any more.
        while source.write_all(&piece).is_ok() {}
    });
    let (out, into) = rustix::pipe::pipe().expect("a pipe");
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < SEND_TURN {
        let count = splice(&from, None, &into, None, PIECE_BYTES, SpliceFlags::empty()).expect("the writer writes");
        let mut left = count;
        while left > 0 {
            left -= splice(&out, None, &mut *stream, None, left, SpliceFlags::empty()).expect("the reader reads");
        }
        sent += count as u64;
    }
    drop(from);
    writer.join().expect("the writer ends with the connection");
    sent
}
