//! Taking a message: DATA and BDAT, draining what is refused, and the answers after its end.

use super::{Answer, Outcome, Session, State};
use crate::smtp::command;
use crate::smtp::event::{Abandoned, BodySummary, Event, Piece, Step};
use crate::smtp::header::HeaderScan;
use crate::smtp::options::Mode;
use crate::smtp::reply::{Enhanced, Reply};
use crate::smtp::scanner::{Found, Framing, Scanner};
use std::time::{Duration, Instant};

pub(super) const TOO_LARGE: Reply = Reply::fixed(552, Enhanced(5, 3, 4), "message too large");
const BARE_LINE_END: Reply = Reply::fixed(
    550,
    Enhanced(5, 6, 11),
    "message with a CR or LF that is not part of a CRLF",
);
const NO_RECIPIENTS: Reply = Reply::fixed(554, Enhanced(5, 5, 1), "no valid recipients");

/// A message on its way in.
pub(super) struct Body {
    scanner: Scanner,
    header: HeaderScan,
    bytes: u64,
    /// Everything that came, what is drained included: for the deadline.
    received: u64,
    started: Instant,
    /// DATA, or what is left of a chunk.
    source: Source,
    /// Nothing is given out any more; this is the answer at the end.
    refused: Option<Reply>,
    /// The driver knows of it: `BodyBegin` was given, or `BodyAbandoned`.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Data,
    Chunk { left: u64, last: bool },
}

impl Body {
    fn new(framing: Framing, session: &Session, source: Source, now: Instant) -> Body {
        Body {
            scanner: Scanner::new(framing, session.options.bare_line_ends),
            header: HeaderScan::default(),
            bytes: 0,
            received: 0,
            started: now,
            source,
            refused: None,
            begun: false,
        }
    }

    pub(super) fn header(&self) -> &HeaderScan {
        &self.header
    }

    /// The driver has had a piece of it or may have, and has not been told to forget it.
    pub(super) fn is_given_out(&self) -> bool {
        self.begun && self.refused.is_none()
    }

    fn summary(&self) -> BodySummary {
        BodySummary {
            bytes: self.bytes,
            eight_bit: self.scanner.eight_bit(),
        }
    }
}

impl Event {
    /// Pieces found in the rest of an input count from the front of the input.
    pub(super) fn behind(self, offset: usize) -> Event {
        match self {
            Event::Body(Piece::Input(range)) => Event::Body(Piece::Input(range.start + offset..range.end + offset)),
            event => event,
        }
    }
}

impl Session {
    pub(super) fn data(&mut self, arguments: &[u8], now: Instant) -> Outcome {
        if !arguments.is_empty() {
            return self.refuse(&Reply::fixed(501, Enhanced(5, 5, 4), "no arguments allowed"), now);
        }
        let Some(transaction) = &self.transaction else {
            return self.refuse(&Reply::fixed(503, Enhanced(5, 5, 1), "MAIL comes first"), now);
        };
        // RFC 3030 section 3: a binary message cannot come by DATA, and DATA does not mix with BDAT.
        if transaction.binary || transaction.body.is_some() {
            return self.refuse(&Reply::fixed(503, Enhanced(5, 5, 1), "this message comes by BDAT"), now);
        }
        if transaction.recipients == 0 {
            return self.refuse(&NO_RECIPIENTS, now);
        }
        let mut body = Body::new(Framing::Data, self, Source::Data, now);
        body.begun = true;
        self.reply(&Reply::plain(354, "end with CRLF.CRLF"), now);
        self.begin_body(body, now);
        Some(Event::BodyBegin)
    }

