//! The variable parts of a record in one piece of memory.
//!
//! A node holds a million accounts; a `String` for each part would cost more than the parts. Fields follow one
//! another as tag (1 byte), length (LEB128) and bytes. They are only ever written by [`Writer`], so reading them back
//! cannot fail; should it, the rest reads as absent.

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

/// Appends fields.
pub(crate) struct Writer(Vec<u8>);

impl Default for Writer {
    fn default() -> Self {
        // Most records fit, so that the buffer need not grow.
        Writer(Vec::with_capacity(256))
    }
}

impl Writer {
    pub(crate) fn bytes(&mut self, tag: u8, value: &[u8]) {
        self.0.push(tag);
        let mut rest = value.len();
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push((rest & 0x7f) as u8);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, tag: u8, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// Little-endian, without the zeros at its upper end.
    pub(crate) fn number(&mut self, tag: u8, value: u64) {
        let bytes = value.to_le_bytes();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bytes(tag, &bytes[..used]);
    }

    pub(crate) fn finish(self) -> Packed {
        // Copied into memory of its size: cutting the buffer to size would leave small pieces all over the heap.
        Packed(self.0.as_slice().into())
    }
}

impl Packed {
    /// All fields in order.
    #[inline]
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields { rest: &self.0 }
    }

    /// The fields of one tag.
    pub(crate) fn all(&self, tag: u8) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .filter(move |(found, _)| *found == tag)
            .map(|(_, value)| value)
    }

    /// The texts of one tag.
    pub(crate) fn texts(&self, tag: u8) -> impl Iterator<Item = &str> {
        self.all(tag).map(text)
    }

    /// The first text of one tag.
    pub(crate) fn text(&self, tag: u8) -> Option<&str> {
        self.texts(tag).next()
    }

    /// The first number of one tag.
    pub(crate) fn number(&self, tag: u8) -> Option<u64> {
        let bytes = self.all(tag).next()?;
        let mut number = [0; 8];
        number.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(number))
    }

    /// Bytes of memory behind the record, without what the allocator adds.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Bytes of fields that are kept in the record itself: two addresses, usually.
const INLINE_BYTES: usize = 63;

/// The first fields of a record, in the record itself, where a lookup reads them without another place in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inline {
    bytes: [u8; INLINE_BYTES],
    len: u8,
}

impl Default for Inline {
    fn default() -> Self {
        Inline {
            bytes: [0; INLINE_BYTES],
            len: 0,
        }
    }
}

impl Inline {
    /// Appends a field, if there is room for it.
    pub(crate) fn push(&mut self, tag: u8, value: &[u8]) -> bool {
        let begin = usize::from(self.len);
        let end = begin + 2 + value.len();
        if end > INLINE_BYTES {
            return false;
        }
        // So short a length is one byte.
        self.bytes[begin] = tag;
        self.bytes[begin + 1] = (value.len() & 0x7f) as u8;
        self.bytes[begin + 2..end].copy_from_slice(value);
        self.len = (end & 0xff) as u8;
        true
    }

    #[inline]
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields {
            rest: self.bytes.get(..usize::from(self.len)).unwrap_or_default(),
        }
    }
}

/// A text field; it was text when it was written.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, mut rest) = self.rest.split_first()?;
        let mut length = 0_usize;
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20)) {
            let mut writer = Writer::default();
            fields.iter().for_each(|(tag, value)| writer.bytes(*tag, value));
            let packed = writer.finish();
            let read: Vec<_> = packed.fields().map(|(tag, value)| (tag, value.to_vec())).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn numbers_are_read(number in any::<u64>(), shift in 0..64_u32) {
            let mut writer = Writer::default();
            writer.number(1, number >> shift);
            prop_assert_eq!(writer.finish().number(1), Some(number >> shift));
        }

        #[test]
        fn damage_only_ends_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Packed(bytes.into()).fields().count();
        }
    }
}
