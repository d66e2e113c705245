//! A byte stream of a client: plaintext or TLS over a connection, the same to a protocol driver.
//!
//! A plaintext stream passes the buffers of the core's ring through; a TLS stream decrypts each into one vector and gives
//! the ring its buffer back at once. [`relay()`] joins two streams. While it waits, a stream holds nothing but bytes that were put back and, under TLS,
//! the undecrypted start of a record. The TLS state is `tls::TlsSession`; here is only what moves its bytes.

mod relay;
mod splice;

pub use relay::{Relay, RelayEnd, Relayed, relay};

use crate::net::{Connection, DetachedConnection, Received};
use crate::tls::{SEAL_BYTES_MAX, TlsAcceptor, TlsConnector, TlsSession};
use bytes::Bytes;
use futures_util::future::Either;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// How long `close` waits for a peer that does not read before the close_notify is given up.
const CLOSE_NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection with or without TLS on top.
pub struct Stream {
    connection: Connection,
    state: State,
}

/// A stream on its way to another core, TLS state and bytes received ahead included. `Send`.
pub struct DetachedStream {
    connection: DetachedConnection,
    state: State,
}

/// What a stream is beside its connection. Small, because every idle connection has one.
struct State {
    tls: Option<Box<TlsSession>>,
    /// Bytes that `receive` gives first, decrypted where TLS is on.
    ahead: Vec<u8>,
    /// From a PROXY header: the client's address and the one it connected to.
    addresses: Option<Box<(SocketAddr, SocketAddr)>>,
}

/// A piece of what was received (decrypted where TLS is on). Drop it soon: it may hold a buffer of the core's ring.
pub struct Chunk(ChunkBytes);

enum ChunkBytes {
    Ring(Received),
    Own(Vec<u8>),
}

impl std::ops::Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            ChunkBytes::Ring(received) => received,
            ChunkBytes::Own(bytes) => bytes,
        }
    }
}

/// What TLS was agreed on, for Received lines and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// As in `TLSv1.3`.
    pub version: String,
    /// As in `TLS_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// The host name that the client asked for.
    pub server_name: Option<String>,
}

impl Stream {
    /// Plaintext over `connection`.
    pub fn plain(connection: Connection) -> Stream {
        Stream {
            connection,
            state: State {
                tls: None,
                ahead: Vec::new(),
                addresses: None,
            },
        }
    }

    /// Does the TLS handshake (as server) after STARTTLS or STLS. The caller must have consumed everything it received:
    /// bytes that came in behind that command in plaintext (`put_back`) are an error and the stream is closed, since
    /// somebody on the way may have put them there (RFC 3207 section 4.2). The deadline that is set bounds the handshake.
    pub async fn start_tls(self, acceptor: &TlsAcceptor) -> io::Result<Stream> {
        if !self.state.ahead.is_empty() {
            return Err(invalid("plaintext was sent behind the command that starts TLS"));
        }
        self.accept_tls(acceptor).await
    }

    /// Does the TLS handshake (as server) on a port where TLS comes first. Bytes that were put back are its beginning:
    /// they came behind a PROXY header. The deadline that is set bounds the handshake.
    pub async fn accept_tls(mut self, acceptor: &TlsAcceptor) -> io::Result<Stream> {
        if self.state.tls.is_some() {
            return Err(invalid("TLS is already on"));
        }
        let session = Box::new(TlsSession::new(acceptor).map_err(invalid)?);
        let input = std::mem::take(&mut self.state.ahead);
        self.shake_hands(session, input).await
    }

    /// Does the TLS handshake as client, at once or after STARTTLS or STLS. Bytes that were put back are an error: they
    /// came in plaintext behind the answer that starts TLS. The deadline that is set bounds the handshake.
    pub async fn connect_tls(self, connector: &TlsConnector) -> io::Result<Stream> {
        if self.state.tls.is_some() || !self.state.ahead.is_empty() {
            return Err(invalid("TLS is already on, or plaintext came where it begins"));
        }
        let session = Box::new(TlsSession::client(connector).map_err(invalid)?);
        self.shake_hands(session, Vec::new()).await
    }

