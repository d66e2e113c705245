//! The redirect of a POP3 login (RFC 5034; XCLIENT as Dovecot has it, announced in the greeting).

use super::{Answer, Event, Lines, Outcome, Redirect, Referral, Scram, garbage, response_code, shown};
use crate::sasl::scram::client::ClientKeys;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A login at a backend. Dropped when it is over.
#[derive(Debug)]
pub struct Pop3Redirect {
    redirect: Redirect,
    forwards: bool,
    lines: Lines,
    step: Step,
    scram: Scram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Xclient,
    Login,
}

impl Pop3Redirect {
    /// At a connection that has just been opened; the backend speaks first. `forwards`: it may know about the session and
    /// the record, where it announces XCLIENT.
    pub fn new(redirect: Redirect, forwards: bool) -> Pop3Redirect {
        Pop3Redirect {
            scram: Scram::new(&redirect),
            redirect,
            forwards,
            lines: Lines::new(),
            step: Step::Greeting,
        }
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
        let is_ok = line == b"+OK" || line.starts_with(b"+OK ");
        if !is_ok && !line.starts_with(b"-ERR") && self.step != Step::Login {
            return Some(garbage(format!("expected +OK or -ERR, found {:?}", shown(line))));
        }
        if line.starts_with(b"-ERR") {
            // A server that does not take XCLIENT may let us in all the same.
            if self.step == Step::Xclient {
                self.step = Step::Login;
                return None;
            }
            let text = line.get(5..).unwrap_or_default();
            return Some(Event::Done(refused(text, self.step)));
        }
        match self.step {
            Step::Greeting => {
                self.begin(line, out);
                None
            }
            Step::Xclient => {
                self.step = Step::Login;
                None
            }
            Step::Login if is_ok => {
                if !self.scram.is_proven() {
                    return Some(garbage("it lets us in and proves nothing"));
                }
                Some(Event::Done(Outcome::LoggedIn(Answer {
                    untagged: Vec::new(),
                    text: line.get(4..).unwrap_or_default().to_vec(),
                })))
            }
            Step::Login => {
                let Some(challenge) = line.strip_prefix(b"+ ") else {
                    return Some(garbage(format!(
                        "expected an answer to the login, found {:?}",
                        shown(line)
                    )));
                };
                match self.scram.take(challenge) {
                    Ok(event) => event,
                    Err(error) => Some(garbage(error)),
                }
            }
        }
    }

    fn begin(&mut self, greeting: &[u8], out: &mut Vec<u8>) {
        let code = response_code(greeting.get(4..).unwrap_or_default());
        let knows_xclient = code.is_some_and(|(code, _)| code == "XCLIENT");
        self.step = Step::Login;
        if self.forwards && knows_xclient {
            self.step = Step::Xclient;
            let session = &self.redirect.session;
            let mut line = format!(
                "XCLIENT ADDR={} PORT={} DESTADDR={} DESTPORT={} SESSION={} TTL={}",
                session.client.ip(),
                session.client.port(),
                session.connected.ip(),
                session.connected.port(),
                session.id,
                session.hops_left
            );
            let pair = |(name, value): &(String, String)| format!("{name}={}", tab_escaped(value));
            let forwarded: Vec<String> = self.redirect.forwarded.iter().map(pair).collect();
            if !forwarded.is_empty() {
                line.push_str(" FORWARD=");
                line.push_str(&STANDARD.encode(forwarded.join("\t")));
            }
            line.push_str("\r\n");
            out.extend_from_slice(line.as_bytes());
        }
        let Scram::First(client) = &self.scram else {
            unreachable!("nothing was sent yet")
        };
        out.extend_from_slice(b"AUTH SCRAM-SHA-256 ");
        out.extend_from_slice(client.first().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn refused(text: &[u8], step: Step) -> Outcome {
    let Some((code, arguments)) = response_code(text) else {
        return match step {
            // It is full, or on its way down.
            Step::Greeting => Outcome::Unavailable(shown(text)),
            _ => Outcome::Misconfigured(shown(text)),
        };
    };
    match (code.as_str(), arguments.as_str()) {
        ("SYS", "TEMP") => Outcome::Unavailable(shown(text)),
        ("REFERRAL", place) => match Referral::parse(place) {
            Some(referral) => Outcome::Referral(referral),
            None => Outcome::Garbage(format!("a referral to {place:?}")),
        },
        ("IN-USE" | "LOGIN-DELAY", _) | ("SYS", "PERM") => Outcome::PassOn(shown(text)),
        _ => Outcome::Misconfigured(shown(text)),
    }
}

/// As Dovecot escapes what it separates with tabs.
fn tab_escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\u{1}' => escaped.push_str("\u{1}1"),
            '\t' => escaped.push_str("\u{1}t"),
            '\r' => escaped.push_str("\u{1}r"),
            '\n' => escaped.push_str("\u{1}n"),
            '\0' => escaped.push_str("\u{1}0"),
            other => escaped.push(other),
        }
    }
    escaped
}
