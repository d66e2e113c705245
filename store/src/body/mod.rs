//! Bodies on their way in and out, and what is kept of them in memory.

pub(crate) mod ahead;
pub(crate) mod cache;
pub(crate) mod open;
mod place;
mod reader;
mod scan;
mod writer;

use pigeon_store_format::BodyTraits;

pub use self::ahead::ReadAhead;
pub(crate) use self::place::PlacedBody;
pub use self::reader::BodyReader;
pub(crate) use self::reader::OpenedBody;
pub use self::writer::{BodyWriter, FinishedBody};

/// What is known of a message's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyInfo {
    /// Bytes, with what is put in front for the recipient.
    pub size: u64,
    /// Bytes up to and with the empty line that ends the header (the recipient's part included); all of `size` when there is no empty
    /// line.
    pub header_bytes: u64,
    /// Of all bytes.
    pub traits: BodyTraits,
}
