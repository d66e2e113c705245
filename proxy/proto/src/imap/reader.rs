//! Frames what a client sends into commands, within bounds, and parses each.
//!
//! A command is a line, or lines with literals between them (RFC 3501 section 2.2). Framing comes first and never depends
//! on what a command means, so that a literal's bytes are never taken for a command, however wrong the rest is. A command
//! is collected whole before it is parsed, except APPEND, whose messages pass by as events and are never collected.
//!
//! Bounds: the length of lines, the number and size of collected literals, and the bytes that are read only to be thrown
//! away behind a refused literal. Between commands the reader holds no memory.
//!
//! A bare LF ends a line too, as people at a terminal send it.

mod announcement;
mod append;
mod event;
mod limits;

use super::command::{TAG_BYTES_MAX, Tag};
use super::cursor::Cursor;
use super::parse;
use announcement::{ANNOUNCEMENT_BYTES_MAX, Announcement, announcement, take, take_line, without_line_break};
use append::AppendCommand;
pub use event::{AppendMessage, Event};
pub use limits::ReaderLimits;

/// Frames and parses. See the module's documentation.
#[derive(Debug)]
pub struct CommandReader {
    limits: &'static ReaderLimits,
    /// As in the limits, where configuration says nothing else.
    long_line_bytes_max: usize,
    /// The command so far, line breaks and literals included; while a line is thrown away, its last bytes.
    buffer: Vec<u8>,
    state: State,
    /// The next line is no command.
    raw: bool,
    /// Where the current line starts in `buffer`.
    line_start: usize,
    literals: u16,
    literals_bytes: u64,
    drained: u64,
    append: Option<Box<AppendCommand>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a line, which may be a command's first or the one behind a literal.
    Line,
    /// In a literal that is collected.
    Literal { remaining: u64 },
    /// A message was announced; the driver has to say yes or no.
    Undecided { size: u64, synchronising: bool },
    /// In a message that the driver takes.
    Message { remaining: u64 },
    /// In a literal that nobody wants.
    SkipLiteral { remaining: u64 },
    /// In a line of a command that has been answered already.
    SkipLine,
    /// There is too much to skip, and the driver is to be told.
    GivingUp,
    /// The connection is given up.
    Closed,
}

/// What the end of a command's line led to.
enum LineEnd<'a> {
    Event(Event<'a>),
    /// A literal follows that is collected behind the line.
    Collect {
        synchronising: bool,
    },
}

/// Whether the command is one of those whose lines may be long.
fn is_long_by_nature(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    if parse::tag(&mut cursor).is_none() || cursor.space().is_err() {
        return false;
    }
    ["UID", "FETCH", "STORE", "SEARCH", "COPY", "MOVE"]
        .iter()
        .any(|name| cursor.word(name))
}

impl CommandReader {
    /// At the start of a command.
    pub fn new(limits: &'static ReaderLimits) -> Self {
        Self {
            limits,
            long_line_bytes_max: limits.long_line_bytes_max,
            buffer: Vec::new(),
            state: State::Line,
            raw: false,
            line_start: 0,
            literals: 0,
            literals_bytes: 0,
            drained: 0,
            append: None,
        }
    }

    /// With another bound for lines that are long by nature.
    pub fn with_long_lines(self, long_line_bytes_max: usize) -> Self {
        Self {
            long_line_bytes_max,
            ..self
        }
    }

    /// Whether nothing of a command has been read yet.
    pub fn is_between_commands(&self) -> bool {
        self.state == State::Line && self.buffer.is_empty() && self.append.is_none()
    }

    /// The next line is no command: an answer within AUTHENTICATE, or the end of IDLE. To be called between commands.
    pub fn expect_line(&mut self) {
        assert!(self.is_between_commands(), "expect_line within a command");
        self.raw = true;
    }

