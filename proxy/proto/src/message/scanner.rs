//! Finds the parts of a message while its bytes pass by, in chunks of any cut, once, without holding them.
//!
//! Held at any time: the fields of the header it is in (256 KiB at most), the boundaries of the multiparts it is in, and the
//! start of a line that may be a boundary. Odd messages are read as Dovecot reads them:
//! - a line that starts with `--` and a boundary is that boundary, whatever follows; of several that fit, the longest, or
//!   the exact one. Two more dashes end the multipart;
//! - a boundary of an outer multipart ends the inner ones; the end of the message ends all;
//! - a boundary inside of a header ends header and part; a header without a blank line has an empty body;
//! - a multipart without a boundary parameter has no parts; MIME-Version is not asked for;
//! - message/rfc822 is looked into whatever its transfer encoding claims (RFC 2046 5.2.1 allows none).

use memchr::{memchr, memchr_iter};

use super::content::Content;
use super::field_collector::{FieldCollector, Wanted};
use super::structure::{KEPT_BYTES_MAX, NESTING_MAX, PARTS_MAX, Part, PartKind, Structure};

/// Longest boundary that is compared in full, in bytes. RFC 2046 5.1.1 allows 70; longer ones are cut off here.
const BOUNDARY_BYTES_MAX: usize = 512;
/// Longest start of a line that is held: two dashes, the boundary, two dashes, CRLF.
const LINE_START_BYTES_MAX: usize = BOUNDARY_BYTES_MAX + 6;

/// A part that has not ended.
struct Open {
    part: usize,
    /// Of a multipart whose end was not seen.
    boundary: Option<Box<[u8]>>,
    /// Line ends before its body.
    newlines_before: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At a line's start; what is held of it may become a boundary or a blank line.
    Start,
    /// In a line that is neither.
    Rest,
    /// Behind a boundary, up to the line end; then a part starts, or the epilogue of a multipart.
    Boundary { starts_part: bool },
}

/// What the start of a line is.
enum Verdict {
    More,
    Ordinary,
    Blank,
    Boundary { open: usize, is_end: bool },
}

/// See the module's text.
pub struct StructureScanner {
    parts: Vec<Part>,
    open: Vec<Open>,
    /// Of the innermost open part, while in it.
    header: Option<FieldCollector>,
    kept_bytes: usize,
    position: u64,
    newlines: u64,
    line: Line,
    line_start: u64,
    /// Line ends before `line_start`.
    line_start_newlines: u64,
    /// Bytes of the line end before `line_start`: 0, 1 or 2.
    line_end_bytes: u64,
    last_byte: u8,
    held: Vec<u8>,
}

impl Default for StructureScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl StructureScanner {
    /// At the first byte of a message.
    pub fn new() -> Self {
        let mut scanner = Self {
            parts: Vec::new(),
            open: Vec::new(),
            header: None,
            kept_bytes: 0,
            position: 0,
            newlines: 0,
            line: Line::Start,
            line_start: 0,
            line_start_newlines: 0,
            line_end_bytes: 0,
            last_byte: 0,
            held: Vec::new(),
        };
        scanner.start_part(Wanted::All, false, 0, 0);
        scanner
    }

