//! Where a session goes when its login has succeeded: the trait between the login and whatever serves mail (pigeond joins
//! them). From there on the stream belongs to the backend, the answer to the login included.

use crate::session_id::SessionId;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::Account;
use pigeon_engine::stream::Stream;
use pigeon_proto::imap::Tag;
use std::sync::Arc;

/// A login that succeeded. `Send`: it may go to another core.
#[derive(Clone, Debug)]
pub struct Login {
    /// The record that the password was checked against.
    pub account: Arc<Account>,
    /// The session, for its log lines.
    pub session: SessionId,
    /// How the session goes on.
    pub opening: Opening,
    /// It is no session of the user, but the other end of the account's move: the node that fetches it, as it has proven.
    pub taker: Option<Arc<str>>,
}

/// What the backend has to know of the dialogue so far. The command that logged in is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// An IMAP session; LOGIN or AUTHENTICATE had this tag.
    Imap {
        /// To answer with.
        tag: Tag,
    },
    /// A POP3 session.
    Pop3 {
        /// UTF8 was asked for (RFC 6856).
        utf8: bool,
    },
}

impl Opening {
    /// The answer to the login when the account's mail is out of reach: send it and close.
    pub fn unavailable(&self) -> Bytes {
        match self {
            Opening::Imap { tag } => Bytes::from(format!(
                "{tag} NO [UNAVAILABLE] Your mail is out of reach for now, try again later\r\n* BYE Try again later\r\n"
            )),
            Opening::Pop3 { .. } => {
                Bytes::from_static(b"-ERR [SYS/TEMP] Your mail is out of reach for now, try again later\r\n")
            }
        }
    }

    /// The answer to a node whose user's mail is on another one (RFC 2221, and the same for POP3): send it and close.
    pub fn referral(&self, place: &Place) -> Bytes {
        let Place { user, host, port } = place;
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let user = percent_encoded(user);
        Bytes::from(match self {
            Opening::Imap { tag } => {
                format!("{tag} NO [REFERRAL imap://{user}@{host}:{port}/] Not here\r\n* BYE Not here\r\n")
            }
            Opening::Pop3 { .. } => format!("-ERR [REFERRAL/{user}@{host}:{port}] Not here\r\n"),
        })
    }
}

/// Where a node is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As whom.
    pub user: String,
    /// An address or a name.
    pub host: String,
    /// The backend's port.
    pub port: u16,
}

/// For the user of a URL (RFC 3986 section 2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Serves mail to those who have logged in.
pub trait Backend<S = Stream> {
    /// Takes over. Bytes that the client sent behind its login come first in `stream`; no deadline is set on it. Ends when
    /// the session is on its way, not when it is over: the login's task ends with it.
    fn hand_over(&self, login: Login, stream: S) -> LocalBoxFuture<'static, ()>;
}
