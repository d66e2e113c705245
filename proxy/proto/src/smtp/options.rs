//! How a listener's sessions behave: protocol, bounds, time-outs and policies. Shared by all sessions of a listener.

use crate::sasl::Mechanisms;
use std::time::Duration;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Mail from other servers (RFC 5321).
    Smtp,
    /// Mail from an MTA in front of this one (RFC 2033): a reply for each recipient after the body.
    Lmtp,
    /// Mail from users (RFC 6409).
    Submission,
}

/// Whether clients authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// AUTH is not offered.
    Off,
    /// They may.
    Offered,
    /// MAIL is refused before (530 5.7.0).
    Required,
}

/// What becomes of a CR or LF in the message that is not part of a CRLF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareLineEnds {
    /// The message is refused after its end: 550 5.6.11.
    #[default]
    Refuse,
    /// Each is made a CRLF.
    Normalise,
}

/// The behaviour of a listener's sessions.
#[derive(Clone, Debug)]
pub struct Options {
    /// The protocol.
    pub mode: Mode,
    /// The name in the greeting and in Received lines.
    pub host_name: String,
    /// STARTTLS is offered.
    pub start_tls: bool,
    /// AUTH.
    pub authentication: Authentication,
    /// How clients authenticate.
    pub mechanisms: Mechanisms,
    /// Nodes of ours bring messages for accounts of this one: RCPT may come with the record (XPIGEON).
    pub redirectors: bool,
    /// CR and LF on their own.
    pub bare_line_ends: BareLineEnds,
    /// Bounds.
    pub limits: Limits,
    /// Time-outs.
    pub time_outs: TimeOuts,
}

impl Options {
    /// The defaults of a protocol: submission requires authentication, the others do not offer it; no STARTTLS.
    pub fn new(mode: Mode, host_name: &str) -> Options {
        Options {
            mode,
            host_name: host_name.to_owned(),
            start_tls: false,
            authentication: match mode {
                Mode::Submission => Authentication::Required,
                Mode::Smtp | Mode::Lmtp => Authentication::Off,
            },
            mechanisms: Mechanisms::default(),
            redirectors: false,
            bare_line_ends: BareLineEnds::default(),
            limits: Limits::default(),
            time_outs: TimeOuts::default(),
        }
    }
}

/// Bounds of a session. Those of RFC 5321 section 4.5.3.1 on lines are fixed in the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, announced with SIZE.
    pub message_bytes_max: u64,
    /// Accepted recipients of a transaction; RFC 5321 section 4.5.3.1.8 wants at least 100.
    pub recipients_max: u32,
    /// Refused recipients of a session, then 421: nobody tries names without end.
    pub refused_recipients_max: u32,
    /// Errors of a session, then 421.
    pub errors_max: u32,
    /// Failed authentications of a session, then 421.
    pub authentication_failures_max: u32,
    /// Commands since the last message (or since TLS or authentication began), RCPT aside, then 421.
    pub idle_commands_max: u32,
    /// Transactions of a session, then 421.
    pub transactions_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // What the largest providers take is 25 to 150 MB.
            message_bytes_max: 100 << 20,
            recipients_max: 1000,
            refused_recipients_max: 200,
            errors_max: 20,
            authentication_failures_max: 5,
            idle_commands_max: 200,
            transactions_max: 1_000_000,
        }
    }
}

/// How long the client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeOuts {
    /// For the next command as a whole; RFC 5321 section 4.5.3.2.7 wants at least 5 minutes.
    pub command: Duration,
    /// For the next piece of a message. RFC 5321 section 4.5.3.2.5 gives 3 minutes for a piece.
    pub data: Duration,
    /// For a message as a whole, beside the time that its size takes at `data_bytes_per_second_min`. A client that
    /// dribbles bytes is cut off with this, whatever it does.
    pub data_total: Duration,
    /// See `data_total`; at least 1.
    pub data_bytes_per_second_min: u32,
}

impl Default for TimeOuts {
    fn default() -> TimeOuts {
        TimeOuts {
            command: Duration::from_secs(300),
            data: Duration::from_secs(300),
            data_total: Duration::from_secs(600),
            // Slower than any modem that is still in use.
            data_bytes_per_second_min: 500,
        }
    }
}
