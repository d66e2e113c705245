//! The one pass over a message: its end (CRLF.CRLF and nothing else), dots, bare CR and LF, 8-bit bytes.
//!
//! Works on the bytes where they arrived and gives ranges of them: a message without leading dots is one range for each
//! buffer. A block of 256 bytes without anything special is passed by one vectorised comparison of each byte with the one
//! before; only a block with something special is looked at line by line. What is held back at a cut is at most a dot and
//! a CR at the start of a line, and it is a state, not a buffer.

use super::event::Piece;
use super::options::BareLineEnds;
use std::ops::Range;

/// Where the bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// DATA: lines, dots stuffed, ended by CRLF.CRLF.
    Data,
    /// BDAT without BINARYMIME: lines, ended by count.
    Lines,
    /// BDAT with BINARYMIME: anything, ended by count.
    Binary,
}

/// The state between two pieces.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    framing: Framing,
    bare_line_ends: BareLineEnds,
    place: Place,
    eight_bit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind a CRLF, or at the very beginning.
    LineStart,
    /// Behind a dot at the start of a line; it has not been given out.
    Dot,
    /// Behind dot and CR at the start of a line; neither has been given out.
    DotCr,
    /// Inside a line.
    Middle,
    /// Behind a CR that has been given out.
    Cr,
    /// Before a bare LF.
    BareLf,
    /// Behind a bare CR that has been given out.
    BareCr,
}

/// What a call of `Scanner::scan` found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    pub(super) consumed: usize,
    pub(super) found: Found,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing to give out; more input is needed when all of it was consumed.
    Nothing,
    Piece(Piece),
    /// A bare CR or LF, to be refused.
    BareLineEnd,
    /// CRLF.CRLF.
    End,
}

impl Scanner {
    pub(super) fn new(framing: Framing, bare_line_ends: BareLineEnds) -> Scanner {
        Scanner {
            framing,
            bare_line_ends,
            place: Place::LineStart,
            eight_bit: false,
        }
    }

    /// Whether a byte above 127 has been given out.
    pub(super) fn eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// From now on only the end is looked for: nothing more is refused.
    pub(super) fn drain(&mut self) {
        self.bare_line_ends = BareLineEnds::Normalise;
    }

    /// The end by count: what a CR at the very end has become.
    pub(super) fn finish(&mut self) -> Found {
        match std::mem::replace(&mut self.place, Place::LineStart) {
            Place::Cr if self.bare_line_ends == BareLineEnds::Refuse => Found::BareLineEnd,
            Place::Cr | Place::BareCr => Found::Piece(Piece::Fixed(b"\n")),
            _ => Found::Nothing,
        }
    }

    /// Looks at the front of `input`; `input` is not empty. At most one thing is found in a call.
    pub(super) fn scan(&mut self, input: &[u8]) -> Scanned {
        if self.framing == Framing::Binary {
            return self.piece(input, 0..input.len(), input.len());
        }
        let first = input[0];
        match (self.place, first) {
            (Place::LineStart, b'.') if self.framing == Framing::Data => self.held(Place::Dot),
            (Place::Dot, b'\r') => self.held(Place::DotCr),
            (Place::DotCr, b'\n') => {
                self.place = Place::LineStart;
                Scanned {
                    consumed: 1,
                    found: Found::End,
                }
            }
            (Place::DotCr, _) => self.bare(0, b"\r\n"),
            (Place::BareCr, _) => self.bare(0, b"\n"),
            (Place::BareLf, _) => self.bare(1, b"\r\n"),
            (Place::Cr, byte) if byte != b'\n' => self.bare(0, b"\n"),
            (Place::Cr, _) => self.lines(input, 1),
            (Place::LineStart | Place::Dot | Place::Middle, _) => self.lines(input, 0),
        }
    }

    fn held(&mut self, place: Place) -> Scanned {
        self.place = place;
        Scanned {
            consumed: 1,
            found: Found::Nothing,
        }
    }

