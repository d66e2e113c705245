//! A connection on its way from one core to another.

use super::connection::{Connection, ConnectionState};
use super::receive::{End, Incoming};
use crate::runtime;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A socket on its way to another core: nothing of it is in any ring. Dropping it closes it.
pub struct DetachedConnection {
    socket: OwnedFd,
    peer: SocketAddr,
    early: Vec<u8>,
    end: Option<End>,
    deadline: Option<Instant>,
}

/// See `Connection::detach`.
pub(super) async fn detach(state: &ConnectionState) -> io::Result<DetachedConnection> {
    let receive = state.incoming.borrow_mut().begin_cancel();
    if let Some(key) = receive {
        runtime::with(|core| {
            core.ring.borrow_mut().cancel(key);
        });
    }
    Connection::settled(state).await;
    let (early, end) = {
        let mut incoming = state.incoming.borrow_mut();
        (incoming.take_unread(), incoming.end)
    };
    if end == Some(End::Broken) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let socket = state.take_socket().ok_or(io::ErrorKind::NotConnected)?;
    Ok(DetachedConnection {
        socket,
        peer: state.peer(),
        early,
        end,
        deadline: state.deadline.get(),
    })
}

impl DetachedConnection {
    /// The peer's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Puts the socket on the current core's ring.
    pub fn attach(self) -> Connection {
        let incoming = Incoming::resumed(self.early, self.end);
        let connection = Connection {
            state: ConnectionState::new(self.socket, self.peer, incoming),
        };
        connection.set_deadline(self.deadline);
        connection
    }
}
