//! The redirect of an IMAP login (RFC 3501; SASL-IR of RFC 4959; ID of RFC 2971; referrals of RFC 2221).

use super::{Answer, Event, Lines, Outcome, Redirect, Referral, Scram, garbage, response_code, shown};
use crate::sasl::scram::client::ClientKeys;

/// Most bytes of untagged lines that are kept for the client.
const UNTAGGED_BYTES_MAX: usize = 8 * 1024;

/// A login at a backend. Dropped when it is over.
#[derive(Debug)]
pub struct ImapRedirect {
    redirect: Redirect,
    /// The backend is one of ours, or one that the configuration trusts with what is forwarded.
    forwards: bool,
    lines: Lines,
    step: Step,
    scram: Scram,
    /// The first message is sent when the server asks for it: it does not know initial responses.
    waits_for_first: bool,
    untagged: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    /// The login was sent before the greeting.
    LateGreeting,
    Capability,
    Login,
}

impl ImapRedirect {
    /// At a connection that has just been opened; the backend speaks first. `forwards`: it may know about the session and
    /// the record, where it announces ID.
    pub fn new(redirect: Redirect, forwards: bool) -> ImapRedirect {
        ImapRedirect {
            scram: Scram::new(&redirect),
            redirect,
            forwards,
            lines: Lines::new(),
            step: Step::Greeting,
            waits_for_first: false,
            untagged: Vec::new(),
        }
    }

