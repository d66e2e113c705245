//! The bytes of a queued message in front of the message itself: whom it is for, and what came with it. `docs/format.md`,
//! section 15, is the norm.
//!
//! The envelope names all recipients at one node; a queued message is for a range of them, which its own prefix says, so that
//! one body serves a list of any length. Who of a range has it is kept in the queued message's keywords, one for each place.

use bytes::Bytes;
use pigeon_proto::address::Address;
use pigeon_proto::smtp::{BodyType, MailParameters, Return};
use pigeon_store::{Flags, MessageKey};
use std::ops::Range;

/// In front of each queued message: which recipients it is for.
pub(super) const PREFIX_BYTES: usize = 16;
/// In front of the envelope: what it is, and how long.
pub(super) const HEAD_BYTES: usize = 16;
/// Recipients of one queued message: each has a keyword, of which a mailbox has 56.
pub(super) const RANGE_MAX: usize = 48;
/// The longest envelope that is read, bytes: ten thousand recipients with the longest lines.
pub(super) const ENVELOPE_BYTES_MAX: usize = 16 << 20;

const PREFIX_MAGIC: [u8; 4] = *b"PGQ1";
const MAGIC: [u8; 8] = *b"PGNQUEUE";
const VERSION: u16 = 1;

/// A message that waits, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEnvelope {
    /// The sender; `None` is the null sender.
    pub reverse_path: Option<Address>,
    /// What came with MAIL; who is said to have submitted it is not kept.
    pub parameters: MailParameters,
    /// When it was taken, seconds since the Unix epoch.
    pub received_at: i64,
    /// Under which it is brought, at every try.
    pub key: MessageKey,
    /// Its name in replies and logs.
    pub id: String,
    /// At one node, when it was taken.
    pub recipients: Vec<QueuedRecipient>,
}

/// Somebody for whom a message waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRecipient {
    /// The account's entryUUID.
    pub account: [u8; 16],
    /// The address in RCPT.
    pub address: Address,
    /// Header lines for this recipient, for when the account comes to be on this node.
    pub prepend: Bytes,
}

/// What is in front of a message does not make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The prefix of a queued message for these recipients.
pub(super) fn prefix(range: &Range<usize>) -> Bytes {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES);
    bytes.extend_from_slice(&PREFIX_MAGIC);
    bytes.extend_from_slice(&as_u32(range.start).to_le_bytes());
    bytes.extend_from_slice(&as_u32(range.len()).to_le_bytes());
    bytes.resize(PREFIX_BYTES, 0);
    Bytes::from(bytes)
}

/// And back.
pub(super) fn range(prefix: &[u8]) -> Result<Range<usize>, Malformed> {
    let mut reader = Reader(prefix);
    if reader.take(4)? != PREFIX_MAGIC {
        return Err(Malformed("prefix"));
    }
    let (first, count) = (reader.u32()? as usize, reader.u32()? as usize);
    if count == 0 || count > RANGE_MAX {
        return Err(Malformed("range"));
    }
    let end = first.checked_add(count).ok_or(Malformed("range"))?;
    Ok(first..end)
}

/// The keyword of the recipient at `place` of its range: it has the message, or is not to have it from here.
pub(super) fn done_keyword(place: usize) -> String {
    format!("done-{place}")
}

/// The keyword of a message of which an answer was lost: who waits for it may have it.
pub(super) const UNSURE: &str = "unsure";

/// Which places of a range are done, by the mailbox's keywords.
pub(super) fn done_places(flags: Flags, keywords: &[String]) -> u64 {
    let names = flags.keyword_indices().filter_map(|index| keywords.get(index));
    let places = names.filter_map(|name| name.strip_prefix("done-")?.parse::<u32>().ok());
    places
        .filter(|place| *place < 64)
        .fold(0, |all, place| all | 1 << place)
}

/// Bytes of the envelope behind `head`, which are to be read.
pub(super) fn length(head: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader(head);
    if reader.take(8)? != MAGIC {
        return Err(Malformed("envelope"));
    }
    if reader.u16()? != VERSION {
        return Err(Malformed("version of the envelope"));
    }
    reader.u16()?;
    let length = reader.u32()? as usize;
    match length <= ENVELOPE_BYTES_MAX {
        true => Ok(length),
        false => Err(Malformed("envelope length")),
    }
}

