//! Bodies on their way in and out.

use bytes::Bytes;
use pigeon_store_format::BodyTraits;

use crate::StoreError;

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

/// A body on its way in. Dropped: the body is given up, and what was written of it is dead space.
pub struct BodyWriter {
    _private: (),
}

impl BodyWriter {
    /// Takes the next piece. Waits while the journal is behind. `TooLarge` beyond `MESSAGE_BYTES_MAX`; `NearlyFull`,
    /// `Poisoned` when the volume cannot take it: give the body up then.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let _ = chunk;
        unimplemented!()
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        unimplemented!()
    }

    /// Ends the body. It is not durable before it is delivered.
    pub async fn finish(self) -> Result<FinishedBody, StoreError> {
        unimplemented!()
    }
}

/// A whole body that waits for its delivery. Dropped: given up.
pub struct FinishedBody {
    _private: (),
}

impl FinishedBody {
    /// What is known of its bytes.
    pub fn info(&self) -> BodyInfo {
        unimplemented!()
    }
}

/// An open body of one message.
pub struct BodyReader {
    _private: (),
}

impl BodyReader {
    /// What is known of its bytes.
    pub fn info(&self) -> BodyInfo {
        unimplemented!()
    }

    /// Up to `length` bytes (at most `READ_MAX`) from `offset`: fewer where a chunk ends, none at the end of the body only. Never
    /// bytes that were not written: damage is `StoreError::Damaged`.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let _ = (offset, length);
        unimplemented!()
    }
}
