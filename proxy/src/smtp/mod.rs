//! SMTP, LMTP and submission on a core: drives the pure core (`pigeon_proto::smtp`) over a stream, answers recipients from
//! the core's own copy of control data, and moves messages into the store.
//!
//! Invariants: a positive answer to a message is sent only after the store said that it is durable, for every account that
//! the answer speaks for. One transaction, one snapshot. A session holds at most about 220 KiB, whatever the size of the
//! message, and with its task and its stream about 1.7 KiB while it is idle (measured, EHLO done).
//!
//! What a message of 4 KiB costs here, one recipient, in a session that is under way:
//! - its bytes are read once by the scanner and copied once, from the receive buffers into the one buffer that goes to the
//!   store (with the trace lines in front); the store copies them once more, into the journal's block;
//! - about 16 allocations: the addresses (2), the transaction in the core and here with its envelope (3), the targets and
//!   their own header line (3), the message (2), the task of its end, the delivery and its answers (5), and one for each
//!   output. With the stream and the engine 21 were measured for a pipelined BDAT, 24 without pipelining;
//! - sends: 2 (replies up to 354, reply to the message), receives: 2 or 3; two of each more without pipelining.
//!
//! # When only some recipients of a message can have it
//! SMTP has one reply for all of them. What can be known before is refused before: at RCPT (unknown, disabled, SIZE over the
//! account's bound), or for the whole message before any of it is delivered (too large for one of them). What fails at the
//! commit itself (a full account, a volume out of order) leaves two possibilities, and both lose nothing:
//! - something failed for now: 4xx. The sender comes again, and those who have the message get it once more.
//! - something failed for good: 5xx, with the number of those who have it in the text. The sender is told, and nobody gets
//!   it twice.
//!
//! LMTP has a reply for each recipient, and each says what is true.

mod confirmation;
mod context;
mod counters;
mod driver;
mod outcome;
mod recipients;
mod trace;
mod transaction;

#[cfg(test)]
mod tests;

pub use context::{OverQuota, Policy, SmtpContext};
pub use counters::SmtpCounters;
pub use driver::serve;
