//! The IMAP server of a volume: a session from the login's tagged OK to its end, beside the store it serves.
//!
//! `run` is one session as one task. It owns the client's stream; everything of the mail is the account's, shared with the
//! other sessions of the account on this core, so that what one changes the others (and IDLE) see at once.
//!
//! Invariants: an untagged EXPUNGE is never sent while the client may use sequence numbers that it would shift (RFC 3501
//! section 7.4.1); a tagged OK of a change comes after the change is durable; a literal that was announced is sent whole, or the
//! connection ends; output is bounded and sent with back pressure; a waiting session holds no buffers.
//!
//! What it does not do: passwords and TLS (the proxy's), grammar (`pigeon_proto::imap`), MIME (`pigeon_proto::message`).

mod append;
mod body;
mod changes;
mod config;
mod copy;
mod end;
mod fetch;
mod fetch_body;
mod idle;
mod list;
mod mailboxes;
mod quota;
mod refusal;
mod search;
mod select;
mod selected;
mod session;
mod store;
mod summary;
mod targets;
mod wire;

pub use config::{ImapConfig, ImapLogin};
pub use end::{EndReason, SessionEnd};
pub use session::{ImapOutcome, run};
pub use summary::SummaryCache;

#[cfg(test)]
mod tests;
