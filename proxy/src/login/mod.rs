//! POP3 and IMAP up to the login: greeting, STLS and STARTTLS, the credentials, and the hand-over to the backend with all
//! that the client sent ahead. One driver for both protocols, over the pure cores `pigeon_proto::pop3::Authorization` and
//! `imap::Authorization`. It knows no mailbox and keeps no list of sessions.
//!
//! While a client is silent its session is the core's value and the stream: buffers are made for a command and freed after
//! it, and what a login needs is in a box of its own.

pub(crate) mod driver;
pub mod imap;
pub mod pop3;

use crate::authenticate::CheckCredentials;
use crate::backend::Backend;
use crate::drain::Drain;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::stream::Stream;
use pigeon_engine::tls::TlsAcceptor;
use pigeon_proto::network::Network;
pub use pigeon_proto::pop3::Limits;
use pigeon_proto::sasl::Mechanisms;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// What the logins of one core share.
pub struct LoginContext<S = Stream> {
    /// For STLS and STARTTLS; without it, and as long as it has no certificate, they are not on offer.
    pub tls: Option<TlsAcceptor>,
    /// Clients that may send a password without TLS.
    pub trusted: Vec<Network>,
    /// From the greeting to the login; a client that has not logged in then is closed. STARTTLS starts it again.
    pub timeout: Duration,
    /// How much a client may get wrong.
    pub limits: Limits,
    /// How clients log in, where a password may travel.
    pub mechanisms: Mechanisms,
    /// A backend's listener: the clients are other nodes, which log in for the users that they authenticated.
    pub redirectors: bool,
    /// Checks passwords.
    pub authenticate: Rc<dyn CheckCredentials>,
    /// Takes over after the login.
    pub backend: Rc<dyn Backend<S>>,
    /// When it begins, whoever has not logged in is sent away.
    pub drain: Drain,
}

impl<S: ByteStream> LoginContext<S> {
    /// Whether a client is in a trusted network.
    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// What the connection is good for.
    fn offer(&self, stream: &S) -> Offer {
        let tls = stream.tls().is_some();
        let peer = stream.peer_address().ip();
        Offer {
            starttls: self.tls.as_ref().is_some_and(TlsAcceptor::has_certificate) && !tls,
            passwords: tls || self.trusts(peer),
            mechanisms: self.mechanisms,
            redirectors: self.redirectors,
        }
    }
}

/// What a connection is good for before the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// TLS can be started, and has not been.
    pub starttls: bool,
    /// Passwords may travel: TLS is on, or the client is trusted.
    pub passwords: bool,
    /// How; the commands LOGIN, and USER with PASS, belong to the passwords among them.
    pub mechanisms: Mechanisms,
    /// Other nodes log in here, for the users that they authenticated.
    pub redirectors: bool,
}

#[cfg(test)]
mod tests;