    pub(super) fn chunk(&mut self, arguments: &[u8], now: Instant) -> Outcome {
        let Some((left, last)) = command::chunk(arguments) else {
            // How many bytes follow is unknown: to read them as commands would be to obey the contents of a message.
            self.close_with(&Reply::fixed(501, Enhanced(5, 5, 4), "expected BDAT size [LAST]"));
            return None;
        };
        let source = Source::Chunk { left, last };
        let (framing, refused) = match &self.transaction {
            None => (
                Framing::Binary,
                Some(Reply::fixed(503, Enhanced(5, 5, 1), "MAIL comes first")),
            ),
            Some(transaction) if transaction.recipients == 0 => (Framing::Binary, Some(NO_RECIPIENTS)),
            Some(transaction) if transaction.binary => (Framing::Binary, None),
            Some(_) => (Framing::Lines, None),
        };
        let mut body = match self
            .transaction
            .as_mut()
            .and_then(|transaction| transaction.body.take())
        {
            Some(body) => Body { source, ..body },
            None => Body::new(framing, self, source, now),
        };
        if refused.is_some() {
            body.refused = refused;
        }
        // A chunk says how long it is: what will not fit is refused before any of it is taken.
        let too_large =
            body.refused.is_none() && body.bytes.saturating_add(left) > self.options.limits.message_bytes_max;
        if too_large {
            body.scanner.drain();
            (body.refused, body.begun) = (Some(TOO_LARGE), true);
        }
        let begins = !body.begun && body.refused.is_none();
        body.begun |= begins;
        self.begin_body(body, now);
        if too_large {
            return Some(Event::BodyAbandoned(Abandoned::TooLarge));
        }
        begins.then_some(Event::BodyBegin)
    }

    fn begin_body(&mut self, body: Body, now: Instant) {
        // A chunk without a transaction is drained in one of its own.
        let transaction = self.transaction.get_or_insert_with(|| {
            Box::new(super::Transaction {
                from_mail: false,
                recipients: 0,
                binary: true,
                smtp_utf8: false,
                body: None,
            })
        });
        transaction.body = Some(body);
        self.state = State::Body;
        self.await_data(now);
    }

    /// The next piece has its time, and the message as a whole has its own.
    fn await_data(&mut self, now: Instant) {
        let time_outs = &self.options.time_outs;
        let body = self
            .transaction
            .as_ref()
            .and_then(|transaction| transaction.body.as_ref());
        self.deadline = body.and_then(|body| {
            let by_size = body.received / u64::from(time_outs.data_bytes_per_second_min.max(1));
            let whole = time_outs.data_total.saturating_add(Duration::from_secs(by_size));
            match (now.checked_add(time_outs.data), body.started.checked_add(whole)) {
                (Some(piece), Some(whole)) => Some(piece.min(whole)),
                (piece, whole) => piece.or(whole),
            }
        });
    }

    /// Refuses the message: the rest of it is drained, and `reply` is the answer at its end (in LMTP to each recipient).
    /// For the driver, between `BodyBegin` and `BodyEnd`.
    pub fn abandon_body(&mut self, reply: Reply) {
        if let Some(body) = self.body_mut()
            && body.refused.is_none()
        {
            body.scanner.drain();
            body.refused = Some(reply);
        }
    }

    fn body_mut(&mut self) -> Option<&mut Body> {
        self.transaction.as_mut()?.body.as_mut()
    }

    pub(super) fn transaction_failed(&self) -> bool {
        let body = self
            .transaction
            .as_ref()
            .and_then(|transaction| transaction.body.as_ref());
        body.is_some_and(|body| body.refused.is_some())
    }

