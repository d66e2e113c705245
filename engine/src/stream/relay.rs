//! Bytes both ways between two streams, until they end.
//!
//! While nothing moves, no buffer is held and nothing is allocated. In each direction one piece is under way, and nothing is
//! received meanwhile: what a slow reader has not taken holds its writer back, through the kernel's own buffers, and holds none
//! of the core's. The two directions do not wait for each other, so that two sides that both write first come through. When
//! much comes at once and both sides are in the clear, a direction is spliced (`splice`) until it falls silent.
//!
//! The first stream's end is passed on, and what the second still says is brought to it: it may have ended only its own side.
//! The second's end is the end.

use super::splice::{Failed, Splice, Spliced};
use super::{Failure, Stream, invalid};
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
    /// The first stream ended, and then the second, or it said nothing more.
    First,
    /// The second ended before the first.
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
    /// The first stream has ended, and the second knows it.
    is_half_closed: bool,
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
/// here on: a side that takes nothing for `stalled` fails with `ErrorKind::TimedOut`, and when the first has ended, a second that
/// says nothing for so long is not waited for (one under TLS not at all: its answer to an end is an end). Close the streams at once
/// when it has ended: the last bytes may wait for that. Dropping the future before its end leaves streams that are good for
/// nothing but being dropped.
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
            for stream in [&mut *first, &mut *second] {
                stream.set_deadline(None);
                stream.connection.receive_singly();
            }
        }
        let (forward_before, backward_before) = self.bytes();
        let mut end = self.poll_forward(first, second, stalled, context);
        if end.is_none() {
            end = self.poll_backward(first, second, stalled, context);
        }
        let (forward, backward) = (&mut self.forward, &mut self.backward);
        if backward.bytes > backward_before {
            self.is_asked = false;
        }
        // Of both at once nobody knows: better to end a wait too early than too late.
        if forward.bytes > forward_before {
            self.is_asked = true;
        }
        let Some(end) = end else { return Poll::Pending };
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

    /// From the first to the second. Its end is the relay's only where it cannot be passed on.
    fn poll_forward(
        &mut self,
        first: &mut Stream,
        second: &mut Stream,
        stalled: Duration,
        context: &mut Context<'_>,
    ) -> Option<RelayEnd> {
        if self.is_half_closed {
            return None;
        }
        match self.forward.poll(first, second, stalled, context) {
            Poll::Pending => return None,
            Poll::Ready(Err(Failed::Source(error))) => return Some(RelayEnd::FirstFailed(error)),
            Poll::Ready(Err(Failed::Sink(error))) => return Some(RelayEnd::SecondFailed(error)),
            Poll::Ready(Ok(())) => {}
        }
        if second.state.tls.is_some() {
            return Some(RelayEnd::First);
        }
        if let Err(error) = second.connection.end_sending() {
            return Some(RelayEnd::SecondFailed(error));
        }
        self.forward.splice = None;
        self.is_half_closed = true;
        second.set_deadline(Some(runtime::now() + stalled));
        None
    }

    /// From the second to the first, until the second's end.
    fn poll_backward(
        &mut self,
        first: &mut Stream,
        second: &mut Stream,
        stalled: Duration,
        context: &mut Context<'_>,
    ) -> Option<RelayEnd> {
        let backward = &mut self.backward;
        // While the first one takes its time, the second is not asked for anything.
        if self.is_half_closed && (backward.sending || backward.splice.is_some()) {
            second.set_deadline(Some(runtime::now() + stalled));
        }
        let before = backward.bytes;
        let polled = backward.poll(second, first, stalled, context);
        if self.is_half_closed && backward.bytes > before {
            second.set_deadline(Some(runtime::now() + stalled));
        }
        match polled {
            Poll::Pending => None,
            Poll::Ready(Ok(())) if self.is_half_closed => Some(RelayEnd::First),
            Poll::Ready(Ok(())) => Some(RelayEnd::Second),
            Poll::Ready(Err(Failed::Source(error)))
                if self.is_half_closed && error.kind() == io::ErrorKind::TimedOut =>
            {
                Some(RelayEnd::First)
            }
            Poll::Ready(Err(Failed::Source(error))) => Some(RelayEnd::SecondFailed(error)),
            Poll::Ready(Err(Failed::Sink(error))) => Some(RelayEnd::FirstFailed(error)),
        }
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
                self.rest = sink
                    .begin_send(*rest, source.has_ended())
                    .map_err(Failed::Sink)?
                    .map(Box::new);
                sink.set_deadline(Some(runtime::now() + stalled));
                self.sending = true;
                continue;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match source.poll_take(SEAL_BYTES_MAX, context) {
                Poll::Ready(Ok(Some(bytes))) => {
                    self.count(source, sink, bytes.len());
                    self.rest = sink
                        .begin_send(Bytes::from(bytes), source.has_ended())
                        .map_err(Failed::Sink)?
                        .map(Box::new);
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

    /// Tells a burst from a dialogue, and has the source's receive rest where it is one.
    fn count(&mut self, source: &Stream, sink: &Stream, length: usize) {
        self.bytes += length as u64;
        let full = length >= runtime::with(|core| core.buffers.buffer_bytes() as usize).max(PIECE_BYTES);
        self.burst = if full {
            self.burst.saturating_add(i32::try_from(length).unwrap_or(i32::MAX))
        } else {
            0
        };
        let is_plain = source.state.tls.is_none() && sink.state.tls.is_none();
        if self.burst >= BURST_BYTES && !self.turning && is_plain {
            self.turning = true;
            source.connection.pause_receiving();
        }
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

impl Stream {
    /// Whether everything was received, and the peer's end after it, as far as that can be told in the clear.
    fn has_ended(&self) -> bool {
        self.state.tls.is_none() && self.state.ahead.is_empty() && self.connection.has_ended()
    }

    /// Starts to send the front of `data`; `Connection::poll_sent` says when it is sent. Gives what is left for later. With
    /// `more`, the end of it may wait for the FIN that follows, to leave in one segment with it.
    fn begin_send(&mut self, mut data: Bytes, more: bool) -> io::Result<Option<Bytes>> {
        match &mut self.state.tls {
            None => {
                self.connection.begin_send(data, more)?;
                Ok(None)
            }
            Some(session) => {
                let piece = data.split_to(data.len().min(SEAL_BYTES_MAX));
                let sealed = session.seal(&piece).map_err(invalid)?;
                self.connection.begin_send(Bytes::from(sealed), more)?;
                Ok((!data.is_empty()).then_some(data))
            }
        }
    }
}
