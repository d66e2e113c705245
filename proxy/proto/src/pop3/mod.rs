//! POP3 as values: what a session says before the login (`Authorization`) and after it (`Transaction`), over a snapshot of
//! the maildrop (`Maildrop`), and messages as multi-line responses (`MessageText`).
//!
//! RFC 1939, with CAPA and response codes (RFC 2449, 3206), STLS (RFC 2595), AUTH (RFC 5034) and UTF8 (RFC 6856).
//! Not there: APOP (it needs the password in the clear), LANG, and the TLS and the mail themselves, which the drivers
//! bring. A message is given as it is stored whether or not UTF8 was asked for: refusing 8-bit headers, as RFC 6856 would
//! allow, would hide mail from every client that has not heard of the command.

mod authorization;
mod capability;
mod command;
mod line;
mod maildrop;
mod message_text;
mod transaction;

pub use self::authorization::{Authorization, AuthorizationEvent, Limits, Offer, Refusal};
pub use self::command::{Command, CommandError, MessageNumber};
pub use self::line::{Line, LineBuffer};
pub use self::maildrop::{Listing, Maildrop};
pub use self::message_text::MessageText;
pub use self::transaction::{Transaction, TransactionEvent};

/// Longest command line in octets, CRLF included (RFC 2449 section 4).
pub const COMMAND_LINE_MAX: usize = 255;

/// Longest line of an authentication in octets, CRLF included: an identity, a name and a password at their most (see
/// `sasl`) are 2 KiB, base64 makes 2.7 KiB of that, and `AUTH PLAIN ` may stand in front.
pub const AUTHENTICATION_LINE_MAX: usize = 3 * 1024;

/// A core asks for its output to be sent when there is more of it than this, so that pipelined commands cannot make it
/// grow without bound.
pub const OUTPUT_FLUSH_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod transcript;