    /// `input`: what the peer has said already.
    async fn shake_hands(mut self, mut session: Box<TlsSession>, mut input: Vec<u8>) -> io::Result<Stream> {
        loop {
            let opened = session.receive(&mut input);
            drop(input);
            let output = session.take_output();
            if !output.is_empty() {
                self.connection.send(Bytes::from(output)).await?;
            }
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    // An orderly end, so that the alert is not lost in a reset.
                    self.connection.close().await;
                    return Err(invalid(error));
                }
            };
            self.state.ahead.extend_from_slice(&opened.plaintext);
            if session.is_established() {
                self.state.tls = Some(session);
                return Ok(self);
            }
            match self.connection.receive().await? {
                Some(received) if !opened.peer_closed => input = received.to_vec(),
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the peer left within the TLS handshake",
                    ));
                }
            }
        }
    }

    /// What TLS was agreed on; `None` for plaintext.
    pub fn tls(&self) -> Option<TlsInfo> {
        let session = self.state.tls.as_ref()?;
        Some(TlsInfo {
            version: session.version().unwrap_or("TLS").to_owned(),
            cipher: session.cipher().unwrap_or_else(|| "unknown".to_owned()),
            server_name: session.server_name().map(str::to_owned),
        })
    }

    /// As `Connection::peer_address`, or what the PROXY header said (see `set_addresses`).
    pub fn peer_address(&self) -> SocketAddr {
        self.state
            .addresses
            .as_ref()
            .map_or_else(|| self.connection.peer_address(), |addresses| addresses.0)
    }

    /// Our own address, or what the PROXY header said.
    pub fn local_address(&self) -> SocketAddr {
        self.state
            .addresses
            .as_ref()
            .map_or_else(|| self.connection.local_address(), |addresses| addresses.1)
    }

    /// Remembers the client's and our address from a PROXY protocol header.
    pub fn set_addresses(&mut self, peer: SocketAddr, local: SocketAddr) {
        self.state.addresses = Some(Box::new((peer, local)));
    }

    /// As `Connection::set_deadline`.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.connection.set_deadline(deadline);
    }

    /// Waits for bytes; `Ok(None)` is the peer's orderly end. Holds no buffer while waiting. Cancel-safe.
    ///
    /// Under TLS an end without close_notify is `ErrorKind::UnexpectedEof` (it may be somebody else's doing), and bytes
    /// that are not valid records are `ErrorKind::InvalidData`; the stream is of no use after either.
    pub async fn receive(&mut self) -> io::Result<Option<Chunk>> {
        match poll_fn(|context| self.poll_receive(context)).await {
            Ok(chunk) => Ok(chunk),
            Err(Failure { error, alert: None }) => Err(error),
            Err(failure) => Err(Box::pin(self.send_alert(failure)).await),
        }
    }

    /// Without state of its own, so that what waits for a client holds none.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Chunk>, Failure>> {
        if self.state.tls.is_none() && self.state.ahead.is_empty() {
            let received = ready!(self.connection.poll_receive(context))?;
            return Poll::Ready(Ok(received.map(|received| Chunk(ChunkBytes::Ring(received)))));
        }
        let own = ready!(self.poll_take(0, context))?;
        Poll::Ready(Ok(own.map(|bytes| Chunk(ChunkBytes::Own(bytes)))))
    }

    /// As `poll_receive`, with as much of what lies there as `most` bytes hold, or what one buffer of the ring does; a copy, so
    /// that the ring has its buffers back.
    fn poll_take(&mut self, most: usize, context: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Failure>> {
        let State { tls, ahead, .. } = &mut self.state;
        if !ahead.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(ahead))));
        }
        let Some(session) = tls else {
            return Poll::Ready(Ok(ready!(self.connection.poll_take(most, context))?));
        };
        loop {
            if session.peer_closed().map_err(invalid)? {
                return Poll::Ready(Ok(None));
            }
            let Some(mut bytes) = ready!(self.connection.poll_take(most, context))? else {
                return Poll::Ready(Err(Failure::from(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended without a TLS close_notify",
                ))));
            };
            match session.receive(&mut bytes) {
                Ok(opened) if !opened.plaintext.is_empty() => {
                    return Poll::Ready(Ok(Some(opened.plaintext)));
                }
                Ok(_) => {}
                Err(error) => {
                    let alert = session.take_output();
                    return Poll::Ready(Err(Failure {
                        error: invalid(error),
                        alert: (!alert.is_empty()).then_some(alert),
                    }));
                }
            }
        }
    }

    async fn send_alert(&mut self, failure: Failure) -> io::Error {
        if let Some(alert) = failure.alert {
            // The error at hand says more than a failure to tell the peer of it.
            let _ = self.connection.send(Bytes::from(alert)).await;
        }
        failure.error
    }

    /// Puts bytes back in front: the next `receive` gives them first. For what a protocol core has not consumed when the
    /// stream changes hands (login to backend).
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.state.ahead.splice(..0, bytes.iter().copied());
    }

    /// Sends all of `data`, encrypted where TLS is on, at most 64 KiB of records at a time. Not cancel-safe.
    pub fn send(&mut self, data: Bytes) -> impl Future<Output = io::Result<()>> {
        match &mut self.state.tls {
            None => Either::Left(self.connection.send(data)),
            // In a box of its own, so that no session has room for it while it waits.
            Some(session) => Either::Right(Box::pin(Self::send_sealed(&self.connection, session, data))),
        }
    }

    async fn send_sealed(connection: &Connection, session: &mut TlsSession, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(SEAL_BYTES_MAX));
            let sealed = session.seal(&piece).map_err(invalid)?;
            connection.send(Bytes::from(sealed)).await?;
        }
        Ok(())
    }

    /// As `send` and then `close`, with one segment less on the way where TLS is off. An error has closed it, too.
    pub async fn send_last(mut self, data: Bytes) -> io::Result<()> {
        if self.state.tls.is_none() {
            return self.connection.send_last(data).await;
        }
        self.send(data).await?;
        self.close().await;
        Ok(())
    }

    /// Orderly end: close_notify and FIN, a bounded wait, close.
    pub async fn close(mut self) {
        if let Some(session) = &mut self.state.tls {
            session.close();
            let notice = session.take_output();
            if !notice.is_empty() {
                self.connection
                    .set_deadline(Some(crate::runtime::now() + CLOSE_NOTIFY_TIMEOUT));
                // A peer that is gone needs no notice.
                let _ = self.connection.send(Bytes::from(notice)).await;
            }
        }
        self.connection.close().await;
    }

    /// Takes it off this core for another one.
    pub async fn detach(self) -> io::Result<DetachedStream> {
        Ok(DetachedStream {
            connection: self.connection.detach().await?,
            state: self.state,
        })
    }
}

impl DetachedStream {
    /// Puts it on the current core.
    pub fn attach(self) -> Stream {
        Stream {
            connection: self.connection.attach(),
            state: self.state,
        }
    }
}

/// Why nothing more can be received, and what the peer is told of it.
struct Failure {
    error: io::Error,
    alert: Option<Vec<u8>>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { error, alert: None }
    }
}

/// The peer's fault, in words.
fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_stream_may_travel_to_another_core() {
        fn check<T: Send>() {}
        check::<DetachedStream>();
    }
}
