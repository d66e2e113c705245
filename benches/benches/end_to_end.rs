//! End to end: 4-KiB deliveries into a real node over loopback, with 1 and 50 sessions. Prints deliveries per second and,
//! which is the figure to trust on a small shared machine, the node's CPU time, context switches and bytes written per
//! delivery. A plain program, not criterion: what is measured happens in another process.
//!
//! `cargo bench -p pigeon-benches --bench end_to_end [-- MESSAGES] [--node PROGRAM] [--client NAME] [--sessions COUNT] [--floor]`
//!
//! With `--node` the node is that program, kept from another build, and nothing is built: two builds can be measured in
//! turn on the same machine. `--client` and `--sessions` choose what is run, for a profile of it. With `--floor` the node is
//! a server that only answers (`answers`): what the kernel alone costs.

mod answers;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

const MESSAGE_BYTES: usize = 4096;
const MESSAGES: usize = 20_000;
/// Sent first: more than the cache of bodies, 32 MiB, takes before it is full.
const WARM_MESSAGES: usize = 10_000;
const START_LIMIT: Duration = Duration::from_secs(60);

/// How a client uses its sessions.
#[derive(Clone, Copy)]
enum Style {
    /// A connection for every message.
    SessionPerMessage,
    /// One connection, one command at a time, as smtp-source does.
    WithinSession,
    /// One connection, MAIL, RCPT and DATA in one write (RFC 2920).
    Pipelined,
}

impl Style {
    fn name(self) -> &'static str {
        match self {
            Style::SessionPerMessage => "a session a message",
            Style::WithinSession => "within a session",
            Style::Pipelined => "within a session, pipelined",
        }
    }
}

fn main() {
    let messages = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(MESSAGES);
    if std::env::args().nth(1).as_deref() == Some("quickstart") {
        let offset = argument("--port-offset").and_then(|offset| offset.parse().ok());
        return answers::serve(offset.expect("the bench itself starts it so"));
    }
    let floor = std::env::args().any(|option| option == "--floor");
    let program = if floor {
        Some(std::env::current_exe().expect("the program's own path"))
    } else {
        argument("--node").map(PathBuf::from)
    };
    let node = Node::start(program);
    let chosen_style = argument("--client");
    let sessions_at_once = match argument("--sessions").and_then(|count| count.parse().ok()) {
        Some(count) => vec![count],
        None => vec![1, 50],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the client");
    println!("| client | sessions | deliveries/s | node CPU us | context switches | bytes written |");
    println!("| --- | --- | --- | --- | --- | --- |");
    // Not counted: first use of accounts, caches and the allocator, and what a node that has started makes ahead.
    runtime.block_on(load(node.smtp, Style::Pipelined, 50, WARM_MESSAGES));
    node.settle();
    for style in [Style::SessionPerMessage, Style::WithinSession, Style::Pipelined] {
        if chosen_style.as_ref().is_some_and(|chosen| chosen != style.name()) {
            continue;
        }
        for &sessions in &sessions_at_once {
            let count = if sessions == 1 { messages / 4 } else { messages };
            let before = node.usage();
            let start = Instant::now();
            runtime.block_on(load(node.smtp, style, sessions, count));
            let elapsed = start.elapsed().as_secs_f64();
            let after = node.usage();
            let each = |before: u64, after: u64| (after - before) as f64 / count as f64;
            println!(
                "| {} | {sessions} | {:.0} | {:.1} | {:.2} | {:.0} |",
                style.name(),
                count as f64 / elapsed,
                each(before.cpu_ns, after.cpu_ns) / 1000.0,
                each(before.switches, after.switches),
                each(before.written, after.written),
            );
        }
    }
}

/// Sends `count` messages over `sessions` clients at once, and panics when one is not answered with 250.
async fn load(address: SocketAddr, style: Style, sessions: usize, count: usize) {
    let clients = (0..sessions).map(|index| {
        let share = count / sessions + usize::from(index < count % sessions);
        client(address, style, share, index)
    });
    futures_util::future::join_all(clients).await;
}

async fn client(address: SocketAddr, style: Style, count: usize, index: usize) {
    let body = message(index);
    let mut connection = None;
    for _ in 0..count {
        let mut session = match connection.take() {
            Some(session) => session,
            None => Session::open(address).await,
        };
        session.send(&body, matches!(style, Style::Pipelined)).await;
        if matches!(style, Style::SessionPerMessage) {
            session.command(b"QUIT\r\n", 221).await;
        } else {
            connection = Some(session);
        }
    }
}

struct Session {
    stream: tokio::io::BufReader<tokio::net::TcpStream>,
    line: String,
}

impl Session {
    async fn open(address: SocketAddr) -> Session {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the node accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut session = Session {
            stream: tokio::io::BufReader::new(stream),
            line: String::new(),
        };
        session.expect(220).await;
        session.command(b"EHLO bench.example\r\n", 250).await;
        session
    }

    async fn send(&mut self, body: &[u8], pipelined: bool) {
        const MAIL: &[u8] = b"MAIL FROM:<sender@example.net>\r\n";
        const RCPT: &[u8] = b"RCPT TO:<alice@example.org>\r\n";
        if pipelined {
            self.write(&[MAIL, RCPT, b"DATA\r\n"].concat()).await;
            self.expect(250).await;
            self.expect(250).await;
            self.expect(354).await;
        } else {
            self.command(MAIL, 250).await;
            self.command(RCPT, 250).await;
            self.command(b"DATA\r\n", 354).await;
        }
        self.command(body, 250).await;
    }

    async fn command(&mut self, bytes: &[u8], code: u16) {
        self.write(bytes).await;
        self.expect(code).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("the node reads");
    }

    async fn expect(&mut self, code: u16) {
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).await.expect("the node answers");
            if self.line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        assert!(
            self.line.starts_with(&code.to_string()),
            "expected {code}, got {:?}",
            self.line
        );
    }
}

