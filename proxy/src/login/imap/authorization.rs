//! The "not authenticated" state of IMAP as a value: from the greeting to credentials that the driver has checked.

use crate::backend::Opening;
use crate::login::Offer;
use crate::login::driver::{Event, Farewell, LoginCore, Refusal};
use pigeon_datatree_cache::Service;
use pigeon_proto::imap::capability::{BeforeLogin, before_login, greeting};
use pigeon_proto::imap::write::{CONTINUE, bad, tagged, untagged};
use pigeon_proto::imap::{self, Command, CommandReader, ReaderLimits, Tag};
use pigeon_proto::pop3::Limits;
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::{Claim, Credentials, Exchange, Progress, SaslError};

/// The core asks for its output to be sent when there is more of it than this.
const OUTPUT_FLUSH_BYTES: usize = 8 * 1024;

/// An IMAP session before the login.
#[derive(Debug)]
pub(super) struct Authorization {
    reader: CommandReader,
    state: State,
    offer: Offer,
    limits: Limits,
    received: Option<Box<Received>>,
    bad_commands: u32,
    failed_logins: u32,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Within AUTHENTICATE.
    Exchange(Box<(Tag, Exchange)>),
    Checking(Tag),
    StartingTls,
    Closing,
}

impl Authorization {
    /// A session that begins; writes the greeting.
    pub(super) fn new(offer: Offer, limits: Limits, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&greeting(&capabilities(offer), "PigeonAir IMAP ready"));
        Self {
            reader: CommandReader::new(&ReaderLimits::BEFORE_LOGIN),
            state: State::Idle,
            offer,
            limits,
            received: None,
            bad_commands: 0,
            failed_logins: 0,
        }
    }

    fn command(&mut self, tag: Tag, command: Command, out: &mut Vec<u8>) -> Option<Event> {
        match command {
            Command::Capability => {
                untagged(out, "CAPABILITY", &capabilities(self.offer));
                tagged(out, &tag, "OK", "CAPABILITY completed");
            }
            Command::Noop => tagged(out, &tag, "OK", "NOOP completed"),
            Command::Id(parameters) => {
                if self.offer.redirectors {
                    self.received = Some(Box::new(Received::of_id(&parameters)));
                }
                untagged(out, "ID", "(\"name\" \"PigeonAir\")");
                tagged(out, &tag, "OK", "ID completed");
            }
            Command::Logout => {
                untagged(out, "BYE", "Logging out");
                tagged(out, &tag, "OK", "LOGOUT completed");
                self.state = State::Closing;
            }
            Command::StartTls if !self.offer.starttls => {
                return self.bad_command(Some(&tag), "TLS is not on offer", out);
            }
            Command::StartTls => {
                tagged(out, &tag, "OK", "Begin TLS negotiation now");
                self.state = State::StartingTls;
                return Some(Event::StartTls);
            }
            Command::Login { .. } | Command::Authenticate { .. } if !self.offer.passwords => {
                tagged(
                    out,
                    &tag,
                    "NO",
                    "[PRIVACYREQUIRED] Passwords need TLS here, use STARTTLS first",
                );
                return self.count_bad_command(out);
            }
            Command::Login { .. } if !self.offer.mechanisms.passwords => {
                return self.bad_command(Some(&tag), "No passwords are taken here", out);
            }
            Command::Login { user, password } => {
                let credentials = Credentials::from_login_command(&user, password.expose());
                return self.check(tag, credentials.map(Claim::Password), out);
            }
            Command::Authenticate {
                mechanism,
                initial_response,
            } => match self.offer.mechanisms.parse(mechanism.as_bytes()) {
                None => {
                    tagged(out, &tag, "NO", "[CANNOT] Unknown mechanism");
                    return self.count_bad_command(out);
                }
                Some(mechanism) => {
                    let initial_response = initial_response.as_ref().map(imap::command::Secret::expose);
                    return match Exchange::start(mechanism, initial_response) {
                        Ok((exchange, progress)) => self.progress(tag, exchange, Ok(progress), out),
                        Err(error) => self.exchange_failed(&tag, error, out),
                    };
                }
            },
            _ => return self.bad_command(Some(&tag), "Log in first", out),
        }
        None
    }

    fn progress(
        &mut self,
        tag: Tag,
        exchange: Exchange,
        progress: Result<Progress, SaslError>,
        out: &mut Vec<u8>,
    ) -> Option<Event> {
        match progress {
            Ok(Progress::Challenge(challenge)) => {
                self.ask(tag, exchange, &challenge, out);
                None
            }
            Ok(Progress::Complete(claim)) => self.check(tag, Ok(claim), out),
            Err(error) => self.exchange_failed(&tag, error, out),
        }
    }

    fn ask(&mut self, tag: Tag, exchange: Exchange, challenge: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+ ");
        out.extend_from_slice(challenge.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.reader.expect_line();
        self.state = State::Exchange(Box::new((tag, exchange)));
    }

    fn exchange_failed(&mut self, tag: &Tag, error: SaslError, out: &mut Vec<u8>) -> Option<Event> {
        match error {
            // RFC 3501 section 6.2.2: a cancelled or undecodable exchange is BAD.
            SaslError::Cancelled => self.bad_command(Some(tag), "AUTHENTICATE cancelled", out),
            SaslError::BadBase64 => self.bad_command(Some(tag), "Not base64", out),
            SaslError::Malformed | SaslError::TooLong => self.check(tag.clone(), Err(error), out),
        }
    }

    /// Credentials that nobody can have fail here as wrong ones do.
    fn check(&mut self, tag: Tag, claim: Result<Claim, SaslError>, out: &mut Vec<u8>) -> Option<Event> {
        match claim {
            Ok(claim) if claim.authorization().is_some() && !self.offer.redirectors => {
                tagged(
                    out,
                    &tag,
                    "NO",
                    "[AUTHORIZATIONFAILED] Acting for others is not offered",
                );
                self.count_failed_login(out);
                None
            }
            Ok(claim) => {
                self.state = State::Checking(tag);
                Some(Event::Check(claim))
            }
            Err(_) => {
                self.state = State::Checking(tag);
                self.refused(Refusal::Credentials, out);
                None
            }
        }
    }

    fn count_failed_login(&mut self, out: &mut Vec<u8>) {
        self.failed_logins = self.failed_logins.saturating_add(1);
        if self.failed_logins >= self.limits.failed_logins_max {
            untagged(out, "BYE", "Too many failed logins");
            self.state = State::Closing;
        }
    }

    fn bad_command(&mut self, tag: Option<&Tag>, reason: &str, out: &mut Vec<u8>) -> Option<Event> {
        bad(out, tag, reason);
        self.count_bad_command(out)
    }

    fn count_bad_command(&mut self, out: &mut Vec<u8>) -> Option<Event> {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands < self.limits.bad_commands_max {
            return None;
        }
        untagged(out, "BYE", "Too many bad commands");
        self.state = State::Closing;
        Some(Event::Close)
    }
}