    /// Asks before the backend has spoken, which saves a round trip: for one that is known to offer ID, SASL-IR and
    /// SCRAM-SHA-256.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        let known = self.begin("ID SASL-IR AUTH=SCRAM-SHA-256", out);
        debug_assert!(known.is_none(), "it offers all that is needed");
        self.step = Step::LateGreeting;
    }

    /// Takes bytes off the front of `input`, up to the next event; `None` when it is used up.
    pub fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        loop {
            let event = match self.lines.next(input)? {
                Ok(line) => self.line(&line, out),
                Err(event) => Some(event),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// The node's keys for the salt and count that were asked for.
    pub fn keys(&mut self, keys: &ClientKeys, out: &mut Vec<u8>) {
        self.scram.answer(keys, out);
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Event> {
        if let Some(text) = line.strip_prefix(b"* ") {
            return self.untagged(text, line, out);
        }
        match self.step {
            Step::Greeting | Step::LateGreeting => {
                Some(garbage(format!("expected a greeting, found {:?}", shown(line))))
            }
            Step::Capability if line.starts_with(b"C OK") => Some(garbage("no capabilities")),
            Step::Capability => Some(garbage(format!("expected capabilities, found {:?}", shown(line)))),
            Step::Login => self.login_line(line, out),
        }
    }

    fn untagged(&mut self, text: &[u8], line: &[u8], out: &mut Vec<u8>) -> Option<Event> {
        let (word, rest) = split_word(text);
        if word.eq_ignore_ascii_case(b"BYE") {
            return Some(match response_code(rest) {
                Some((code, _)) if code == "LIMIT" => Event::Done(Outcome::PassOn(shown(rest))),
                _ => Event::Done(Outcome::Unavailable(shown(rest))),
            });
        }
        match self.step {
            Step::Greeting if word.eq_ignore_ascii_case(b"OK") => match response_code(rest) {
                Some((code, capabilities)) if code == "CAPABILITY" => self.begin(&capabilities, out),
                _ => {
                    self.step = Step::Capability;
                    out.extend_from_slice(b"C CAPABILITY\r\n");
                    None
                }
            },
            Step::LateGreeting if word.eq_ignore_ascii_case(b"OK") => {
                self.step = Step::Login;
                None
            }
            Step::Greeting | Step::LateGreeting => {
                Some(garbage(format!("expected a greeting, found {:?}", shown(line))))
            }
            Step::Capability if word.eq_ignore_ascii_case(b"CAPABILITY") => {
                let capabilities = String::from_utf8_lossy(rest);
                self.begin(&capabilities, out)
            }
            Step::Capability => None,
            Step::Login => {
                // Before the server has proven itself nothing of it reaches the client.
                if self.scram.is_proven() {
                    if self.untagged.len() + line.len() > UNTAGGED_BYTES_MAX {
                        return Some(garbage("many untagged lines"));
                    }
                    self.untagged.extend_from_slice(line);
                    self.untagged.extend_from_slice(b"\r\n");
                }
                None
            }
        }
    }

    fn begin(&mut self, capabilities: &str, out: &mut Vec<u8>) -> Option<Event> {
        let has = |name: &str| capabilities.split(' ').any(|word| word.eq_ignore_ascii_case(name));
        if !has("AUTH=SCRAM-SHA-256") {
            let what = "it does not offer SCRAM-SHA-256";
            return Some(Event::Done(Outcome::Misconfigured(what.to_owned())));
        }
        if self.forwards && has("ID") {
            self.identify(out);
        }
        out.extend_from_slice(b"L AUTHENTICATE SCRAM-SHA-256");
        self.waits_for_first = !has("SASL-IR");
        if let (false, Scram::First(client)) = (self.waits_for_first, &self.scram) {
            out.push(b' ');
            out.extend_from_slice(client.first().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        self.step = Step::Login;
        None
    }

    fn identify(&self, out: &mut Vec<u8>) {
        let session = &self.redirect.session;
        out.extend_from_slice(b"I ID (");
        let mut first = true;
        let mut pair = |name: &str, value: &str| {
            if !std::mem::take(&mut first) {
                out.push(b' ');
            }
            quoted(name, out);
            out.push(b' ');
            quoted(value, out);
        };
        pair("x-session-id", &session.id);
        pair("x-originating-ip", &session.client.ip().to_string());
        pair("x-originating-port", &session.client.port().to_string());
        pair("x-connected-ip", &session.connected.ip().to_string());
        pair("x-connected-port", &session.connected.port().to_string());
        pair("x-proxy-ttl", &session.hops_left.to_string());
        for (name, value) in &self.redirect.forwarded {
            pair(&format!("x-forward-{name}"), value);
        }
        out.extend_from_slice(b")\r\n");
    }

    fn login_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Event> {
        if line == b"+" || line.starts_with(b"+ ") {
            let challenge = line.get(2..).unwrap_or_default();
            if std::mem::take(&mut self.waits_for_first) {
                let Scram::First(client) = &self.scram else {
                    unreachable!("nothing was sent yet")
                };
                out.extend_from_slice(client.first().as_bytes());
                out.extend_from_slice(b"\r\n");
                return None;
            }
            return match self.scram.take(challenge) {
                Ok(event) => event,
                Err(error) => Some(garbage(error)),
            };
        }
        // The answers to ID and CAPABILITY: also a server that refuses ID may let us in.
        if line.starts_with(b"I ") || line.starts_with(b"C ") {
            return None;
        }
        let Some(answer) = line.strip_prefix(b"L ") else {
            return Some(garbage(format!(
                "expected an answer to the login, found {:?}",
                shown(line)
            )));
        };
        let (word, text) = split_word(answer);
        Some(if word.eq_ignore_ascii_case(b"OK") {
            if !self.scram.is_proven() {
                return Some(garbage("it lets us in and proves nothing"));
            }
            Event::Done(Outcome::LoggedIn(Answer {
                untagged: std::mem::take(&mut self.untagged),
                text: text.to_vec(),
            }))
        } else if word.eq_ignore_ascii_case(b"NO") {
            Event::Done(refused(text))
        } else if word.eq_ignore_ascii_case(b"BAD") {
            Event::Done(Outcome::Misconfigured(shown(text)))
        } else {
            garbage(format!("expected an answer to the login, found {:?}", shown(line)))
        })
    }
}

fn refused(text: &[u8]) -> Outcome {
    let Some((code, arguments)) = response_code(text) else {
        return Outcome::Misconfigured(shown(text));
    };
    match code.as_str() {
        "UNAVAILABLE" | "SERVERBUG" => Outcome::Unavailable(shown(text)),
        "REFERRAL" => {
            let is_imap = arguments
                .get(..7)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("imap://"));
            let place = arguments.get(7..).filter(|_| is_imap);
            match place.and_then(Referral::parse) {
                Some(referral) => Outcome::Referral(referral),
                None => Outcome::Garbage(format!("a referral to {arguments:?}")),
            }
        }
        "LIMIT" | "INUSE" | "CONTACTADMIN" | "EXPIRED" | "ALERT" => Outcome::PassOn(shown(text)),
        _ => Outcome::Misconfigured(shown(text)),
    }
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

/// A quoted string (RFC 3501 section 4.3). What may not stand in one is left out: it carries nothing of ours.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\0' | b'\r' | b'\n' => {}
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
