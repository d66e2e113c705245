//! Whose an account is, as far as the volume knows: what a move between volumes and nodes makes durable at each end.
//!
//! A move has a number, so that what one side says of an older one is known as such. The places are words of the owner of
//! the volume; the store only keeps them.

use crate::cursor::{Malformed, Put, Reader};

/// Longest name of a place, in bytes.
pub const PLACE_BYTES_MAX: usize = 500;

/// Names one hand-over: random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MoveId(pub [u8; 16]);

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
    /// It is there, and nothing of it is here.
    Moved(Counterpart),
}

impl Standing {
    /// Whether the account is here, to be read and changed.
    pub fn is_here(&self) -> bool {
        matches!(self, Standing::Here | Standing::Arrived(_))
    }

    /// The other end, of all but the first.
    pub fn counterpart(&self) -> Option<&Counterpart> {
        match self {
            Standing::Here => None,
            Standing::Arrived(other)
            | Standing::Incoming(other)
            | Standing::HandingOver(other)
            | Standing::Moved(other) => Some(other),
        }
    }

    fn number(&self) -> u8 {
        match self {
            Standing::Here => 0,
            Standing::Arrived(_) => 1,
            Standing::Incoming(_) => 2,
            Standing::HandingOver(_) => 3,
            Standing::Moved(_) => 4,
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
            _ => return Err(Malformed("standing")),
        })
    }
}
