//! The marker: the small file that says "here is a volume, this one", without which none opens.

use crate::cursor::{Malformed, Put, Reader};
use crate::{VolumeId, VolumeTag, checksum};

/// The marker's file name.
pub const MARKER_NAME: &str = "pigeonair-volume";

/// The marker's bytes.
pub const MARKER_BYTES: usize = 128;

/// The version that this program writes, and the newest it reads. Raised when an older reader would misread what a newer
/// writer wrote. No release wrote versions 1 and 2, so they are not read.
pub const FORMAT_VERSION: u16 = 3;

/// A volume that is a journal.
pub const KIND_LOG: u16 = 1;

const MAGIC: [u8; 16] = *b"PigeonAir volume";
const CHECKSUM_AT: usize = 20;

/// What the marker holds. Written once, when the volume is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// `FORMAT_VERSION` of the writer.
    pub version: u16,
    /// `KIND_LOG`.
    pub kind: u16,
    /// The volume's identity.
    pub volume: VolumeId,
    /// See `VolumeTag`.
    pub tag: VolumeTag,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// The most bytes of a batch with its padding.
    pub batch_bytes_max: u32,
    /// The least epoch that a batch may have. Raised when the volume gets a new owner.
    pub epoch: u32,
    /// The first UIDVALIDITY of every new account.
    pub uid_validity_base: u32,
}

impl Marker {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MARKER_BYTES);
        bytes.put_bytes(&MAGIC);
        bytes.put_u16(self.version);
        bytes.put_u16(self.kind);
        bytes.put_u32(0);
        bytes.put_bytes(&self.volume.0);
        bytes.put_u64(self.tag.value());
        bytes.put_u64(self.segment_bytes);
        bytes.put_u32(self.batch_bytes_max);
        bytes.put_u32(self.epoch);
        bytes.put_u32(self.uid_validity_base);
        bytes.resize(MARKER_BYTES, 0);
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From its bytes. Does not judge version and kind: a newer version may be longer and mean other things by the fields
    /// behind `volume`.
    pub fn decode(bytes: &[u8]) -> Result<Marker, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.array::<16>("marker magic")? != MAGIC {
            return Err(Malformed("marker magic"));
        }
        let version = reader.u16("marker version")?;
        let kind = reader.u16("marker kind")?;
        let stored = reader.u32("marker checksum")?;
        let mut zeroed = bytes.to_vec();
        zeroed[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
        if checksum(&zeroed) != stored {
            return Err(Malformed("marker checksum"));
        }
        Ok(Marker {
            version,
            kind,
            volume: VolumeId(reader.array("marker volume")?),
            tag: VolumeTag::new(reader.u64("marker tag")?),
            segment_bytes: reader.u64("marker segment bytes")?,
            batch_bytes_max: reader.u32("marker batch bytes")?,
            epoch: reader.u32("marker epoch")?,
            uid_validity_base: reader.u32("marker uid validity base")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back_and_nothing_else_passes() {
        let marker = Marker {
            version: FORMAT_VERSION,
            kind: KIND_LOG,
            volume: VolumeId([7; 16]),
            tag: VolumeTag::new(99),
            segment_bytes: 1 << 28,
            batch_bytes_max: 1 << 20,
            epoch: 3,
            uid_validity_base: 1_700_000_000,
        };
        let bytes = marker.encode();
        assert_eq!(bytes.len(), MARKER_BYTES);
        assert_eq!(Marker::decode(&bytes), Ok(marker));
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 4;
            assert!(Marker::decode(&damaged).is_err(), "byte {index}");
            assert!(Marker::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
    }
}
