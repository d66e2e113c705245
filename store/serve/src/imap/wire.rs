//! The client's side of a session: bytes in, as events of the reader; bytes out, through a bounded buffer.
//!
//! Between commands it holds nothing: what was received is parsed where it lies, and only what is pipelined behind a
//! command is copied, to give the ring its buffer back while the command runs.

use super::config::ImapConfig;
use super::end::{EndReason, SessionEnd};
use bytes::Bytes;
use futures_util::future::{Either, select};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{AppendMessage, Command, CommandReader, Event, ReaderLimits, Tag, write};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;

/// Output is sent when this much has gathered, bytes.
const FLUSH_BYTES: usize = 64 << 10;

/// A response may grow to this before the first of it is sent, bytes: until then it can be taken back.
const GATHER_BYTES_MAX: usize = 256 << 10;

/// Pieces of a body up to this are copied into the buffer, to go out with their surroundings in one send, bytes.
const COPY_BYTES_MAX: usize = 32 << 10;

/// Why a session stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// LOGOUT: everything is said.
    LoggedOut,
    /// To be told with BYE.
    Bye(&'static str),
    /// The client ended the connection, or it broke; nothing can be told.
    Lost(io::ErrorKind),
}

pub(super) type Outcome<T = ()> = Result<T, Stop>;

/// What the client did next.
pub(super) enum Step {
    Command(Tag, Command),
    Line(Vec<u8>),
    Append(Box<AppendMessage>),
    AppendData(Bytes),
    AppendMessageEnd,
    AppendEnd,
    Bad(Option<Tag>, &'static str),
}

/// Stream, reader and output of a session.
pub(super) struct Wire<S> {
    stream: S,
    pub(super) reader: CommandReader,
    /// Received and not yet parsed, from `pending_from` on.
    pending: Vec<u8>,
    pending_from: usize,
    /// To be sent.
    pub(super) out: Vec<u8>,
    /// A literal has been announced and not been sent whole: nothing else may be said.
    pub(super) literal_open: bool,
    /// Bytes sent so far.
    sent: u64,
    received: u64,
    config: Rc<ImapConfig>,
    end: Rc<SessionEnd>,
}

/// A place in the output that can be gone back to while nothing behind it has been sent.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    sent: u64,
    length: usize,
}

/// What ended a wait.
pub(super) enum Waited {
    /// The client did something.
    Step(Step),
    /// The other future is done.
    Other,
}

impl<S: ByteStream> Wire<S> {
    pub(super) fn new(stream: S, config: Rc<ImapConfig>, end: Rc<SessionEnd>) -> Self {
        static LIMITS: ReaderLimits = ReaderLimits::AFTER_LOGIN;
        Self {
            stream,
            reader: CommandReader::new(&LIMITS).with_long_lines(config.line_bytes_max),
            pending: Vec::new(),
            pending_from: 0,
            out: Vec::new(),
            literal_open: false,
            sent: 0,
            received: 0,
            config,
            end,
        }
    }

    /// Bytes received and sent.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    /// The next step of the client, after everything that is to be sent has been.
    pub(super) async fn next(&mut self) -> Outcome<Step> {
        match self.next_or(std::future::pending()).await? {
            Waited::Step(step) => Ok(step),
            Waited::Other => unreachable!("a pending future does not end"),
        }
    }

    /// As `next`, or the end of `other`, whichever comes first; what was pipelined goes before both.
    pub(super) async fn next_or(&mut self, other: impl Future<Output = ()>) -> Outcome<Waited> {
        let mut other = pin!(other);
        loop {
            if let Some(step) = self.parse_pending()? {
                return Ok(Waited::Step(step));
            }
            self.flush().await?;
            if let Some(reason) = self.end.reason() {
                return Err(Stop::Bye(reason.text()));
            }
            let timeout = if self.reader.is_in_message() {
                self.config.literal_timeout
            } else {
                self.config.idle_timeout
            };
            self.stream.set_timeout(Some(timeout));
            let chunk = {
                let ended = pin!(self.end.ended());
                let receive = pin!(self.stream.receive());
                let interrupted = select(ended, other.as_mut());
                match select(receive, interrupted).await {
                    Either::Left((chunk, _)) => chunk,
                    Either::Right((Either::Left((reason, _)), _)) => return Err(Stop::Bye(reason.text())),
                    Either::Right((Either::Right(((), _)), _)) => return Ok(Waited::Other),
                }
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Err(Stop::Lost(io::ErrorKind::UnexpectedEof)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Stop::Bye("Idle for too long")),
                Err(error) => return Err(Stop::Lost(error.kind())),
            };
            self.received += chunk.len() as u64;
            let mut input: &[u8] = &chunk;
            let parsed = parse(&mut self.reader, &mut self.out, &mut input)?;
            if !input.is_empty() {
                self.pending = input.to_vec();
            }
            if let Some(step) = parsed {
                return Ok(Waited::Step(step));
            }
        }
    }

