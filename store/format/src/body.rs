//! The records that hold the bytes of messages.
//!
//! A body is stored once for all its recipients. Its entries name the accounts, and hold what is put in front of the
//! shared bytes for each. An entry whose account no longer has the message may be blanked when compaction moves the body, but
//! entries keep their index, which messages refer to.

use crate::cursor::{Malformed, Put, Reader};
use crate::{AccountId, BodyTraits, LogPosition};

/// What is known of the shared bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ContentInfo {
    /// Bytes.
    pub size: u64,
    /// Bytes up to and with the empty line behind the header.
    pub header_bytes: u32,
    /// See `BodyTraits`.
    pub traits: BodyTraits,
}

/// One recipient of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyEntry<'a> {
    /// `None`: blanked.
    pub account: Option<AccountId>,
    /// In front of the shared bytes for this recipient.
    pub prepend: &'a [u8],
}

/// The entries of a body's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyEntries<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> BodyEntries<'a> {
    fn decode(reader: &mut Reader<'a>, count: u16, length: u32) -> Result<Self, Malformed> {
        let bytes = reader.bytes(length as usize, "body entries")?;
        let mut check = Reader::new(bytes);
        for _ in 0..count {
            decode_entry(&mut check)?;
        }
        check.end("body entries")?;
        Ok(Self { count, bytes })
    }

    /// How many, with blank ones.
    pub fn count(self) -> u16 {
        self.count
    }

    /// All, with blank ones.
    pub fn iter(self) -> impl Iterator<Item = BodyEntry<'a>> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| decode_entry(&mut reader).ok())
    }

    /// The entry with this index.
    pub fn entry(self, index: u16) -> Option<BodyEntry<'a>> {
        self.iter().nth(usize::from(index))
    }
}

fn decode_entry<'a>(reader: &mut Reader<'a>) -> Result<BodyEntry<'a>, Malformed> {
    let account = AccountId(reader.array("body entry")?);
    let length = reader.u16("body entry")?;
    let prepend = reader.bytes(usize::from(length), "body entry")?;
    Ok(BodyEntry {
        account: (account != AccountId::default()).then_some(account),
        prepend,
    })
}

/// Bytes of an entry with so much in front.
pub const fn entry_bytes(prepend: usize) -> usize {
    18 + prepend
}

fn encode_entries<'e>(out: &mut Vec<u8>, entries: impl Iterator<Item = BodyEntry<'e>>) -> (u16, u32) {
    let start = out.len();
    let mut count = 0u16;
    for entry in entries {
        out.put_bytes(&entry.account.unwrap_or_default().0);
        out.put_u16(u16::try_from(entry.prepend.len()).expect("what is put in front is bounded far below 64 KiB"));
        out.put_bytes(entry.prepend);
        count += 1;
    }
    (
        count,
        u32::try_from(out.len() - start).expect("entries fit into a batch"),
    )
}

/// Fixed fields of a whole body's payload, bytes.
pub const BODY_FIELDS_BYTES: usize = 24;

/// A whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// Of the shared bytes.
    pub info: ContentInfo,
    /// Its recipients.
    pub entries: BodyEntries<'a>,
    /// The shared bytes.
    pub content: &'a [u8],
}

impl<'a> Body<'a> {
    /// From a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let (info, count) = decode_info(&mut reader)?;
        let length = reader.u32("body entries")?;
        reader.u32("body reserved")?;
        let entries = BodyEntries::decode(&mut reader, count, length)?;
        let content = reader.rest();
        if content.len() as u64 != info.size || u64::from(info.header_bytes) > info.size {
            return Err(Malformed("body size"));
        }
        Ok(Self { info, entries, content })
    }

    /// Writes the payload up to where the shared bytes follow.
    pub fn encode_head<'e>(out: &mut Vec<u8>, info: ContentInfo, entries: impl Iterator<Item = BodyEntry<'e>>) {
        let start = out.len();
        out.resize(start + BODY_FIELDS_BYTES, 0);
        let (count, length) = encode_entries(out, entries);
        encode_info(&mut out[start..], info, count);
        out[start + 16..start + 20].copy_from_slice(&length.to_le_bytes());
    }
}

