//! The face of a stream that protocol drivers are written against, so that the same driver runs over a socket and over
//! memory (`testing`). It has no buffers and no policy of its own.

use crate::stream::{Chunk, Stream, TlsInfo};
use crate::tls::TlsAcceptor;
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// What a protocol driver needs of a client's stream. Each method is as the one of the same name of `Stream`.
pub trait ByteStream: Sized + 'static {
    /// A piece of what was received; drop it soon, it may hold a buffer of the core's ring.
    type Chunk: Deref<Target = [u8]>;

    /// Waits for bytes; `Ok(None)` is the peer's end, `ErrorKind::TimedOut` the deadline's. Holds no buffer while it
    /// waits. Cancel-safe.
    fn receive(&mut self) -> impl Future<Output = io::Result<Option<Self::Chunk>>>;

    /// Sends all of `data`. Not cancel-safe.
    fn send(&mut self, data: Bytes) -> impl Future<Output = io::Result<()>>;

    /// Sends all of `data`, and ends in an orderly way as `close` does. An error has ended it, too.
    fn send_last(self, data: Bytes) -> impl Future<Output = io::Result<()>>;

    /// Puts bytes back in front: the next `receive` gives them first.
    fn put_back(&mut self, bytes: &[u8]);

    /// When a waiting `receive` or `send` ends with `ErrorKind::TimedOut`. `None`: never.
    fn set_deadline(&self, deadline: Option<Instant>);

    /// As `set_deadline`, counted from now: for a driver that keeps no clock.
    fn set_timeout(&self, after: Option<Duration>);

    /// Does the TLS handshake as server; an error when bytes were received ahead in plaintext.
    fn start_tls(self, acceptor: &TlsAcceptor) -> impl Future<Output = io::Result<Self>>;

    /// See `Stream::accept_tls`.
    fn accept_tls(self, acceptor: &TlsAcceptor) -> impl Future<Output = io::Result<Self>>;

    /// What TLS was agreed on; `None` for plaintext.
    fn tls(&self) -> Option<TlsInfo>;

    /// The client's address.
    fn peer_address(&self) -> SocketAddr;

    /// Our own address.
    fn local_address(&self) -> SocketAddr;

    /// Remembers the client's and our address from a PROXY protocol header.
    fn set_addresses(&mut self, peer: SocketAddr, local: SocketAddr);

    /// Orderly end: close_notify and FIN, a bounded wait, close.
    fn close(self) -> impl Future<Output = ()>;
}

impl ByteStream for Stream {
    type Chunk = Chunk;

    fn receive(&mut self) -> impl Future<Output = io::Result<Option<Chunk>>> {
        Stream::receive(self)
    }

    fn send(&mut self, data: Bytes) -> impl Future<Output = io::Result<()>> {
        Stream::send(self, data)
    }

    fn send_last(self, data: Bytes) -> impl Future<Output = io::Result<()>> {
        Stream::send_last(self, data)
    }

    fn put_back(&mut self, bytes: &[u8]) {
        Stream::put_back(self, bytes);
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        Stream::set_deadline(self, deadline);
    }

    fn set_timeout(&self, after: Option<Duration>) {
        Stream::set_deadline(self, after.map(|after| crate::runtime::now() + after));
    }

    fn start_tls(self, acceptor: &TlsAcceptor) -> impl Future<Output = io::Result<Stream>> {
        Stream::start_tls(self, acceptor)
    }

    fn accept_tls(self, acceptor: &TlsAcceptor) -> impl Future<Output = io::Result<Stream>> {
        Stream::accept_tls(self, acceptor)
    }

    fn tls(&self) -> Option<TlsInfo> {
        Stream::tls(self)
    }

    fn peer_address(&self) -> SocketAddr {
        Stream::peer_address(self)
    }

    fn local_address(&self) -> SocketAddr {
        Stream::local_address(self)
    }

    fn set_addresses(&mut self, peer: SocketAddr, local: SocketAddr) {
        Stream::set_addresses(self, peer, local);
    }

    fn close(self) -> impl Future<Output = ()> {
        Stream::close(self)
    }
}
