//! The redirect of a login: what the proxy says to a backend to act for a user it has authenticated, as values.
//!
//! The proxy logs in as its node by SCRAM-SHA-256 and names the user as authorization identity, so that no password of a user
//! travels on the private network. Mutual: a backend that cannot prove that it knows the node's key is refused. `imap` and
//! `pop3` speak the two protocols, to our own backends and to Dovecot's and Cyrus's; whatever the backend says, and wherever it
//! stops, the outcome is one of [`Outcome`]. [`received`] is the other end of it. No connection, no clock, no retries: those are the driver's.

pub mod imap;
pub mod pop3;
pub mod received;

use crate::pop3::{Line, LineBuffer};
use crate::sasl::scram::client::{Challenge, Client, ClientKeys, Expected, ScramError};
use std::borrow::Cow;
use std::fmt;

/// Longest line of a backend before it lets us in. A guess; capabilities are the longest.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// Most lines of a backend before it lets us in. A guess: a backend that only talks is broken.
const LINES_MAX: usize = 64;
/// Most bytes of the values that are forwarded with a login, so that they fit every protocol.
pub const FORWARDED_BYTES_MAX: usize = 900;
/// Longest name of a forwarded value (a field of ID, RFC 2971, has 30 with `x-forward-`).
pub const FORWARDED_NAME_BYTES_MAX: usize = 20;

/// Who logs in, and for whom.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The id of this node, whose key it has.
    pub node: String,
    /// The user to act as: the account's main address.
    pub user: String,
    /// Random, printable, without a comma, never used twice.
    pub nonce: String,
    /// What the backend is told of the session.
    pub session: SessionData,
    /// What it is told of the record, so that it needs no lookup: names and values without control characters.
    pub forwarded: Vec<(String, String)>,
}

/// A session as the backend is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionData {
    /// The same on all nodes, for their logs.
    pub id: String,
    /// The client.
    pub client: std::net::SocketAddr,
    /// Where the client connected to.
    pub connected: std::net::SocketAddr,
    /// How many redirects more are allowed, so that nodes that each think the other the owner end it.
    pub hops_left: u8,
}

/// What the driver has to do. Output written before is sent first.
#[derive(Debug)]
pub enum Event {
    /// Call `keys` with the node's keys for this salt and count. Deriving them is dear: keep them.
    Keys {
        /// Salt.
        salt: Vec<u8>,
        /// Count of iterations.
        iterations: u32,
    },
    /// It is over.
    Done(Outcome),
}

/// How a redirect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user is in. What the client is told: for IMAP, untagged lines whole and what stands behind the tag of its own
    /// command; for POP3 the line. The rest of the input is the session's.
    LoggedIn(Answer),
    /// Try again, here or later.
    Unavailable(String),
    /// Not here: there.
    Referral(Referral),
    /// The backend refuses the node: our own set-up is wrong. The user's password was right.
    Misconfigured(String),
    /// For the client to know: with its code in brackets and its text, without the word in front.
    PassOn(String),
    /// The backend does not speak the protocol, or is not the one whose key we have.
    Garbage(String),
}

/// The answer to the client's login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Untagged lines with their line ends, for IMAP.
    pub untagged: Vec<u8>,
    /// Behind the tag and `OK`, or behind `+OK`; no line end.
    pub text: Vec<u8>,
}

/// Where a backend says that the user's mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// As whom, where it says.
    pub user: Option<String>,
    /// A name or an address.
    pub host: String,
    /// The port, where it says.
    pub port: Option<u16>,
}

