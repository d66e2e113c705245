//! What a session is given: what all sessions of a core share, and what belongs to one login.

use super::end::SessionEnd;
use super::summary::SummaryCache;
use pigeon_proto::imap::Tag;
use pigeon_store::{Account, Limits, Volume};
use std::rc::Rc;
use std::time::Duration;

/// What all IMAP sessions of a core share.
pub struct ImapConfig {
    /// Seconds since the Unix epoch: the date of messages that are appended without one.
    pub now: fn() -> i64,
    /// The largest message that a client may append, bytes; a login may have a lower bound.
    pub message_bytes_max: u64,
    /// The longest command line without its literals, bytes, where a selection of messages makes it long (RFC 7162 section 4
    /// asks for at least 8192).
    pub line_bytes_max: usize,
    /// How long a client may be silent between commands and in IDLE. RFC 3501 section 5.4 asks for at least 30 minutes.
    pub idle_timeout: Duration,
    /// How long a client may be silent within an APPEND's message.
    pub literal_timeout: Duration,
    /// How long one send (at most 256 KiB) may take before a client that does not read is given up.
    pub send_timeout: Duration,
    /// Commands that are not understood, in a row, before the session ends.
    pub bad_commands_max: u32,
    /// What is known of messages that were read.
    pub summaries: SummaryCache,
}

impl Default for ImapConfig {
    fn default() -> Self {
        Self {
            now: unix_seconds,
            message_bytes_max: 50 << 20,
            line_bytes_max: 64 << 10,
            idle_timeout: Duration::from_secs(30 * 60),
            literal_timeout: Duration::from_secs(5 * 60),
            send_timeout: Duration::from_secs(5 * 60),
            bad_commands_max: 20,
            summaries: SummaryCache::new(8 << 20),
        }
    }
}

fn unix_seconds() -> i64 {
    i64::try_from(pigeon_engine::unix_time().as_secs()).unwrap_or(i64::MAX)
}

/// One login, as the proxy has verified it. The session sends the tagged OK of the LOGIN or AUTHENTICATE command, so that
/// the capabilities in it are the backend's.
pub struct ImapLogin {
    /// The account's mail.
    pub account: Account,
    /// The volume that holds it.
    pub volume: Volume,
    /// The name that was logged in with, for logs.
    pub user: String,
    /// In every log line.
    pub session_id: u64,
    /// Of the LOGIN or AUTHENTICATE command.
    pub tag: Tag,
    /// The account's quota from its record.
    pub limits: Limits,
    /// A bound on message size from its record, bytes.
    pub message_bytes_max: Option<u64>,
    /// With which the node ends the session.
    pub end: Rc<SessionEnd>,
}
