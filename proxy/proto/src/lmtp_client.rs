//! LMTP (RFC 2033) from the client's side: how a message goes to the node that keeps the recipients' mail, as values.
//!
//! One [`LmtpClient`] is one connection: the greeting, LHLO, a login as node by SCRAM-SHA-256, and then one transaction after
//! the other, each written without waiting for answers. The body goes in chunks (BDAT, RFC 3030), which nobody has to scan
//! again; to a server without them by DATA, which takes a step of waiting and dots that are doubled. Parameters are sent only
//! where the server announced them. Whatever the server says and wherever it stops, every recipient has one [`Delivery`].
//!
//! It does not know addresses of servers, connections, clocks or retries, and keeps no byte of a message.

mod capabilities;
mod reader;
mod transaction;

pub use capabilities::Capabilities;
pub use transaction::{Delivery, Envelope, Recipient, Stage};

use crate::pop3::{Line, LineBuffer};
use crate::sasl::scram::client::{Challenge, Client, ClientKeys, Expected, ScramError};
use crate::smtp::Reply;
use reader::ReplyReader;
use std::fmt;
use transaction::{Progress, Transaction};

/// Longest line of a server; RFC 5321 section 4.5.3.1.5 has 512, and SCRAM's challenges are allowed more.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// Who says hello.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The name in LHLO: a host name.
    pub host_name: String,
    /// The login; without it none is tried, and the server need not prove who it is.
    pub login: Option<NodeLogin>,
}

/// A login as a node; no user is named. A server that does not offer it is not talked to.
#[derive(Clone, Debug)]
pub struct NodeLogin {
    /// The id of this node.
    pub node: String,
    /// Random, printable, without a comma, never used twice.
    pub nonce: String,
}

/// What the driver has to do. Output written before is sent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Call `keys` with the node's keys for this salt and count. Deriving them is dear: keep them.
    Keys {
        /// Salt.
        salt: Vec<u8>,
        /// Count of iterations.
        iterations: u32,
    },
    /// Transactions may begin.
    Ready,
    /// After `begin`, where `waits_for_go`: the message may be sent.
    Go,
    /// Every recipient has its [`Delivery`]: see `deliveries`. Whether another transaction may begin says `is_ready`.
    Answered,
    /// The connection is of no use any more. Recipients without an answer have been given theirs: see `deliveries`.
    Failed(Failure),
}