impl Referral {
    /// `user@host:port`, `user;AUTH=...@host`, `host`; percent-encoded as RFC 5092 and RFC 3986 have it.
    fn parse(text: &str) -> Option<Referral> {
        let text = text.split(['/', '?']).next()?;
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let user = user.map(|user| user.split(';').next().unwrap_or_default());
        let user = match user.filter(|user| !user.is_empty()) {
            Some(user) => Some(percent_decoded(user)?),
            None => None,
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(inner) => {
                let (host, behind) = inner.split_once(']')?;
                (host, behind.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || host.len() > 255 || !host.bytes().all(is_host) {
            return None;
        }
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
            None => None,
        };
        Some(Referral {
            user,
            host: host.to_owned(),
            port,
        })
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// What the backend says up to the login, line by line: bounded in length and number.
#[derive(Debug)]
struct Lines {
    buffer: LineBuffer,
    left: usize,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            buffer: LineBuffer::new(LINE_BYTES_MAX),
            left: LINES_MAX,
        }
    }

    /// The next line off the front of `input`; `None` when it is used up. An event: beyond the bounds.
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Result<Cow<'a, [u8]>, Event>> {
        let line = self.buffer.next_line(input)?;
        self.left = self.left.saturating_sub(1);
        Some(match line {
            _ if self.left == 0 => Err(garbage("many lines, and no answer to the login")),
            Line::Complete(line) => Ok(line),
            Line::TooLong | Line::Endless => Err(garbage("a line that is too long")),
        })
    }
}

/// The steps of SCRAM, the same in both protocols.
#[derive(Debug)]
enum Scram {
    /// The first message is to be sent, or has been.
    First(Client),
    /// The keys are asked for.
    Challenged(Challenge),
    /// The server's proof is waited for.
    Answered(Expected),
    /// The server has proven itself.
    Proven,
    /// Between two of them.
    Moving,
}

impl Scram {
    fn new(redirect: &Redirect) -> Scram {
        Scram::First(Client::new(&redirect.node, Some(&redirect.user), &redirect.nonce))
    }

    /// Takes a challenge of the server, without what stands in front: `Some` asks for keys.
    fn take(&mut self, line: &[u8]) -> Result<Option<Event>, ScramError> {
        match std::mem::replace(self, Scram::Moving) {
            Scram::First(client) => {
                let challenge = client.challenge(line)?;
                let event = Event::Keys {
                    salt: challenge.salt.clone(),
                    iterations: challenge.iterations,
                };
                *self = Scram::Challenged(challenge);
                Ok(Some(event))
            }
            Scram::Answered(expected) => {
                expected.check(line)?;
                *self = Scram::Proven;
                Ok(None)
            }
            Scram::Challenged(_) | Scram::Proven | Scram::Moving => Err(ScramError::Malformed),
        }
    }

    /// The last message, and the empty one behind it: it carries nothing, so it need not wait for the server's proof.
    fn answer(&mut self, keys: &ClientKeys, out: &mut Vec<u8>) {
        let Scram::Challenged(challenge) = std::mem::replace(self, Scram::Moving) else {
            unreachable!("keys are given when they are asked for")
        };
        let (last, expected) = challenge.answer(keys);
        out.extend_from_slice(last.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        *self = Scram::Answered(expected);
    }

    fn is_proven(&self) -> bool {
        matches!(self, Scram::Proven)
    }
}

fn garbage(what: impl fmt::Display) -> Event {
    Event::Done(Outcome::Garbage(what.to_string()))
}

/// A text of the peer for logs and clients: what could be a line end or confuse a terminal is left out, and it is cut.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}

/// The code in brackets at the front, in upper case, and its arguments.
fn response_code(text: &[u8]) -> Option<(String, String)> {
    let inner = text.strip_prefix(b"[")?;
    // A host in a referral may be an IPv6 address in brackets of its own.
    let end = inner.windows(2).position(|pair| pair == b"] ");
    let end = end.or_else(|| inner.iter().rposition(|byte| *byte == b']'))?;
    let code = String::from_utf8_lossy(&inner[..end]).into_owned();
    let (name, arguments) = code.split_once([' ', '/']).unwrap_or((&code, ""));
    Some((name.to_ascii_uppercase(), arguments.to_owned()))
}

#[cfg(test)]
mod tests;
