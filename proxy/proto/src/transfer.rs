//! Moving an account from one node to another: what the two say to each other, once the node that takes has logged in at the
//! backend of the one that gives (a redirect of IMAP whose forwarded data say [`PURPOSE`]), as values.
//!
//! The taker asks, the giver answers, in order. Frames of a kind (`u8`), a length (`u32`, little-endian) and so many bytes, at
//! most [`FRAME_BYTES_MAX`]; numbers within are little-endian too. What is large comes in pieces, so that neither end holds
//! more than one. No connection, no clock, no state: those are the drivers'. What an image is, the store says.

/// The forwarded name that makes a login one for a move; its value is this protocol's version.
pub const PURPOSE: &str = "move";
/// See [`PURPOSE`].
pub const VERSION: &str = "1";
/// Most bytes of a frame's payload. A guess: a piece is what one read gives, and several are under way.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a piece of a body or an image.
pub const PIECE_BYTES_MAX: usize = FRAME_BYTES_MAX;

const HEAD_BYTES: usize = 5;
const TEXT_BYTES_MAX: usize = 1000;

/// A message of the account: mailbox and UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// The mailbox's number in the image.
    pub mailbox: u32,
    /// The message's UID there.
    pub uid: u32,
}

/// How an account stands at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing of it was ever there.
    Unused,
    /// It is there.
    Here,
    /// It is there, by the move that is named.
    Arrived,
    /// It is being fetched by the one that is named.
    Incoming,
    /// It is being handed over to the one that is named.
    HandingOver,
    /// It was handed over to the one that is named, and that one has it.
    Moved,
    /// Nothing of it is there, nor will it come by the move that is named: that one has it, or begins it.
    GivenUp,
    /// Nothing of it was ever there, and it is to be there, as that node knows control data.
    Awaited,
}

impl State {
    const ALL: [State; 8] = [
        State::Unused,
        State::Here,
        State::Arrived,
        State::Incoming,
        State::HandingOver,
        State::Moved,
        State::GivenUp,
        State::Awaited,
    ];
}

/// A frame, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Either: how does the account stand with you, and did it come to you by this move (zero: by none)?
    Ask([u8; 16]),
    /// Taker: send the account's image.
    SendImage,
    /// Taker: send this message's bytes. Several may be asked for before the first answer is read.
    SendBody(Item),
    /// Taker: hand the account over by this move: from here on nothing changes in it.
    HandOver {
        /// The move.
        id: [u8; 16],
        /// To where, as control data names it.
        place: String,
    },
    /// Taker: the account is here, durably, by this move.
    Taken([u8; 16]),
    /// Taker: it does not have the account by this move, and durably never will.
    Declined([u8; 16]),
    /// Whoever hands over, of that move: you will not have the account by it. Done: durably so. Refused: you have it.
    Abandon([u8; 16]),
    /// Taker: you have nothing of the account, as you said; do not begin it. Whoever asks you for it is sent to me. Done: durably so.
    /// Refused: you have it, or something has changed since.
    StandAside {
        /// The move that was named when the taker asked, zero where none was.
        before: [u8; 16],
        /// The move.
        id: [u8; 16],
        /// Where it begins, as control data names it.
        place: String,
    },
    /// The answer to `Ask`.
    Standing {
        /// Which way.
        state: State,
        /// Whether it came by the move that was asked about, wherever it is now; `None`: that is not known any more.
        taken: Option<bool>,
        /// Whether control data, as it is known there, wants the account at the node that asks.
        agrees: bool,
        /// The move, zero without.
        id: [u8; 16],
        /// The other end of it, empty without.
        place: String,
    },
    /// Giver: the image's next bytes.
    Image(Vec<u8>),
    /// Giver: the image is over.
    ImageEnd,
    /// Giver: a message of so many bytes follows, in pieces.
    Body(Item, u64),
    /// Giver: the message's next bytes.
    Piece(Vec<u8>),
    /// Giver: there is no such message (any more).
    Gone(Item),
    /// Giver: done, durably.
    Done,
    /// Giver: not now, or not at all; the text is for the log.
    Refused(String),
}

