//! The bounded queue between whoever logs and the thread that writes: a full queue drops the line and counts it, so that a
//! slow stderr (a stopped terminal, a full pipe) never blocks a core.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. With lines of 200 bytes this is 1.6 MB; a guess.
pub const LINES_WAITING_MAX: usize = 8192;

/// A line longer than this is cut. What peers send is bounded before it is logged, so this is a second fence.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What is made room for at first: a usual line and the few bytes that colours and escapes add.
const LINE_BYTES_USUAL: usize = 256;

/// How long the end of the process waits for a stderr that takes nothing.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// After a line the writer lets others gather for this long, and writes them together: at thousands of lines a second a
/// wake-up and a write for each would cost more than the sessions that log. Nobody reads a log faster than this.
const GATHER_TIME: Duration = Duration::from_millis(5);

/// Bytes of one write, about.
const GATHER_BYTES: usize = 64 * 1024;

/// How often the writer looks whether lines were dropped while nothing else came.
const DROPS_INTERVAL: Duration = Duration::from_secs(1);

/// The queue's owner: dropping it writes what waits, for at most two seconds.
pub struct Queue {
    shared: Arc<Shared>,
    sender: SyncSender<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    ended: AtomicBool,
}

impl Queue {
    /// Writes to `output` on a thread of its own.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Queue> {
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = sync_channel(LINES_WAITING_MAX);
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("log".to_owned())
                .spawn(move || write_lines(&receiver, output, &shared))?
        };
        Ok(Queue {
            shared,
            sender,
            thread: Some(thread),
        })
    }

    /// What `tracing_subscriber` writes to.
    ///
    /// Whatever is logged, one event is told from the next: a line that follows a newline within an event is moved in, and
    /// control characters are shown and not sent, except those of `colours`.
    pub fn writer(&self, colours: bool) -> LineMaker {
        LineMaker {
            shared: self.shared.clone(),
            sender: self.sender.clone(),
            colours,
        }
    }

    /// Reads the count of dropped lines, from any thread.
    pub fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + Clone + use<> {
        let shared = self.shared.clone();
        move || shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the writer; when the queue is full it is awake.
        let _ = self.sender.try_send(Vec::new());
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

fn write_lines(receiver: &Receiver<Vec<u8>>, mut output: impl Write, shared: &Shared) {
    let mut told = 0;
    loop {
        let mut gathered = match receiver.recv_timeout(DROPS_INTERVAL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if !gathered.is_empty() && !shared.ended.load(Ordering::Acquire) {
            std::thread::sleep(GATHER_TIME);
            while gathered.len() < GATHER_BYTES
                && let Ok(line) = receiver.try_recv()
            {
                gathered.extend_from_slice(&line);
            }
        }
        // There is nobody left to tell that stderr is gone.
        let _ = output.write_all(&gathered);
        let dropped = shared.dropped.load(Ordering::Relaxed);
        if dropped > told {
            let _ = writeln!(
                output,
                "{} log lines were dropped, because they were not taken fast enough",
                dropped - told
            );
            told = dropped;
        }
        if shared.ended.load(Ordering::Acquire) {
            // All that came before the end; what other threads log after it has no reader.
            for line in receiver.try_iter() {
                let _ = output.write_all(&line);
            }
            let _ = output.flush();
            return;
        }
    }
}

/// Makes a `Line` for each event.
#[derive(Clone)]
pub struct LineMaker {
    shared: Arc<Shared>,
    sender: SyncSender<Vec<u8>>,
    colours: bool,
}

impl<'a> MakeWriter<'a> for LineMaker {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line {
            maker: self,
            bytes: Vec::with_capacity(LINE_BYTES_USUAL),
        }
    }
}

/// One event; it goes into the queue whole when it is dropped.
pub struct Line<'a> {
    maker: &'a LineMaker,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        if self.bytes.len() >= LINE_BYTES_MAX {
            self.bytes.truncate(LINE_BYTES_MAX - 1);
            self.bytes.push(b'\n');
        }
        let bytes = std::mem::take(&mut self.bytes);
        let line = if is_plain(&bytes) {
            bytes
        } else {
            shown(&bytes, self.maker.colours)
        };
        if self.maker.sender.try_send(line).is_err() {
            self.maker.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether `shown` would give the event as it is: the usual case, which is not copied.
fn is_plain(event: &[u8]) -> bool {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    !body.iter().any(|byte| matches!(byte, 0..0x20 | 0x7f))
}

/// An event with nothing in it that a peer could have put there to look like another one.
fn shown(event: &[u8], colours: bool) -> Vec<u8> {
    let (body, newline) = match event {
        [body @ .., b'\n'] => (body, &b"\n"[..]),
        body => (body, &b""[..]),
    };
    let mut line = Vec::with_capacity(event.len());
    for &byte in body {
        match byte {
            b'\n' => line.extend_from_slice(b"\n    "),
            b'\t' => line.push(byte),
            0x1b if colours => line.push(byte),
            0..0x20 | 0x7f => line.extend(byte.escape_ascii()),
            _ => line.push(byte),
        }
    }
    line.extend_from_slice(newline);
    line
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// An output that can be held up.
    #[derive(Clone, Default)]
    pub(in super::super) struct Output(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        held: bool,
        waiting: bool,
        bytes: Vec<u8>,
    }

    impl Output {
        fn hold(&self, held: bool) {
            self.0.0.lock().expect("no test panics with the lock").held = held;
            self.0.1.notify_all();
        }

        /// Returns when the writer waits for us.
        fn until_writer_waits(&self) {
            let mut state = self.0.0.lock().expect("no test panics with the lock");
            while !state.waiting {
                state = self.0.1.wait(state).expect("no test panics with the lock");
            }
        }

        pub(in super::super) fn text(&self) -> String {
            let state = self.0.0.lock().expect("no test panics with the lock");
            String::from_utf8(state.bytes.clone()).expect("the tests write text")
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock().expect("no test panics with the lock");
            while state.held && !bytes.is_empty() {
                state.waiting = true;
                self.0.1.notify_all();
                state = self.0.1.wait(state).expect("no test panics with the lock");
            }
            state.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(maker: &LineMaker, text: &str) {
        let mut line = maker.make_writer();
        // In two pieces, as a formatter may write.
        let (head, tail) = text.split_at(text.len() / 2);
        line.write_all(head.as_bytes()).expect("a line takes all");
        line.write_all(tail.as_bytes()).expect("a line takes all");
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let output = Output::default();
        let queue = Queue::start(output.clone()).expect("threads can be made");
        let maker = queue.writer(false);
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        lines.iter().for_each(|line| log(&maker, line));
        drop(queue);
        assert_eq!(output.text(), lines.concat());
    }

    #[test]
    fn a_slow_output_drops_lines_and_counts_them_and_never_blocks() {
        let output = Output::default();
        output.hold(true);
        let queue = Queue::start(output.clone()).expect("threads can be made");
        let (maker, dropped) = (queue.writer(false), queue.dropped());
        log(&maker, "first\n");
        output.until_writer_waits();
        for _ in 0..LINES_WAITING_MAX + 5 {
            log(&maker, "more\n");
        }
        assert_eq!(dropped(), 5);
        output.hold(false);
        drop(queue);
        let text = output.text();
        assert_eq!(text.matches("more\n").count(), LINES_WAITING_MAX);
        assert!(text.contains("\n5 log lines were dropped, because they were not taken fast enough\n"));
    }

    #[test]
    fn an_event_cannot_look_like_two() {
        for (event, colours, expected) in [
            ("plain \t text, \u{fc}\n", false, "plain \t text, \u{fc}\n"),
            ("two\nlines\n", false, "two\n    lines\n"),
            ("return\rover\n", false, "return\\rover\n"),
            ("\u{1b}[2J\u{7}\0\u{7f}\n", false, "\\x1b[2J\\x07\\x00\\x7f\n"),
            ("\u{1b}[32mINFO\u{1b}[0m\u{7}\n", true, "\u{1b}[32mINFO\u{1b}[0m\\x07\n"),
            ("no end", false, "no end"),
            ("\n", false, "\n"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&shown(event.as_bytes(), colours)),
                expected,
                "{event:?}"
            );
        }
    }

    #[test]
    fn a_long_line_is_cut_and_stays_a_line() {
        let output = Output::default();
        let queue = Queue::start(output.clone()).expect("threads can be made");
        log(&queue.writer(false), &"x".repeat(100_000));
        drop(queue);
        let text = output.text();
        assert_eq!((text.len(), text.ends_with("x\n")), (LINE_BYTES_MAX, true));
    }
}
