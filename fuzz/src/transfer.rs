//! Frames of an account's move: the same however the input is cut, and what was read is written as the same again.

use pigeon_proto::transfer::{FRAME_BYTES_MAX, Frame, FrameReader, Malformed};

use crate::steer::{self, Steer};

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let whole = frames(&Steer::whole(data));
    assert_eq!(whole, frames(&steer.pieces(data)));
    for frame in whole.into_iter().flatten() {
        let bytes = frame.to_bytes();
        assert!(bytes.len() <= FRAME_BYTES_MAX + 5);
        assert_eq!(frames(&[&bytes]), [Ok(frame)]);
    }
}

/// Up to the first that is none.
fn frames(pieces: &[&[u8]]) -> Vec<Result<Frame, Malformed>> {
    let (mut reader, mut found) = (FrameReader::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        while let Some(frame) = reader.take(&mut input) {
            let failed = frame.is_err();
            found.push(frame);
            if failed {
                return found;
            }
        }
    }
    found
}
