//! What every service does with a new connection before its protocol begins: the PROXY header of a balancer, the bounds on
//! connections, implicit TLS. All of it in bounded time and memory.

use crate::connections::{ConnectionLimits, ConnectionPermit, Crowded};
use bytes::Bytes;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::tls::TlsAcceptor;
use pigeon_proto::network::NetworkSet;
use pigeon_proto::proxy_protocol::{self, HEADER_BYTES_MAX, Header, ProxyError};
use std::fmt;
use std::io;
use std::time::Duration;

/// How a listener takes connections.
#[derive(Clone)]
pub struct AcceptPolicy {
    /// From where connections are taken at all; the others are closed at once. `None`: from everywhere.
    pub admitted: Option<NetworkSet>,
    /// Who may send a PROXY header; nobody else's is looked at.
    pub balancers: NetworkSet,
    /// A connection from `balancers` without a header is closed. Otherwise it is taken as it is, after half a second of
    /// waiting for one: require it wherever nobody but the balancer connects from there.
    pub header_required: bool,
    /// Who is not bound by the number of connections of one client.
    pub unlimited: NetworkSet,
    /// TLS begins at once (submissions, IMAPS, POP3S).
    pub implicit_tls: Option<TlsAcceptor>,
    /// For the header.
    pub header_time_out: Duration,
    /// For the handshake.
    pub time_out: Duration,
    /// What a client reads in plaintext when it or the core has too many connections.
    pub crowded: Bytes,
}

impl Default for AcceptPolicy {
    fn default() -> AcceptPolicy {
        AcceptPolicy {
            admitted: None,
            balancers: NetworkSet::default(),
            header_required: true,
            unlimited: NetworkSet::default(),
            implicit_tls: None,
            // A balancer sends its header with the connection; a handshake is two round trips. Guesses with room.
            header_time_out: Duration::from_secs(10),
            time_out: Duration::from_secs(30),
            crowded: Bytes::new(),
        }
    }
}

/// Why a connection has been closed.
#[derive(Debug)]
pub enum AcceptError {
    /// Not from where connections are taken.
    NotAdmitted,
    /// What a balancer sent is no header.
    Proxy(ProxyError),
    /// Too many connections; the client has been told.
    Crowded(Crowded),
    /// The connection ended, or its time ran out, before the header was there.
    Header(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::NotAdmitted => f.write_str("not from a network of redirectors"),
            AcceptError::Proxy(error) => write!(f, "{error}"),
            AcceptError::Crowded(Crowded::Total) => f.write_str("too many connections"),
            AcceptError::Crowded(Crowded::Address) => f.write_str("too many connections of one client"),
            AcceptError::Header(error) => write!(f, "no PROXY header: {error}"),
            AcceptError::Tls(error) => write!(f, "TLS handshake: {error}"),
        }
    }
}

impl std::error::Error for AcceptError {}

/// See `AcceptPolicy::header_required`.
const OPTIONAL_HEADER_WAIT: Duration = Duration::from_millis(500);

/// Prepares a new connection. Keep the permit for as long as the session lives.
pub async fn greet<S: ByteStream>(
    mut stream: S,
    policy: &AcceptPolicy,
    limits: &ConnectionLimits,
) -> Result<(S, ConnectionPermit), AcceptError> {
    let peer = stream.peer_address().ip();
    if policy
        .admitted
        .as_ref()
        .is_some_and(|admitted| !admitted.contains(peer))
    {
        return Err(AcceptError::NotAdmitted);
    }
    if policy.balancers.contains(peer) {
        let time_out = if policy.header_required {
            policy.header_time_out
        } else {
            policy.header_time_out.min(OPTIONAL_HEADER_WAIT)
        };
        stream.set_timeout(Some(time_out));
        read_header(&mut stream, policy.header_required).await?;
    }
    let client = stream.peer_address().ip();
    let permit = match limits.admit(client, policy.unlimited.contains(client)) {
        Ok(permit) => permit,
        Err(crowded) => {
            if policy.implicit_tls.is_none() && !policy.crowded.is_empty() {
                stream.set_timeout(Some(policy.time_out));
                // The connection ends either way.
                let _ = stream.send(policy.crowded.clone()).await;
                stream.close().await;
            }
            return Err(AcceptError::Crowded(crowded));
        }
    };
    if let Some(acceptor) = &policy.implicit_tls {
        stream.set_timeout(Some(policy.time_out));
        // What a balancer's header came with is the beginning of the handshake.
        stream = stream.accept_tls(acceptor).await.map_err(AcceptError::Tls)?;
    }
    stream.set_timeout(None);
    Ok((stream, permit))
}

/// Reads the header and leaves what follows it in the stream.
async fn read_header<S: ByteStream>(stream: &mut S, required: bool) -> Result<(), AcceptError> {
    let mut received = Vec::new();
    loop {
        match proxy_protocol::parse(&received) {
            Ok(Some((header, bytes))) => {
                if let Header::Tcp { source, destination } = header {
                    stream.set_addresses(source, destination);
                }
                if bytes < received.len() {
                    stream.put_back(&received[bytes..]);
                }
                return Ok(());
            }
            Ok(None) => {}
            // A client behind no balancer: what it sent is its first command. It waits for the greeting first, so
            // that nothing at all may come; only a time-out tells then.
            Err(ProxyError::NotAHeader) if !required => {
                stream.put_back(&received);
                return Ok(());
            }
            Err(error) => return Err(AcceptError::Proxy(error)),
        }
        debug_assert!(received.len() <= HEADER_BYTES_MAX, "the parser has an opinion before");
        match stream.receive().await {
            Ok(Some(chunk)) => {
                // A chunk may be larger than any header; the rest of it belongs to what follows.
                received.extend_from_slice(&chunk);
            }
            Ok(None) => return Err(AcceptError::Header(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !required && received.is_empty() => return Ok(()),
            Err(error) => return Err(AcceptError::Header(error)),
        }
    }
}

#[cfg(test)]
mod tests;