impl QueuedEnvelope {
    /// Head and envelope. `None`: longer than can be read again.
    pub(super) fn encode(&self) -> Option<Bytes> {
        let parameters = &self.parameters;
        let mut out = vec![0; HEAD_BYTES];
        put_text(&mut out, &self.id)?;
        out.extend_from_slice(&self.received_at.to_le_bytes());
        out.extend_from_slice(&self.key.0);
        out.push(match parameters.body {
            BodyType::SevenBit => 0,
            BodyType::EightBitMime => 1,
            BodyType::BinaryMime => 2,
        });
        let bits = [
            parameters.smtp_utf8,
            self.reverse_path.is_some(),
            parameters.size.is_some(),
            parameters.returned.is_some(),
            parameters.returned == Some(Return::Headers),
            parameters.envelope_id.is_some(),
        ];
        out.push(bits.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit)));
        out.extend_from_slice(&parameters.size.unwrap_or(0).to_le_bytes());
        put_text(&mut out, parameters.envelope_id.as_deref().unwrap_or_default())?;
        put_text(&mut out, &text_of(self.reverse_path.as_ref()))?;
        out.extend_from_slice(&u32::try_from(self.recipients.len()).ok()?.to_le_bytes());
        for recipient in &self.recipients {
            out.extend_from_slice(&recipient.account);
            put_text(&mut out, &recipient.address.to_string())?;
            put_bytes(&mut out, &recipient.prepend)?;
        }
        let length = out.len() - HEAD_BYTES;
        if length > ENVELOPE_BYTES_MAX {
            return None;
        }
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&as_u32(length).to_le_bytes());
        Some(Bytes::from(out))
    }

    /// From the bytes behind the head.
    pub(super) fn decode(bytes: &[u8]) -> Result<QueuedEnvelope, Malformed> {
        let mut reader = Reader(bytes);
        let id = reader.text()?.to_owned();
        let received_at = i64::from_le_bytes(reader.array()?);
        let key = MessageKey(reader.array()?);
        let body = match reader.take(1)? {
            [0] => BodyType::SevenBit,
            [1] => BodyType::EightBitMime,
            [2] => BodyType::BinaryMime,
            _ => return Err(Malformed("body type")),
        };
        let bits = reader.take(1)?[0];
        let bit = |index: u8| bits & 1 << index != 0;
        let size = u64::from_le_bytes(reader.array()?);
        let envelope_id = reader.text()?;
        let reverse_path = reader.text()?;
        let parameters = MailParameters {
            size: bit(2).then_some(size),
            body,
            smtp_utf8: bit(0),
            returned: bit(3).then(|| if bit(4) { Return::Headers } else { Return::Full }),
            envelope_id: bit(5).then(|| envelope_id.into()),
            submitter: None,
        };
        let reverse_path = match bit(1) {
            true => Some(address(reverse_path)?),
            false => None,
        };
        let count = reader.u32()?;
        let mut recipients = Vec::new();
        for _ in 0..count {
            recipients.push(QueuedRecipient {
                account: reader.array()?,
                address: address(reader.text()?)?,
                prepend: Bytes::copy_from_slice(reader.bytes()?),
            });
        }
        match reader.0.is_empty() {
            true => Ok(QueuedEnvelope {
                reverse_path,
                parameters,
                received_at,
                key,
                id,
                recipients,
            }),
            false => Err(Malformed("envelope end")),
        }
    }
}

/// As in MAIL, without the angle brackets.
pub(super) fn text_of(path: Option<&Address>) -> String {
    path.map(Address::to_string).unwrap_or_default()
}

fn address(text: &str) -> Result<Address, Malformed> {
    Address::parse(text.as_bytes()).map_err(|_| Malformed("address"))
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).expect("recipients and envelopes are bounded far below 4 Gi")
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    put_bytes(out, text.as_bytes())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_le_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(sender: Option<&str>) -> QueuedEnvelope {
        let recipient = |number: u8| QueuedRecipient {
            account: [number; 16],
            address: format!("\"a b{number}\"@example.org").parse().expect("an address"),
            prepend: Bytes::from(format!("Delivered-To: {number}\r\n")),
        };
        QueuedEnvelope {
            reverse_path: sender.map(|text| text.parse().expect("an address")),
            parameters: MailParameters {
                size: Some(77),
                body: BodyType::BinaryMime,
                smtp_utf8: true,
                returned: sender.map(|_| Return::Headers),
                envelope_id: Some("id 1".into()),
                submitter: None,
            },
            received_at: -7,
            key: MessageKey([9; 16]),
            id: "0001.2".to_owned(),
            recipients: (0..3).map(recipient).collect(),
        }
    }

    #[test]
    fn goes_there_and_back_and_no_part_of_it_does() {
        for sender in [None, Some("bob@example.net")] {
            let envelope = envelope(sender);
            let bytes = envelope.encode().expect("it fits");
            let (head, rest) = bytes.split_at(HEAD_BYTES);
            assert_eq!(length(head), Ok(rest.len()));
            assert_eq!(QueuedEnvelope::decode(rest).as_ref(), Ok(&envelope));
            for cut in 0..rest.len() {
                assert!(QueuedEnvelope::decode(&rest[..cut]).is_err(), "cut at {cut}");
            }
            assert!(QueuedEnvelope::decode(&[rest, b"x"].concat()).is_err());
            for index in 0..rest.len() {
                // Whatever a disk gives: an envelope or none.
                let mut damaged = rest.to_vec();
                damaged[index] ^= 0x55;
                let _ = QueuedEnvelope::decode(&damaged);
            }
        }
        assert!(length(&[0; HEAD_BYTES]).is_err());
        assert!(length(&envelope(None).encode().expect("it fits")[..HEAD_BYTES - 1]).is_err());
    }

    #[test]
    fn golden_bytes() {
        let mut envelope = envelope(Some("b@example.net"));
        envelope.recipients.truncate(1);
        let bytes = envelope.encode().expect("it fits");
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "50474e5155455545010000007a000000\
             0600303030312e32f9ffffffffffffff09090909090909090909090909090909023f4d00000000000000\
             040069642031\
             0d0062406578616d706c652e6e6574\
             01000000000000000000000000000000000000001200226120623022406578616d706c652e6f7267\
             110044656c6976657265642d546f3a20300d0a"
        );
    }

    #[test]
    fn a_range_and_who_of_it_is_done() {
        assert_eq!(range(&prefix(&(48..96))), Ok(48..96));
        assert_eq!(prefix(&(0..1)).len(), PREFIX_BYTES);
        assert!(range(&prefix(&(0..0))).is_err() && range(&prefix(&(0..49))).is_err());
        assert!(range(b"PGQ0aaaabbbbcccc").is_err() && range(b"PGQ1").is_err());
        let names = ["done-3", "x", "done-47", "done-x"].map(str::to_owned);
        let all = (0..4).fold(Flags::NONE, |all, index| all | Flags::keyword(index).expect("below 56"));
        assert_eq!(done_places(all, &names), 1 << 3 | 1 << 47);
        assert_eq!(done_places(Flags::NONE, &names), 0);
    }
}
