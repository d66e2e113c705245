//! Bounded reading and writing of little-endian fields. Reading never panics, whatever the bytes are.

use std::fmt;

/// Bytes that are not what the format says; the text names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Takes fields from the front of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

macro_rules! take_number {
    ($name:ident, $type:ty) => {
        pub(crate) fn $name(&mut self, field: &'static str) -> Result<$type, Malformed> {
            let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed(field))?;
            self.rest = rest;
            Ok(<$type>::from_le_bytes(*head))
        }
    };
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    take_number!(u8, u8);
    take_number!(u16, u16);
    take_number!(u32, u32);
    take_number!(u64, u64);
    take_number!(i64, i64);

    pub(crate) fn bytes(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// `count` items of `item_bytes` each.
    pub(crate) fn items(&mut self, count: u32, item_bytes: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let length = (count as usize).checked_mul(item_bytes).ok_or(Malformed(field))?;
        self.bytes(length, field)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// A length in 16 bits and so many bytes of UTF-8.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let length = self.u16(field)?;
        let bytes = self.bytes(usize::from(length), field)?;
        std::str::from_utf8(bytes).map_err(|_| Malformed(field))
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn end(self, field: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed(field))
        }
    }
}

/// Puts fields at the end of a vector.
pub(crate) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_bytes(&mut self, value: &[u8]);

    /// As `Reader::text` takes it. The caller bounds the length; what is beyond 65,535 bytes would be a mistake of ours.
    fn put_text(&mut self, value: &str) {
        let length = u16::try_from(value.len()).expect("names and keywords are bounded far below 64 KiB");
        self.put_u16(length);
        self.put_bytes(value.as_bytes());
    }

    /// A count in 32 bits.
    fn put_count(&mut self, count: usize) {
        self.put_u32(u32::try_from(count).expect("lists are bounded by the batch, far below 4 Gi items"));
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}