impl LoginCore for Authorization {
    const SERVICE: Service = Service::Imap;

    fn next_event(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        loop {
            if matches!(self.state, State::Closing) {
                return Some(Event::Close);
            }
            if out.len() > OUTPUT_FLUSH_BYTES {
                return Some(Event::Flush);
            }
            let event = match self.reader.read(input) {
                imap::Event::NeedMore => return None,
                imap::Event::Continue => {
                    out.extend_from_slice(CONTINUE);
                    None
                }
                imap::Event::Command(tag, command) => self.command(tag, command, out),
                imap::Event::Line(line) => match std::mem::replace(&mut self.state, State::Idle) {
                    State::Exchange(exchange) => {
                        let (tag, mut exchange) = *exchange;
                        let progress = exchange.respond(&line);
                        self.progress(tag, exchange, progress, out)
                    }
                    _ => unreachable!("a line is expected within AUTHENTICATE alone"),
                },
                imap::Event::Bad { tag, reason } => match std::mem::replace(&mut self.state, State::Idle) {
                    // The line within AUTHENTICATE was too long.
                    State::Exchange(exchange) => self.bad_command(Some(&exchange.0), reason, out),
                    _ => self.bad_command(tag.as_ref(), reason, out),
                },
                imap::Event::Close(reason) => {
                    untagged(out, "BYE", reason);
                    self.state = State::Closing;
                    None
                }
                imap::Event::Append(_)
                | imap::Event::AppendData(_)
                | imap::Event::AppendMessageEnd
                | imap::Event::AppendEnd(_) => unreachable!("the reader was told that APPEND makes no sense here"),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn refused(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        let State::Checking(tag) = std::mem::replace(&mut self.state, State::Idle) else {
            unreachable!("nothing is being checked")
        };
        let text = match refusal {
            Refusal::Credentials => "[AUTHENTICATIONFAILED] Wrong name or password",
            Refusal::NotAllowed => "[CONTACTADMIN] This account may not use IMAP",
            Refusal::Temporary => "[UNAVAILABLE] Cannot check the password now, try again later",
        };
        tagged(out, &tag, "NO", text);
        self.count_failed_login(out);
    }

    fn challenge(&mut self, exchange: Exchange, challenge: &str, out: &mut Vec<u8>) {
        let State::Checking(tag) = std::mem::replace(&mut self.state, State::Idle) else {
            unreachable!("nothing is being checked")
        };
        self.ask(tag, exchange, challenge, out);
    }

    fn take_received(&mut self) -> Received {
        self.received.take().map(|received| *received).unwrap_or_default()
    }

    fn opening(&mut self) -> Opening {
        let State::Checking(tag) = std::mem::replace(&mut self.state, State::Idle) else {
            unreachable!("nothing is being checked")
        };
        Opening::Imap { tag }
    }

    fn tls_started(&mut self) {
        self.state = State::Idle;
        self.offer = Offer {
            starttls: false,
            passwords: true,
            ..self.offer
        };
    }

    fn farewell(&self, reason: Farewell, out: &mut Vec<u8>) {
        let text = match reason {
            Farewell::TimedOut => "No login in time",
            Farewell::Draining => "[UNAVAILABLE] Server shutting down, come again soon",
        };
        untagged(out, "BYE", text);
    }
}

fn capabilities(offer: Offer) -> String {
    let mechanisms: Vec<_> = offer.mechanisms.names().filter(|_| offer.passwords).collect();
    before_login(BeforeLogin {
        starttls: offer.starttls,
        login_allowed: offer.passwords && offer.mechanisms.passwords,
        mechanisms: &mechanisms,
    })
}
