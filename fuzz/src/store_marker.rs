//! A volume's marker, its checksum made right: what is read and written is read as the same again.

use pigeon_store_format::{Marker, checksum};

use crate::steer;

/// Where marker and checkpoint have their checksum (docs/format.md).
const CHECKSUM_AT: usize = 20;

/// Makes the checksum of a file right, so that what is behind it is reached.
pub(crate) fn with_checksum(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let Some(place) = bytes.get_mut(CHECKSUM_AT..CHECKSUM_AT + 4) {
        place.fill(0);
        let sum = checksum(&bytes).to_le_bytes();
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum);
    }
    bytes
}

pub(crate) fn run(input: &[u8]) {
    let (data, _) = steer::split(input);
    let _ = Marker::decode(data);
    if let Ok(marker) = Marker::decode(&with_checksum(data)) {
        assert_eq!(Marker::decode(&marker.encode()), Ok(marker));
    }
}
