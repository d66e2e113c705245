//! The receiving side of a connection: what came in and was not taken, and when to let the kernel receive more.
//!
//! Back pressure: a connection holds at most `QUEUED_BUFFERS_MAX` filled buffers (plus what was under way when that was
//! noticed; fewer when buffers run short). Then its multishot receive is cancelled, TCP fills the socket's own bounded
//! buffer, and the peer has to wait. It is armed again when half of them are taken.
//!
//! A connection that receives singly (`Connection::receive_singly`, the legs of relays) has the kernel take one buffer for each
//! wait. What comes in while nobody waits (a multishot receive that had begun before) is copied out of the ring's buffers at
//! once; so is what comes for anybody who does not wait when buffers run short. So who is held up by something else, such as a
//! reader that does not read, holds none of what everybody needs.
//!
//! When the ring of buffers is empty, the kernel ends the receive with ENOBUFS. The connection queues up in
//! `Network::starved`; the driver arms as many of them as buffers are available, first come first served, in every turn
//! until none waits. Nobody is forgotten: as long as one waits, either a buffer is available, and the next turn arms it, or
//! all are held, and their return, by a task that runs, is followed by a turn like all that a task does.

use super::connection::{ConnectionState, end_result};
use crate::ring::{Buffer, Operation, OperationKey};
use crate::runtime::{self, Core};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Filled buffers that one connection may hold unread.
const QUEUED_BUFFERS_MAX: usize = 16;

/// The same when less than a quarter of the core's buffers is available.
const QUEUED_BUFFERS_MAX_SHORT: usize = 2;

/// How receiving has ended, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer's FIN.
    Orderly,
    /// An errno of the socket.
    Failed(i32),
    /// We gave the connection up: a send failed, ran out of time or was dropped.
    Broken,
}

/// The receiving side.
#[derive(Default)]
pub(super) struct Incoming {
    /// Bytes received at another core; they come first.
    pub(super) early: Option<Box<[u8]>>,
    queue: Queue,
    pub(super) end: Option<End>,
    /// The multishot receive, if one is under way.
    pub(super) operation: Option<OperationKey>,
    cancelling: bool,
    /// Nothing is received for now.
    pub(super) paused: bool,
    /// One buffer for each wait, instead of as many as come.
    pub(super) singly: bool,
    /// The last look into the socket left more there.
    pub(super) eager: bool,
    /// Waits in `Network::starved`.
    starved: bool,
    pub(super) waker: Option<Waker>,
}

impl Incoming {
    /// As it was at another core.
    pub(super) fn resumed(early: Vec<u8>, end: Option<End>) -> Self {
        Incoming {
            early: (!early.is_empty()).then(|| early.into_boxed_slice()),
            end,
            ..Incoming::default()
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The operation to cancel, if there is one and it was not asked for already.
    pub(super) fn begin_cancel(&mut self) -> Option<OperationKey> {
        if self.cancelling {
            return None;
        }
        self.cancelling = self.operation.is_some();
        self.operation
    }

    /// Receives nothing more for now; gives the operation to cancel, as `begin_cancel`.
    pub(super) fn pause(&mut self) -> Option<OperationKey> {
        self.paused = true;
        self.starved = false;
        self.begin_cancel()
    }

    /// See `Connection::has_received`.
    pub(super) fn has_received(&self) -> bool {
        self.early.is_some() || self.queue.len() > 0
    }

    /// See `Connection::is_drained`.
    pub(super) fn is_drained(&self) -> bool {
        self.paused && self.operation.is_none() && self.end.is_none() && !self.has_received()
    }

    /// See `Connection::has_ended`.
    pub(super) fn has_ended(&self) -> bool {
        self.end == Some(End::Orderly) && !self.has_received()
    }

    /// Drops what nobody will read any more.
    pub(super) fn clear(&mut self) {
        self.early = None;
        self.queue = Queue::default();
        self.starved = false;
        self.waker = None;
    }

    /// What was received and not read, copied out of the ring's buffers.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        let mut bytes = self.early.take().map_or_else(Vec::new, Vec::from);
        self.starved = false;
        while let Some(piece) = self.queue.pop() {
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    /// Nothing comes, or came, from the ring: what lies in the socket is next.
    pub(super) fn is_at_socket(&self) -> bool {
        self.singly && !self.paused && self.operation.is_none() && self.end.is_none() && !self.has_received()
    }

    /// Whether there is nothing to do for bytes to come.
    fn is_armed(&self) -> bool {
        self.operation.is_some() || self.starved || self.paused
    }
}

/// What was received, in its order. Mostly there is one, taken before the next comes: it costs no allocation.
#[derive(Default)]
struct Queue {
    /// Empty only if all of it is.
    first: Option<Received>,
    /// In a box of its own, which a connection without a burst does not have.
    #[expect(clippy::box_collection, reason = "an idle connection is to be small")]
    others: Option<Box<VecDeque<Received>>>,
}

impl Queue {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    fn push(&mut self, piece: Received) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.others.get_or_insert_default().push_back(piece);
        }
    }

    fn pop(&mut self) -> Option<Received> {
        let next = self.others.as_mut().and_then(|others| others.pop_front());
        if next.is_none() {
            // A burst's memory is not kept while the connection idles.
            self.others = None;
        }
        std::mem::replace(&mut self.first, next)
    }
}

/// Bytes received, mostly in a buffer of the ring; the buffer goes back to the ring when this is dropped, so drop it soon.
pub struct Received {
    bytes: Bytes,
}

enum Bytes {
    Ring(Buffer),
    Own(Box<[u8]>),
}

impl Received {
    fn own(bytes: Box<[u8]>) -> Received {
        Received {
            bytes: Bytes::Own(bytes),
        }
    }
}

impl std::ops::Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Ring(buffer) => buffer,
            Bytes::Own(bytes) => bytes,
        }
    }
}