/// What is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a malformed frame of a move: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Frame::Ask(_) => 1,
            Frame::SendImage => 2,
            Frame::SendBody(_) => 3,
            Frame::HandOver { .. } => 4,
            Frame::Taken(_) => 5,
            Frame::Declined(_) => 6,
            Frame::Abandon(_) => 7,
            Frame::StandAside { .. } => 8,
            Frame::Standing { .. } => 16,
            Frame::Image(_) => 17,
            Frame::ImageEnd => 18,
            Frame::Body(..) => 19,
            Frame::Piece(_) => 20,
            Frame::Gone(_) => 21,
            Frame::Done => 22,
            Frame::Refused(_) => 23,
        }
    }

    /// Writes it. Texts beyond their bound are cut, pieces beyond theirs are a mistake of the caller's.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        match self {
            Frame::SendImage | Frame::ImageEnd | Frame::Done => {}
            Frame::SendBody(item) | Frame::Gone(item) => put_item(*item, out),
            Frame::HandOver { id, place } => {
                out.extend_from_slice(id);
                out.extend_from_slice(bounded(place).as_bytes());
            }
            Frame::StandAside { before, id, place } => {
                out.extend_from_slice(before);
                out.extend_from_slice(id);
                out.extend_from_slice(bounded(place).as_bytes());
            }
            Frame::Ask(id) | Frame::Taken(id) | Frame::Declined(id) | Frame::Abandon(id) => out.extend_from_slice(id),
            Frame::Standing {
                state,
                taken,
                agrees,
                id,
                place,
            } => {
                let number = State::ALL.iter().position(|known| known == state);
                out.push(number.and_then(|number| u8::try_from(number).ok()).expect("one of all"));
                out.push(match taken {
                    Some(false) => 0,
                    Some(true) => 1,
                    None => 2,
                });
                out.push(u8::from(*agrees));
                out.extend_from_slice(id);
                out.extend_from_slice(bounded(place).as_bytes());
            }
            Frame::Image(bytes) | Frame::Piece(bytes) => out.extend_from_slice(bytes),
            Frame::Body(item, size) => {
                put_item(*item, out);
                out.extend_from_slice(&size.to_le_bytes());
            }
            Frame::Refused(why) => out.extend_from_slice(bounded(why).as_bytes()),
        }
        let length = out.len() - start - HEAD_BYTES;
        assert!(length <= FRAME_BYTES_MAX, "pieces are bounded");
        let length = u32::try_from(length).expect("bounded above");
        out[start + 1..start + HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Frame, Malformed> {
        let mut fields = Fields(payload);
        let frame = match kind {
            1 => Frame::Ask(fields.array()?),
            2 => Frame::SendImage,
            3 => Frame::SendBody(fields.item()?),
            4 => Frame::HandOver {
                id: fields.array()?,
                place: fields.text()?,
            },
            5 => Frame::Taken(fields.array()?),
            6 => Frame::Declined(fields.array()?),
            7 => Frame::Abandon(fields.array()?),
            8 => Frame::StandAside {
                before: fields.array()?,
                id: fields.array()?,
                place: fields.text()?,
            },
            16 => {
                let [number, taken, agrees] = fields.array()?;
                let state = State::ALL.get(usize::from(number)).ok_or(Malformed("state"))?;
                Frame::Standing {
                    state: *state,
                    taken: match taken {
                        0 => Some(false),
                        1 => Some(true),
                        2 => None,
                        _ => return Err(Malformed("state")),
                    },
                    agrees: match agrees {
                        0 => false,
                        1 => true,
                        _ => return Err(Malformed("state")),
                    },
                    id: fields.array()?,
                    place: fields.text()?,
                }
            }
            17 => Frame::Image(fields.rest()),
            18 => Frame::ImageEnd,
            19 => Frame::Body(fields.item()?, u64::from_le_bytes(fields.array()?)),
            20 => Frame::Piece(fields.rest()),
            21 => Frame::Gone(fields.item()?),
            22 => Frame::Done,
            23 => Frame::Refused(fields.text()?),
            _ => return Err(Malformed("kind")),
        };
        match fields.0 {
            [] => Ok(frame),
            _ => Err(Malformed("length")),
        }
    }
}

