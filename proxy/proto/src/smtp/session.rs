//! A session: framing of command lines, bounds and time-outs. What commands do is in `commands`, how a message is taken
//! in `body`.
//!
//! The driver gives what it received to `process` until that says that nothing is left, answers the events that ask for
//! it, sends what `take_output` gives before it waits for anything, and waits no longer than `deadline`. The core copies a
//! command line only when it was cut, and no byte of a message.

mod body;
mod commands;

use super::command::{AUTH_BYTES_MAX, line_bytes_max};
use super::event::{Abandoned, Event, Step};
use super::header::HeaderScan;
use super::options::{Mode, Options};
use super::reply::{Enhanced, Reply};
use crate::sasl::Exchange;
use body::Body;
use std::sync::Arc;
use std::time::Instant;

/// How much of an overlong line is thrown away before the session ends; a guess.
const SKIPPED_BYTES_MAX: usize = 64 * 1024;

/// One dialogue, from the greeting to its end. About 200 bytes while it is idle.
pub struct Session {
    options: Arc<Options>,
    state: State,
    /// The beginning of a line whose end has not come yet; no memory is held while it is empty.
    line: Vec<u8>,
    output: Vec<u8>,
    deadline: Option<Instant>,
    client_name: Option<Box<str>>,
    transaction: Option<Box<Transaction>>,
    greeted: Greeted,
    tls: bool,
    trusted: bool,
    authenticated: bool,
    errors: u32,
    refused_recipients: u32,
    authentication_failures: u32,
    idle_commands: u32,
    transactions: u32,
}

/// What is known of a connection when its session begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// TLS was agreed on before the greeting.
    pub tls: bool,
    /// May send passwords in plaintext (loopback, a network of our own).
    pub trusted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeted {
    No,
    /// HELO: no extensions.
    Plainly,
    /// EHLO or LHLO.
    Extended,
}

enum State {
    /// Before the greeting.
    New,
    /// For a command line.
    Command,
    /// In a line over its bound; counts what was thrown away.
    Overlong(usize),
    /// For the client's next line of an authentication.
    Authenticating(Box<Exchange>),
    /// For the driver's answer.
    Answer(Answer),
    /// In a message.
    Body,
    /// STARTTLS has been answered.
    TlsHandshake,
    /// Nothing is read any more; whether `Event::Close` has been given.
    Closed(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Mail,
    Recipient,
    Authentication,
    /// So many replies are due.
    Body(u32),
}

/// What lives from MAIL to the end of the message.
struct Transaction {
    /// Begun by MAIL, not by a chunk out of place.
    from_mail: bool,
    recipients: u32,
    binary: bool,
    smtp_utf8: bool,
    /// The message, from DATA or the first BDAT on.
    body: Option<Body>,
}

/// What a handler of a line asks `process` to do.
type Outcome = Option<Event>;

impl Session {
    /// Nothing is sent before `greet`.
    pub fn new(options: Arc<Options>, peer: Peer) -> Session {
        Session {
            options,
            state: State::New,
            line: Vec::new(),
            output: Vec::new(),
            deadline: None,
            client_name: None,
            transaction: None,
            greeted: Greeted::No,
            tls: peer.tls,
            trusted: peer.trusted,
            authenticated: false,
            errors: 0,
            refused_recipients: 0,
            authentication_failures: 0,
            idle_commands: 0,
            transactions: 0,
        }
    }

    /// Sends the greeting.
    pub fn greet(&mut self, now: Instant) {
        let protocol = match self.options.mode {
            Mode::Lmtp => "LMTP",
            Mode::Smtp | Mode::Submission => "ESMTP",
        };
        for piece in ["220 ", &self.options.host_name, " ", protocol, " PigeonAir\r\n"] {
            self.output.extend_from_slice(piece.as_bytes());
        }
        self.await_command(now);
    }

    /// Instead of `greet`: the client talked before it was greeted, as senders of junk do.
    pub fn refuse_early_talker(&mut self) {
        self.close_with(&Reply::fixed(554, Enhanced(5, 5, 1), "you spoke before the greeting"));
    }

    /// Ends the session with `reply`, whatever state it is in: the node stops, the client has too many connections.
    pub fn close_with(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
        self.close();
    }

    /// Ends the session because the node stops.
    pub fn shut_down(&mut self) {
        self.close_with(&Reply::fixed(421, Enhanced(4, 3, 2), "shutting down, try again later"));
    }

    /// The deadline has passed.
    pub fn time_out(&mut self) {
        self.close_with(&Reply::fixed(421, Enhanced(4, 4, 2), "time-out"));
    }

    /// What is to be sent, in order; empty when there is nothing.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Bytes that wait to be sent: the driver sends when these are many, even with input left.
    pub fn output_bytes(&self) -> usize {
        self.output.len()
    }

    /// When to call `time_out`. `None` while the driver owes an answer.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Between transactions, with nothing received: the session can end without harm.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::New | State::Command) && self.transaction.is_none() && self.line.is_empty()
    }

    /// The session has ended; there may be output left.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// What the client called itself in EHLO, HELO or LHLO: at most 255 bytes, no control characters, otherwise anything.
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// EHLO or LHLO was used, not HELO.
    pub fn is_extended(&self) -> bool {
        self.greeted == Greeted::Extended
    }

    /// The client has authenticated.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// TLS is on.
    pub fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Errors so far, for the log.
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// What the header section of the message has had so far; `None` outside of a message.
    pub fn header(&self) -> Option<&HeaderScan> {
        self.transaction.as_ref()?.body.as_ref().map(Body::header)
    }

