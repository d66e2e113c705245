//! A byte stream of a client: plaintext or TLS over a connection, the same to a protocol driver.

use crate::net::Connection;
use crate::tls::TlsAcceptor;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// A connection with or without TLS on top.
pub struct Stream {
    _private: (),
}

/// A stream on its way to another core, TLS state and bytes received ahead included. `Send`.
pub struct DetachedStream {
    _private: (),
}

/// A piece of what was received (decrypted where TLS is on). Drop it soon: it may hold a buffer of the core's ring.
pub struct Chunk {
    _private: (),
}

impl std::ops::Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unimplemented!()
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
        let _ = connection;
        unimplemented!()
    }

    /// Does the TLS handshake (as server). For STARTTLS the caller must have consumed everything it received: bytes that
    /// came in behind the STARTTLS command in plaintext are an error and the stream is closed. The deadline that is set
    /// bounds the handshake.
    pub async fn start_tls(self, acceptor: &TlsAcceptor) -> io::Result<Stream> {
        let _ = acceptor;
        unimplemented!()
    }

    /// What TLS was agreed on; `None` for plaintext.
    pub fn tls(&self) -> Option<TlsInfo> {
        unimplemented!()
    }

    /// As `Connection::peer_address`, or what the PROXY header said (see `set_peer_address`).
    pub fn peer_address(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Our own address.
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Remembers the client's and our address from a PROXY protocol header.
    pub fn set_addresses(&mut self, peer: SocketAddr, local: SocketAddr) {
        let _ = (peer, local);
        unimplemented!()
    }

    /// As `Connection::set_deadline`.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let _ = deadline;
        unimplemented!()
    }

    /// Waits for bytes; `Ok(None)` is the peer's end. Holds no buffer while waiting. Cancel-safe.
    pub async fn receive(&mut self) -> io::Result<Option<Chunk>> {
        unimplemented!()
    }

    /// Puts bytes back in front: the next `receive` gives them first. For what a protocol core has not consumed when the
    /// stream changes hands (login to backend).
    pub fn put_back(&mut self, bytes: &[u8]) {
        let _ = bytes;
        unimplemented!()
    }

    /// Sends all of `data`, encrypted where TLS is on. Not cancel-safe.
    pub async fn send(&mut self, data: Bytes) -> io::Result<()> {
        let _ = data;
        unimplemented!()
    }

    /// Orderly end: close_notify and FIN, a bounded wait, close.
    pub async fn close(self) {
        unimplemented!()
    }

    /// Takes it off this core for another one.
    pub async fn detach(self) -> io::Result<DetachedStream> {
        unimplemented!()
    }
}

impl DetachedStream {
    /// Puts it on the current core.
    pub fn attach(self) -> Stream {
        unimplemented!()
    }
}