    /// A bare CR or LF of which `consumed` bytes are at hand; `replacement` is what has not been given out of a CRLF.
    fn bare(&mut self, consumed: usize, replacement: &'static [u8]) -> Scanned {
        self.place = Place::Middle;
        let found = match self.bare_line_ends {
            BareLineEnds::Refuse => Found::BareLineEnd,
            BareLineEnds::Normalise => Found::Piece(Piece::Fixed(replacement)),
        };
        Scanned { consumed, found }
    }

    fn piece(&mut self, input: &[u8], range: Range<usize>, consumed: usize) -> Scanned {
        self.eight_bit = self.eight_bit || !input[range.clone()].is_ascii();
        let found = if range.is_empty() {
            Found::Nothing
        } else {
            Found::Piece(Piece::Input(range))
        };
        Scanned { consumed, found }
    }

    /// The longest range from the front of `input` that can be given out as it is. The first `at` bytes have been looked
    /// at: they end a line (`at` is 1, the LF of a CRLF) or there are none.
    fn lines(&mut self, input: &[u8], at: usize) -> Scanned {
        let mut at = at;
        let mut line_start = at > 0;
        loop {
            if line_start {
                match input.get(at) {
                    None => {
                        self.place = Place::LineStart;
                        return self.piece(input, 0..at, at);
                    }
                    Some(b'.') if self.framing == Framing::Data => {
                        self.place = Place::Dot;
                        return self.piece(input, 0..at, at + 1);
                    }
                    Some(_) => {}
                }
            }
            // What the blocks pass ends inside or at the end of a line; the line-by-line search goes on from there.
            let passed = self.pass_blocks(input, at);
            if passed > at {
                at = passed;
                line_start = input[at - 1] == b'\n';
                if line_start {
                    continue;
                }
            }
            let Some(found) = memchr::memchr2(b'\r', b'\n', &input[at..]) else {
                self.place = Place::Middle;
                return self.piece(input, 0..input.len(), input.len());
            };
            at += found;
            match (input[at], input.get(at + 1)) {
                (b'\r', Some(b'\n')) => {
                    at += 2;
                    line_start = true;
                }
                (b'\r', None) => {
                    self.place = Place::Cr;
                    return self.piece(input, 0..input.len(), input.len());
                }
                // What comes before is given out first, so that it counts before what is wrong behind it does.
                (b'\r', Some(_)) => {
                    self.place = Place::BareCr;
                    return self.piece(input, 0..at + 1, at + 1);
                }
                _ => {
                    self.place = Place::BareLf;
                    return if at == 0 {
                        self.scan(input)
                    } else {
                        self.piece(input, 0..at, at)
                    };
                }
            }
        }
    }

    /// Passes whole blocks from `at` on in which every CR and LF is part of a CRLF and no line begins with a dot. Gives
    /// where the passed blocks end: never between CR and LF.
    fn pass_blocks(&self, input: &[u8], at: usize) -> usize {
        let mut end = at;
        // The comparison needs the byte before; at the front of the input the line-by-line search provides it.
        if end == 0 {
            return 0;
        }
        while let Some(block) = input.get(end - 1..end + BLOCK_BYTES) {
            if is_special(block, self.framing == Framing::Data) || block[BLOCK_BYTES] == b'\r' {
                break;
            }
            end += BLOCK_BYTES;
        }
        end
    }
}

const BLOCK_BYTES: usize = 256;

/// Whether in `block` (behind its first byte) an LF follows no CR, a CR is followed by no LF, or a dot follows an LF.
/// Written without branches, so that it is compiled to vector instructions.
fn is_special(block: &[u8], dots: bool) -> bool {
    let dot = if dots { b'.' } else { b'\n' };
    let mut special = false;
    for (before, byte) in block.iter().zip(&block[1..]) {
        special |= ((*before == b'\r') ^ (*byte == b'\n')) | ((*before == b'\n') & (*byte == dot));
    }
    special
}
