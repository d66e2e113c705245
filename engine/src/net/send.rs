//! The sending side of a connection: one send under way, all of it or an error.

use super::connection::ConnectionState;
use super::receive::End;
use crate::ring::{Operation, OperationKey};
use crate::runtime::{self, Core};
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

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
/// much of the bytes went out.
struct Sending<'a> {
    state: &'a Rc<ConnectionState>,
    finished: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.finished {
            runtime::try_with(|core| give_up(core, self.state));
        }
    }
}

/// See `Connection::send`.
pub(super) async fn send(state: &Rc<ConnectionState>, data: Bytes) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    if state.outgoing.borrow().operation.is_some() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    if state.incoming.borrow().end == Some(End::Broken) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    runtime::with(|core| start(core, state, data))?;
    let mut sending = Sending { state, finished: false };
    let result = poll_fn(|context| poll(state, context)).await;
    // An error leaves it unfinished: the connection is given up.
    sending.finished = result.is_ok();
    result
}

fn start(core: &Core, state: &Rc<ConnectionState>, data: Bytes) -> io::Result<()> {
    let descriptor = state.descriptor().ok_or(io::ErrorKind::NotConnected)?;
    let operation = Operation::Send {
        connection: state.clone(),
        data,
    };
    let key = core.ring.borrow_mut().start_send(descriptor, operation);
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
        1.. if !broken => match start(core, state, data) {
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
