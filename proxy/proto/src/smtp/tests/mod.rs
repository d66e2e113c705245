//! Transcripts: whole, at every cut, and byte by byte.
//!
//! In a transcript `C:` is a line of the client (CRLF is added), `c:` bytes without a line end, `S:` a line that the server
//! sends, `E:` an event that the driver sees, `T:` the TLS handshake. `\r \n \t \0 \\ \xNN` stand for bytes. The driver of
//! the tests knows alice, bob and postmaster of example.org, takes the password `pigeon`, and keeps every message, but for
//! `full@example.org`, who is over quota; about `later@example.org` it cannot tell.

mod bodies;
mod commands;
mod limits;
mod modes;
mod random;
mod second_opinion;
mod smuggling;

use super::*;
use crate::address::ForwardPath;
use crate::sasl::Claim;
use crate::sasl::scram::Verifier;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that is visible of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) output: Vec<u8>,
    pub(super) events: Vec<String>,
}

pub(super) struct Driver {
    pub(super) session: Session,
    pub(super) seen: Seen,
    message: Vec<u8>,
    recipients: Vec<String>,
    pub(super) now: Instant,
}

impl Driver {
    pub(super) fn new(options: &Options, peer: Peer) -> Driver {
        let now = Instant::now();
        let mut session = Session::new(Arc::new(options.clone()), peer);
        session.greet(now);
        Driver {
            session,
            seen: Seen::default(),
            message: Vec::new(),
            recipients: Vec::new(),
            now,
        }
    }

    pub(super) fn event(&mut self, text: impl Into<String>) {
        self.seen.events.push(text.into());
    }

    /// Feeds `input` and answers what the session asks. Every call makes progress, or the test fails.
    pub(super) fn feed(&mut self, input: &[u8]) {
        let mut at = 0;
        let mut calls = 0;
        loop {
            calls += 1;
            assert!(calls < 100_000, "the session makes no progress");
            let rest = &input[at..];
            let step = self.session.process(rest, self.now);
            at += step.consumed;
            let Some(event) = step.event else {
                assert_eq!(at, input.len(), "everything is consumed when nothing happens");
                break;
            };
            self.handle(event, rest);
        }
        self.seen.output.extend_from_slice(&self.session.take_output());
    }

    fn handle(&mut self, event: Event, input: &[u8]) {
        let now = self.now;
        match event {
            Event::Mail {
                reverse_path,
                parameters,
            } => {
                let path = reverse_path.map(|address| address.to_string()).unwrap_or_default();
                self.event(format!("mail <{path}>{}", describe(&parameters)));
                self.recipients.clear();
                self.message.clear();
                let refused = path == "refused@example.net";
                let reply = Reply::new(451, Enhanced(4, 3, 0), "not now");
                self.session.answer_mail(if refused { Err(reply) } else { Ok(()) }, now);
            }
            Event::Recipient { path, parameters } => {
                let path = match path {
                    ForwardPath::Postmaster => "postmaster@example.org".to_owned(),
                    ForwardPath::Address(address) => address.to_string(),
                };
                let answer = match path.split_once('@') {
                    Some(("alice" | "bob" | "postmaster" | "full" | "jürgen", "example.org")) => Ok(()),
                    Some(("later", "example.org")) => Err(RecipientRefusal::Uncertain.reply()),
                    Some((_, "example.org")) => Err(RecipientRefusal::UnknownUser.reply()),
                    _ => Err(RecipientRefusal::Relaying.reply()),
                };
                if answer.is_ok() {
                    let mut text = format!("recipient <{path}>");
                    if let Some(notify) = parameters.notify {
                        text += &format!(" {notify:?}");
                    }
                    if let Some(original) = parameters.original_recipient {
                        text += &format!(" {};{}", original.address_type, original.address);
                    }
                    self.event(text);
                    self.recipients.push(path);
                }
                self.session.answer_recipient(answer, now);
            }
            Event::Authenticate(Claim::ScramFirst(first)) => {
                self.event(format!("verifier {}", first.name()));
                let (exchange, challenge) = first.answer(Verifier::unprovable(4096, b"salt".to_vec()), "nonce");
                self.session.challenge(exchange, challenge, now);
            }
            Event::Authenticate(Claim::Scram(proof)) => {
                self.event(format!("proof {} {}", proof.name, proof.proven.is_some()));
                self.session.answer_authentication(AuthenticationAnswer::Refused, now);
            }
            Event::Authenticate(Claim::Password(credentials)) => {
                let text = format!(
                    "authenticate {} {}",
                    credentials.name,
                    credentials.authorization.as_deref().unwrap_or("-")
                );
                self.event(text);
                let answer = match credentials.password.as_bytes() {
                    b"pigeon" => AuthenticationAnswer::Accepted,
                    b"later" => AuthenticationAnswer::Unavailable,
                    _ => AuthenticationAnswer::Refused,
                };
                self.session.answer_authentication(answer, now);
            }
            Event::BodyBegin => {
                self.message.clear();
                self.event("begin");
            }
            Event::Body(piece) => {
                let bytes = piece.bytes(input);
                assert!(!bytes.is_empty(), "a piece has bytes");
                self.message.extend_from_slice(bytes);
                if self.message.ends_with(b"[abandon]") {
                    self.session
                        .abandon_body(Reply::new(452, Enhanced(4, 3, 1), "insufficient system storage"));
                    self.event("driver abandons");
                }
            }
            Event::BodyEnd(summary) => {
                assert_eq!(summary.bytes, self.message.len() as u64);
                assert_eq!(summary.eight_bit, !self.message.is_ascii());
                let message = std::mem::take(&mut self.message);
                self.event(format!("message {}", message.escape_ascii()));
                let recipients = std::mem::take(&mut self.recipients);
                let due = self.session.body_answers_due() as usize;
                assert!(due == 1 || due == recipients.len());
                for recipient in recipients.iter().take(due) {
                    let reply = if recipient.starts_with("full") {
                        Reply::new(552, Enhanced(5, 2, 2), "over quota")
                    } else {
                        Reply::new(250, Enhanced(2, 0, 0), "kept")
                    };
                    self.session.answer_body(&reply, now);
                }
            }
            Event::BodyAbandoned(why) => {
                self.message.clear();
                self.event(format!("abandoned {why:?}"));
            }
            Event::Reset => self.event("reset"),
            Event::StartTls => self.event("starttls"),
            Event::Close => self.event("close"),
        }
    }
}

