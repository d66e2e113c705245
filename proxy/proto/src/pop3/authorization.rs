//! The AUTHORIZATION state (RFC 1939 section 4): from the greeting to credentials that the driver has checked. One value a
//! connection, small while it waits. It ends when the driver hands the connection over after a successful check, or when
//! it says `Close`.

use super::capability::write_capabilities;
use super::command::Command;
use super::line::{Line, LineBuffer};
use super::{AUTHENTICATION_LINE_MAX, COMMAND_LINE_MAX, OUTPUT_FLUSH_BYTES};
use crate::redirect::received::Received;
use crate::sasl::{Claim, Credentials, Exchange, Mechanisms, Progress, SaslError};

/// What the connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// STLS may be asked for: there is a certificate and no TLS yet.
    pub stls: bool,
    /// Passwords may travel: TLS is on, or the client's address is trusted.
    pub passwords: bool,
    /// How; USER and PASS belong to the passwords among them.
    pub mechanisms: Mechanisms,
    /// Other nodes log in here, for the users that they authenticated: they may say what they know of the session (XCLIENT),
    /// and act for others.
    pub redirectors: bool,
}

/// How much a client may get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bad commands (unknown, malformed, too long) after which the session is closed.
    pub bad_commands_max: u32,
    /// Failed logins after which the session is closed.
    pub failed_logins_max: u32,
}

/// What the driver has to do. Output written before the event is sent first.
#[derive(Debug, PartialEq, Eq)]
pub enum AuthorizationEvent {
    /// Send the output, then go on with the rest of the input.
    Flush,
    /// Check this, then call `refused`, or `challenge` where it is the beginning of an exchange, or hand the connection over.
    /// The rest of the input belongs to whoever goes on.
    Check(Claim),
    /// Send the output, do the handshake, then call `tls_started`. The rest of the input must fail the handshake: it came
    /// in the clear and could be taken for the client's own words after it (RFC 2595 section 4).
    StartTls,
    /// Send the output and close.
    Close,
}

/// Why a login failed, in what the client may know (RFC 2449, RFC 3206).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong name or password.
    Credentials,
    /// The password is right; the account may not use POP3.
    NotAllowed,
    /// Right or wrong is not known now: come again.
    Temporary,
}

/// A POP3 session before the login.
#[derive(Debug)]
pub struct Authorization {
    lines: LineBuffer,
    state: State,
    offer: Offer,
    limits: Limits,
    utf8: bool,
    received: Option<Box<Received>>,
    bad_commands: u32,
    failed_logins: u32,
}

#[derive(Debug)]
enum State {
    Idle,
    /// `USER` was given; the name is not looked at before `PASS`, so that nothing tells whether it exists.
    Named(Box<[u8]>),
    Exchange(Exchange),
    Checking,
    StartingTls,
    Closing,
}

impl Authorization {
    /// A session that begins; writes the greeting.
    pub fn new(offer: Offer, limits: Limits, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(match offer.redirectors {
            true => &b"+OK [XCLIENT] PigeonAir POP3 ready\r\n"[..],
            false => b"+OK PigeonAir POP3 ready\r\n",
        });
        Self {
            lines: LineBuffer::new(AUTHENTICATION_LINE_MAX),
            state: State::Idle,
            offer,
            limits,
            utf8: false,
            received: None,
            bad_commands: 0,
            failed_logins: 0,
        }
    }

    /// Whether the client asked for UTF8.
    pub fn utf8(&self) -> bool {
        self.utf8
    }

    /// What a redirector said of the session; to be believed once it has logged in.
    pub fn take_received(&mut self) -> Received {
        self.received.take().map(|received| *received).unwrap_or_default()
    }