fn put_item(item: Item, out: &mut Vec<u8>) {
    out.extend_from_slice(&item.mailbox.to_le_bytes());
    out.extend_from_slice(&item.uid.to_le_bytes());
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed("length"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn item(&mut self) -> Result<Item, Malformed> {
        Ok(Item {
            mailbox: u32::from_le_bytes(self.array()?),
            uid: u32::from_le_bytes(self.array()?),
        })
    }

    /// All that is left; it is written to logs.
    fn text(&mut self) -> Result<String, Malformed> {
        let text = String::from_utf8(self.rest()).map_err(|_| Malformed("text"))?;
        match text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control) {
            true => Ok(text),
            false => Err(Malformed("text")),
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}

/// Takes frames from what is received, however it is cut. After an error the connection is of no use.
#[derive(Debug, Default)]
pub struct FrameReader {
    held: Vec<u8>,
}

impl FrameReader {
    /// With nothing received.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// Takes bytes off the front of `input`, up to the end of the next frame; `None` when it is used up. Holds less than one
    /// frame.
    pub fn take(&mut self, input: &mut &[u8]) -> Option<Result<Frame, Malformed>> {
        self.fill(HEAD_BYTES, input)?;
        let length = u32::from_le_bytes([self.held[1], self.held[2], self.held[3], self.held[4]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Some(Err(Malformed("length")));
        }
        self.fill(HEAD_BYTES + length, input)?;
        let frame = Frame::decode(self.held[0], &self.held[HEAD_BYTES..]);
        self.held.clear();
        Some(frame)
    }

    /// Whether a frame has begun and is not over.
    pub fn is_within(&self) -> bool {
        !self.held.is_empty()
    }

    fn fill(&mut self, length: usize, input: &mut &[u8]) -> Option<()> {
        let wanted = length.saturating_sub(self.held.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.held.extend_from_slice(taken);
        *input = rest;
        (self.held.len() >= length).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let item = Item { mailbox: 3, uid: 7 };
        vec![
            Frame::Ask([1; 16]),
            Frame::SendImage,
            Frame::SendBody(item),
            Frame::HandOver {
                id: [4; 16],
                place: "n2/v1".to_owned(),
            },
            Frame::Taken([5; 16]),
            Frame::Declined([8; 16]),
            Frame::Abandon([9; 16]),
            Frame::StandAside {
                before: [0; 16],
                id: [7; 16],
                place: "n2/v1".to_owned(),
            },
            Frame::Standing {
                state: State::GivenUp,
                taken: None,
                agrees: true,
                id: [6; 16],
                place: "n3".to_owned(),
            },
            Frame::Image(vec![0; 300]),
            Frame::ImageEnd,
            Frame::Body(item, 5_000_000_000),
            Frame::Piece(b"Subject: x\r\n\r\n".to_vec()),
            Frame::Piece(Vec::new()),
            Frame::Gone(item),
            Frame::Done,
            Frame::Refused("not now".to_owned()),
        ]
    }

    fn read(mut input: &[u8], step: usize) -> (Vec<Result<Frame, Malformed>>, bool) {
        let (mut reader, mut all) = (FrameReader::new(), Vec::new());
        while !input.is_empty() {
            let (mut piece, rest) = input.split_at(step.min(input.len()));
            input = rest;
            while let Some(frame) = reader.take(&mut piece) {
                let failed = frame.is_err();
                all.push(frame);
                if failed {
                    return (all, reader.is_within());
                }
            }
        }
        (all, reader.is_within())
    }

    #[test]
    fn frames_go_there_and_back_however_they_are_cut() {
        let mut bytes = Vec::new();
        frames().iter().for_each(|frame| frame.encode(&mut bytes));
        let expected: Vec<_> = frames().into_iter().map(Ok).collect();
        for step in [1, 2, 3, 5, 7, 64, bytes.len()] {
            assert_eq!(read(&bytes, step), (expected.clone(), false), "pieces of {step}");
        }
    }

    #[test]
    fn what_is_cut_off_is_no_frame() {
        for frame in frames() {
            let bytes = frame.to_bytes();
            for end in 0..bytes.len() {
                assert_eq!(
                    read(&bytes[..end], end.max(1)),
                    (Vec::new(), end > 0),
                    "{frame:?} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_frame_is_refused() {
        let long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
        let cases: [(&[u8], &str); 13] = [
            (&[0, 0, 0, 0, 0], "kind"),
            (&[9, 0, 0, 0, 0], "kind"),
            (&[8, 0, 0, 0, 0], "length"),
            (&[99, 1, 0, 0, 0, 1], "kind"),
            (&[1, 1, 0, 0, 0, 0], "length"),
            (&[2, 1, 0, 0, 0, 0], "length"),
            (&[16, 3, 0, 0, 0, 0, 3, 0], "state"),
            (&[16, 3, 0, 0, 0, 0, 0, 2], "state"),
            (&[3, 1, 0, 0, 0, 0], "length"),
            (&[5, 1, 0, 0, 0, 0], "length"),
            (&[17, long[0], long[1], long[2], long[3]], "length"),
            (&[23, 1, 0, 0, 0, 10], "text"),
            (&[16, 3, 0, 0, 0, 8, 0, 0], "state"),
        ];
        for (bytes, why) in cases {
            assert_eq!(read(bytes, 1).0, [Err(Malformed(why))], "{bytes:?}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let bytes = Frame::Refused("é".repeat(TEXT_BYTES_MAX)).to_bytes();
        assert_eq!(read(&bytes, 64).0, [Ok(Frame::Refused("é".repeat(TEXT_BYTES_MAX / 2)))]);
    }
}
