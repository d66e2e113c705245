//! What each command does, by mode and state, and what the driver's answers do.

use super::{Answer, Greeted, Outcome, Session, State, Transaction};
use crate::address::DOMAIN_BYTES_MAX;
use crate::sasl::{Exchange, Progress, SaslError};
use crate::smtp::command::{self, VERBS, Verb};
use crate::smtp::event::{AuthenticationAnswer, Event};
use crate::smtp::options::{Authentication, Mode};
use crate::smtp::parameters::BodyType;
use crate::smtp::reply::{Enhanced, Reply, TOO_MANY_RECIPIENTS};
use std::time::Instant;

const OK: Reply = Reply::fixed(250, Enhanced(2, 0, 0), "ok");
const NO_ARGUMENTS: Reply = Reply::fixed(501, Enhanced(5, 5, 4), "no arguments allowed");
const NOT_NOW: Reply = Reply::fixed(503, Enhanced(5, 5, 1), "bad sequence of commands");
const NOT_GREETED: Reply = Reply::fixed(503, Enhanced(5, 5, 1), "say hello first");
const NO_TRANSACTION: Reply = Reply::fixed(503, Enhanced(5, 5, 1), "MAIL comes first");
const NOT_OFFERED: Reply = Reply::fixed(502, Enhanced(5, 5, 1), "not available");

impl Session {
    pub(super) fn command(&mut self, line: &[u8], now: Instant) -> Outcome {
        let Some((verb, arguments)) = command::parse(line).filter(|(verb, _)| self.knows(*verb)) else {
            // A browser that somebody made talk to this port: the commands would be in the body of its request.
            if command::is_http(line) {
                self.close_with(&Reply::fixed(554, Enhanced(5, 5, 1), "this is not an HTTP server"));
                return None;
            }
            return self.refuse(&Reply::fixed(500, Enhanced(5, 5, 1), "command not recognised"), now);
        };
        if verb != Verb::Rcpt && verb != Verb::Bdat {
            self.idle_commands = self.idle_commands.saturating_add(1);
            if self.idle_commands > self.options.limits.idle_commands_max {
                self.close_with(&Reply::fixed(421, Enhanced(4, 7, 0), "too many commands without mail"));
                return None;
            }
        }
        match verb {
            Verb::Ehlo | Verb::Lhlo => self.hello(arguments, Greeted::Extended, now),
            Verb::Helo => self.hello(arguments, Greeted::Plainly, now),
            Verb::Mail => self.mail(arguments, now),
            Verb::Rcpt => self.recipient(arguments, now),
            Verb::Data => self.data(arguments, now),
            Verb::Bdat => self.chunk(arguments, now),
            Verb::Rset if !arguments.is_empty() => self.refuse(&NO_ARGUMENTS, now),
            Verb::Rset => {
                self.reply(&OK, now);
                self.reset()
            }
            Verb::Noop => self.reply(&OK, now),
            // RFC 5321 section 4.1.1.10: the server must close then, whatever follows QUIT in the line.
            Verb::Quit => {
                self.close_with(&Reply::fixed(221, Enhanced(2, 0, 0), "bye"));
                None
            }
            Verb::Vrfy if arguments.is_empty() => {
                self.refuse(&Reply::fixed(501, Enhanced(5, 5, 4), "expected VRFY address"), now)
            }
            // RFC 5321 section 3.5.3: it tells nothing, so that nobody collects names.
            Verb::Vrfy => self.reply(
                &Reply::fixed(
                    252,
                    Enhanced(2, 0, 0),
                    "cannot verify, but will take mail and attempt delivery",
                ),
                now,
            ),
            Verb::Expn => self.refuse(&Reply::fixed(502, Enhanced(5, 5, 1), "groups are not expanded"), now),
            Verb::Help => self.help(now),
            Verb::StartTls => self.start_tls(arguments, now),
            Verb::Auth => self.authenticate(arguments, now),
        }
    }

    /// Whether the verb belongs to this protocol at all.
    fn knows(&self, verb: Verb) -> bool {
        match verb {
            Verb::Helo | Verb::Ehlo => self.options.mode != Mode::Lmtp,
            Verb::Lhlo => self.options.mode == Mode::Lmtp,
            _ => true,
        }
    }

    fn hello(&mut self, arguments: &[u8], greeted: Greeted, now: Instant) -> Outcome {
        let name = std::str::from_utf8(arguments)
            .ok()
            .filter(|name| !name.is_empty() && name.len() <= DOMAIN_BYTES_MAX && !name.chars().any(char::is_control));
        let Some(name) = name else {
            return self.refuse(
                &Reply::fixed(501, Enhanced(5, 5, 4), "expected the name of the client"),
                now,
            );
        };
        self.client_name = Some(name.into());
        self.greeted = greeted;
        let output = &mut self.output;
        if greeted == Greeted::Plainly {
            output.extend_from_slice(b"250 ");
            output.extend_from_slice(self.options.host_name.as_bytes());
            output.extend_from_slice(b"\r\n");
        } else {
            self.announce();
        }
        self.await_command(now);
        self.reset()
    }

