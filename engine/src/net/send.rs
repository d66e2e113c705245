//! The sending side of a connection: one send under way, all of it or an error.
//!
//! A short answer is sent by a system call of its own at once: through the ring it would cost another entry into the kernel and
//! another turn of its task, for a completion that says what is known already. What the socket does not take goes through the
//! ring, and so does everything beyond a bound for each turn of the core, so that a task that sends without end lets others run.

use super::connection::ConnectionState;
use super::receive::End;
use crate::ring::{Operation, OperationKey};
use crate::runtime::{self, Core};
use bytes::{Buf, Bytes};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What is sent at once, bytes at most. Copying more takes longer than the way through the ring.
const DIRECT_BYTES_MAX: usize = 16 << 10;

/// Sends in one turn of the core that take the short way.
pub(super) const DIRECT_A_TURN: u32 = 64;

/// The sending side.
#[derive(Default)]
pub(super) struct Outgoing {
    /// The send under way.
    pub(super) operation: Option<OperationKey>,
    /// How it ended: 0 or an errno.
    result: Option<i32>,
    waker: Option<Waker>,
}

impl Outgoing {
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.waker = None;
    }
}

/// A send that its caller waits for; dropped before the end, the connection is of no use any more: nobody can tell how
/// much of the bytes went out. A future by hand, because every session that waits for a client has room for one.
pub(super) struct Sending<'a> {
    state: &'a Rc<ConnectionState>,
    stage: Stage,
}

enum Stage {
    /// Not polled yet.
    New {
        data: Bytes,
        more: bool,
    },
    UnderWay,
    Ended,
}

/// See `Connection::send`. With `more`, the kernel may keep the end of the bytes back until it knows what follows them.
pub(super) fn send(state: &Rc<ConnectionState>, data: Bytes, more: bool) -> Sending<'_> {
    Sending {
        state,
        stage: Stage::New { data, more },
    }
}

impl Future for Sending<'_> {
    type Output = io::Result<()>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state;
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::New { data, .. } if data.is_empty() => return Poll::Ready(Ok(())),
            Stage::New { data, more } => begin(state, data, more)?,
            Stage::UnderWay => {}
            Stage::Ended => unreachable!("a send is not polled after its end"),
        }
        let polled = poll_ended(state, context);
        if polled.is_pending() {
            self.stage = Stage::UnderWay;
        }
        polled
    }
}

/// Whether the send under way has ended. An error ends the connection.
pub(super) fn poll_ended(state: &Rc<ConnectionState>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let polled = poll(state, context);
    if let Poll::Ready(Err(_)) = &polled {
        runtime::with(|core| give_up(core, state));
    }
    polled
}

pub(super) fn begin(state: &Rc<ConnectionState>, data: Bytes, more: bool) -> io::Result<()> {
    if state.outgoing.borrow().operation.is_some() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    if state.incoming.borrow().end == Some(End::Broken) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    runtime::with(|core| match send_directly(core, state, data, more) {
        None => Ok(()),
        Some(data) => start(core, state, data, more),
    })
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::UnderWay) {
            runtime::try_with(|core| give_up(core, self.state));
        }
    }
}

/// Sends what the socket takes at once; says what is left, `None` when it is over.
fn send_directly(core: &Core, state: &ConnectionState, mut data: Bytes, more: bool) -> Option<Bytes> {
    let left = core.network.direct_sends.get();
    if data.len() > DIRECT_BYTES_MAX || left == 0 {
        return Some(data);
    }
    core.network.direct_sends.set(left - 1);
    let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    let outcome = match state.with_socket(|socket| Ok(rustix::net::send(socket, &data, flags)?)) {
        Ok(sent) => {
            core.counters().sends.add(1);
            core.counters().sent_bytes.add(sent as u64);
            data.advance(sent);
            if !data.is_empty() {
                return Some(data);
            }
            0
        }
        // The ring waits until it can be sent.
        Err(error) => match error.raw_os_error() {
            Some(errno) if ![Errno::AGAIN, Errno::INTR, Errno::NOBUFS].contains(&Errno::from_raw_os_error(errno)) => {
                errno
            }
            _ => return Some(data),
        },
    };
    state.outgoing.borrow_mut().result = Some(outcome);
    None
}

fn start(core: &Core, state: &Rc<ConnectionState>, data: Bytes, more: bool) -> io::Result<()> {
    let descriptor = state.descriptor().ok_or(io::ErrorKind::NotConnected)?;
    let operation = Operation::Send {
        connection: state.clone(),
        data,
    };
    let key = core.ring.borrow_mut().start_send(descriptor, operation, more);
    let mut outgoing = state.outgoing.borrow_mut();
    outgoing.operation = Some(key);
    outgoing.result = None;
    Ok(())
}

fn poll(state: &Rc<ConnectionState>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut outgoing = state.outgoing.borrow_mut();
    match outgoing.result.take() {
        Some(0) => return Poll::Ready(Ok(())),
        Some(errno) => return Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
        None => {}
    }
    if state.is_late() {
        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
    }
    outgoing.waker = Some(context.waker().clone());
    Poll::Pending
}

/// Ends the connection for reader and writer alike; the descriptor goes with the owner.
fn give_up(core: &Core, state: &Rc<ConnectionState>) {
    {
        let mut incoming = state.incoming.borrow_mut();
        incoming.wake();
        incoming.clear();
        incoming.end = Some(End::Broken);
    }
    state.cancel_operations(core);
}

/// The completion of a send; `data` is what is left.
pub(crate) fn sent(core: &Core, state: &Rc<ConnectionState>, result: i32, data: Bytes) {
    state.outgoing.borrow_mut().operation = None;
    if result > 0 {
        core.counters().sends.add(1);
        core.counters().sent_bytes.add(u64::from(result.unsigned_abs()));
    }
    if state.closing.get() {
        state.finish_close(core);
        return;
    }
    let broken = state.incoming.borrow().end == Some(End::Broken);
    let outcome = match result {
        _ if data.is_empty() => 0,
        // The kernel continues a short send by itself (MSG_WAITALL), unless a signal came between.
        1.. if !broken => match start(core, state, data, false) {
            Ok(()) => return,
            Err(_) => rustix::io::Errno::NOTCONN.raw_os_error(),
        },
        0.. => rustix::io::Errno::PIPE.raw_os_error(),
        errno => errno.saturating_neg(),
    };
    let mut outgoing = state.outgoing.borrow_mut();
    outgoing.result = Some(outcome);
    outgoing.wake();
    drop(outgoing);
    // Somebody may wait for the last operation to end, in `detach`.
    if broken {
        state.incoming.borrow_mut().wake();
    }
}
