//! The parts that several records of an account share: a message, a keyword, a mailbox's definition.

use crate::cursor::{Malformed, Put, Reader};
use crate::{BodyReference, BodyTraits, Flags, LogPosition, MailboxId, Message, ModSeq, SpecialUse, Uid, UidValidity};

/// Bytes of a message in a record.
pub const MESSAGE_BYTES: usize = 48;

const STREAMED: u8 = 1;

pub(crate) fn encode_messages(out: &mut Vec<u8>, messages: &[Message]) {
    out.put_count(messages.len());
    out.reserve(messages.len() * MESSAGE_BYTES);
    for message in messages {
        let mut item = [0u8; MESSAGE_BYTES];
        item[..4].copy_from_slice(&message.uid.0.to_le_bytes());
        item[4..8].copy_from_slice(&message.size.to_le_bytes());
        item[8..16].copy_from_slice(&message.mod_seq.0.to_le_bytes());
        item[16..24].copy_from_slice(&message.flags.0.to_le_bytes());
        item[24..32].copy_from_slice(&message.internal_date.to_le_bytes());
        item[32..40].copy_from_slice(&message.body.position.0.to_le_bytes());
        item[40..42].copy_from_slice(&message.body.entry.to_le_bytes());
        item[42..44].copy_from_slice(&message.body.sharers.to_le_bytes());
        item[44] = message.body.traits.0;
        item[45] = if message.body.streamed { STREAMED } else { 0 };
        out.put_bytes(&item);
    }
}

/// Messages in ascending order of UID.
pub(crate) fn decode_messages(reader: &mut Reader<'_>) -> Result<Vec<Message>, Malformed> {
    const FIELD: &str = "message";
    let count = reader.u32(FIELD)?;
    let items = reader.items(count, MESSAGE_BYTES, FIELD)?;
    let mut messages = Vec::with_capacity(items.len() / MESSAGE_BYTES);
    let mut last = Uid(0);
    for item in items.as_chunks::<MESSAGE_BYTES>().0 {
        let mut item = Reader::new(item);
        let message = Message {
            uid: Uid(item.u32(FIELD)?),
            size: item.u32(FIELD)?,
            mod_seq: ModSeq(item.u64(FIELD)?),
            flags: Flags(item.u64(FIELD)?),
            internal_date: item.i64(FIELD)?,
            body: BodyReference {
                position: LogPosition(item.u64(FIELD)?),
                entry: item.u16(FIELD)?,
                sharers: item.u16(FIELD)?,
                traits: BodyTraits(item.u8(FIELD)?),
                streamed: item.u8(FIELD)? & STREAMED != 0,
            },
        };
        if message.uid <= last || message.body.sharers == 0 {
            return Err(Malformed(FIELD));
        }
        last = message.uid;
        messages.push(message);
    }
    Ok(messages)
}

/// A keyword that joins a mailbox's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyword {
    /// In the table: at its end.
    pub index: u8,
    /// The keyword.
    pub name: String,
}

pub(crate) fn encode_keywords(out: &mut Vec<u8>, keywords: &[NewKeyword]) {
    out.put_u16(u16::try_from(keywords.len()).expect("a mailbox has at most 56 keywords"));
    for keyword in keywords {
        out.put_u8(keyword.index);
        out.put_text(&keyword.name);
    }
}

pub(crate) fn decode_keywords(reader: &mut Reader<'_>) -> Result<Vec<NewKeyword>, Malformed> {
    let count = reader.u16("keywords")?;
    let mut keywords = Vec::new();
    for _ in 0..count {
        let index = reader.u8("keyword index")?;
        if usize::from(index) >= Flags::KEYWORDS_MAX {
            return Err(Malformed("keyword index"));
        }
        keywords.push(NewKeyword {
            index,
            name: reader.text("keyword")?.to_owned(),
        });
    }
    Ok(keywords)
}