    /// The reply to EHLO: what is possible in this mode and state.
    fn announce(&mut self) {
        let size = format!("SIZE {}", self.options.limits.message_bytes_max);
        let mut lines: Vec<&str> = Vec::with_capacity(12);
        lines.push(&self.options.host_name);
        lines.extend(["PIPELINING", &size, "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"]);
        // The MTA in front of LMTP reports deliveries itself where this is not announced; its senders are not ours. The
        // parameters are taken all the same.
        if self.options.mode != Mode::Lmtp {
            lines.push("DSN");
        }
        if self.options.start_tls && !self.tls {
            lines.push("STARTTLS");
        }
        let mut authentication = String::from("AUTH");
        if self.offers_authentication() {
            for name in self.options.mechanisms.names() {
                authentication.push(' ');
                authentication.push_str(name);
            }
            lines.push(&authentication);
        }
        if self.options.redirectors {
            lines.push("XPIGEON");
        }
        lines.push("ENHANCEDSTATUSCODES");
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            self.output
                .extend_from_slice(if index == last { b"250 " } else { b"250-" });
            self.output.extend_from_slice(line.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// PLAIN and LOGIN only under TLS, or from where the network is trusted.
    fn offers_authentication(&self) -> bool {
        self.options.authentication != Authentication::Off && (self.tls || self.trusted)
    }

    fn mail(&mut self, arguments: &[u8], now: Instant) -> Outcome {
        if self.greeted == Greeted::No {
            return self.refuse(&NOT_GREETED, now);
        }
        if self.options.authentication == Authentication::Required && !self.authenticated {
            return self.refuse(&Reply::fixed(530, Enhanced(5, 7, 0), "authentication required"), now);
        }
        // A message that failed between chunks ends here; RFC 3030 section 2 leaves the state open. The driver has been told.
        if self.transaction_failed() {
            self.transaction = None;
        }
        if self.transaction.is_some() {
            return self.refuse(&NOT_NOW, now);
        }
        if self.transactions >= self.options.limits.transactions_max {
            self.close_with(&Reply::fixed(
                421,
                Enhanced(4, 7, 0),
                "too many messages in one session",
            ));
            return None;
        }
        let event = match command::mail(arguments, self.options.authentication != Authentication::Off) {
            Ok(event) => event,
            Err(reply) => return self.refuse(&reply, now),
        };
        let Event::Mail { parameters, .. } = &event else {
            return None;
        };
        if parameters
            .size
            .is_some_and(|size| size > self.options.limits.message_bytes_max)
        {
            return self.refuse(&super::body::TOO_LARGE, now);
        }
        self.transaction = Some(Box::new(Transaction {
            from_mail: true,
            recipients: 0,
            binary: parameters.body == BodyType::BinaryMime,
            smtp_utf8: parameters.smtp_utf8,
            body: None,
        }));
        self.await_answer(Answer::Mail);
        Some(event)
    }

    /// Answers `Event::Mail`. A refusal ends the transaction.
    pub fn answer_mail(&mut self, answer: Result<(), Reply>, now: Instant) {
        self.take_answer(Answer::Mail);
        match answer {
            Ok(()) => {
                self.transactions = self.transactions.saturating_add(1);
                self.reply(&Reply::fixed(250, Enhanced(2, 1, 0), "sender ok"), now);
            }
            Err(reply) => {
                self.transaction = None;
                self.refuse(&reply, now);
            }
        }
    }

    fn recipient(&mut self, arguments: &[u8], now: Instant) -> Outcome {
        let Some(transaction) = self
            .transaction
            .as_ref()
            .filter(|transaction| transaction.body.is_none())
        else {
            let reply = if self.transaction.is_some() {
                NOT_NOW
            } else {
                NO_TRANSACTION
            };
            return self.refuse(&reply, now);
        };
        if transaction.recipients >= self.options.limits.recipients_max {
            return self.reply(&TOO_MANY_RECIPIENTS, now);
        }
        match command::recipient(arguments, transaction.smtp_utf8, self.options.redirectors) {
            Ok(event) => {
                self.await_answer(Answer::Recipient);
                Some(event)
            }
            Err(reply) => self.refuse(&reply, now),
        }
    }

    /// Answers `Event::Recipient`.
    pub fn answer_recipient(&mut self, answer: Result<(), Reply>, now: Instant) {
        self.take_answer(Answer::Recipient);
        match answer {
            Ok(()) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                }
                self.reply(&Reply::fixed(250, Enhanced(2, 1, 5), "recipient ok"), now);
            }
            Err(reply) => {
                // What is for later is no try at a name: a client that sends the rest of a long list in another
                // transaction must not lose the one that it is in.
                if !reply.is_temporary() {
                    self.refused_recipients = self.refused_recipients.saturating_add(1);
                }
                self.reply(&reply, now);
                if self.refused_recipients > self.options.limits.refused_recipients_max {
                    self.close_with(&Reply::fixed(421, Enhanced(4, 7, 0), "too many refused recipients"));
                }
            }
        }
    }

