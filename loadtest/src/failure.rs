//! What went wrong with a unit, by kind: counted, never a panic.

use std::fmt;
use std::io::{self, ErrorKind};

/// Why a unit did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection: nobody listens, or the address cannot be reached.
    Connect,
    /// There is a connection, but no TLS.
    Tls,
    /// The unit took longer than it may.
    Timeout,
    /// The server ended the connection.
    Closed,
    /// The server said: not now (4xx, `NO [UNAVAILABLE]`, `-ERR [SYS/TEMP]`, a greeting that is none).
    Temporary,
    /// The server said: no.
    Refused,
    /// What the server said is not the protocol.
    Garbage,
    /// There is no message where one was expected.
    NoMessage,
}

impl Failure {
    /// All, in the order of the report.
    pub(crate) const ALL: [Failure; 8] = [
        Failure::Connect,
        Failure::Tls,
        Failure::Timeout,
        Failure::Closed,
        Failure::Temporary,
        Failure::Refused,
        Failure::Garbage,
        Failure::NoMessage,
    ];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Connect => "no connection",
            Failure::Tls => "no TLS",
            Failure::Timeout => "timed out",
            Failure::Closed => "closed by the server",
            Failure::Temporary => "refused for now",
            Failure::Refused => "refused",
            Failure::Garbage => "not understood",
            Failure::NoMessage => "no message there",
        }
    }

    /// Of a connection that was there.
    pub(crate) fn of(error: &io::Error) -> Failure {
        match error.kind() {
            ErrorKind::TimedOut => Failure::Timeout,
            ErrorKind::InvalidData => Failure::Garbage,
            _ => Failure::Closed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
