//! Taking all that lies there, in one piece of the caller's own.
//!
//! A buffer of the ring that came full is followed by what else is in the socket, by a system call of its own: for much at once
//! that is fewer copies and completions than many buffers, and nothing of it is anybody else's. Only where nothing is under way
//! in the ring, or bytes would change places.

use super::connection::ConnectionState;
use super::receive::{self, End};
use crate::runtime;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// See `Connection::poll_take`.
pub(super) fn poll(
    state: &Rc<ConnectionState>,
    most: usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<Vec<u8>>>> {
    if state.incoming.borrow().eager {
        let mut bytes = Vec::new();
        look(state, &mut bytes, most);
        if !bytes.is_empty() {
            return Poll::Ready(Ok(Some(bytes)));
        }
    }
    let Some(piece) = ready!(receive::poll(state, context))? else {
        return Poll::Ready(Ok(None));
    };
    let buffer_bytes = runtime::with(|core| core.buffers.buffer_bytes() as usize);
    let is_full = piece.len() >= buffer_bytes;
    if !is_full && !state.incoming.borrow().has_received() {
        return Poll::Ready(Ok(Some(piece.to_vec())));
    }
    let mut bytes = Vec::with_capacity(most.max(piece.len()));
    bytes.extend_from_slice(&piece);
    drop(piece);
    // One more could be as long as the ring's buffers are.
    while bytes.len() + buffer_bytes <= most && state.incoming.borrow().has_received() {
        let Poll::Ready(Ok(Some(piece))) = receive::poll(state, context) else {
            break;
        };
        bytes.extend_from_slice(&piece);
    }
    if is_full {
        look(state, &mut bytes, most);
    }
    Poll::Ready(Ok(Some(bytes)))
}

/// Appends what is in the socket, until there are `most` bytes or nothing is left.
fn look(state: &ConnectionState, bytes: &mut Vec<u8>, most: usize) {
    let mut incoming = state.incoming.borrow_mut();
    incoming.eager = false;
    if !incoming.is_at_socket() || bytes.len() >= most {
        return;
    }
    bytes.reserve_exact(most - bytes.len());
    let before = bytes.len();
    let received =
        state.with_socket(|socket| Ok(rustix::net::recv(socket, spare_capacity(bytes), RecvFlags::DONTWAIT)?));
    match received {
        Ok((_, 0)) => incoming.end = Some(End::Orderly),
        Ok(_) => {
            incoming.eager = bytes.len() >= most;
            runtime::with(|core| {
                core.counters().receives.add(1);
                core.counters().received_bytes.add((bytes.len() - before) as u64);
            });
        }
        // What the ring is asked to wait for, or to find out about.
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            None | Some(Errno::AGAIN | Errno::INTR | Errno::NOMEM | Errno::NOBUFS) => {}
            Some(errno) => incoming.end = Some(End::Failed(errno.raw_os_error())),
        },
    }
}