    /// Consumes `input` up to the next event.
    pub fn read<'a>(&mut self, input: &mut &'a [u8]) -> Event<'a> {
        loop {
            match self.state {
                State::GivingUp => {
                    self.state = State::Closed;
                    return Event::Close("Too much input behind an error");
                }
                State::Closed => {
                    *input = &[];
                    return Event::NeedMore;
                }
                State::Undecided { .. } => panic!("Event::Append was not answered"),
                State::Message { remaining: 0 } => {
                    self.state = State::Line;
                    return Event::AppendMessageEnd;
                }
                State::Literal { remaining: 0 } => {
                    self.line_start = self.buffer.len();
                    self.state = State::Line;
                }
                State::SkipLiteral { remaining: 0 } => self.state = State::SkipLine,
                _ if input.is_empty() => return Event::NeedMore,
                State::Message { remaining } => {
                    let data = take(input, remaining);
                    self.state = State::Message {
                        remaining: remaining - data.len() as u64,
                    };
                    return Event::AppendData(data);
                }
                State::Literal { remaining } => {
                    let data = take(input, remaining);
                    self.buffer.extend_from_slice(data);
                    self.state = State::Literal {
                        remaining: remaining - data.len() as u64,
                    };
                }
                State::SkipLiteral { remaining } => {
                    let data = take(input, remaining);
                    self.state = State::SkipLiteral {
                        remaining: remaining - data.len() as u64,
                    };
                }
                State::Line => {
                    if let Some(event) = self.read_line(input) {
                        return event;
                    }
                }
                State::SkipLine => self.skip_line(input),
            }
        }
    }

    /// In a line. `None`: go on in the state that is set.
    fn read_line<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let (piece, ended) = take_line(input);
        let lines_bytes = self.buffer.len() as u64 - self.literals_bytes + piece.len() as u64;
        if lines_bytes > self.limits.line_bytes_max as u64 {
            let head = self.head(piece);
            let is_long = !self.raw && is_long_by_nature(&head);
            if !is_long || lines_bytes > self.long_line_bytes_max as u64 {
                return Some(self.give_up_line(&head, piece, lines_bytes, ended));
            }
        }
        if !ended {
            self.buffer.extend_from_slice(piece);
            return Some(Event::NeedMore);
        }
        let line_start = self.line_start;
        let synchronising = if self.buffer.is_empty() {
            // The usual case: a whole command in one piece is parsed where it lies.
            match self.end_of_line(piece, 0) {
                LineEnd::Event(event) => return Some(event),
                LineEnd::Collect { synchronising } => {
                    self.buffer = piece.to_vec();
                    synchronising
                }
            }
        } else {
            let mut command = std::mem::take(&mut self.buffer);
            command.extend_from_slice(piece);
            match self.end_of_line(&command, line_start) {
                LineEnd::Event(event) => return Some(event),
                LineEnd::Collect { synchronising } => {
                    self.buffer = command;
                    synchronising
                }
            }
        };
        synchronising.then_some(Event::Continue)
    }

    /// The first bytes of the command, which hold tag and name.
    fn head(&self, piece: &[u8]) -> Vec<u8> {
        self.buffer
            .iter()
            .chain(piece)
            .take(2 * TAG_BYTES_MAX)
            .copied()
            .collect()
    }

    /// A line is too long: what there is of it is dropped, and the rest as it comes.
    fn give_up_line<'a>(&mut self, head: &[u8], piece: &[u8], lines_bytes: u64, ended: bool) -> Event<'a> {
        let tag = match self.append.take() {
            Some(append) => Some(append.tag),
            None if self.raw => None,
            None => {
                let mut cursor = Cursor::new(head);
                parse::tag(&mut cursor).filter(|_| cursor.peek() == Some(b' '))
            }
        };
        self.buffer.extend_from_slice(piece);
        self.keep_tail();
        self.drained = self.drained.saturating_add(lines_bytes);
        if self.drained > self.limits.drain_bytes_max {
            self.give_up();
        } else if ended {
            self.end_of_skipped_line();
        } else {
            self.state = State::SkipLine;
        }
        Event::Bad {
            tag,
            reason: "Line too long",
        }
    }

    fn skip_line(&mut self, input: &mut &[u8]) {
        let (piece, ended) = take_line(input);
        self.drained = self.drained.saturating_add(piece.len() as u64);
        if self.drained > self.limits.drain_bytes_max {
            return self.give_up();
        }
        self.buffer
            .extend_from_slice(&piece[piece.len().saturating_sub(ANNOUNCEMENT_BYTES_MAX)..]);
        self.keep_tail();
        if ended {
            self.end_of_skipped_line();
        }
    }

    fn end_of_skipped_line(&mut self) {
        match announcement(without_line_break(&self.buffer)) {
            Some(Announcement {
                size,
                synchronising: false,
                ..
            }) if !self.raw => self.skip_literal(size),
            // A client that waits has its answer already, and does not send.
            _ => self.finish(),
        }
    }

    /// Keeps only what an announcement at the end of a skipped line could need.
    fn keep_tail(&mut self) {
        let surplus = self.buffer.len().saturating_sub(ANNOUNCEMENT_BYTES_MAX);
        self.buffer.drain(..surplus);
        self.buffer.shrink_to(4 * ANNOUNCEMENT_BYTES_MAX);
    }

    /// A line has ended. `command` is all of the command so far; the line starts at `line_start`.
    fn end_of_line<'a>(&mut self, command: &[u8], line_start: usize) -> LineEnd<'a> {
        let line = without_line_break(&command[line_start..]);
        if self.raw {
            let line = line.to_vec();
            self.finish();
            return LineEnd::Event(Event::Line(line));
        }
        let whole = &command[..line_start + line.len()];
        match announcement(line) {
            Some(announced) => self.literal_announced(&whole[..whole.len() - announced.length], announced),
            None => LineEnd::Event(self.command_complete(whole)),
        }
    }

    fn command_complete<'a>(&mut self, whole: &[u8]) -> Event<'a> {
        let append = self.append.take();
        self.finish();
        if let Some(append) = append {
            if whole.iter().all(|byte| *byte == b' ') {
                return Event::AppendEnd(append.tag);
            }
            return Event::Bad {
                tag: Some(append.tag),
                reason: "Unexpected argument",
            };
        }
        let mut cursor = Cursor::new(whole);
        let Some(tag) = parse::tag(&mut cursor) else {
            return Event::Bad {
                tag: None,
                reason: if whole.is_empty() { "Empty line" } else { "Invalid tag" },
            };
        };
        if cursor.space().is_err() {
            return Event::Bad {
                tag: Some(tag),
                reason: "Command expected",
            };
        }
        match parse::command(&mut cursor) {
            Ok(command) => Event::Command(tag, command),
            Err(syntax) => Event::Bad {
                tag: Some(tag),
                reason: syntax.0,
            },
        }
    }

    /// `before` is all of the command up to the announcement.
    fn literal_announced<'a>(&mut self, before: &[u8], announced: Announcement) -> LineEnd<'a> {
        match self.append_announced(before, announced) {
            Ok(Some(event)) => return LineEnd::Event(event),
            Ok(None) => {}
            Err((tag, reason)) => return LineEnd::Event(self.refuse_announced(tag, reason, announced)),
        }
        let tag = parse::tag(&mut Cursor::new(before));
        let literals_bytes = self.literals_bytes.saturating_add(announced.size);
        let reason = if tag.is_none() {
            "Invalid tag"
        } else if announced.size > self.limits.literal_bytes_max
            || literals_bytes > self.limits.literals_bytes_max
            || self.is_too_large_without_waiting(announced)
        {
            "Literal too large"
        } else if self.literals >= self.limits.literals_max {
            "Too many literals"
        } else {
            self.literals += 1;
            self.literals_bytes = literals_bytes;
            self.state = State::Literal {
                remaining: announced.size,
            };
            return LineEnd::Collect {
                synchronising: announced.synchronising,
            };
        };
        LineEnd::Event(self.refuse_announced(tag, reason, announced))
    }

    fn is_too_large_without_waiting(&self, announced: Announcement) -> bool {
        !announced.synchronising && announced.size > self.limits.non_synchronising_bytes_max
    }

    /// BAD instead of going on with the announced literal.
    fn refuse_announced<'a>(&mut self, tag: Option<Tag>, reason: &'static str, announced: Announcement) -> Event<'a> {
        if announced.synchronising {
            self.finish();
        } else {
            self.skip_literal(announced.size);
        }
        Event::Bad { tag, reason }
    }

    fn skip_literal(&mut self, size: u64) {
        let drained = self.drained.saturating_add(size);
        self.finish();
        self.drained = drained;
        self.state = State::SkipLiteral { remaining: size };
        if drained > self.limits.drain_bytes_max {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.finish();
        self.state = State::GivingUp;
    }

    /// To the start of the next command.
    fn finish(&mut self) {
        *self = Self::new(self.limits).with_long_lines(self.long_line_bytes_max);
    }
}

#[cfg(test)]
mod tests;