    /// Takes the next bytes of the message.
    pub fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match self.line {
                _ if self.is_flat() => self.count_all(rest),
                Line::Start => self.line_start(rest),
                Line::Rest | Line::Boundary { .. } => self.line_rest(rest),
            };
        }
    }

    /// About how many bytes of memory this holds now; bounded whatever was pushed.
    pub fn held_bytes(&self) -> usize {
        let boundaries: usize = self
            .open
            .iter()
            .filter_map(|open| open.boundary.as_ref())
            .map(|boundary| boundary.len())
            .sum();
        size_of::<Self>()
            + self.held.capacity()
            + self.header.as_ref().map_or(0, FieldCollector::held_bytes)
            + self.parts.capacity() * size_of::<Part>()
            + self.parts.iter().map(Part::text_bytes).sum::<usize>()
            + boundaries
            + self.open.capacity() * size_of::<Open>()
    }

    /// The structure of what was read.
    pub fn finish(mut self) -> Structure {
        if self.line == Line::Start && !self.held.is_empty() {
            match self.verdict(true) {
                Verdict::Boundary { open, is_end } => self.at_boundary(open, is_end),
                _ => self.ordinary(),
            }
        }
        while self.header.is_some() {
            self.end_header(self.position, self.newlines);
        }
        self.close(0, self.position, self.newlines);
        Structure {
            parts: self.parts,
            size: self.position,
        }
    }

    /// In a body, with no boundary to look for: only line ends count any more.
    fn is_flat(&self) -> bool {
        self.header.is_none()
            && self.held.is_empty()
            && self.open.iter().all(|open| open.boundary.is_none())
            && !matches!(self.line, Line::Boundary { starts_part: true })
    }

    fn count_all<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        self.newlines += memchr_iter(b'\n', rest).count() as u64;
        self.position += rest.len() as u64;
        &rest[rest.len()..]
    }

    /// Takes the start of a line, as much as is needed to see what it is.
    fn line_start<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        if self.held.is_empty() {
            let may_matter = rest[0] == b'-' || (self.header.is_some() && matches!(rest[0], b'\r' | b'\n'));
            if !may_matter {
                self.line = Line::Rest;
                return self.take_line(rest, true);
            }
        }
        // One byte decides about most lines; behind two dashes the rest of the line is needed.
        let wanted = if self.held.len() < 2 {
            1
        } else {
            LINE_START_BYTES_MAX - self.held.len()
        };
        let available = &rest[..wanted.min(rest.len())];
        let taken = memchr(b'\n', available).map_or(available.len(), |end| end + 1);
        self.held.extend_from_slice(&rest[..taken]);
        self.position += taken as u64;
        match self.verdict(false) {
            Verdict::More => {}
            Verdict::Ordinary => self.ordinary(),
            Verdict::Blank => {
                let line_end_bytes = self.held.len() as u64;
                self.held.clear();
                self.newlines += 1;
                self.end_line(line_end_bytes);
                self.end_header(self.position, self.newlines);
            }
            Verdict::Boundary { open, is_end } => self.at_boundary(open, is_end),
        }
        &rest[taken..]
    }

    /// What the held bytes are. `is_all`: no more bytes come.
    fn verdict(&self, is_all: bool) -> Verdict {
        match self.held.as_slice() {
            [b'\n'] | [b'\r', b'\n'] if self.header.is_some() => Verdict::Blank,
            [b'\r'] if self.header.is_some() && !is_all => Verdict::More,
            [b'-'] if !is_all => Verdict::More,
            [b'-', b'-', line @ ..] => {
                if !line.ends_with(b"\n") && self.held.len() < LINE_START_BYTES_MAX && !is_all {
                    return Verdict::More;
                }
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                match self.find_boundary(line) {
                    Some((open, is_end)) => Verdict::Boundary { open, is_end },
                    None => Verdict::Ordinary,
                }
            }
            _ => Verdict::Ordinary,
        }
    }

    /// The open multipart whose boundary begins this line (behind the dashes), and whether it ends there.
    fn find_boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let mut best: Option<(usize, usize)> = None;
        for (index, open) in self.open.iter().enumerate().rev() {
            let Some(boundary) = &open.boundary else { continue };
            if !line.starts_with(boundary) || best.is_some_and(|(_, length)| length >= boundary.len()) {
                continue;
            }
            best = Some((index, boundary.len()));
            if matches!(&line[boundary.len()..], b"" | b"--") {
                break;
            }
        }
        best.map(|(index, length)| (index, line[length..].starts_with(b"--")))
    }

    /// The held bytes begin a line that means nothing here.
    fn ordinary(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.line = Line::Rest;
        // They were counted when they were taken.
        self.position -= held.len() as u64;
        self.take_line(&held, true);
        self.held = held;
        self.held.clear();
    }

    fn line_rest<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        self.take_line(rest, false)
    }

    /// Takes bytes of a line up to its end, and gives what follows.
    fn take_line<'a>(&mut self, rest: &'a [u8], starts_line: bool) -> &'a [u8] {
        let (length, is_ended) = memchr(b'\n', rest).map_or((rest.len(), false), |end| (end + 1, true));
        let (piece, after) = rest.split_at(length);
        if self.line == Line::Rest
            && let Some(header) = &mut self.header
        {
            header.push(piece, starts_line);
        }
        self.position += length as u64;
        let before_last = if length >= 2 { piece[length - 2] } else { self.last_byte };
        self.last_byte = piece[length - 1];
        if is_ended {
            self.newlines += 1;
            let line = self.line;
            self.end_line(if before_last == b'\r' { 2 } else { 1 });
            if line == (Line::Boundary { starts_part: true }) {
                self.start_part_in_multipart();
            }
        }
        after
    }

    fn end_line(&mut self, line_end_bytes: u64) {
        self.line = Line::Start;
        self.line_start = self.position;
        self.line_start_newlines = self.newlines;
        self.line_end_bytes = line_end_bytes;
        self.last_byte = 0;
    }

    /// A boundary of the multipart at this place of the stack: ends the parts in it.
    fn at_boundary(&mut self, open: usize, is_end: bool) {
        // The line end before the boundary belongs to it, even when it is the blank line of a header. It cannot reach
        // back before the part that ends here.
        let floor = self
            .open
            .get(open + 1)
            .map_or(0, |outermost| self.parts[outermost.part].header_start);
        let (end, newlines) = match self.line_start - self.line_end_bytes.min(self.line_start) {
            end if end >= floor => (end, self.line_start_newlines - u64::from(self.line_end_bytes > 0)),
            _ => (self.line_start, self.line_start_newlines),
        };
        // More than once when a message/rfc822 without a body opens the header of the empty message in it.
        while self.header.is_some() {
            self.end_header(end, newlines);
        }
        self.close(open + 1, end, newlines);
        let starts_part = !is_end && self.parts.len() < PARTS_MAX;
        if is_end {
            self.open[open].boundary = None;
        } else if !starts_part {
            self.open.iter_mut().for_each(|open| open.boundary = None);
        }
        let held = std::mem::take(&mut self.held);
        self.line = Line::Boundary { starts_part };
        self.position -= held.len() as u64;
        self.take_line(&held, true);
    }

    fn start_part_in_multipart(&mut self) {
        let in_digest = self.open.last().is_some_and(|open| {
            self.parts[open.part]
                .content_type()
                .is_some_and(|content_type| content_type.is("multipart", "digest"))
        });
        self.start_part(Wanted::Content, in_digest, self.position, self.newlines);
    }

    fn start_part(&mut self, wanted: Wanted, in_digest: bool, at: u64, newlines: u64) {
        let part = Part {
            kind: PartKind::Leaf,
            parent: self.open.last().map(|open| open.part as u32),
            subtree_end: 0,
            header_start: at,
            body_start: at,
            body_end: at,
            lines: 0,
            in_digest,
            content: None,
            envelope: None,
        };
        self.open.push(Open {
            part: self.parts.len(),
            boundary: None,
            newlines_before: newlines,
        });
        self.parts.push(part);
        self.header = Some(FieldCollector::new(wanted));
    }

    /// The header of the innermost part ends here, and its body starts.
    fn end_header(&mut self, at: u64, newlines: u64) {
        let depth = self.open.len();
        let (Some(header), Some(open)) = (self.header.take(), self.open.last_mut()) else {
            return;
        };
        open.newlines_before = newlines;
        let part = &mut self.parts[open.part];
        part.body_start = at;
        let is_message = part.parent.is_none_or(|_| header.is_of_message());
        let mut content = header.content();
        let boundary = content
            .content_type
            .as_ref()
            .and_then(|content_type| content_type.parameter("boundary"));
        let boundary = boundary.map(|boundary| Box::from(&boundary[..boundary.len().min(BOUNDARY_BYTES_MAX)]));
        let is_multipart = content
            .content_type
            .as_ref()
            .is_some_and(|content_type| content_type.is_kind("multipart"));
        let holds_message = match &content.content_type {
            Some(content_type) => content_type.is("message", "rfc822"),
            None => part.in_digest,
        };
        if depth < NESTING_MAX {
            if is_multipart {
                part.kind = PartKind::Multipart;
                open.boundary = boundary;
            } else if holds_message && self.parts.len() < PARTS_MAX {
                self.parts[open.part].kind = PartKind::Message;
            }
        }
        let index = open.part;
        self.reduce(&mut content);
        if content != Content::default() {
            self.parts[index].content = Some(Box::new(content));
        }
        if is_message {
            let mut envelope = header.envelope();
            let bytes = envelope.text_bytes();
            if self.kept_bytes + bytes > KEPT_BYTES_MAX {
                envelope = Default::default();
            } else {
                self.kept_bytes += bytes;
            }
            self.parts[index].envelope = Some(Box::new(envelope));
        }
        if self.parts[index].kind == PartKind::Message {
            self.start_part(Wanted::All, false, at, newlines);
        }
    }

    /// Leaves out what would make the structure larger than its bound: type and encoding stay, cut off.
    fn reduce(&mut self, content: &mut Content) {
        const NAME_BYTES_MAX: usize = 64;
        let bytes = content.text_bytes();
        if self.kept_bytes + bytes <= KEPT_BYTES_MAX {
            self.kept_bytes += bytes;
            return;
        }
        let mut reduced = Content {
            encoding: content.encoding.take(),
            ..Content::default()
        };
        reduced.encoding = reduced.encoding.filter(|encoding| encoding.len() <= NAME_BYTES_MAX);
        reduced.content_type = content.content_type.take().filter(|content_type| {
            content_type.kind.len() <= NAME_BYTES_MAX && content_type.subtype.len() <= NAME_BYTES_MAX
        });
        if let Some(content_type) = &mut reduced.content_type {
            content_type.parameters = Vec::new();
        }
        *content = reduced;
    }

    /// Ends the open parts from this place of the stack on.
    fn close(&mut self, from: usize, end: u64, newlines: u64) {
        let subtree_end = self.parts.len() as u32;
        for open in self.open.drain(from.min(self.open.len())..) {
            let part = &mut self.parts[open.part];
            part.subtree_end = subtree_end;
            part.header_start = part.header_start.min(end);
            part.body_start = part.body_start.min(end);
            part.body_end = end;
            part.lines = newlines.saturating_sub(open.newlines_before);
        }
    }
}