/// Where the chunks of a streamed body begin: no chunk of the body that ends at `end` is before `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamedStart {
    /// The position of the body's end record, which messages refer to.
    pub end: LogPosition,
    /// See above.
    pub start: LogPosition,
}

pub(crate) fn encode_starts(out: &mut Vec<u8>, starts: &[StreamedStart]) {
    out.put_count(starts.len());
    for item in starts {
        out.put_u64(item.end.0);
        out.put_u64(item.start.0);
    }
}

pub(crate) fn decode_starts(reader: &mut Reader<'_>) -> Result<Vec<StreamedStart>, Malformed> {
    let count = reader.u32("streamed bodies")?;
    let mut items = Reader::new(reader.items(count, 16, "streamed bodies")?);
    (0..count)
        .map(|_| {
            let end = LogPosition(items.u64("streamed body end")?);
            let start = LogPosition(items.u64("streamed body start")?);
            Ok(StreamedStart { end, start })
        })
        .collect()
}

/// Bytes of a segment that a change makes useless (or of use again, elsewhere), so that the count of a segment's live bytes
/// survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentBytes {
    /// The segment's number.
    pub segment: u64,
    /// How many.
    pub bytes: u64,
}

pub(crate) fn encode_bytes(out: &mut Vec<u8>, list: &[SegmentBytes]) {
    out.put_count(list.len());
    for item in list {
        out.put_u64(item.segment);
        out.put_u64(item.bytes);
    }
}

pub(crate) fn decode_bytes(reader: &mut Reader<'_>) -> Result<Vec<SegmentBytes>, Malformed> {
    let count = reader.u32("segment bytes")?;
    let mut items = Reader::new(reader.items(count, 16, "segment bytes")?);
    (0..count)
        .map(|_| {
            Ok(SegmentBytes {
                segment: items.u64("segment bytes")?,
                bytes: items.u64("segment bytes")?,
            })
        })
        .collect()
}

/// What makes a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxDefinition {
    /// Within the account.
    pub id: MailboxId,
    /// Never used before in the account.
    pub uid_validity: UidValidity,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// False for a name that is only there for its children.
    pub selectable: bool,
    /// Its full name.
    pub name: String,
}

impl MailboxDefinition {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.id.0);
        out.put_u32(self.uid_validity.0);
        out.put_u8(special_use_number(self.special_use));
        out.put_u8(u8::from(self.selectable));
        out.put_text(&self.name);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: MailboxId(reader.u32("mailbox number")?),
            uid_validity: UidValidity(reader.u32("mailbox uid validity")?),
            special_use: special_use_from(reader.u8("mailbox special use")?)?,
            selectable: reader.u8("mailbox flags")? & 1 != 0,
            name: reader.text("mailbox name")?.to_owned(),
        })
    }

    pub(crate) fn encode_all(out: &mut Vec<u8>, definitions: &[MailboxDefinition]) {
        out.put_count(definitions.len());
        definitions.iter().for_each(|definition| definition.encode(out));
    }

    pub(crate) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        let count = reader.u32("mailboxes")?;
        let mut definitions = Vec::new();
        for _ in 0..count {
            definitions.push(Self::decode(reader)?);
        }
        Ok(definitions)
    }
}

fn special_use_number(special_use: Option<SpecialUse>) -> u8 {
    match special_use {
        None => 0,
        Some(SpecialUse::All) => 1,
        Some(SpecialUse::Archive) => 2,
        Some(SpecialUse::Drafts) => 3,
        Some(SpecialUse::Flagged) => 4,
        Some(SpecialUse::Junk) => 5,
        Some(SpecialUse::Sent) => 6,
        Some(SpecialUse::Trash) => 7,
        Some(SpecialUse::Important) => 8,
    }
}

fn special_use_from(number: u8) -> Result<Option<SpecialUse>, Malformed> {
    if number == 0 {
        return Ok(None);
    }
    let found = SpecialUse::ALL
        .into_iter()
        .find(|special_use| special_use_number(Some(*special_use)) == number);
    found.map(Some).ok_or(Malformed("mailbox special use"))
}
