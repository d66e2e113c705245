//! The SMTP core: commands and a body in, replies and pieces of the body out.

use crate::Round;
use pigeon_proto::smtp::{BareLineEnds, Enhanced, Event, Mode, Options, Peer, Reply, Session};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ENVELOPE: &[u8] =
    b"MAIL FROM:<carol@example.net> SIZE=4096 BODY=8BITMIME\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n";

fn options() -> Arc<Options> {
    let mut options = Options::new(Mode::Smtp, "mx.example.org");
    options.limits.transactions_max = u32::MAX;
    options.bare_line_ends = BareLineEnds::Refuse;
    Arc::new(options)
}

/// A session and who answers its questions.
struct Driver {
    session: Session,
    now: Instant,
    reply: Reply,
    body_bytes: usize,
}

impl Driver {
    fn new(options: &Arc<Options>) -> Driver {
        let now = Instant::now();
        let mut session = Session::new(options.clone(), Peer::default());
        session.greet(now);
        Driver {
            session,
            now,
            reply: Reply::new(250, Enhanced(2, 0, 0), "ok"),
            body_bytes: 0,
        }
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
                Some(Event::Body(piece)) => self.body_bytes += piece.bytes(rest).len(),
                Some(Event::BodyEnd(_)) => self.session.answer_body(&self.reply, self.now),
                Some(_) => {}
            }
        }
        black_box(self.session.take_output());
    }
}

/// 4 KiB in lines of 76 octets, and the dot.
fn body() -> Vec<u8> {
    let mut body = b"From: Carol <carol@example.net>\r\nTo: alice@example.org\r\nSubject: a message\r\n\r\n".to_vec();
    while body.len() < 4096 {
        body.extend_from_slice(&[b'x'; 74]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b".\r\n");
    body
}

/// A message of 4 KiB in a session that stays, commands sent ahead.
pub(crate) fn message() -> Round {
    let mut driver = Driver::new(&options());
    driver.feed(b"EHLO client.example.net\r\n");
    let body = body();
    Box::new(move || {
        let before = driver.body_bytes;
        driver.feed(ENVELOPE);
        driver.feed(&body);
        assert!(driver.body_bytes > before + 4000, "the body went through");
    })
}

/// A session from greeting to QUIT with one such message.
pub(crate) fn session() -> Round {
    let options = options();
    let body = body();
    Box::new(move || {
        let mut driver = Driver::new(&options);
        driver.feed(b"EHLO client.example.net\r\n");
        driver.feed(ENVELOPE);
        driver.feed(&body);
        driver.feed(b"QUIT\r\n");
        assert!(driver.body_bytes > 4000, "the body went through");
    })
}
