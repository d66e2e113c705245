//! A volume's checkpoint, its checksum made right: what is read and written is read as the same again.

use pigeon_store_format::Checkpoint;

use crate::steer;
use crate::store_marker::with_checksum;

pub(crate) fn run(input: &[u8]) {
    let (data, _) = steer::split(input);
    let _ = Checkpoint::decode(data);
    if let Ok(checkpoint) = Checkpoint::decode(&with_checksum(data)) {
        assert_eq!(Checkpoint::decode(&checkpoint.encode()).as_ref(), Ok(&checkpoint));
    }
}
