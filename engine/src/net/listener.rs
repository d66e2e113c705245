//! Listening sockets: one of each core for the same address (SO_REUSEPORT), accepting by one multishot operation.

use super::connection::{Connection, ConnectionState, local_address, peer_address};
use super::receive::Incoming;
use crate::ring::{Operation, OperationKey};
use crate::runtime::{self, Core};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Connections that the kernel may hold for us, cut down to net.core.somaxconn by it.
const BACKLOG: i32 = 4096;

/// Accepted connections that may wait for `accept`; then accepting pauses, and they wait in the backlog.
const QUEUED_MAX: usize = 256;

/// How long accepting pauses when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, for its owner and its operation.
pub(crate) struct ListenerState {
    accepting: RefCell<Accepting>,
}

struct Accepting {
    /// Taken when the owner has let go and the operation has completed.
    socket: Option<OwnedFd>,
    queue: VecDeque<OwnedFd>,
    operation: Option<OperationKey>,
    cancelling: bool,
    pause: bool,
    failed: Option<Errno>,
    closing: bool,
    waker: Option<Waker>,
}

/// A listening socket of this core (SO_REUSEPORT: each core binds the same address). Dropping it closes it.
pub struct Listener {
    state: Rc<ListenerState>,
    address: SocketAddr,
}

enum Step {
    Accepted(OwnedFd),
    Pause,
}

impl Listener {
    /// Binds and listens; `address` may have port 0 (then share `local_address().port()` with the other cores). An IPv6
    /// address does not take IPv4 connections.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        // Accepted sockets inherit it, which saves a call for each.
        sockopt::set_tcp_nodelay(&socket, true)?;
        super::notice_silence(&socket, super::SILENCE_OF_CLIENTS)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        let address = local_address(&socket)?;
        let accepting = Accepting {
            socket: Some(socket),
            queue: VecDeque::new(),
            operation: None,
            cancelling: false,
            pause: false,
            failed: None,
            closing: false,
            waker: None,
        };
        Ok(Listener {
            state: Rc::new(ListenerState {
                accepting: RefCell::new(accepting),
            }),
            address,
        })
    }

    /// The address it is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Out of descriptors is waited out inside (and counted); an error ends the listener. Cancel-safe.
    pub async fn accept(&self) -> io::Result<Connection> {
        loop {
            match poll_fn(|context| self.poll(context)).await? {
                Step::Accepted(socket) => {
                    // A peer that is gone already leaves nothing to talk to.
                    if let Ok(peer) = peer_address(&socket) {
                        return Ok(Connection {
                            state: ConnectionState::new(socket, peer, Incoming::default()),
                        });
                    }
                }
                Step::Pause => runtime::sleep(PAUSE).await,
            }
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let mut accepting = self.state.accepting.borrow_mut();
        if let Some(socket) = accepting.queue.pop_front() {
            return Poll::Ready(Ok(Step::Accepted(socket)));
        }
        if let Some(errno) = accepting.failed {
            return Poll::Ready(Err(errno.into()));
        }
        if std::mem::take(&mut accepting.pause) {
            return Poll::Ready(Ok(Step::Pause));
        }
        if accepting.operation.is_none() {
            runtime::with(|core| arm(core, &self.state, &mut accepting));
        }
        accepting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        runtime::try_with(|core| {
            let mut accepting = self.state.accepting.borrow_mut();
            accepting.closing = true;
            accepting.waker = None;
            accepting.queue.clear();
            cancel(core, &mut accepting);
            close(core, &mut accepting);
        });
    }
}

fn arm(core: &Core, state: &Rc<ListenerState>, accepting: &mut Accepting) {
    let Some(socket) = &accepting.socket else { return };
    let key = core
        .ring
        .borrow_mut()
        .start_accept(socket.as_raw_fd(), Operation::Accept(state.clone()));
    accepting.operation = Some(key);
    accepting.cancelling = false;
}

fn cancel(core: &Core, accepting: &mut Accepting) {
    if let Some(key) = accepting.operation
        && !std::mem::replace(&mut accepting.cancelling, true)
    {
        core.ring.borrow_mut().cancel(key);
    }
}

fn close(core: &Core, accepting: &mut Accepting) {
    if accepting.closing
        && accepting.operation.is_none()
        && let Some(socket) = accepting.socket.take()
    {
        core.ring.borrow_mut().close(socket);
    }
}

/// A completion of the accept operation.
pub(crate) fn accepted(core: &Core, state: &Rc<ListenerState>, result: io::Result<OwnedFd>, more: bool) {
    let mut accepting = state.accepting.borrow_mut();
    if !more {
        accepting.operation = None;
    }
    if accepting.closing {
        drop(result);
        close(core, &mut accepting);
        return;
    }
    match result {
        Ok(socket) => {
            core.counters().accepts.add(1);
            accepting.queue.push_back(socket);
            if accepting.queue.len() >= QUEUED_MAX {
                cancel(core, &mut accepting);
            }
        }
        Err(error) => match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => {
                core.counters().accept_pauses.add(1);
                accepting.pause = true;
            }
            // Ours, or the fate of one connection (accept(2) tells to treat network errors like EAGAIN).
            Errno::CANCELED
            | Errno::INTR
            | Errno::AGAIN
            | Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH => {}
            errno => accepting.failed = Some(errno),
        },
    }
    if let Some(waker) = accepting.waker.take() {
        waker.wake();
    }
}
