//! The keys of messages that came in with one, as records and images hold them.

use crate::MessageKey;
use crate::cursor::{Malformed, Put, Reader};

/// Bytes of a key in a record or an image.
pub const KEY_BYTES: usize = 24;

/// The most keys that an account keeps: the oldest go first.
pub const KEYS_MAX: usize = 4096;

/// How long an account keeps a key, seconds: 24 hours, measured by the times of the keys themselves.
pub const KEY_LIFE_SECONDS: i64 = 24 * 60 * 60;

/// A key that an account has seen, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: MessageKey,
    /// When it came, seconds since the Unix epoch, UTC.
    pub at: i64,
}

impl KeyUse {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.key.0);
        out.put_bytes(&self.at.to_le_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<KeyUse, Malformed> {
        Ok(KeyUse {
            key: MessageKey(reader.array("message key")?),
            at: reader.i64("message key time")?,
        })
    }

    pub(crate) fn encode_all(out: &mut Vec<u8>, keys: &[KeyUse]) {
        out.put_count(keys.len());
        keys.iter().for_each(|key| key.encode(out));
    }

    /// At most `KEYS_MAX`.
    pub(crate) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<KeyUse>, Malformed> {
        let count = reader.u32("message keys")?;
        if count as usize > KEYS_MAX {
            return Err(Malformed("message keys"));
        }
        let mut items = Reader::new(reader.items(count, KEY_BYTES, "message keys")?);
        (0..count).map(|_| KeyUse::decode(&mut items)).collect()
    }
}
