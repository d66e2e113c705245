//! A connection and its state; how it ends.

use super::deadline::Place;
use super::receive::{End, Incoming, Received};
use super::send::Outgoing;
use crate::ring::{Payload, SocketAddressBytes};
use crate::runtime::{self, Core, Waiting};
use bytes::Bytes;
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, socket_with, sockopt};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long `close` waits for the peer's end, and how much it reads and drops meanwhile, bytes. A peer that is still
/// sending would otherwise see a reset, and may lose our last reply for it (RFC 9293 section 3.10.7.1).
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_DISCARD_BYTES_MAX: usize = 64 << 10;

/// What a connection is, for its owner and its operations.
pub(crate) struct ConnectionState {
    /// Taken when it is closed or detached.
    socket: RefCell<Option<OwnedFd>>,
    peer: SocketAddr,
    pub(super) incoming: RefCell<Incoming>,
    pub(super) outgoing: RefCell<Outgoing>,
    pub(super) deadline: Cell<Option<Instant>>,
    pub(super) place: Cell<Place>,
    /// The owner has let go.
    pub(super) closing: Cell<bool>,
}

impl ConnectionState {
    pub(super) fn new(socket: OwnedFd, peer: SocketAddr, incoming: Incoming) -> Rc<ConnectionState> {
        Rc::new(ConnectionState {
            socket: RefCell::new(Some(socket)),
            peer,
            incoming: RefCell::new(incoming),
            outgoing: RefCell::new(Outgoing::default()),
            deadline: Cell::new(None),
            place: Cell::new(Place::NONE),
            closing: Cell::new(false),
        })
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The descriptor's number, for an operation that this state outlives. `None` once it is gone.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.socket.borrow().as_ref().map(AsRawFd::as_raw_fd)
    }

    pub(super) fn with_socket<R>(&self, work: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        match &*self.socket.borrow() {
            Some(socket) => work(socket.as_fd()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes the descriptor away; no operation may be under way.
    pub(super) fn take_socket(&self) -> Option<OwnedFd> {
        self.socket.borrow_mut().take()
    }

    pub(super) fn has_operations(&self) -> bool {
        self.incoming.borrow().operation.is_some() || self.outgoing.borrow().operation.is_some()
    }

    /// Whether the deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| deadline <= runtime::now())
    }

    /// Wakes whoever waits, to look at the deadline.
    pub(super) fn wake(&self) {
        self.incoming.borrow_mut().wake();
        self.outgoing.borrow_mut().wake();
    }

    /// Asks the kernel to end what is under way.
    pub(super) fn cancel_operations(&self, core: &Core) {
        let receive = self.incoming.borrow_mut().begin_cancel();
        let send = self.outgoing.borrow().operation;
        let mut ring = core.ring.borrow_mut();
        receive.into_iter().chain(send).for_each(|key| ring.cancel(key));
        drop(ring);
    }

    /// The owner lets go: what is under way is cancelled, and the descriptor closed after it.
    fn begin_close(self: &Rc<Self>, core: &Core) {
        self.closing.set(true);
        core.network.wheel.borrow_mut().remove(self);
        self.incoming.borrow_mut().clear();
        self.outgoing.borrow_mut().clear();
        if self.has_operations() {
            self.cancel_operations(core);
        } else {
            self.finish_close(core);
        }
    }

    /// After a last completion: closes the descriptor if the owner has let go and nothing is under way any more.
    pub(super) fn finish_close(&self, core: &Core) {
        if !self.closing.get() || self.has_operations() {
            return;
        }
        if let Some(socket) = self.take_socket() {
            core.ring.borrow_mut().close(socket);
        }
    }
}

/// Waits for a connection's socket to be ready, once. Dropping it ends the wait.
pub(crate) struct Readiness(Waiting);

impl Readiness {
    fn new(state: &Rc<ConnectionState>, events: PollFlags) -> Readiness {
        Readiness(Waiting::start(Payload::Poll {
            connection: state.clone(),
            events,
        }))
    }

    /// Ready also when the socket is gone: whoever tries it finds out.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll(context).map(|_| ())
    }
}

/// A connected TCP socket, owned by this core. Dropping it closes it without waiting.
pub struct Connection {
    pub(super) state: Rc<ConnectionState>,
}

impl Connection {
    /// Connects to `address`. The deadline bounds the attempt (`ErrorKind::TimedOut`); it is not kept for the connection.
    pub fn connect(address: SocketAddr, deadline: Instant) -> impl Future<Output = io::Result<Connection>> {
        Connection::connect_from(None, address, deadline)
    }