fn describe(parameters: &MailParameters) -> String {
    let mut text = String::new();
    if let Some(size) = parameters.size {
        text += &format!(" size={size}");
    }
    if parameters.body != BodyType::SevenBit {
        text += &format!(" {:?}", parameters.body);
    }
    if parameters.smtp_utf8 {
        text += " utf8";
    }
    if let Some(returned) = parameters.returned {
        text += &format!(" {returned:?}");
    }
    if let Some(id) = &parameters.envelope_id {
        text += &format!(" id={id}");
    }
    text
}

/// The bytes between two handshakes, and what is expected of the whole.
pub(super) struct Transcript {
    segments: Vec<Vec<u8>>,
    expected: Seen,
}

pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('r') => bytes.push(b'\r'),
                Some('n') => bytes.push(b'\n'),
                Some('t') => bytes.push(b'\t'),
                Some('0') => bytes.push(0),
                Some('\\') => bytes.push(b'\\'),
                Some('x') => {
                    let digits: String = characters.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                }
                other => panic!("unknown escape {other:?} in {text}"),
            },
            character => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

pub(super) fn transcript(text: &str) -> Transcript {
    let mut transcript = Transcript {
        segments: vec![Vec::new()],
        expected: Seen::default(),
    };
    for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let (kind, rest) = line.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let segment = transcript.segments.last_mut().expect("there is one from the start");
        match kind {
            "C:" => {
                segment.extend_from_slice(&unescape(rest));
                segment.extend_from_slice(b"\r\n");
            }
            "c:" => segment.extend_from_slice(&unescape(rest)),
            "S:" => {
                transcript.expected.output.extend_from_slice(&unescape(rest));
                transcript.expected.output.extend_from_slice(b"\r\n");
            }
            "E:" => transcript.expected.events.push(rest.to_owned()),
            "T:" => transcript.segments.push(Vec::new()),
            _ => panic!("neither C, c, S, E nor T: {line}"),
        }
    }
    transcript
}

fn run(options: &Options, peer: Peer, segments: &[Vec<&[u8]>]) -> Seen {
    let mut driver = Driver::new(options, peer);
    for (index, pieces) in segments.iter().enumerate() {
        if index > 0 && !driver.session.is_closed() {
            driver.session.tls_started(driver.now);
        }
        for piece in pieces {
            driver.feed(piece);
        }
    }
    driver.seen
}

