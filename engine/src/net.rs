//! Sockets on the raw ring: listeners (multishot accept) and connections (multishot receive over the core's provided
//! buffer ring, one bounded send in flight, a deadline).
//!
//! A connection's state (`connection`) is shared by its owner and by its operations under way; its descriptor is closed
//! when the owner has let go and the last operation has completed. Waiting costs a connection no buffer.

mod connection;
mod deadline;
mod descriptors;
mod detached;
mod listener;
mod pipes;
mod receive;
mod send;
mod source;
mod take;

pub use self::connection::Connection;
pub use self::detached::DetachedConnection;
pub use self::listener::Listener;
pub use self::receive::Received;

pub(crate) use self::connection::ConnectionState;
pub(crate) use self::connection::Readiness;
pub(crate) use self::deadline::start as start_deadlines;
pub(crate) use self::listener::{ListenerState, accepted};
pub(crate) use self::pipes::Pipe;
pub(crate) use self::receive::{rearm_starved, received};
pub(crate) use self::send::sent;

use self::deadline::Wheel;
use self::descriptors::Descriptors;
use self::pipes::Pipes;
use rustix::fd::AsFd;
use rustix::net::sockopt;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// What the connections of one core share.
#[derive(Default)]
pub(crate) struct Network {
    /// Connections that found no free receive buffer, first come first served.
    starved: RefCell<VecDeque<Rc<ConnectionState>>>,
    wheel: RefCell<Wheel>,
    descriptors: Descriptors,
    /// How many sends may still take the short way in this turn of the core.
    direct_sends: Cell<u32>,
    /// For relays between plaintext connections.
    pub(crate) pipes: Pipes,
}

/// After so long without a word from it, a machine that we connected to is asked whether it is there, and given up when it has not
/// answered for `TAKES_NOTHING`: who waits there for something (IDLE) would else never hear of its end. It is on a network of ours.
const SILENCE_OF_PEERS: Duration = Duration::from_secs(12);
/// The same of clients, which may be telephones that sleep.
const SILENCE_OF_CLIENTS: Duration = Duration::from_secs(300);
/// What a machine that we connected to does not take within this time is given up, as is one that takes nothing more.
const TAKES_NOTHING: Duration = Duration::from_secs(60);

/// TCP keep-alive: for a listener, of all that it accepts. Where a time to take nothing is set, too, Linux gives up after that, and
/// not after the probes.
fn notice_silence(socket: &impl AsFd, silence: Duration) -> io::Result<()> {
    const PROBES: u32 = 4;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, silence)?;
    sockopt::set_tcp_keepintvl(socket, silence / PROBES)?;
    Ok(sockopt::set_tcp_keepcnt(socket, PROBES)?)
}

impl Network {
    /// The core begins a turn.
    pub(crate) fn begin_turn(&self) {
        self.direct_sends.set(send::DIRECT_A_TURN);
    }

    /// Lets go of connections at the core's end.
    pub(crate) fn end(&self) {
        let starved = self.starved.take();
        let wheel = self.wheel.take();
        drop((starved, wheel));
    }
}