    /// The next step in what is already here; when there is none, nothing is kept.
    fn parse_pending(&mut self) -> Outcome<Option<Step>> {
        let mut input = &self.pending[self.pending_from..];
        let parsed = parse(&mut self.reader, &mut self.out, &mut input)?;
        self.pending_from = self.pending.len() - input.len();
        if self.pending_from == self.pending.len() {
            (self.pending, self.pending_from) = (Vec::new(), 0);
        }
        Ok(parsed)
    }

    /// Sends what is in the buffer.
    pub(super) async fn flush(&mut self) -> Outcome {
        if self.out.is_empty() {
            return Ok(());
        }
        let data = Bytes::from(std::mem::take(&mut self.out));
        self.send(data).await
    }

    /// Sends what is in the buffer when it is much.
    pub(super) async fn flush_if_full(&mut self) -> Outcome {
        if self.out.len() >= FLUSH_BYTES {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Sends what is in the buffer when it is so much that a response cannot be gathered to its end.
    pub(super) async fn flush_if_large(&mut self) -> Outcome {
        if self.out.len() >= GATHER_BYTES_MAX {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// A piece of a body, behind what is in the buffer.
    pub(super) async fn push(&mut self, piece: Bytes) -> Outcome {
        if piece.len() <= COPY_BYTES_MAX {
            // Room for some more like this: growing would copy all of it again and again.
            let length = self.out.len() + piece.len();
            if length > self.out.capacity() {
                let room = (5 * length).min(FLUSH_BYTES + COPY_BYTES_MAX).max(length);
                self.out.reserve_exact(room - self.out.len());
            }
            self.out.extend_from_slice(&piece);
            return self.flush_if_full().await;
        }
        self.flush().await?;
        self.send(piece).await
    }

    async fn send(&mut self, data: Bytes) -> Outcome {
        if self.end.reason() == Some(EndReason::AccessEnded) {
            return Err(Stop::Bye(EndReason::AccessEnded.text()));
        }
        self.send_always(data).await
    }

    async fn send_always(&mut self, data: Bytes) -> Outcome {
        self.sent += data.len() as u64;
        self.stream.set_timeout(Some(self.config.send_timeout));
        self.stream.send(data).await.map_err(|error| Stop::Lost(error.kind()))
    }

    /// The last words, and the end of the connection.
    pub(super) async fn close(mut self, last: &[u8]) -> (u64, u64) {
        if !self.literal_open {
            let mut data = std::mem::take(&mut self.out);
            data.extend_from_slice(last);
            if !data.is_empty() {
                // The connection ends either way.
                let _ = self.send_always(Bytes::from(data)).await;
            }
        }
        let traffic = self.traffic();
        self.stream.close().await;
        traffic
    }

    /// Where the output is.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            sent: self.sent,
            length: self.out.len(),
        }
    }

    /// Takes back what was written since; `false` when some of it has been sent.
    pub(super) fn take_back(&mut self, mark: Mark) -> bool {
        let possible = self.sent == mark.sent;
        if possible {
            self.out.truncate(mark.length);
        }
        possible
    }
}

/// Reads up to the next step; `None` when all input is consumed.
fn parse(reader: &mut CommandReader, out: &mut Vec<u8>, input: &mut &[u8]) -> Outcome<Option<Step>> {
    loop {
        return Ok(Some(match reader.read(input) {
            Event::NeedMore => return Ok(None),
            Event::Continue => {
                out.extend_from_slice(write::CONTINUE);
                continue;
            }
            Event::Command(tag, command) => Step::Command(tag, command),
            Event::Line(line) => Step::Line(line),
            Event::Append(message) => Step::Append(message),
            Event::AppendData(data) => Step::AppendData(Bytes::copy_from_slice(data)),
            Event::AppendMessageEnd => Step::AppendMessageEnd,
            Event::AppendEnd(_) => Step::AppendEnd,
            Event::Bad { tag, reason } => Step::Bad(tag, reason),
            Event::Close(reason) => return Err(Stop::Bye(reason)),
        }));
    }
}
