//! The SMTP core: RFC 5321 and its extensions, LMTP (RFC 2033) and submission (RFC 6409), from the server's side.
//!
//! `Session` is a value: bytes, the driver's answers and the time in; bytes, events and the next deadline out. It owns the
//! grammar, the order of commands, the replies and the bounds; it does not own who exists, what is kept, or sockets. The
//! result is the same however the input is cut.
//!
//! What a message of 4 KiB costs here: its bytes are read once (about 1.2 comparisons a byte, in vectors), none is copied;
//! allocations are one for each address, one for the transaction and one for each output that is taken.

mod command;
mod event;
mod header;
mod options;
pub mod parameters;
pub mod record;
mod reply;
mod scanner;
mod session;

pub use event::{Abandoned, AuthenticationAnswer, BodySummary, Event, Piece, Step};
pub use header::HeaderScan;
pub use options::{Authentication, BareLineEnds, Limits, Mode, Options, TimeOuts};
pub use parameters::{BodyType, MailParameters, Notify, OriginalRecipient, RecipientParameters, Return};
pub use reply::{Enhanced, NODE_CIRCLE, RecipientRefusal, Reply};
pub use session::{Peer, Session};

#[cfg(test)]
mod tests;