/// A message of `MESSAGE_BYTES` with its end of data.
fn message(index: usize) -> Vec<u8> {
    let mut message = format!(
        "From: sender@example.net\r\nTo: alice@example.org\r\nSubject: bench {index}\r\nMessage-ID: <{index}@bench.example>\r\n\r\n"
    )
    .into_bytes();
    while message.len() < MESSAGE_BYTES {
        message.extend_from_slice(b"The quick brown fox jumps over the lazy dog, and does so again.....\r\n");
    }
    message.truncate(MESSAGE_BYTES - 2);
    message.extend_from_slice(b"\r\n.\r\n");
    message
}

/// A node in a process of its own, in a directory of its own; both end with this value.
struct Node {
    process: Child,
    directory: PathBuf,
    smtp: SocketAddr,
}

#[derive(Clone, Copy)]
struct Usage {
    cpu_ns: u64,
    switches: u64,
    written: u64,
}

impl Node {
    fn start(kept: Option<PathBuf>) -> Node {
        let target = target_directory();
        let binary = kept.unwrap_or_else(|| build(&target));
        let directory = target.join(format!("bench-node-{}", std::process::id()));
        let offset = free_port_offset();
        let mut process = Command::new(binary)
            .arg("quickstart")
            .arg("--dir")
            .arg(&directory)
            .args(["--port-offset", &offset.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pigeond starts");
        let start = Instant::now();
        while !ready(offset + 80) {
            if let Some(status) = process.try_wait().expect("the node is our child") {
                panic!("the node ended while starting: {status}");
            }
            assert!(
                start.elapsed() < START_LIMIT,
                "the node is not ready after {START_LIMIT:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Node {
            process,
            directory,
            smtp: SocketAddr::from(([127, 0, 0, 1], offset + 25)),
        }
    }

    /// Waits until the node writes nothing any more.
    fn settle(&self) {
        let start = Instant::now();
        let mut written = None;
        while written != Some(self.usage().written) && start.elapsed() < START_LIMIT {
            written = Some(self.usage().written);
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Sums over the node's threads, so that short runs are not lost in clock ticks.
    fn usage(&self) -> Usage {
        let root = PathBuf::from(format!("/proc/{}", self.process.id()));
        let mut usage = Usage {
            cpu_ns: 0,
            switches: 0,
            written: 0,
        };
        for task in std::fs::read_dir(root.join("task")).expect("the node runs").flatten() {
            let run_time = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            usage.cpu_ns += run_time
                .split(' ')
                .next()
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0);
            usage.switches += fields(&task.path().join("status"), "ctxt_switches:");
        }
        usage.written = fields(&root.join("io"), "write_bytes:");
        usage
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Our own child: it is killed, for its directory goes away with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The sum of the numbers in the lines of a /proc file whose name ends with `name`.
fn fields(path: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(name))
        .filter(|(before, _)| !before.contains("cancelled"))
        .filter_map(|(_, number)| number.trim().parse::<u64>().ok())
        .sum()
}

/// What follows the option `name`.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// The program of this build.
fn build(target: &Path) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "pigeond", "--target-dir"])
        .arg(
            target
                .parent()
                .expect("the profile's directory is in the target directory"),
        )
        .status()
        .expect("cargo runs");
    assert!(built.success(), "pigeond does not build");
    target.join("pigeond")
}

/// `target/release`, from `target/release/deps/end_to_end-...`.
fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the program's own path");
    program
        .ancestors()
        .nth(2)
        .expect("target/release/deps/program")
        .to_owned()
}

/// An offset at which every port of quickstart is free now.
fn free_port_offset() -> u16 {
    let ports = [24, 25, 80, 110, 143, 465, 587, 993, 995];
    (20..60)
        .map(|thousand| thousand * 1000 + u16::try_from(std::process::id() % 500).expect("below 500"))
        .find(|offset| {
            ports
                .iter()
                .all(|port| TcpListener::bind(("127.0.0.1", offset + port)).is_ok())
        })
        .expect("a free range of ports")
}

fn ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    if stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .is_err()
    {
        return false;
    }
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).is_ok() && line.contains(" 200 ")
}
