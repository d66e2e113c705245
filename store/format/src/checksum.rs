//! The one checksum of the format: CRC32C (Castagnoli, as in iSCSI, RFC 3720).

/// Of one piece of bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut digest = Checksum::new();
    digest.update(bytes);
    digest.finish()
}

/// Of several pieces, in their order.
pub struct Checksum {
    digest: crc_fast::Digest,
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl Checksum {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self {
            digest: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi),
        }
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// The checksum of all pieces.
    pub fn finish(&self) -> u32 {
        // The crate gives 32-bit checksums in the low half of 64 bits.
        (self.digest.finalize() & u64::from(u32::MAX)) as u32
    }
}

/// The volume's own random number. It goes in front of every record's checksum and into every batch header, so that
/// nothing that a stranger sends can pass for a record or a batch, nor can another volume's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeTag {
    value: u64,
    state: u64,
}

impl VolumeTag {
    /// With the number from the volume's marker.
    pub fn new(value: u64) -> Self {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&value.to_le_bytes());
        Self {
            value,
            state: digest.get_state(),
        }
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.value
    }

    /// CRC32C of the number's eight bytes and then `bytes`.
    pub fn checksum(self, bytes: &[u8]) -> u32 {
        let mut digest = crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, self.state);
        digest.update(bytes);
        (digest.finalize() & u64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{VolumeTag, checksum};

    #[test]
    fn the_tag_goes_in_front() {
        let mut bytes = 0x0123_4567_89ab_cdef_u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"and the record");
        assert_eq!(
            VolumeTag::new(0x0123_4567_89ab_cdef).checksum(b"and the record"),
            checksum(&bytes)
        );
    }

    #[test]
    fn is_crc32c() {
        // The check value of the CRC catalogue, and two of RFC 3720 appendix B.4 (there printed in byte order).
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
    }
}
