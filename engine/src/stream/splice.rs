//! One direction of a relay while much comes at once in the clear: the bytes go from socket to socket through a pipe and are
//! never copied into this process.
//!
//! Both sockets are non-blocking from here on, which concerns `splice` alone: the ring waits on them as before. The source's
//! multishot receive rests meanwhile. It is over when nothing came for a while, so that a silent session holds no pipe.

use crate::net::{Connection, Pipe, Readiness};
use crate::runtime;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Nothing has come for so long, or at most twice: back to waiting with no pipe.
const QUIET: Duration = Duration::from_secs(1);

/// Bytes in one turn at most; then other tasks run.
const TURN_BYTES_MAX: usize = 1 << 20;

/// See the module. Boxed: a silent session has none.
pub(super) struct Splice {
    pipe: Pipe,
    /// Waits for the source to have bytes, or for the sink to take some.
    waiting: Option<Readiness>,
    ended: bool,
    moved_at: Instant,
    tick: Pin<Box<dyn Future<Output = ()>>>,
}

/// What came of it.
pub(super) enum Spliced {
    /// The source has ended, and all of it is sent.
    Ended,
    /// Nothing comes any more for now.
    Quiet,
}

/// Which side failed.
pub(super) enum Failed {
    Source(io::Error),
    Sink(io::Error),
}

impl Splice {
    pub(super) fn new(pipe: Pipe) -> Splice {
        Splice {
            pipe,
            waiting: None,
            ended: false,
            moved_at: runtime::now(),
            tick: Box::pin(runtime::sleep(QUIET)),
        }
    }

    /// Moves what can be moved; `bytes` counts what came.
    pub(super) fn poll(
        &mut self,
        source: &Connection,
        sink: &Connection,
        stalled: Duration,
        bytes: &mut u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<Spliced, Failed>> {
        if self.tick.as_mut().poll(context).is_ready() {
            let silent = self.moved_at.elapsed();
            if self.pipe.held() > 0 && silent >= stalled {
                return Poll::Ready(Err(Failed::Sink(io::ErrorKind::TimedOut.into())));
            }
            if self.pipe.held() == 0 && silent >= QUIET && !self.ended {
                return Poll::Ready(Ok(Spliced::Quiet));
            }
            self.tick = Box::pin(runtime::sleep(QUIET.min(stalled)));
            // A new timer knows its task only when it has been polled.
            let _ = self.tick.as_mut().poll(context);
        }
        let mut moved = 0;
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.poll(context));
                self.waiting = None;
            }
            if moved >= TURN_BYTES_MAX {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.pipe.held() > 0 {
                match self.pipe.drain(sink) {
                    Ok(count) => {
                        moved += count;
                        self.moved_at = runtime::now();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.waiting = Some(sink.writable());
                    }
                    Err(error) => return Poll::Ready(Err(Failed::Sink(error))),
                }
            } else if self.ended {
                return Poll::Ready(Ok(Spliced::Ended));
            } else {
                match self.pipe.fill(source) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        *bytes += count as u64;
                        self.moved_at = runtime::now();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.waiting = Some(source.readable());
                    }
                    Err(error) => return Poll::Ready(Err(Failed::Source(error))),
                }
            }
        }
    }
}
