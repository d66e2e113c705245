//! Whose an account is, as far as the volume knows: what a move between volumes and nodes makes durable at each end.
//!
//! A move has a number, so that what one side says of an older one is known as such. The places are words of the owner of
//! the volume; the store only keeps them.

use crate::cursor::{Malformed, Put, Reader};

/// Numbers of moves by which the account came that are kept.
pub const TAKEN_MAX: usize = 16;
/// Longest name of a place, in bytes.
pub const PLACE_BYTES_MAX: usize = 500;

/// Names one hand-over: random. A number is used for one attempt alone, so that whatever is said late of an older one is known
/// as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MoveId(pub [u8; 16]);

impl MoveId {
    /// The number of an attempt by which an account is to begin of which nothing was found anywhere: a UUID of version 8 (RFC 9562),
    /// where that of a fetch is of version 4.
    pub fn of_beginning(random: [u8; 16]) -> MoveId {
        let mut bytes = random;
        bytes[6] = bytes[6] & 0x0f | 0x80;
        MoveId(bytes)
    }

    /// Whether it is of a fetch: then the account was found at the other end.
    pub fn is_of_fetch(self) -> bool {
        self != MoveId::default() && self.0[6] >> 4 != 8
    }
}

/// The other end of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counterpart {
    /// Which move.
    pub id: MoveId,
    /// Where it is, as control data names it; at most [`PLACE_BYTES_MAX`].
    pub place: String,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The account is here. So it is from the start.
    #[default]
    Here,
    /// It is here; the place that it came from may not know that yet.
    Arrived(Counterpart),
    /// It is being fetched from there: what is here so far is not the account.
    Incoming(Counterpart),
    /// It may be there already: nothing changes here any more.
    HandingOver(Counterpart),
    /// It was handed over and is there, and nothing of it is here.
    Moved(Counterpart),
    /// It was being fetched from there, and that was given up, or nothing of it was ever here, and it stands aside for that place, where
    /// it begins: nothing of it is here, nor will it ever be by this move.
    GivenUp(Counterpart),
}

impl Standing {
    /// Whether the account is here, to be read and changed.
    pub fn is_here(&self) -> bool {
        matches!(self, Standing::Here | Standing::Arrived(_))
    }

    /// Whether nothing of it is here.
    pub fn is_gone(&self) -> bool {
        matches!(self, Standing::Moved(_) | Standing::GivenUp(_))
    }

    /// The other end, of all but the first.
    pub fn counterpart(&self) -> Option<&Counterpart> {
        match self {
            Standing::Here => None,
            Standing::Arrived(other)
            | Standing::Incoming(other)
            | Standing::HandingOver(other)
            | Standing::Moved(other)
            | Standing::GivenUp(other) => Some(other),
        }
    }

    fn number(&self) -> u8 {
        match self {
            Standing::Here => 0,
            Standing::Arrived(_) => 1,
            Standing::Incoming(_) => 2,
            Standing::HandingOver(_) => 3,
            Standing::Moved(_) => 4,
            Standing::GivenUp(_) => 5,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.number());
        if let Some(other) = self.counterpart() {
            out.put_bytes(&other.id.0);
            out.put_text(&other.place);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = reader.u8("standing")?;
        if number == 0 {
            return Ok(Standing::Here);
        }
        let other = Counterpart {
            id: MoveId(reader.array("standing move")?),
            place: reader.text("standing place")?.to_owned(),
        };
        Ok(match number {
            1 => Standing::Arrived(other),
            2 => Standing::Incoming(other),
            3 => Standing::HandingOver(other),
            4 => Standing::Moved(other),
            5 => Standing::GivenUp(other),
            _ => return Err(Malformed("standing")),
        })
    }
}

/// Writes the moves by which an account came, oldest first, at most [`TAKEN_MAX`].
pub(crate) fn encode_taken(out: &mut Vec<u8>, taken: &[MoveId]) {
    assert!(taken.len() <= TAKEN_MAX, "the oldest go");
    out.put_count(taken.len());
    taken.iter().for_each(|id| out.put_bytes(&id.0));
}

/// Reads them.
pub(crate) fn decode_taken(reader: &mut Reader<'_>) -> Result<Vec<MoveId>, Malformed> {
    let count = reader.u32("taken moves")? as usize;
    if count > TAKEN_MAX {
        return Err(Malformed("taken moves"));
    }
    (0..count).map(|_| Ok(MoveId(reader.array("taken move")?))).collect()
}