    /// The handshake after `Event::StartTls` is done: the client begins anew (RFC 3207 section 4.2).
    pub fn tls_started(&mut self, now: Instant) {
        assert!(
            matches!(self.state, State::TlsHandshake),
            "TLS starts after Event::StartTls"
        );
        self.tls = true;
        self.greeted = Greeted::No;
        self.client_name = None;
        self.authenticated = false;
        self.idle_commands = 0;
        self.await_command(now);
    }

    /// Takes the front of `input`. Called again with the rest until `Step::event` is `None`.
    pub fn process(&mut self, input: &[u8], now: Instant) -> Step {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match &mut self.state {
                State::New | State::Answer(_) => {
                    return Step { consumed, event: None };
                }
                State::Closed(told) => {
                    let event = if std::mem::replace(told, true) {
                        None
                    } else {
                        Some(Event::Close)
                    };
                    return Step {
                        consumed: input.len(),
                        event,
                    };
                }
                State::TlsHandshake if rest.is_empty() => {
                    return Step { consumed, event: None };
                }
                // What comes in plaintext behind STARTTLS was put there by somebody in between (CVE-2011-0411).
                State::TlsHandshake => self.close(),
                State::Body => {
                    let step = self.process_body(rest, now);
                    let at = consumed;
                    consumed += step.consumed;
                    if let Some(event) = step.event {
                        return Step {
                            consumed,
                            event: Some(event.behind(at)),
                        };
                    }
                    if rest.is_empty() && matches!(self.state, State::Body) {
                        return Step { consumed, event: None };
                    }
                }
                State::Overlong(_) | State::Command | State::Authenticating(_) => {
                    if rest.is_empty() {
                        return Step { consumed, event: None };
                    }
                    let (line_consumed, event) = self.process_line(rest, now);
                    consumed += line_consumed;
                    if event.is_some() {
                        return Step { consumed, event };
                    }
                }
            }
        }
    }

    /// Finds the end of the line and handles the line.
    fn process_line(&mut self, input: &[u8], now: Instant) -> (usize, Outcome) {
        let line_feed = memchr::memchr(b'\n', input);
        let end = line_feed.map_or(input.len(), |at| at + 1);
        if let State::Overlong(skipped) = &mut self.state {
            *skipped = skipped.saturating_add(end);
            if *skipped > SKIPPED_BYTES_MAX {
                self.close_with(&Reply::fixed(421, Enhanced(4, 7, 0), "line without an end"));
            } else if line_feed.is_some() {
                self.state = State::Command;
                self.refuse(&Reply::fixed(500, Enhanced(5, 5, 6), "line too long"), now);
            }
            return (end, None);
        }
        let bytes = self.line.len() + end;
        if bytes > self.line_bytes_max(input) {
            let skipped = std::mem::take(&mut self.line).len();
            // The bytes at hand are counted when they are looked at again, as part of the overlong line.
            self.state = State::Overlong(skipped);
            return (0, None);
        }
        if line_feed.is_none() {
            self.line.extend_from_slice(input);
            return (end, None);
        }
        let event = if self.line.is_empty() {
            self.whole_line(&input[..end], now)
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&input[..end]);
            self.whole_line(&line, now)
        };
        (end, event)
    }

    fn line_bytes_max(&self, input: &[u8]) -> usize {
        if matches!(self.state, State::Authenticating(_)) {
            return AUTH_BYTES_MAX;
        }
        if self.line.is_empty() {
            return line_bytes_max(input, self.options.redirectors);
        }
        let mut front = [0; 5];
        let mut bytes = 0;
        for (place, byte) in front.iter_mut().zip(self.line.iter().chain(input)) {
            *place = *byte;
            bytes += 1;
        }
        line_bytes_max(&front[..bytes], self.options.redirectors)
    }

    /// A line with its LF. CRLF ends a command and nothing else does: a lone LF is answered, and not obeyed.
    fn whole_line(&mut self, line: &[u8], now: Instant) -> Outcome {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return self.refuse(&Reply::fixed(500, Enhanced(5, 5, 2), "lines end with CRLF"), now);
        };
        match std::mem::replace(&mut self.state, State::Command) {
            State::Authenticating(exchange) => self.continue_authentication(exchange, line, now),
            _ => self.command(line, now),
        }
    }

    fn await_command(&mut self, now: Instant) {
        self.state = State::Command;
        self.deadline = now.checked_add(self.options.time_outs.command);
    }

    fn await_answer(&mut self, answer: Answer) {
        self.state = State::Answer(answer);
        self.deadline = None;
    }

    fn close(&mut self) {
        if !self.is_closed() {
            self.state = State::Closed(false);
        }
        self.line = Vec::new();
        self.transaction = None;
        self.deadline = None;
    }

    fn reply(&mut self, reply: &Reply, now: Instant) -> Outcome {
        reply.write(&mut self.output);
        self.await_command(now);
        None
    }

    /// A reply to something wrong; too many of these end the session.
    fn refuse(&mut self, reply: &Reply, now: Instant) -> Outcome {
        self.errors = self.errors.saturating_add(1);
        self.reply(reply, now);
        if self.errors > self.options.limits.errors_max {
            self.close_with(&Reply::fixed(421, Enhanced(4, 7, 0), "too many errors"));
        }
        None
    }

    /// Forgets the transaction; the driver is told when it knew of one.
    fn reset(&mut self) -> Outcome {
        let transaction = self.transaction.take()?;
        Some(match transaction.body {
            Some(body) if body.is_given_out() => Event::BodyAbandoned(Abandoned::Interrupted),
            _ => Event::Reset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 208, "{}", size_of::<Session>());
    }
}
