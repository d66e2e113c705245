//! The SMTP core alone: what a message of 4 KiB costs between the socket and the store, and how fast a body is scanned.
//!
//! `cargo bench -p pigeon-benches --bench smtp_core`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pigeon_proto::smtp::{BareLineEnds, Event, Mode, Options, Peer, Reply, Session};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Lines of 74 bytes and their CRLF, as mail has them.
fn message(bytes: usize) -> Vec<u8> {
    let mut message = b"From: Carol <carol@example.net>\r\nTo: alice@example.org\r\nSubject: a message\r\n\
        Received: from a by b; Sun, 22 Nov 2026 03:00:51 +0000\r\nDate: Sun, 22 Nov 2026 03:00:51 +0000\r\n\
        Message-ID: <1@example.net>\r\n\r\n"
        .to_vec();
    let mut letter = b'a';
    while message.len() < bytes {
        let line = (bytes - message.len()).saturating_sub(2).clamp(1, 74);
        message.resize(message.len() + line, letter);
        message.extend_from_slice(b"\r\n");
        letter = if letter == b'z' { b'a' } else { letter + 1 };
    }
    message
}

fn options() -> Arc<Options> {
    let mut options = Options::new(Mode::Smtp, "mx.example.org");
    options.limits.message_bytes_max = u64::MAX;
    options.limits.transactions_max = u32::MAX;
    options.bare_line_ends = BareLineEnds::Refuse;
    Arc::new(options)
}

struct Driver {
    session: Session,
    reply: Reply,
    now: Instant,
    /// What would go to the store.
    bytes: u64,
}

impl Driver {
    fn new(options: &Arc<Options>) -> Driver {
        let now = Instant::now();
        let mut session = Session::new(options.clone(), Peer::default());
        session.greet(now);
        let reply = Reply::new(250, pigeon_proto::smtp::Enhanced(2, 0, 0), "ok");
        let mut driver = Driver {
            session,
            reply,
            now,
            bytes: 0,
        };
        driver.feed(b"EHLO client.example.net\r\n");
        driver
    }

    fn feed(&mut self, input: &[u8]) {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let step = self.session.process(rest, self.now);
            at += step.consumed;
            match step.event {
                None => break,
                Some(Event::Mail { .. }) => self.session.answer_mail(Ok(()), self.now),
                Some(Event::Recipient { .. }) => self.session.answer_recipient(Ok(()), self.now),
                Some(Event::Body(piece)) => self.bytes += piece.bytes(rest).len() as u64,
                Some(Event::BodyEnd(_)) => self.session.answer_body(&self.reply, self.now),
                Some(_) => {}
            }
        }
        black_box(self.session.take_output());
    }
}

fn transactions(criterion: &mut Criterion) {
    let options = options();
    let mut group = criterion.benchmark_group("smtp core, a message in a session");
    for kibibytes in [1, 4, 16] {
        let mut body = message(kibibytes * 1024);
        body.extend_from_slice(b".\r\n");
        let envelope =
            b"MAIL FROM:<carol@example.net> SIZE=4096 BODY=8BITMIME\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n";
        let mut driver = Driver::new(&options);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{kibibytes} KiB by DATA, pipelined"), |bencher| {
            bencher.iter(|| {
                driver.feed(envelope);
                driver.feed(&body);
            });
        });
        assert!(driver.bytes > 0);
    }
    let body = message(4096);
    let mut chunk = b"MAIL FROM:<carol@example.net>\r\nRCPT TO:<alice@example.org>\r\nBDAT 4096 LAST\r\n".to_vec();
    chunk.extend_from_slice(&body[..4096]);
    let mut driver = Driver::new(&options);
    group.bench_function("4 KiB by BDAT, in one piece", |bencher| {
        bencher.iter(|| driver.feed(&chunk))
    });
    assert!(driver.bytes > 0);
    group.finish();

    let mut group = criterion.benchmark_group("smtp core, a session a message");
    let mut whole =
        b"EHLO client.example.net\r\nMAIL FROM:<carol@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n".to_vec();
    whole.extend_from_slice(&message(4096));
    whole.extend_from_slice(b".\r\nQUIT\r\n");
    group.bench_function("4 KiB by DATA", |bencher| {
        bencher.iter(|| {
            let mut driver = Driver::new(&options);
            driver.feed(&whole);
            driver.bytes
        });
    });
    group.finish();
}

fn scanning(criterion: &mut Criterion) {
    let options = options();
    let mut group = criterion.benchmark_group("smtp core, scanning");
    let plain = message(16 * 1024);
    let mut dotted = Vec::new();
    plain.chunks(76).for_each(|line| {
        dotted.extend_from_slice(b"x\r\n..");
        dotted.extend_from_slice(line);
    });
    dotted.truncate(16 * 1024);
    let last = dotted.len() - 2;
    dotted[last..].copy_from_slice(b"\r\n");
    for (name, piece) in [("lines of 76 bytes", plain), ("every other line stuffed", dotted)] {
        group.throughput(Throughput::Bytes(piece.len() as u64));
        let mut driver = Driver::new(&options);
        driver.feed(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n\r\n");
        let before = driver.bytes;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                driver.feed(&piece);
            });
        });
        assert!(driver.bytes > before);
    }
    group.finish();
}

criterion_group!(benches, transactions, scanning);
criterion_main!(benches);