    /// As `connect`, from this address of ours where it can be: its ports are there for each place that is connected to.
    /// `ErrorKind::AddrNotAvailable`: all of them are in use for this place. `ErrorKind::Other`: something else is lacking here.
    pub async fn connect_from(
        source: Option<IpAddr>,
        address: SocketAddr,
        deadline: Instant,
    ) -> io::Result<Connection> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| io::Error::other(format!("no socket for it: {error}")))?;
        if runtime::with(|core| core.network.descriptors.is_beyond(&socket)) {
            return Err(io::Error::other("no socket for it: the limit of open files is near"));
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        super::notice_silence(&socket, super::SILENCE_OF_PEERS)?;
        let takes_nothing = u32::try_from(super::TAKES_NOTHING.as_millis()).expect("a minute fits");
        sockopt::set_tcp_user_timeout(&socket, takes_nothing)?;
        if let Some(source) = source {
            super::source::choose(&socket, source, address.ip())?;
        }
        let payload = Payload::Connect {
            socket,
            address: SocketAddressBytes::new(address),
        };
        let wait = deadline.saturating_duration_since(runtime::now());
        let finished = runtime::timeout(wait, runtime::single(payload))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?;
        let Payload::Connect { socket, .. } = finished.payload else {
            unreachable!("the payload comes back as it was")
        };
        if finished.result < 0 {
            return Err(io::Error::from_raw_os_error(finished.result.saturating_neg()));
        }
        Ok(Connection {
            state: ConnectionState::new(socket, address, Incoming::default()),
        })
    }

    /// The peer's address, as the socket says.
    pub fn peer_address(&self) -> SocketAddr {
        self.state.peer
    }

    /// Our own address; unspecified if the socket cannot tell any more.
    pub fn local_address(&self) -> SocketAddr {
        let address = self.state.with_socket(|socket| local_address(socket));
        address.unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }

    /// It was accepted although the limit of open files is near: to be told to come later.
    pub fn is_one_too_many(&self) -> bool {
        let beyond = |socket: BorrowedFd<'_>| Ok(runtime::with(|core| core.network.descriptors.is_beyond(&socket)));
        self.with_socket(beyond).unwrap_or(false)
    }