    fn help(&mut self, now: Instant) -> Outcome {
        let mut text = String::with_capacity(96);
        for (name, _) in VERBS.iter().filter(|(_, verb)| self.knows(*verb)) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
        }
        self.reply(&Reply::new(214, Enhanced(2, 0, 0), text), now)
    }

    fn start_tls(&mut self, arguments: &[u8], now: Instant) -> Outcome {
        if !arguments.is_empty() {
            return self.refuse(&NO_ARGUMENTS, now);
        }
        if self.tls || self.transaction.is_some() {
            return self.refuse(&NOT_NOW, now);
        }
        if !self.options.start_tls {
            return self.refuse(&NOT_OFFERED, now);
        }
        self.reply(&Reply::fixed(220, Enhanced(2, 0, 0), "ready to start TLS"), now);
        self.state = State::TlsHandshake;
        Some(Event::StartTls)
    }

    fn authenticate(&mut self, arguments: &[u8], now: Instant) -> Outcome {
        if self.options.authentication == Authentication::Off {
            return self.refuse(&NOT_OFFERED, now);
        }
        if self.greeted != Greeted::Extended || self.authenticated || self.transaction.is_some() {
            return self.refuse(&NOT_NOW, now);
        }
        if !self.offers_authentication() {
            return self.refuse(
                &Reply::fixed(538, Enhanced(5, 7, 11), "start TLS before sending a password"),
                now,
            );
        }
        let mut words = arguments.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (name, initial_response) = (words.next().unwrap_or_default(), words.next());
        if name.is_empty() || words.next().is_some() {
            return self.refuse(&Reply::fixed(501, Enhanced(5, 5, 4), "expected AUTH mechanism"), now);
        }
        let Some(mechanism) = self.options.mechanisms.parse(name) else {
            return self.refuse(&Reply::fixed(504, Enhanced(5, 5, 4), "mechanism not supported"), now);
        };
        match Exchange::start(mechanism, initial_response) {
            Ok((exchange, progress)) => self.authentication_progress(Box::new(exchange), progress, now),
            Err(error) => self.refuse(&sasl_error(error), now),
        }
    }

    pub(super) fn continue_authentication(
        &mut self,
        mut exchange: Box<Exchange>,
        line: &[u8],
        now: Instant,
    ) -> Outcome {
        match exchange.respond(line) {
            Ok(progress) => self.authentication_progress(exchange, progress, now),
            Err(error) => self.refuse(&sasl_error(error), now),
        }
    }

    fn authentication_progress(&mut self, exchange: Box<Exchange>, progress: Progress, now: Instant) -> Outcome {
        match progress {
            Progress::Challenge(challenge) => {
                self.reply(&Reply::plain(334, challenge), now);
                self.state = State::Authenticating(exchange);
                None
            }
            Progress::Complete(claim) => {
                self.await_answer(Answer::Authentication);
                Some(Event::Authenticate(claim))
            }
        }
    }

    /// Answers `Event::Authenticate` with another question.
    pub fn challenge(&mut self, exchange: Exchange, challenge: String, now: Instant) {
        self.take_answer(Answer::Authentication);
        self.reply(&Reply::plain(334, challenge), now);
        self.state = State::Authenticating(Box::new(exchange));
    }

    /// Answers `Event::Authenticate`.
    pub fn answer_authentication(&mut self, answer: AuthenticationAnswer, now: Instant) {
        self.take_answer(Answer::Authentication);
        match answer {
            AuthenticationAnswer::Accepted => {
                self.authenticated = true;
                self.idle_commands = 0;
                self.reply(&Reply::fixed(235, Enhanced(2, 7, 0), "authenticated"), now);
            }
            AuthenticationAnswer::Refused => {
                self.reply(&Reply::fixed(535, Enhanced(5, 7, 8), "authentication failed"), now);
                self.authentication_failures = self.authentication_failures.saturating_add(1);
                if self.authentication_failures >= self.options.limits.authentication_failures_max {
                    self.close_with(&Reply::fixed(421, Enhanced(4, 7, 0), "too many failed authentications"));
                }
            }
            AuthenticationAnswer::Unavailable => {
                self.reply(
                    &Reply::fixed(454, Enhanced(4, 7, 0), "cannot authenticate now, try again later"),
                    now,
                );
            }
        }
    }

    /// An answer that nobody waits for is a mistake of the driver.
    pub(super) fn take_answer(&mut self, expected: Answer) {
        match self.state {
            State::Answer(answer) if answer == expected => {}
            _ => panic!("an answer without its event: {expected:?}"),
        }
    }
}

fn sasl_error(error: SaslError) -> Reply {
    match error {
        SaslError::Cancelled => Reply::fixed(501, Enhanced(5, 7, 0), "authentication cancelled"),
        SaslError::BadBase64 => Reply::fixed(501, Enhanced(5, 5, 2), "not base64"),
        SaslError::Malformed => Reply::fixed(501, Enhanced(5, 5, 2), "malformed credentials"),
        SaslError::TooLong => Reply::fixed(500, Enhanced(5, 5, 6), "credentials too long"),
    }
}
