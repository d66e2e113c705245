//! Sockets on the raw ring: listeners (multishot accept) and connections (multishot receive over the core's provided
//! buffer ring, one bounded send in flight, a deadline).

use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// A listening socket of this core (SO_REUSEPORT: each core binds the same address).
pub struct Listener {
    _private: (),
}

impl Listener {
    /// Binds and listens; `address` may have port 0 (then share `local_address().port()` with the other cores).
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let _ = address;
        unimplemented!()
    }

    /// The address it is bound to.
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }

    /// The next connection. Out of descriptors is waited out inside (and counted); an error ends the listener.
    pub async fn accept(&self) -> io::Result<Connection> {
        unimplemented!()
    }
}

/// Bytes received in a buffer of the ring; the buffer goes back to the ring when this is dropped, so drop it soon.
pub struct Received {
    _private: (),
}

impl std::ops::Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unimplemented!()
    }
}

/// A connected TCP socket, owned by this core. Dropping it closes it without waiting.
pub struct Connection {
    _private: (),
}

/// A socket on its way to another core: nothing of it is in any ring.
pub struct DetachedConnection {
    _private: (),
}

impl Connection {
    /// Connects to `address`; for tests and later the proxy. The deadline bounds the attempt.
    pub async fn connect(address: SocketAddr, deadline: Instant) -> io::Result<Connection> {
        let _ = (address, deadline);
        unimplemented!()
    }

    /// The peer's address, as the socket says.
    pub fn peer_address(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Our own address.
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }

    /// When a waiting `receive` or `send` ends with `ErrorKind::TimedOut`. `None`: never. Resolution: 250 ms.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let _ = deadline;
        unimplemented!()
    }

    /// Waits for bytes; `Ok(None)` is the peer's orderly end. Holds no buffer while it waits. At most one at a time.
    /// Cancel-safe: dropping the future loses no bytes.
    pub async fn receive(&self) -> io::Result<Option<Received>> {
        unimplemented!()
    }

    /// Sends all of `data`; one at a time. Not cancel-safe: dropping the future closes the connection.
    pub async fn send(&self, data: Bytes) -> io::Result<()> {
        let _ = data;
        unimplemented!()
    }

    /// Sends FIN after what was sent, gives the peer a bounded time to close, then closes.
    pub async fn close(self) {
        unimplemented!()
    }

    /// Takes the socket off this core's ring: waits for the completions that are under way. Bytes already received
    /// travel along and come first at the new core.
    pub async fn detach(self) -> io::Result<DetachedConnection> {
        unimplemented!()
    }
}

impl DetachedConnection {
    /// Puts the socket on the current core's ring.
    pub fn attach(self) -> Connection {
        unimplemented!()
    }
}