    /// One thing of the message: a piece, its end, or why it is refused. `event` is `None` when the input is used up or the
    /// core has answered by itself.
    pub(super) fn process_body(&mut self, input: &[u8], now: Instant) -> Step {
        let message_bytes_max = self.options.limits.message_bytes_max;
        let Some(body) = self.body_mut() else {
            unreachable!("the state is Body only with a body");
        };
        let window = match body.source {
            Source::Data => input,
            Source::Chunk { left, .. } => {
                &input[..usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))]
            }
        };
        let scanned = if !window.is_empty() {
            body.scanner.scan(window)
        } else {
            match body.source {
                Source::Chunk { left: 0, last: false } => return self.chunk_end(now),
                Source::Chunk { left: 0, last: true } => match body.scanner.finish() {
                    Found::Nothing => return self.body_end(0, now),
                    _ if body.refused.is_some() => return self.body_end(0, now),
                    found => crate::smtp::scanner::Scanned { consumed: 0, found },
                },
                _ => {
                    return Step {
                        consumed: 0,
                        event: None,
                    };
                }
            }
        };
        let consumed = scanned.consumed;
        // In 64 bits: a usize is no wider on any machine this runs on.
        body.received = body.received.saturating_add(consumed as u64);
        if let Source::Chunk { left, .. } = &mut body.source {
            *left -= consumed as u64;
        }
        let refusal = match scanned.found {
            Found::Nothing => None,
            Found::End => return self.body_end(consumed, now),
            Found::Piece(_) if body.refused.is_some() => None,
            Found::Piece(piece) => {
                let bytes = piece.bytes(window);
                body.bytes = body.bytes.saturating_add(bytes.len() as u64);
                if body.bytes <= message_bytes_max {
                    if !body.header.is_over() {
                        body.header.scan(bytes);
                    }
                    self.await_data(now);
                    return Step {
                        consumed,
                        event: Some(Event::Body(piece)),
                    };
                }
                Some((Abandoned::TooLarge, TOO_LARGE))
            }
            Found::BareLineEnd if body.refused.is_some() => None,
            Found::BareLineEnd => Some((Abandoned::BareLineEnd, BARE_LINE_END)),
        };
        let event = refusal.map(|(why, reply)| {
            self.abandon_body(reply);
            Event::BodyAbandoned(why)
        });
        self.await_data(now);
        Step { consumed, event }
    }

    /// A chunk that is not the last.
    fn chunk_end(&mut self, now: Instant) -> Step {
        let refused = self.body_mut().and_then(|body| body.refused.clone());
        match refused {
            None => {
                self.reply(&Reply::fixed(250, Enhanced(2, 0, 0), "chunk taken"), now);
            }
            Some(reply) => {
                self.refuse_body(&reply, now);
                self.forget_stray_chunk();
            }
        }
        Step {
            consumed: 0,
            event: None,
        }
    }

    /// A chunk that is part of no message leaves nothing behind; a transaction that MAIL began may still get recipients.
    fn forget_stray_chunk(&mut self) {
        match &mut self.transaction {
            Some(transaction) if !transaction.from_mail => self.transaction = None,
            Some(transaction) if transaction.recipients == 0 => transaction.body = None,
            _ => {}
        }
    }

    /// What is refused for good counts as an error of the client.
    fn refuse_body(&mut self, reply: &Reply, now: Instant) {
        if reply.is_temporary() {
            self.reply(reply, now);
        } else {
            self.refuse(reply, now);
        }
    }

    fn body_end(&mut self, consumed: usize, now: Instant) -> Step {
        let (Some(transaction), mode) = (&mut self.transaction, self.options.mode) else {
            unreachable!("a body ends only in a transaction");
        };
        let answers = match mode {
            Mode::Lmtp => transaction.recipients.max(1),
            Mode::Smtp | Mode::Submission => 1,
        };
        let Some(body) = &transaction.body else {
            unreachable!("a body ends only where one is");
        };
        let event = match &body.refused {
            None => {
                let summary = body.summary();
                self.await_answer(Answer::Body(answers));
                Some(Event::BodyEnd(summary))
            }
            Some(reply) => {
                let reply = reply.clone();
                // Where the driver had begun, it has been told.
                let event = (transaction.from_mail && !body.begun).then_some(Event::Reset);
                self.transaction = None;
                for _ in 1..answers {
                    self.reply(&reply, now);
                }
                self.refuse_body(&reply, now);
                event
            }
        };
        Step { consumed, event }
    }

    /// Replies that are due after `Event::BodyEnd`: one, or in LMTP one for each accepted recipient, in their order.
    pub fn body_answers_due(&self) -> u32 {
        match self.state {
            State::Answer(Answer::Body(due)) => due,
            _ => 0,
        }
    }

    /// Answers `Event::BodyEnd`; positive only when the message is durable for the recipient (of SMTP: for all).
    pub fn answer_body(&mut self, reply: &Reply, now: Instant) {
        let due = self.body_answers_due();
        assert!(due > 0, "an answer without Event::BodyEnd");
        reply.write(&mut self.output);
        if due > 1 {
            self.state = State::Answer(Answer::Body(due - 1));
            return;
        }
        self.transaction = None;
        self.idle_commands = 0;
        self.await_command(now);
    }
}