fn decode_info(reader: &mut Reader<'_>) -> Result<(ContentInfo, u16), Malformed> {
    let size = reader.u64("body size")?;
    let header_bytes = reader.u32("body header bytes")?;
    let traits = BodyTraits(reader.u8("body traits")?);
    reader.u8("body reserved")?;
    let count = reader.u16("body entries")?;
    Ok((
        ContentInfo {
            size,
            header_bytes,
            traits,
        },
        count,
    ))
}

fn encode_info(fields: &mut [u8], info: ContentInfo, count: u16) {
    fields[..8].copy_from_slice(&info.size.to_le_bytes());
    fields[8..12].copy_from_slice(&info.header_bytes.to_le_bytes());
    fields[12] = info.traits.0;
    fields[14..16].copy_from_slice(&count.to_le_bytes());
}

/// A piece of a streamed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyChunk<'a> {
    /// The body's number: the position at which its first piece was written first.
    pub body: u64,
    /// Of the first byte within the shared bytes.
    pub offset: u64,
    accounts: &'a [u8],
    /// The bytes.
    pub content: &'a [u8],
}

/// Fixed fields of a chunk's payload, bytes.
pub const CHUNK_FIELDS_BYTES: usize = 24;

impl<'a> BodyChunk<'a> {
    /// From a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let body = reader.u64("chunk body")?;
        let offset = reader.u64("chunk offset")?;
        let count = reader.u16("chunk accounts")?;
        reader.bytes(6, "chunk reserved")?;
        let accounts = reader.items(u32::from(count), 16, "chunk accounts")?;
        let content = reader.rest();
        if content.is_empty() || offset.checked_add(content.len() as u64).is_none() {
            return Err(Malformed("chunk size"));
        }
        Ok(Self {
            body,
            offset,
            accounts,
            content,
        })
    }

    /// The accounts that the body was begun for.
    pub fn accounts(self) -> impl Iterator<Item = AccountId> + 'a {
        self.accounts.as_chunks::<16>().0.iter().map(|bytes| AccountId(*bytes))
    }

    /// Writes the payload up to where the bytes follow.
    pub fn encode_head(out: &mut Vec<u8>, body: u64, offset: u64, accounts: impl ExactSizeIterator<Item = AccountId>) {
        out.put_u64(body);
        out.put_u64(offset);
        out.put_u16(u16::try_from(accounts.len()).expect("the accounts of a body are bounded"));
        out.put_bytes(&[0; 6]);
        for account in accounts {
            out.put_bytes(&account.0);
        }
    }
}

/// Where a piece of a streamed body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of the chunk's record.
    pub position: LogPosition,
    /// Bytes of the body in it.
    pub length: u32,
}

/// Bytes of an extent in a record.
pub const EXTENT_BYTES: usize = 12;

/// Fixed fields of a body end's payload, bytes.
pub const BODY_END_FIELDS_BYTES: usize = 40;

/// The end of a streamed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyEnd<'a> {
    /// Of the shared bytes.
    pub info: ContentInfo,
    /// The body's number, as in its chunks.
    pub body: u64,
    /// The lowest position among the extents.
    pub start: LogPosition,
    /// Its recipients.
    pub entries: BodyEntries<'a>,
    extents: &'a [u8],
}

