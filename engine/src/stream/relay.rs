//! Bytes both ways between two streams, until one of them ends.
//!
//! While nothing moves, no buffer is held and nothing is allocated. In each direction one piece is under way: what a slow
//! reader has not taken holds its writer back, through the kernel's own buffers. The two directions do not wait for each
//! other, so that two sides that both write first come through.

use super::{Chunk, ChunkBytes, Failure, Stream, invalid};
use crate::tls::SEAL_BYTES_MAX;
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How a relay ended.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes that the first stream sent and the second was given.
    pub forward: u64,
    /// Bytes the other way.
    pub backward: u64,
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

/// One direction.
#[derive(Default)]
struct Direction {
    sending: bool,
    /// What does not fit into one send.
    rest: Bytes,
    ended: bool,
    bytes: u64,
}

/// Relays between `first` and `second`; bytes that were put back come first. Deadlines of the streams are the relay's from
/// here on: a side that takes nothing for `stalled` fails with `ErrorKind::TimedOut`. Dropping the future before its end
/// leaves streams that are good for nothing but being dropped.
pub async fn relay(first: &mut Stream, second: &mut Stream, stalled: Duration) -> Relayed {
    let (mut forward, mut backward) = (Direction::default(), Direction::default());
    first.set_deadline(None);
    second.set_deadline(None);
    let mut is_asked = false;
    let end = poll_fn(|context| {
        let (forward_before, backward_before) = (forward.bytes, backward.bytes);
        // What comes from a side that has ended is sent on first; then the relay is over, whatever the other side does.
        let polled = match forward.poll(first, second, stalled, context) {
            Poll::Ready(Ok(())) => Poll::Ready(RelayEnd::First),
            Poll::Ready(Err(Side::Source(error))) => Poll::Ready(RelayEnd::FirstFailed(error)),
            Poll::Ready(Err(Side::Sink(error))) => Poll::Ready(RelayEnd::SecondFailed(error)),
            Poll::Pending => match backward.poll(second, first, stalled, context) {
                Poll::Ready(Ok(())) => Poll::Ready(RelayEnd::Second),
                Poll::Ready(Err(Side::Source(error))) => Poll::Ready(RelayEnd::SecondFailed(error)),
                Poll::Ready(Err(Side::Sink(error))) => Poll::Ready(RelayEnd::FirstFailed(error)),
                Poll::Pending => Poll::Pending,
            },
        };
        if backward.bytes > backward_before {
            is_asked = false;
        }
        // Of both at once nobody knows: better to end a wait too early than too late.
        if forward.bytes > forward_before {
            is_asked = true;
        }
        polled
    })
    .await;
    Relayed {
        forward: forward.bytes,
        backward: backward.bytes,
        is_asked,
        end,
    }
}

/// Which side of a direction failed.
enum Side {
    Source(io::Error),
    Sink(io::Error),
}

impl Direction {
    /// Moves what can be moved. Ready: the source has ended, and all of it is sent.
    fn poll(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        stalled: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Side>> {
        loop {
            if self.sending {
                ready!(sink.connection.poll_sent(context)).map_err(Side::Sink)?;
                self.sending = false;
                sink.set_deadline(None);
            }
            if !self.rest.is_empty() {
                sink.begin_send(&mut self.rest).map_err(Side::Sink)?;
                sink.set_deadline(Some(crate::runtime::now() + stalled));
                self.sending = true;
                continue;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(source.poll_receive(context)) {
                Ok(Some(chunk)) => {
                    self.bytes += chunk.len() as u64;
                    self.rest = chunk.into_bytes();
                }
                Ok(None) => self.ended = true,
                Err(Failure { error, .. }) => return Poll::Ready(Err(Side::Source(error))),
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
    /// Starts to send the front of `data`; `Connection::poll_sent` says when it is sent.
    fn begin_send(&mut self, data: &mut Bytes) -> io::Result<()> {
        match &mut self.state.tls {
            None => self.connection.begin_send(std::mem::take(data)),
            Some(session) => {
                let piece = data.split_to(data.len().min(SEAL_BYTES_MAX));
                let sealed = session.seal(&piece).map_err(invalid)?;
                self.connection.begin_send(Bytes::from(sealed))
            }
        }
    }
}