    /// Takes bytes off the front of `input` and writes replies, up to the next event; `None` when the input is used up.
    pub fn next_event(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        loop {
            if matches!(self.state, State::Closing) {
                return Some(AuthorizationEvent::Close);
            }
            if out.len() > OUTPUT_FLUSH_BYTES {
                return Some(AuthorizationEvent::Flush);
            }
            let event = match self.lines.next_line(input)? {
                Line::Complete(line) => self.line(&line, out),
                Line::TooLong => {
                    if matches!(self.state, State::Exchange(_)) {
                        self.state = State::Idle;
                    }
                    self.bad_command("Line too long", out)
                }
                Line::Endless => self.close("Line too long", out),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// The check of the last `Check` failed; writes the answer. The session goes on, or closes after too many.
    pub fn refused(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        debug_assert!(matches!(self.state, State::Checking), "nothing is being checked");
        self.state = State::Idle;
        out.extend_from_slice(match refusal {
            Refusal::Credentials => &b"-ERR [AUTH] Wrong name or password\r\n"[..],
            Refusal::NotAllowed => b"-ERR [AUTH] This account may not use POP3\r\n",
            Refusal::Temporary => b"-ERR [SYS/TEMP] Cannot check the password now, try again later\r\n",
        });
        self.failed_logins = self.failed_logins.saturating_add(1);
        if self.failed_logins >= self.limits.failed_logins_max {
            self.state = State::Closing;
        }
    }

    /// The check of the last `Check` needs another word of the client.
    pub fn challenge(&mut self, exchange: Exchange, challenge: &str, out: &mut Vec<u8>) {
        debug_assert!(matches!(self.state, State::Checking), "nothing is being checked");
        self.state = State::Exchange(exchange);
        challenge_line(challenge, out);
    }

    /// TLS is on: what was said in the clear counts for nothing (RFC 2595 section 4).
    pub fn tls_started(&mut self) {
        self.state = State::Idle;
        self.utf8 = false;
        self.offer = Offer {
            stls: false,
            passwords: true,
            ..self.offer
        };
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        if let State::Exchange(exchange) = &mut self.state {
            let step = exchange.respond(line);
            return self.step(step, out);
        }
        let begins_with = |name: &[u8]| {
            line.get(..name.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(name))
        };
        let may_be_long = begins_with(b"AUTH ") || self.offer.redirectors && begins_with(b"XCLIENT ");
        if line.len() > COMMAND_LINE_MAX - 2 && !may_be_long {
            return self.bad_command("Line too long", out);
        }
        match Command::parse(line) {
            Ok(command) => self.command(command, out),
            Err(error) => self.bad_command(error.text(), out),
        }
    }

    fn command(&mut self, command: Command<'_>, out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        match command {
            Command::Capa => write_capabilities(out, self.offer),
            Command::Noop => out.extend_from_slice(b"+OK\r\n"),
            Command::Quit => {
                out.extend_from_slice(b"+OK Bye\r\n");
                self.state = State::Closing;
            }
            Command::Utf8 => {
                self.utf8 = true;
                out.extend_from_slice(b"+OK UTF8 enabled\r\n");
            }
            Command::Stls if !self.offer.stls => return self.bad_command("TLS is not on offer", out),
            Command::Stls => {
                out.extend_from_slice(b"+OK Begin TLS\r\n");
                self.state = State::StartingTls;
                return Some(AuthorizationEvent::StartTls);
            }
            Command::Auth { mechanism: None, .. } => {
                out.extend_from_slice(b"+OK\r\n");
                if self.offer.passwords {
                    for name in self.offer.mechanisms.names() {
                        out.extend_from_slice(name.as_bytes());
                        out.extend_from_slice(b"\r\n");
                    }
                }
                out.extend_from_slice(b".\r\n");
            }
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } if !self.offer.passwords => {
                return self.bad_command("Passwords need TLS here, use STLS first", out);
            }
            Command::User(_) | Command::Pass(_) if !self.offer.mechanisms.passwords => {
                return self.bad_command("No passwords are taken here", out);
            }
            Command::Xclient(arguments) => {
                let received = Some(arguments)
                    .filter(|_| self.offer.redirectors)
                    .and_then(Received::of_xclient);
                match received {
                    Some(received) => {
                        self.received = Some(Box::new(received));
                        out.extend_from_slice(b"+OK\r\n");
                    }
                    None => return self.bad_command("No such thing is taken here", out),
                }
            }
            Command::User(name) => {
                self.state = State::Named(name.into());
                out.extend_from_slice(b"+OK\r\n");
            }
            Command::Pass(password) => match std::mem::replace(&mut self.state, State::Idle) {
                State::Named(name) => {
                    let credentials = Credentials::from_login_command(&name, password).ok();
                    return self.check(credentials.map(Claim::Password), out);
                }
                _ => return self.bad_command("USER first", out),
            },
            Command::Auth {
                mechanism: Some(name),
                initial_response,
            } => match self.offer.mechanisms.parse(name) {
                None => out.extend_from_slice(b"-ERR Unknown mechanism\r\n"),
                Some(mechanism) => match Exchange::start(mechanism, initial_response) {
                    Ok((exchange, step)) => {
                        self.state = State::Exchange(exchange);
                        return self.step(Ok(step), out);
                    }
                    Err(error) => return self.step(Err(error), out),
                },
            },
            Command::Dele(_)
            | Command::List(_)
            | Command::Retr(_)
            | Command::Rset
            | Command::Stat
            | Command::Top(..)
            | Command::Uidl(_) => return self.bad_command("Log in first", out),
        }
        None
    }

    fn step(&mut self, step: Result<Progress, SaslError>, out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        let error = match step {
            Ok(Progress::Challenge(challenge)) => {
                challenge_line(&challenge, out);
                return None;
            }
            // Acting for another account is for redirectors.
            Ok(Progress::Complete(claim)) => {
                let is_allowed = |claim: &Claim| self.offer.redirectors || claim.authorization().is_none();
                return self.check(Some(claim).filter(is_allowed), out);
            }
            Err(error) => error,
        };
        self.state = State::Idle;
        match error {
            SaslError::Cancelled => out.extend_from_slice(b"-ERR Authentication cancelled\r\n"),
            SaslError::BadBase64 => return self.bad_command("Not base64", out),
            SaslError::Malformed | SaslError::TooLong => return self.check(None, out),
        }
        None
    }

    /// `None`: credentials that nobody can have fail here as wrong ones do.
    fn check(&mut self, claim: Option<Claim>, out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        self.state = State::Checking;
        match claim {
            Some(claim) => Some(AuthorizationEvent::Check(claim)),
            None => {
                self.refused(Refusal::Credentials, out);
                None
            }
        }
    }

    fn bad_command(&mut self, text: &str, out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands >= self.limits.bad_commands_max {
            return self.close("Too many bad commands", out);
        }
        error_line(text, out);
        None
    }

    fn close(&mut self, text: &str, out: &mut Vec<u8>) -> Option<AuthorizationEvent> {
        error_line(text, out);
        self.state = State::Closing;
        Some(AuthorizationEvent::Close)
    }
}

/// `+` and a text in base64.
fn challenge_line(challenge: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"+ ");
    out.extend_from_slice(challenge.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `-ERR` and a text.
pub(super) fn error_line(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"-ERR ");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
