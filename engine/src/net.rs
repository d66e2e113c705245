//! Sockets on the raw ring: listeners (multishot accept) and connections (multishot receive over the core's provided
//! buffer ring, one bounded send in flight, a deadline).
//!
//! A connection's state (`connection`) is shared by its owner and by its operations under way; its descriptor is closed
//! when the owner has let go and the last operation has completed. Waiting costs a connection no buffer.

mod connection;
mod deadline;
mod detached;
mod listener;
mod pipes;
mod receive;
mod send;

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
use self::pipes::Pipes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// What the connections of one core share.
#[derive(Default)]
pub(crate) struct Network {
    /// Connections that found no free receive buffer, first come first served.
    starved: RefCell<VecDeque<Rc<ConnectionState>>>,
    wheel: RefCell<Wheel>,
    /// How many sends may still take the short way in this turn of the core.
    direct_sends: Cell<u32>,
    /// For relays between plaintext connections.
    pub(crate) pipes: Pipes,
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