    /// When a waiting `receive` or `send` ends with `ErrorKind::TimedOut`. `None`: never. Resolution: 250 ms, late rather
    /// than early. Bytes that are there are given all the same.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.state.deadline.set(deadline);
        if let Some(deadline) = deadline {
            super::deadline::watch(&self.state, deadline);
        }
    }

    /// Waits for bytes; `Ok(None)` is the peer's orderly end. Holds no buffer while it waits. At most one at a time.
    /// Cancel-safe: dropping the future loses no bytes.
    pub fn receive(&self) -> impl Future<Output = io::Result<Option<Received>>> {
        poll_fn(|context| self.poll_receive(context))
    }

    /// As `receive`, for a future by hand.
    pub(crate) fn poll_receive(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<Received>>> {
        super::receive::poll(&self.state, context)
    }

    /// From here on, receives one buffer for each wait, and none while nobody waits: for whoever may be held up for long before
    /// it waits again.
    pub(crate) fn receive_singly(&self) {
        self.state.incoming.borrow_mut().singly = true;
    }

    /// As `poll_receive`, with all that lies there, as far as it may be `most` bytes. Much of it does not go through the ring's
    /// buffers where the connection receives singly.
    pub(crate) fn poll_take(&self, most: usize, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        super::take::poll(&self.state, most, context)
    }

    /// Sends FIN after what was sent; what the peer says is received as before.
    pub(crate) fn end_sending(&self) -> io::Result<()> {
        self.with_socket(|socket| Ok(rustix::net::shutdown(socket, Shutdown::Write)?))
    }

    /// Stops receiving after what is under way: what comes then stays in the socket. To be undone by `resume_receiving`.
    pub(crate) fn pause_receiving(&self) {
        let cancelled = self.state.incoming.borrow_mut().pause();
        if let Some(key) = cancelled {
            runtime::with(|core| core.ring.borrow_mut().cancel(key));
        }
    }

    /// Lets `receive` receive again.
    pub(crate) fn resume_receiving(&self) {
        self.state.incoming.borrow_mut().paused = false;
    }

    /// Whether receiving rests, and everything that was received is taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.state.incoming.borrow().is_drained()
    }

    /// Whether `receive` would give the peer's orderly end at once.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.incoming.borrow().has_ended()
    }

    /// For system calls on the socket that must not wait; what the ring does on it waits all the same.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.with_socket(|socket| Ok(rustix::io::ioctl_fionbio(socket, true)?))
    }

    /// As `ConnectionState::with_socket`.
    pub(super) fn with_socket<R>(&self, work: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        self.state.with_socket(work)
    }

    /// Until there is something to read, be it the end or an error.
    pub(crate) fn readable(&self) -> Readiness {
        Readiness::new(&self.state, PollFlags::IN)
    }

    /// Until something can be written, or never again.
    pub(crate) fn writable(&self) -> Readiness {
        Readiness::new(&self.state, PollFlags::OUT)
    }

    /// Sends all of `data`; one at a time (a second one is `ErrorKind::WouldBlock`). Not cancel-safe: dropping the future
    /// ends the connection, as do an error and a deadline that passes.
    pub fn send(&self, data: Bytes) -> impl Future<Output = io::Result<()>> {
        super::send::send(&self.state, data, false)
    }

    /// Starts to send; to be followed by `poll_sent` until it is ready. For a future by hand that outlives no connection.
    /// With `more`, the last bytes may wait for what follows.
    pub(crate) fn begin_send(&self, data: Bytes, more: bool) -> io::Result<()> {
        super::send::begin(&self.state, data, more)
    }

    /// Whether what `begin_send` started is sent. After an error the connection is of no use.
    pub(crate) fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        super::send::poll_ended(&self.state, context)
    }

    /// As `send` and then `close`; the FIN leaves with the last of the bytes, in one segment. An error has closed it, too.
    pub async fn send_last(self, data: Bytes) -> io::Result<()> {
        super::send::send(&self.state, data, true).await?;
        self.close().await;
        Ok(())
    }

    /// Sends FIN after what was sent, gives the peer two seconds to close, then closes.
    pub async fn close(self) {
        if self.end_sending().is_err() {
            return;
        }
        self.set_deadline(Some(runtime::now() + CLOSE_WAIT));
        let mut discarded = 0;
        while let Ok(Some(bytes)) = self.receive().await {
            discarded += bytes.len();
            if discarded > CLOSE_DISCARD_BYTES_MAX {
                return;
            }
        }
    }

    /// Takes the socket off this core's ring: waits for the completions that are under way. Bytes already received
    /// travel along and come first at the new core; so do the peer's end and the deadline.
    pub async fn detach(self) -> io::Result<super::DetachedConnection> {
        super::detached::detach(&self.state).await
    }

    /// Waits until no operation is under way.
    pub(super) async fn settled(state: &ConnectionState) {
        poll_fn(|context| {
            if !state.has_operations() {
                return Poll::Ready(());
            }
            state.incoming.borrow_mut().waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Outside of a core, at the end of its thread, the descriptor closes with the state.
        runtime::try_with(|core| self.state.begin_close(core));
    }
}

/// The address that `socket` is bound to.
pub(super) fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    address
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::Unsupported))
}

/// The address that `socket` is connected to.
pub(super) fn peer_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    match rustix::net::getpeername(socket)? {
        Some(address) => address.try_into().map_err(|_| io::ErrorKind::Unsupported.into()),
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// The error that `end` is for a reader.
pub(super) fn end_result<T>(end: End) -> io::Result<Option<T>> {
    match end {
        End::Orderly => Ok(None),
        End::Failed(errno) => Err(io::Error::from_raw_os_error(errno)),
        End::Broken => Err(io::ErrorKind::NotConnected.into()),
    }
}
