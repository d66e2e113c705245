//! The records of a snapshot: the account's whole state in one record, or in parts and their end. What the image holds is
//! `image`'s.

use crate::cursor::{Malformed, Put, Reader};
use crate::item::{decode_bytes, encode_bytes};
use crate::{AccountId, Link, LogPosition, SegmentBytes};

/// The last, or only, record of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEnd<'a> {
    /// The last link whose change is in the image.
    pub covers: LogPosition,
    /// No record before this is needed to load the account.
    pub base: LogPosition,
    /// How many parts went before.
    pub parts: u32,
    /// The last of them, `NONE` without.
    pub last_part: LogPosition,
    /// Bytes of the whole image.
    pub image_bytes: u64,
    /// Bytes of links and snapshots that are of no more use; see `dead`.
    dead: EncodedList<'a>,
    /// Bytes of the parts; see `live`.
    live: EncodedList<'a>,
    /// The image's end; all of it without parts.
    pub image: &'a [u8],
}

/// A list of `SegmentBytes` as it stands in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EncodedList<'a>(&'a [u8]);

impl<'a> EncodedList<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let before = reader.rest();
        decode_bytes(reader)?;
        Ok(Self(&before[..before.len() - reader.remaining()]))
    }

    fn decode(self) -> Vec<SegmentBytes> {
        decode_bytes(&mut Reader::new(self.0)).unwrap_or_default()
    }
}

/// Where a snapshot stands: the fields of `SnapshotEnd` without the lists and the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// See `SnapshotEnd`.
    pub covers: LogPosition,
    /// See `SnapshotEnd`.
    pub base: LogPosition,
    /// See `SnapshotEnd`.
    pub parts: u32,
    /// See `SnapshotEnd`.
    pub last_part: LogPosition,
    /// See `SnapshotEnd`.
    pub image_bytes: u64,
}

impl<'a> SnapshotEnd<'a> {
    /// Writes the fields behind the link.
    pub fn encode_fields(
        out: &mut Vec<u8>,
        place: SnapshotPlace,
        dead: &[SegmentBytes],
        live: &[SegmentBytes],
        image: &[u8],
    ) {
        out.put_u64(place.covers.0);
        out.put_u64(place.base.0);
        out.put_u32(place.parts);
        out.put_u32(0);
        out.put_u64(place.last_part.0);
        out.put_u64(place.image_bytes);
        encode_bytes(out, dead);
        encode_bytes(out, live);
        out.put_bytes(image);
    }

    /// Space to be given back.
    pub fn dead(&self) -> Vec<SegmentBytes> {
        self.dead.decode()
    }

    /// Space that the parts take.
    pub fn live(&self) -> Vec<SegmentBytes> {
        self.live.decode()
    }

    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let covers = LogPosition(reader.u64("snapshot covers")?);
        let base = LogPosition(reader.u64("snapshot base")?);
        let parts = reader.u32("snapshot parts")?;
        reader.u32("snapshot reserved")?;
        let last_part = LogPosition(reader.u64("snapshot part")?);
        let image_bytes = reader.u64("snapshot image bytes")?;
        let dead = EncodedList::take(&mut reader)?;
        let live = EncodedList::take(&mut reader)?;
        Ok(Self {
            covers,
            base,
            parts,
            last_part,
            image_bytes,
            dead,
            live,
            image: reader.rest(),
        })
    }
}

/// A part of a big snapshot, as a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPart<'a> {
    /// Whose.
    pub account: AccountId,
    /// The part before, `NONE` for the first.
    pub previous: LogPosition,
    /// From 0.
    pub index: u32,
    /// The image's next bytes.
    pub image: &'a [u8],
}

impl<'a> SnapshotPart<'a> {
    /// Writes a payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Link {
            account: self.account,
            previous: self.previous,
        }
        .encode(out);
        out.put_u32(self.index);
        out.put_u32(0);
        out.put_bytes(self.image);
    }

    /// From a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (link, rest) = Link::decode(payload)?;
        let mut reader = Reader::new(rest);
        let index = reader.u32("part index")?;
        reader.u32("part reserved")?;
        Ok(Self {
            account: link.account,
            previous: link.previous,
            index,
            image: reader.rest(),
        })
    }
}