/// See `Connection::receive`.
pub(super) fn poll(state: &Rc<ConnectionState>, context: &mut Context<'_>) -> Poll<io::Result<Option<Received>>> {
    let mut incoming = state.incoming.borrow_mut();
    if let Some(bytes) = incoming.early.take() {
        return Poll::Ready(Ok(Some(Received::own(bytes))));
    }
    if let Some(piece) = incoming.queue.pop() {
        let has_room = !incoming.singly && incoming.queue.len() <= QUEUED_BUFFERS_MAX / 2;
        if incoming.end.is_none() && !incoming.is_armed() && has_room {
            runtime::with(|core| arm(core, state, &mut incoming));
        }
        return Poll::Ready(Ok(Some(piece)));
    }
    if let Some(end) = incoming.end {
        return Poll::Ready(end_result(end));
    }
    if state.is_late() {
        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
    }
    if !incoming.is_armed() {
        runtime::with(|core| arm(core, state, &mut incoming));
    }
    match &mut incoming.waker {
        Some(waker) => waker.clone_from(context.waker()),
        empty => *empty = Some(context.waker().clone()),
    }
    Poll::Pending
}

/// Lets the kernel receive.
fn arm(core: &Core, state: &Rc<ConnectionState>, incoming: &mut Incoming) {
    let Some(descriptor) = state.descriptor() else {
        incoming.end = Some(End::Broken);
        return;
    };
    let operation = Operation::Receive(state.clone());
    let key = match incoming.singly {
        true => core
            .ring
            .borrow_mut()
            .start_single_receive(descriptor, core.buffers.buffer_bytes(), operation),
        false => core.ring.borrow_mut().start_receive(descriptor, operation),
    };
    incoming.operation = Some(key);
    incoming.cancelling = false;
}

/// A completion of the receive operation.
pub(crate) fn received(core: &Core, state: &Rc<ConnectionState>, result: i32, more: bool, buffer: Option<Buffer>) {
    let mut incoming = state.incoming.borrow_mut();
    if !more {
        incoming.operation = None;
    }
    if state.closing.get() {
        drop(incoming);
        drop(buffer);
        state.finish_close(core);
        return;
    }
    let is_short = core.buffers.available() < core.buffers.count() / 4;
    match (result, buffer) {
        (1.., Some(buffer)) => {
            core.counters().receives.add(1);
            core.counters().received_bytes.add(buffer.len() as u64);
            let is_full = buffer.len() == core.buffers.buffer_bytes() as usize;
            if incoming.singly
                && more
                && is_full
                && let Some(key) = incoming.begin_cancel()
            {
                core.ring.borrow_mut().cancel(key);
            }
            let is_kept = incoming.waker.is_some() || !(incoming.singly || is_short);
            incoming.queue.push(if is_kept {
                Received {
                    bytes: Bytes::Ring(buffer),
                }
            } else {
                Received::own(Box::from(&buffer[..]))
            });
        }
        (0.., _) => incoming.end = incoming.end.or(Some(End::Orderly)),
        (error, _) => match Errno::from_raw_os_error(error.saturating_neg()) {
            Errno::NOBUFS => {
                core.counters().buffers_exhausted.add(1);
                if !incoming.cancelling && !incoming.paused {
                    incoming.starved = true;
                    core.network.starved.borrow_mut().push_back(state.clone());
                }
            }
            // Ours, or a passing refusal: armed again by the next `receive`.
            Errno::CANCELED | Errno::INTR | Errno::AGAIN | Errno::NOMEM => {}
            errno => incoming.end = incoming.end.or(Some(End::Failed(errno.raw_os_error()))),
        },
    }
    let queued_max = if is_short {
        QUEUED_BUFFERS_MAX_SHORT
    } else {
        QUEUED_BUFFERS_MAX
    };
    if incoming.queue.len() >= queued_max {
        if let Some(key) = incoming.begin_cancel() {
            core.ring.borrow_mut().cancel(key);
        }
    } else if !more
        && result > 0
        && incoming.end.is_none()
        && !incoming.cancelling
        && !incoming.is_armed()
        && !incoming.singly
    {
        // The kernel ends a multishot receive now and then, for instance when the completion queue was full.
        arm(core, state, &mut incoming);
    }
    incoming.wake();
}

/// Arms those that found no buffer, as far as buffers are available. Says how many.
pub(crate) fn rearm_starved(core: &Core) -> usize {
    let mut count = 0;
    while count < usize::from(core.buffers.available()) {
        let Some(state) = core.network.starved.borrow_mut().pop_front() else {
            break;
        };
        let mut incoming = state.incoming.borrow_mut();
        // Whoever was closed or detached meanwhile has said that it does not wait any more.
        if std::mem::take(&mut incoming.starved) {
            arm(core, &state, &mut incoming);
            count += 1;
        }
    }
    count
}
