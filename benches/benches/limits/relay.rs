//! A connection that is accepted and passed on with the lines of a login, and what the kernel keeps of one that waits.
//!
//! All ends are in one thread, so that nobody sleeps; only the calls of the one in the middle are counted.

use crate::loopback::{connected, counted};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

const TURNS: usize = 5;
const LOGINS: u32 = 500;
/// From the backend or from the client, in this order: greeting, LOGIN, its answer, LOGOUT, its answer.
const LINES: [(bool, &[u8]); 5] = [
    (true, b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] ready\r\n"),
    (false, b"a LOGIN \"user1@example.org\" \"pigeon\"\r\n"),
    (true, b"a OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] in\r\n"),
    (false, b"b LOGOUT\r\n"),
    (true, b"* BYE\r\nb OK out\r\n"),
];
const CONNECTIONS: u32 = 2_000;

/// CPU milliseconds of who accepts a connection, opens one to the backend, passes five pieces on and closes both.
pub(crate) fn milliseconds() -> f64 {
    let turn = || {
        let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut used = Duration::ZERO;
        for _ in 0..LOGINS {
            login(&listener, &backend, &mut used);
        }
        used.as_secs_f64() * 1000.0 / f64::from(LOGINS)
    };
    (0..TURNS).map(|_| turn()).fold(f64::INFINITY, f64::min)
}

fn login(listener: &TcpListener, backend: &TcpListener, used: &mut Duration) {
    let addresses = [listener, backend].map(|listener| listener.local_addr().expect("it is bound"));
    let mut client = TcpStream::connect(addresses[0]).expect("it listens");
    let (mut front, mut back) = counted(used, || {
        let front = listener.accept().expect("it has connected").0;
        (front, TcpStream::connect(addresses[1]).expect("it listens"))
    });
    let mut server = backend.accept().expect("it has connected").0;
    let mut buffer = [0; 1024];
    for (is_backend, line) in LINES {
        let (from, into, out, to) = if is_backend {
            (&mut server, &mut back, &mut front, &mut client)
        } else {
            (&mut client, &mut front, &mut back, &mut server)
        };
        from.write_all(line).expect("it is open");
        counted(used, || {
            let count = into.read(&mut buffer).expect("it has been sent");
            out.write_all(&buffer[..count]).expect("it is open");
        });
        let _ = to.read(&mut buffer).expect("it has been passed on");
    }
    drop(server);
    counted(used, || drop((front, back)));
    drop(client);
}

/// Of one end of a connection over which nothing goes: what is in use of the kernel's slabs more. It is in nobody's user memory.
pub(crate) fn kernel_kib_a_connection() -> f64 {
    raise_file_limit();
    let before = slab_kib();
    let kept: Vec<_> = (0..CONNECTIONS).map(|_| connected()).collect();
    let grown = slab_kib() - before;
    drop(kept);
    // Both ends are this program's.
    grown / f64::from(2 * CONNECTIONS)
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit everybody may");
}

/// Objects in use, as root sees them; what all slabs take together for everybody else, which has some that are free in it.
fn slab_kib() -> f64 {
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<f64>().ok());
    if let Ok(text) = std::fs::read_to_string("/proc/slabinfo") {
        let in_use = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            Some(number(words.next())? * number(words.nth(1))?)
        };
        return text.lines().filter_map(in_use).sum::<f64>() / 1024.0;
    }
    let text = std::fs::read_to_string("/proc/meminfo").expect("Linux has it");
    let line = text
        .lines()
        .find(|line| line.starts_with("Slab:"))
        .expect("it is there");
    number(line.split_whitespace().nth(1)).expect("a number of KiB")
}
