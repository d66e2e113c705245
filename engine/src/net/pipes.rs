//! The pipes through which a core splices bytes from one socket to another without copying them.
//!
//! A pipe is made when it is first needed, and kept empty for the next. There is a bound on how many are out at once: whoever
//! gets none copies instead. What is in a pipe that is dropped is gone with it.

use super::Connection;
use crate::runtime;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::{Cell, RefCell};
use std::io;

/// What a pipe holds, bytes: four times the kernel's default, so that there is less to wait for. The kernel may give less.
const PIPE_BYTES: usize = 256 << 10;

/// More than any pipe holds; the kernel moves what fits.
const MOVE_BYTES_MAX: usize = 1 << 20;

/// Empty pipes that are kept.
const IDLE_MAX: usize = 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Pipes {
    idle: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    out: Cell<u16>,
}

impl Pipes {
    /// An empty pipe; `None` when `most` are out already, or there is no descriptor left.
    pub(crate) fn take(&self, most: u16) -> Option<Pipe> {
        if self.out.get() >= most {
            return None;
        }
        let idle = self.idle.borrow_mut().pop();
        let ends = match idle {
            Some(ends) => ends,
            None => make().ok()?,
        };
        self.out.set(self.out.get() + 1);
        Some(Pipe {
            ends: Some(ends),
            held: 0,
        })
    }

    fn give_back(&self, ends: Option<(OwnedFd, OwnedFd)>) {
        self.out.set(self.out.get() - 1);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.extend(ends);
        }
    }
}

/// Reader and writer.
fn make() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // The kernel's default will do where the user has too much in pipes already.
    let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
    Ok((reader, writer))
}

/// A pipe of this core, until it is dropped.
pub(crate) struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
}

impl Pipe {
    /// Bytes that are in it.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Moves what is in the socket, as far as there is room. `Ok(0)`: the peer's end; `WouldBlock`: nothing is there.
    pub(crate) fn fill(&mut self, source: &Connection) -> io::Result<usize> {
        let (_, writer) = self.ends.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let moved = source.with_socket(|socket| uninterrupted(|| splice_all(socket, writer)))?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what is in the pipe, as far as the socket takes it. `WouldBlock`: it takes nothing.
    pub(crate) fn drain(&mut self, sink: &Connection) -> io::Result<usize> {
        let (reader, _) = self.ends.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let moved = sink.with_socket(|socket| uninterrupted(|| splice_all(reader, socket)))?;
        if moved == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take().filter(|_| self.held == 0);
        runtime::try_with(|core| core.network.pipes.give_back(ends));
    }
}

fn splice_all(from: impl rustix::fd::AsFd, to: impl rustix::fd::AsFd) -> rustix::io::Result<usize> {
    splice(
        from,
        None,
        to,
        None,
        MOVE_BYTES_MAX,
        SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
    )
}

fn uninterrupted(mut work: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match work() {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}
