//! What the core tells its driver, and what the driver answers.

use super::parameters::{MailParameters, RecipientParameters};
use crate::address::{Address, ForwardPath};
use crate::sasl::Claim;
use std::ops::Range;

/// What one call of `Session::process` did.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with; give the rest again.
    pub consumed: usize,
    /// `None`: all of the input is consumed and nothing waits; send the output and receive more.
    pub event: Option<Event>,
}

/// What happened. Where an answer is named, the core waits for it and consumes nothing before.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A transaction begins. Answer: `answer_mail`.
    Mail {
        /// `None` is the null sender.
        reverse_path: Option<Address>,
        /// What came with it.
        parameters: MailParameters,
    },
    /// Another recipient. Answer: `answer_recipient`.
    Recipient {
        /// Whom to deliver to.
        path: ForwardPath,
        /// What came with it.
        parameters: RecipientParameters,
    },
    /// Answer: `answer_authentication`, or `challenge` where it is the beginning of an exchange.
    Authenticate(Claim),
    /// The message begins.
    BodyBegin,
    /// The next piece of the message, dots unstuffed.
    Body(Piece),
    /// The message is complete. Answer: `answer_body`, `body_answers_due` times; positive only when it is durable.
    BodyEnd(BodySummary),
    /// The core refuses the message; it drains the rest of it and answers by itself. Nothing of it may be kept.
    BodyAbandoned(Abandoned),
    /// The transaction is over without a message.
    Reset,
    /// Send the output, do the handshake, then call `tls_started`. When input is left, close instead: what was pipelined
    /// behind STARTTLS is never read.
    StartTls,
    /// Send the output and close.
    Close,
}

/// A piece of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the input given to the call.
    Input(Range<usize>),
    /// Bytes that were held back at a cut, or that replace a bare CR or LF.
    Fixed(&'static [u8]),
}

impl Piece {
    /// Its bytes; `input` is what was given to the call that returned it.
    pub fn bytes<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        match self {
            Piece::Input(range) => &input[range.clone()],
            Piece::Fixed(bytes) => bytes,
        }
    }
}

/// What was seen while a message was scanned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodySummary {
    /// Bytes of the message, dots unstuffed.
    pub bytes: u64,
    /// A byte above 127 was in it.
    pub eight_bit: bool,
}

/// Why the core refuses a message that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abandoned {
    /// Over `Limits::message_bytes_max` (552 5.3.4).
    TooLarge,
    /// A bare CR or LF (550 5.6.11).
    BareLineEnd,
    /// RSET, EHLO, QUIT or another command came between chunks, or BDAT broke its grammar.
    Interrupted,
}

/// The verdict on credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationAnswer {
    /// 235 2.7.0.
    Accepted,
    /// Wrong, unknown, or not allowed: 535 5.7.8, always the same, so that it tells nothing.
    Refused,
    /// Cannot tell now: 454 4.7.0.
    Unavailable,
}
