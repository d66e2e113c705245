//! Bytes both ways between two streams, until one of them ends.
//!
//! While nothing moves, no buffer is held and nothing is allocated. In each direction one piece is under way: what a slow
//! reader has not taken holds its writer back, through the kernel's own buffers. The two directions do not wait for each
//! other, so that two sides that both write first come through. What lies received when a piece is sent goes with it. When
//! much comes at once and both sides are in the clear, a direction is spliced (`splice`) until it falls silent.

use super::splice::{Failed, Splice, Spliced};
use super::{Chunk, ChunkBytes, Failure, Stream, invalid};
use crate::runtime;
use crate::tls::SEAL_BYTES_MAX;
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// So much in pieces that fill their buffers is a burst; below it copying is the cheaper way.
const BURST_BYTES: i32 = 64 << 10;

/// Whoever got no pipe copies so much more before it asks again.
const REFUSED_BYTES: i32 = 16 << 20;

/// A piece that fills a buffer of at least this size is no line of a dialogue.
const PIECE_BYTES: usize = 1024;

/// How a relay ended.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes that the first stream sent and the second was given.
    pub forward: u64,
    /// Bytes the other way.
    pub backward: u64,
    /// How many of both went through pipes, without being copied.
    pub spliced: u64,
    /// The first stream said something last: it may wait for an answer.
    pub is_asked: bool,
    /// Whose doing it was.
    pub end: RelayEnd,
}

/// What ended a relay. What was received before is sent on, as far as the other side takes it.
#[derive(Debug)]
pub enum RelayEnd {
    /// The first stream ended.
    First,
    /// The second.
    Second,
    /// The first, or sending to it, failed.
    FirstFailed(io::Error),
    /// The second, or sending to it, failed.
    SecondFailed(io::Error),
}

/// Relays between two streams, as a future by hand: whoever has many of them keeps them, and the streams, where it likes.
#[derive(Default)]
pub struct Relay {
    forward: Direction,
    backward: Direction,
    is_asked: bool,
    is_begun: bool,
}

/// One direction. Small, because every idle session has two.
#[derive(Default)]
struct Direction {
    bytes: u64,
    spliced: u64,
    /// What does not fit into one send.
    rest: Option<Box<Bytes>>,
    splice: Option<Box<Splice>>,
    /// What came in full buffers, one after the other; less than nothing where it has to be copied for a while.
    burst: i32,
    sending: bool,
    ended: bool,
    /// Much comes: the source's receive rests until what it has brought is sent.
    turning: bool,
}

/// Relays between `first` and `second`; bytes that were put back come first. Deadlines of the streams are the relay's from
/// here on: a side that takes nothing for `stalled` fails with `ErrorKind::TimedOut`. Dropping the future before its end
/// leaves streams that are good for nothing but being dropped.
pub async fn relay(first: &mut Stream, second: &mut Stream, stalled: Duration) -> Relayed {
    let mut relay = Relay::default();
    poll_fn(|context| relay.poll(first, second, stalled, context)).await
}

impl Relay {
    /// Bytes so far: those of the first stream, and those of the second.
    pub fn bytes(&self) -> (u64, u64) {
        (self.forward.bytes, self.backward.bytes)
    }