impl<'a> BodyEnd<'a> {
    /// From a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let (info, count) = decode_info(&mut reader)?;
        let entry_length = reader.u32("body entries")?;
        let extent_count = reader.u32("body extents")?;
        let body = reader.u64("body number")?;
        let start = LogPosition(reader.u64("body start")?);
        let entries = BodyEntries::decode(&mut reader, count, entry_length)?;
        let extents = reader.items(extent_count, EXTENT_BYTES, "body extents")?;
        reader.end("body end")?;
        let end = Self {
            info,
            body,
            start,
            entries,
            extents,
        };
        let mut total = 0u64;
        for extent in end.extents() {
            if extent.length == 0 || extent.position < start {
                return Err(Malformed("body extents"));
            }
            total = total
                .checked_add(u64::from(extent.length))
                .ok_or(Malformed("body extents"))?;
        }
        if total != info.size || u64::from(info.header_bytes) > info.size {
            return Err(Malformed("body size"));
        }
        Ok(end)
    }

    /// Its pieces, in the order of the body.
    pub fn extents(self) -> impl ExactSizeIterator<Item = Extent> + 'a {
        self.extents.as_chunks::<EXTENT_BYTES>().0.iter().map(|bytes| {
            let [p0, p1, p2, p3, p4, p5, p6, p7, l0, l1, l2, l3] = *bytes;
            Extent {
                position: LogPosition(u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7])),
                length: u32::from_le_bytes([l0, l1, l2, l3]),
            }
        })
    }

    /// Writes a payload.
    pub fn encode<'e>(
        out: &mut Vec<u8>,
        info: ContentInfo,
        body: u64,
        entries: impl Iterator<Item = BodyEntry<'e>>,
        extents: &[Extent],
    ) {
        let start = out.len();
        out.resize(start + BODY_END_FIELDS_BYTES, 0);
        let (count, length) = encode_entries(out, entries);
        let lowest = extents.iter().map(|extent| extent.position).min().unwrap_or_default();
        let fields = &mut out[start..start + BODY_END_FIELDS_BYTES];
        encode_info(fields, info, count);
        fields[16..20].copy_from_slice(&length.to_le_bytes());
        let extent_count = u32::try_from(extents.len()).expect("extents fit into a batch");
        fields[20..24].copy_from_slice(&extent_count.to_le_bytes());
        fields[24..32].copy_from_slice(&body.to_le_bytes());
        fields[32..40].copy_from_slice(&lowest.0.to_le_bytes());
        for extent in extents {
            out.put_u64(extent.position.0);
            out.put_u32(extent.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: ContentInfo = ContentInfo {
        size: 11,
        header_bytes: 4,
        traits: BodyTraits(5),
    };

    fn entries() -> [BodyEntry<'static>; 3] {
        [
            BodyEntry {
                account: Some(AccountId([1; 16])),
                prepend: b"Delivered-To: a\r\n",
            },
            BodyEntry {
                account: None,
                prepend: b"",
            },
            BodyEntry {
                account: Some(AccountId([3; 16])),
                prepend: b"",
            },
        ]
    }

    #[test]
    fn a_whole_body_goes_there_and_back() {
        let mut payload = Vec::new();
        Body::encode_head(&mut payload, INFO, entries().into_iter());
        payload.extend_from_slice(b"a\r\n\r\nhello!");
        let body = Body::decode(&payload).expect("it is one");
        assert_eq!((body.info, body.content), (INFO, &b"a\r\n\r\nhello!"[..]));
        assert_eq!(body.entries.iter().collect::<Vec<_>>(), entries());
        assert_eq!(body.entries.entry(2), Some(entries()[2]));
        assert_eq!(body.entries.entry(3), None);
        for cut in 0..payload.len() {
            assert!(Body::decode(&payload[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_streamed_body_goes_there_and_back() {
        let accounts = [AccountId([1; 16]), AccountId([2; 16])];
        let mut payload = Vec::new();
        BodyChunk::encode_head(&mut payload, 64, 7, accounts.into_iter());
        payload.extend_from_slice(b"bytes");
        let chunk = BodyChunk::decode(&payload).expect("it is one");
        assert_eq!((chunk.body, chunk.offset, chunk.content), (64, 7, &b"bytes"[..]));
        assert_eq!(chunk.accounts().collect::<Vec<_>>(), accounts);

        let extents = [
            Extent {
                position: LogPosition(4096),
                length: 6,
            },
            Extent {
                position: LogPosition(64),
                length: 5,
            },
        ];
        let mut payload = Vec::new();
        BodyEnd::encode(&mut payload, INFO, 64, entries().into_iter(), &extents);
        let end = BodyEnd::decode(&payload).expect("it is one");
        assert_eq!((end.info, end.body, end.start), (INFO, 64, LogPosition(64)));
        assert_eq!(end.extents().collect::<Vec<_>>(), extents);
        assert_eq!(end.entries.iter().collect::<Vec<_>>(), entries());
        for cut in 0..payload.len() {
            assert!(BodyEnd::decode(&payload[..cut]).is_err(), "cut at {cut}");
        }
    }
}
