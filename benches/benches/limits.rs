//! What this machine does without a mail server: durable appends to its disk; bytes sent, received, sealed and passed on over
//! loopback; a connection that is passed on with the lines of a login; what the kernel keeps of a connection. `benches/peers/run`
//! sets servers beside it. A plain program that prints one object of JSON; some seconds.
//!
//! Whatever else the machine does makes a turn worse and never better: each figure is the best of some turns, and of some ways
//! where there are several. A limit that somebody beats would be none.
//!
//! `cargo bench -p pigeon-benches --bench limits [-- DIRECTORY]`: a directory on the disk in question; without, the current one.

// The raw loop is the physical limit, and an option of a socket has no other way; they have no other place in the project.
#![allow(unsafe_code)]

#[path = "limits/loopback.rs"]
mod loopback;
#[path = "journal_append/raw.rs"]
mod raw;
#[path = "limits/relay.rs"]
mod relay;
#[path = "limits/sealing.rs"]
mod sealing;

use raw::RawLoop;
use std::path::PathBuf;
use std::time::Duration;

const FILE_BYTES: u64 = 256 << 20;
/// A message of 4 KiB with what is noted of it, and as many as there are sessions in `benches/peers/run`.
const MESSAGE_BYTES: usize = 4608;
const MESSAGES: usize = 50;
/// Writes under way of so many messages: the node's journal keeps two.
const IN_FLIGHT: [u32; 3] = [1, 2, 4];
const DISK_TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(500);
const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;

fn main() {
    // What cargo adds is none of ours.
    let directory = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let directory = directory.map_or_else(|| PathBuf::from("."), PathBuf::from);
    let path = directory.join(format!("pigeon-limits-{}", std::process::id()));
    let disk = RawLoop::new(&path, FILE_BYTES);
    let writes_4k = most(|| disk.writes_per_second(4096, 1, TURN));
    let writes_50 = IN_FLIGHT.map(|in_flight| {
        let writes = most(|| disk.writes_per_second(MESSAGES * MESSAGE_BYTES, in_flight, TURN));
        eprintln!("durable writes of {MESSAGES} messages, {in_flight} under way: {writes:.0} a second");
        writes
    });
    let writes_50 = writes_50.into_iter().fold(0.0, f64::max);
    // Ours, made above; what stays behind costs disk space only.
    let _ = std::fs::remove_file(&path);
    let moved = loopback::best();
    for (way, cost) in &moved.ways {
        eprintln!("copy, {way}: {cost:.3} CPU s a GiB");
    }
    println!(
        "{{\"writes_4k\": {writes_4k:.0}, \"writes_50\": {writes_50:.0}, \
         \"copy_cpu_s_per_gib\": {:.4}, \"copy_mib_per_second\": {:.0}, \
         \"receive_cpu_s_per_gib\": {:.4}, \"seal_cpu_s_per_gib\": {:.4}, \
         \"splice_cpu_s_per_gib\": {:.4}, \"splice_mib_per_second\": {:.0}, \
         \"relay_cpu_ms\": {:.4}, \"kernel_kib_a_connection\": {:.3}}}",
        moved.copy,
        moved.copy_rate,
        moved.receive,
        sealing::seconds_a_gib(),
        moved.splice,
        moved.splice_rate,
        relay::milliseconds(),
        relay::kernel_kib_a_connection(),
    );
}

/// The best turn of the disk.
fn most(turn: impl Fn() -> f64) -> f64 {
    (0..DISK_TURNS).map(|_| turn()).fold(0.0, f64::max)
}