/// Runs the transcript whole, with one cut at every place, and byte by byte, and wants the same each time.
pub(super) fn check(options: &Options, peer: Peer, text: &str) {
    let transcript = transcript(text);
    let whole: Vec<Vec<&[u8]>> = transcript
        .segments
        .iter()
        .map(|segment| vec![segment.as_slice()])
        .collect();
    let seen = run(options, peer, &whole);
    let readable = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        readable(&seen.output),
        readable(&transcript.expected.output),
        "output of\n{text}"
    );
    assert_eq!(seen.events, transcript.expected.events, "events of\n{text}");
    for (index, segment) in transcript.segments.iter().enumerate() {
        for cut in 0..=segment.len() {
            let mut pieces = whole.clone();
            pieces[index] = vec![&segment[..cut], &segment[cut..]];
            assert_eq!(
                run(options, peer, &pieces),
                seen,
                "cut at {cut} of part {index} of\n{text}"
            );
        }
    }
    let bytes: Vec<Vec<&[u8]>> = transcript
        .segments
        .iter()
        .map(|segment| segment.chunks(1).collect())
        .collect();
    assert_eq!(run(options, peer, &bytes), seen, "byte by byte:\n{text}");
}

pub(super) fn smtp() -> Options {
    let mut options = Options::new(Mode::Smtp, "mx.example.org");
    options.limits.message_bytes_max = 1000;
    options
}

pub(super) const HELLO: &str = "
    S: 220 mx.example.org ESMTP PigeonAir
    C: EHLO client.example.net
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-CHUNKING
    S: 250-BINARYMIME
    S: 250-DSN
    S: 250 ENHANCEDSTATUSCODES
";

/// `HELLO`, and a transaction up to one recipient.
pub(super) fn begun() -> String {
    format!(
        "{HELLO}
        C: MAIL FROM:<carol@example.net>
        S: 250 2.1.0 sender ok
        E: mail <carol@example.net>
        C: RCPT TO:<alice@example.org>
        S: 250 2.1.5 recipient ok
        E: recipient <alice@example.org>
        "
    )
}

#[test]
fn deadlines_follow_the_state() {
    let options = smtp();
    let mut driver = Driver::new(&options, Peer::default());
    let start = driver.now;
    let after = |driver: &Driver| driver.session.deadline().map(|deadline| deadline - start);
    assert_eq!(after(&driver), Some(Duration::from_secs(300)));
    // Bytes of a command do not give it more time; a whole command gives time for the next.
    driver.now += Duration::from_secs(10);
    driver.feed(b"EHL");
    assert_eq!(after(&driver), Some(Duration::from_secs(300)));
    driver.feed(b"O x\r\n");
    assert_eq!(after(&driver), Some(Duration::from_secs(310)));
    driver.feed(b"MAIL FROM:<a@x>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
    assert_eq!(after(&driver), Some(Duration::from_secs(310)));
    // A piece gives time for the next, up to the time of the whole: 600 s, and a second for every 500 bytes.
    driver.now += Duration::from_secs(299);
    driver.feed(&[b'x'; 500]);
    assert_eq!(after(&driver), Some(Duration::from_secs(609)));
    driver.now += Duration::from_secs(299);
    driver.feed(b"x");
    assert_eq!(after(&driver), Some(Duration::from_secs(10 + 600 + 1)));
    driver.session.time_out();
    driver.feed(b"");
    assert!(driver.seen.output.ends_with(b"421 4.4.2 time-out\r\n"));
    assert_eq!(driver.seen.events.last().unwrap(), "close");
    assert_eq!(driver.session.deadline(), None);
}

#[test]
fn there_is_no_deadline_while_the_driver_owes_an_answer() {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(smtp()), Peer::default());
    session.greet(now);
    let input = b"HELO x\r\nMAIL FROM:<a@x>\r\nNOOP\r\n";
    let step = session.process(input, now);
    assert!(matches!(step.event, Some(Event::Mail { .. })));
    assert_eq!(session.deadline(), None);
    // Nothing is consumed before the answer.
    let rest = &input[step.consumed..];
    assert_eq!(rest, b"NOOP\r\n");
    assert_eq!(
        session.process(rest, now),
        Step {
            consumed: 0,
            event: None
        }
    );
    session.answer_mail(Ok(()), now);
    assert!(session.deadline().is_some());
    assert_eq!(
        session.process(rest, now),
        Step {
            consumed: rest.len(),
            event: None
        }
    );
}

#[test]
fn ends_that_the_driver_decides() {
    for (end, expected) in [
        (
            Session::refuse_early_talker as fn(&mut Session),
            "554 5.5.1 you spoke before the greeting\r\n",
        ),
        (Session::shut_down, "421 4.3.2 shutting down, try again later\r\n"),
        (Session::time_out, "421 4.4.2 time-out\r\n"),
    ] {
        let now = Instant::now();
        let mut session = Session::new(Arc::new(smtp()), Peer::default());
        assert!(session.is_idle());
        end(&mut session);
        assert_eq!(String::from_utf8(session.take_output()).unwrap(), expected);
        let step = session.process(b"EHLO x\r\n", now);
        assert_eq!(step.event, Some(Event::Close));
        assert_eq!(session.process(b"more", now).event, None);
        assert!(session.take_output().is_empty());
    }
}