    /// The first stream said something last: it may wait for an answer.
    pub fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// As [`relay()`]: always with the same streams, until it is ready.
    pub fn poll(
        &mut self,
        first: &mut Stream,
        second: &mut Stream,
        stalled: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Relayed> {
        if !std::mem::replace(&mut self.is_begun, true) {
            first.set_deadline(None);
            second.set_deadline(None);
        }
        let (forward, backward) = (&mut self.forward, &mut self.backward);
        let (forward_before, backward_before) = (forward.bytes, backward.bytes);
        // What comes from a side that has ended is sent on first; then the relay is over, whatever the other side does.
        let polled = match forward.poll(first, second, stalled, context) {
            Poll::Ready(Ok(())) => Poll::Ready(RelayEnd::First),
            Poll::Ready(Err(Failed::Source(error))) => Poll::Ready(RelayEnd::FirstFailed(error)),
            Poll::Ready(Err(Failed::Sink(error))) => Poll::Ready(RelayEnd::SecondFailed(error)),
            Poll::Pending => match backward.poll(second, first, stalled, context) {
                Poll::Ready(Ok(())) => Poll::Ready(RelayEnd::Second),
                Poll::Ready(Err(Failed::Source(error))) => Poll::Ready(RelayEnd::SecondFailed(error)),
                Poll::Ready(Err(Failed::Sink(error))) => Poll::Ready(RelayEnd::FirstFailed(error)),
                Poll::Pending => Poll::Pending,
            },
        };
        if backward.bytes > backward_before {
            self.is_asked = false;
        }
        // Of both at once nobody knows: better to end a wait too early than too late.
        if forward.bytes > forward_before {
            self.is_asked = true;
        }
        let end = ready!(polled);
        // The streams are their owner's again, and pipes somebody else's.
        (forward.splice, backward.splice) = (None, None);
        first.connection.resume_receiving();
        second.connection.resume_receiving();
        Poll::Ready(Relayed {
            forward: forward.bytes,
            backward: backward.bytes,
            spliced: forward.spliced + backward.spliced,
            is_asked: self.is_asked,
            end,
        })
    }
}

impl Direction {
    /// Moves what can be moved. Ready: the source has ended, and all of it is sent.
    fn poll(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        stalled: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            if let Some(splice) = &mut self.splice {
                let before = self.bytes;
                let polled = splice.poll(&source.connection, &sink.connection, stalled, &mut self.bytes, context);
                self.spliced += self.bytes - before;
                match ready!(polled)? {
                    Spliced::Ended => return Poll::Ready(Ok(())),
                    Spliced::Quiet => {
                        self.splice = None;
                        source.connection.resume_receiving();
                    }
                }
            }
            if self.sending {
                ready!(sink.connection.poll_sent(context)).map_err(Failed::Sink)?;
                self.sending = false;
                sink.set_deadline(None);
            }
            if let Some(rest) = self.rest.take() {
                self.rest = sink.begin_send(*rest).map_err(Failed::Sink)?.map(Box::new);
                sink.set_deadline(Some(runtime::now() + stalled));
                self.sending = true;
                continue;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match source.poll_receive(context) {
                Poll::Ready(Ok(Some(chunk))) => {
                    let bytes = self.take(source, sink, chunk, context);
                    self.rest = sink.begin_send(bytes).map_err(Failed::Sink)?.map(Box::new);
                    sink.set_deadline(Some(runtime::now() + stalled));
                    self.sending = true;
                }
                Poll::Ready(Ok(None)) => self.ended = true,
                Poll::Ready(Err(Failure { error, .. })) => return Poll::Ready(Err(Failed::Source(error))),
                Poll::Pending if self.turning && source.connection.is_drained() => self.turn(source, sink),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes what was received, and what else lies there, as far as it fits into one send.
    fn take(&mut self, source: &mut Stream, sink: &Stream, chunk: Chunk, context: &mut Context<'_>) -> Bytes {
        self.count(chunk.len());
        // Under TLS a waiting error would be found, and lost, here.
        let is_plain = source.state.tls.is_none();
        let taken = if is_plain && source.connection.has_received() {
            let mut bytes = Vec::with_capacity(SEAL_BYTES_MAX);
            bytes.extend_from_slice(&chunk);
            drop(chunk);
            while source.connection.has_received()
                && let Poll::Ready(Ok(Some(chunk))) = source.poll_receive(context)
            {
                self.count(chunk.len());
                bytes.extend_from_slice(&chunk);
                // One more could be as long as this one.
                if bytes.len() + chunk.len() > SEAL_BYTES_MAX {
                    break;
                }
            }
            Bytes::from(bytes)
        } else {
            chunk.into_bytes()
        };
        if self.burst >= BURST_BYTES && !self.turning && is_plain && sink.state.tls.is_none() {
            self.turning = true;
            source.connection.pause_receiving();
        }
        taken
    }

    fn count(&mut self, length: usize) {
        self.bytes += length as u64;
        let full = length >= runtime::with(|core| core.buffers.buffer_bytes() as usize).max(PIECE_BYTES);
        self.burst = if full {
            self.burst.saturating_add(i32::try_from(length).unwrap_or(i32::MAX))
        } else {
            0
        };
    }

    /// All that was received is sent, and the source's receive rests: splices, if there is a pipe.
    fn turn(&mut self, source: &Stream, sink: &Stream) {
        self.turning = false;
        self.burst = 0;
        let pipe = runtime::with(|core| core.network.pipes.take(core.pipes_max));
        let ready = source
            .connection
            .set_nonblocking()
            .and_then(|()| sink.connection.set_nonblocking());
        match (pipe, ready) {
            (Some(pipe), Ok(())) => self.splice = Some(Box::new(Splice::new(pipe))),
            _ => {
                self.burst = -REFUSED_BYTES;
                source.connection.resume_receiving();
            }
        }
    }
}

impl Chunk {
    /// A copy of what lies in a buffer of the ring, so that the ring has it back at once.
    fn into_bytes(self) -> Bytes {
        match self.0 {
            ChunkBytes::Ring(received) => Bytes::copy_from_slice(&received),
            ChunkBytes::Own(bytes) => Bytes::from(bytes),
        }
    }
}

impl Stream {
    /// Starts to send the front of `data`; `Connection::poll_sent` says when it is sent. Gives what is left for later.
    fn begin_send(&mut self, mut data: Bytes) -> io::Result<Option<Bytes>> {
        match &mut self.state.tls {
            None => {
                self.connection.begin_send(data)?;
                Ok(None)
            }
            Some(session) => {
                let piece = data.split_to(data.len().min(SEAL_BYTES_MAX));
                let sealed = session.seal(&piece).map_err(invalid)?;
                self.connection.begin_send(Bytes::from(sealed))?;
                Ok((!data.is_empty()).then_some(data))
            }
        }
    }
}