/// Why a connection is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server has ended it, or does not take anybody now.
    Unavailable(String),
    /// The server does not let this node in: somebody has to mend the set-up.
    Misconfigured(String),
    /// Not LMTP, or not the server whose key we know.
    Garbage(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unavailable(why) => write!(f, "not available: {why}"),
            Failure::Misconfigured(why) => write!(f, "it does not let this node in: {why}"),
            Failure::Garbage(why) => write!(f, "not to be understood: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Why a message cannot be given to this server at all, ever: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is binary (554 5.6.1).
    Binary,
    /// An address or the header is UTF-8 (550 5.6.7).
    Utf8,
    /// It was declared as 8-bit (554 5.6.3).
    EightBit,
    /// Larger than the server says it takes (552 5.3.4).
    TooLarge,
}

/// A connection from its greeting on.
#[derive(Debug)]
pub struct LmtpClient {
    greeting: Greeting,
    lines: LineBuffer,
    reader: ReplyReader,
    state: State,
    capabilities: Capabilities,
    /// The server has proven that it knows the node's key.
    proven: bool,
    transaction: Option<Transaction>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Hello,
    Login(Login),
    Ready,
    Transaction,
    /// Nothing more is said.
    Ended,
}

#[derive(Debug)]
enum Login {
    First(Client),
    Challenged(Challenge),
    Answered(Expected),
    Proven,
    Moving,
}

impl LmtpClient {
    /// On a connection that has just been opened; the server speaks first.
    pub fn new(greeting: Greeting) -> LmtpClient {
        LmtpClient {
            greeting,
            lines: LineBuffer::new(LINE_BYTES_MAX),
            reader: ReplyReader::default(),
            state: State::Greeting,
            capabilities: Capabilities::default(),
            proven: false,
            transaction: None,
        }
    }

    /// Takes bytes off the front of `input`, up to the next event; `None` when it is used up.
    pub fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        loop {
            if matches!(self.state, State::Ended) {
                *input = &[];
                return None;
            }
            let complete = match self.lines.next_line(input)? {
                Line::Complete(line) => self.reader.take(&line),
                Line::TooLong | Line::Endless => Err("a line that is too long".to_owned()),
            };
            let event = match complete {
                Ok(None) => None,
                Ok(Some((reply, texts))) => self.reply(reply, &texts, out),
                Err(why) => Some(self.fail(Failure::Garbage(why))),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// The node's keys for the salt and count that were asked for.
    pub fn keys(&mut self, keys: &ClientKeys, out: &mut Vec<u8>) {
        let State::Login(login) = &mut self.state else { return };
        if let Login::Challenged(challenge) = std::mem::replace(login, Login::Moving) {
            let (line, expected) = challenge.answer(keys);
            out.extend_from_slice(line.as_bytes());
            // The empty line answers the server's proof; it carries nothing, so it need not wait for it.
            out.extend_from_slice(b"\r\n\r\n");
            *login = Login::Answered(expected);
        }
    }

    /// The connection has ended, or too much time has passed. Every recipient has its `Delivery` then.
    pub fn closed(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.close();
        }
        self.state = State::Ended;
    }

    /// A transaction may begin.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready) && self.lines.is_empty() && self.reader.is_empty()
    }

    /// What the server announced.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Records are forwarded: to a node of ours that has proven that it is one.
    pub fn forwards(&self) -> bool {
        self.proven && self.capabilities.forwards
    }

    /// Writes what comes before the message. Only while `is_ready`; at least one recipient.
    pub fn begin(
        &mut self,
        envelope: &Envelope<'_>,
        recipients: &[Recipient<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        assert!(self.is_ready(), "a transaction begins when the last one is over");
        assert!(!recipients.is_empty(), "a message is for somebody");
        let forwards = self.forwards();
        let transaction = Transaction::begin(&self.capabilities, forwards, envelope, recipients, out)?;
        self.transaction = Some(transaction);
        self.state = State::Transaction;
        Ok(())
    }

    /// The message must wait for [`Event::Go`].
    pub fn waits_for_go(&self) -> bool {
        self.transaction.as_ref().is_some_and(Transaction::waits_for_go)
    }

    /// Writes a piece of the message, with its framing.
    pub fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if let Some(transaction) = self.transaction.as_mut().filter(|transaction| !transaction.is_over()) {
            transaction.piece(piece, out);
        }
    }

    /// Writes the last piece of the message, which may be empty. From here on a recipient without an answer may have it.
    pub fn last_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if let Some(transaction) = self.transaction.as_mut().filter(|transaction| !transaction.is_over()) {
            transaction.last_piece(piece, out);
        }
    }

    /// One for each recipient, in their order, after [`Event::Answered`], [`Event::Failed`] or `closed`; empty when there is
    /// no transaction.
    pub fn deliveries(&mut self) -> Vec<Delivery> {
        let transaction = self.transaction.take();
        transaction.map(Transaction::into_deliveries).unwrap_or_default()
    }

    fn fail(&mut self, failure: Failure) -> Event {
        self.closed();
        Event::Failed(failure)
    }

    fn reply(&mut self, reply: Reply, texts: &[String], out: &mut Vec<u8>) -> Option<Event> {
        // RFC 5321 section 3.8: said at any time by a server that then closes.
        if reply.code() == 421 {
            return Some(self.fail(Failure::Unavailable(reply.to_string())));
        }
        match &mut self.state {
            State::Greeting if reply.code() == 220 => {
                out.extend_from_slice(b"LHLO ");
                out.extend_from_slice(self.greeting.host_name.as_bytes());
                out.extend_from_slice(b"\r\n");
                self.state = State::Hello;
                None
            }
            State::Hello if reply.code() == 250 => self.hello(texts, out),
            State::Greeting | State::Hello => Some(self.refused(reply)),
            State::Login(_) => self.login(reply),
            State::Transaction => {
                let transaction = self.transaction.as_mut()?;
                match transaction.reply(reply) {
                    Ok(Progress::More) => None,
                    Ok(Progress::Go) => Some(Event::Go),
                    Ok(Progress::Answered) => {
                        self.state = match transaction.in_step() {
                            true => State::Ready,
                            // What the server still expects is not certain: better a new connection.
                            false => State::Ended,
                        };
                        Some(Event::Answered)
                    }
                    Err(why) => Some(self.fail(Failure::Garbage(why))),
                }
            }
            State::Ready => Some(self.fail(Failure::Garbage(format!("an answer that nobody asked for: {reply}")))),
            State::Ended => None,
        }
    }

    fn refused(&mut self, reply: Reply) -> Event {
        self.fail(match reply.code() {
            400..500 => Failure::Unavailable(reply.to_string()),
            500..600 => Failure::Misconfigured(reply.to_string()),
            _ => Failure::Garbage(format!("out of place: {reply}")),
        })
    }

    fn hello(&mut self, texts: &[String], out: &mut Vec<u8>) -> Option<Event> {
        self.capabilities = Capabilities::read(texts);
        let Some(login) = &self.greeting.login else {
            self.state = State::Ready;
            return Some(Event::Ready);
        };
        if !self.capabilities.scram_sha_256 {
            let why = "it does not offer SCRAM-SHA-256, so that it could prove who it is".to_owned();
            return Some(self.fail(Failure::Misconfigured(why)));
        }
        let client = Client::new(&login.node, None, &login.nonce);
        out.extend_from_slice(b"AUTH SCRAM-SHA-256 ");
        out.extend_from_slice(client.first().as_bytes());
        out.extend_from_slice(b"\r\n");
        self.state = State::Login(Login::First(client));
        None
    }

    fn login(&mut self, reply: Reply) -> Option<Event> {
        let State::Login(login) = &mut self.state else {
            return None;
        };
        let text = reply.text().as_bytes();
        let step = match (std::mem::replace(login, Login::Moving), reply.code()) {
            (Login::First(client), 334) => client.challenge(text).map(|challenge| {
                let event = Event::Keys {
                    salt: challenge.salt.clone(),
                    iterations: challenge.iterations,
                };
                *login = Login::Challenged(challenge);
                Some(event)
            }),
            (Login::Answered(expected), 334) => expected.check(text).map(|()| {
                *login = Login::Proven;
                None
            }),
            (Login::Proven, 235) => {
                (self.proven, self.state) = (true, State::Ready);
                Ok(Some(Event::Ready))
            }
            (_, 400..600) => return Some(self.refused(reply)),
            // Let in without a proof of the server's: somebody else.
            (_, 235) => Err(ScramError::Server),
            _ => Err(ScramError::Malformed),
        };
        match step {
            Ok(event) => event,
            Err(error) => Some(self.fail(Failure::Garbage(error.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests;
