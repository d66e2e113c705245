//! The address that a connection comes from, where it is not the kernel's choice.
//!
//! The port stays the kernel's choice, and is chosen when the socket connects (IP_BIND_ADDRESS_NO_PORT): so that one port may
//! serve connections to different places, as it does without an address of ours.

#![allow(unsafe_code)] // A socket option that rustix does not have.

use rustix::fd::{AsFd, AsRawFd};
use rustix::net::bind;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Has `socket`, which is not connected yet, come from `source`, wherever it may go from there: the other family, and a loopback
/// address from one that is none, are left to the kernel.
pub(super) fn choose(socket: &impl AsFd, source: IpAddr, target: IpAddr) -> io::Result<()> {
    if source.is_ipv4() != target.is_ipv4() || source.is_loopback() != target.is_loopback() {
        return Ok(());
    }
    leave_port(socket)
        .and_then(|()| Ok(bind(socket, &SocketAddr::new(source, 0))?))
        .map_err(|error| io::Error::other(format!("it cannot be connected to from {source}: {error}")))
}

fn leave_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four");
    // SAFETY: the option's value is an int, which lives through the call, and the length is an int's.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
