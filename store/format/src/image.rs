//! An account's whole state as bytes: what a snapshot holds, cut into parts where it is big.

use std::borrow::Cow;

use crate::cursor::{Malformed, Put, Reader};
use crate::item::{decode_messages, decode_starts, encode_messages, encode_starts};
use crate::standing::{decode_taken, encode_taken};
use crate::{
    Flags, KeyUse, MailboxDefinition, MailboxId, Message, ModSeq, MoveId, Standing, StreamedStart, Uid, UidValidity,
};

const VERSION: u16 = 2;

/// An account's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountImage<'a> {
    /// The next mailbox's number.
    pub next_mailbox: MailboxId,
    /// The next mailbox's UIDVALIDITY.
    pub next_uid_validity: UidValidity,
    /// All mailboxes.
    pub mailboxes: Vec<MailboxImage<'a>>,
    /// Names subscribed to.
    pub subscriptions: Vec<String>,
    /// One for each streamed body.
    pub starts: Vec<StreamedStart>,
    /// Keys of messages that came with one, oldest first, at most `KEYS_MAX`.
    pub keys: Vec<KeyUse>,
    /// Whose it is.
    pub standing: Standing,
    /// The moves by which it came here, oldest first, at most `TAKEN_MAX`.
    pub taken: Vec<MoveId>,
}

/// A mailbox's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxImage<'a> {
    /// What makes it.
    pub definition: MailboxDefinition,
    /// The next message's UID, at least.
    pub uid_next: Uid,
    /// Of the last change.
    pub highest_mod_seq: ModSeq,
    /// The first message that is recent.
    pub first_recent: Uid,
    /// The keyword table.
    pub keywords: Vec<String>,
    /// Messages, ascending.
    pub messages: Cow<'a, [Message]>,
}

impl AccountImage<'_> {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let messages: usize = self.mailboxes.iter().map(|mailbox| mailbox.messages.len()).sum();
        let mut out = Vec::with_capacity(256 + messages * 48 + self.mailboxes.len() * 64);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(self.next_mailbox.0);
        out.put_u32(self.next_uid_validity.0);
        out.put_count(self.mailboxes.len());
        for mailbox in &self.mailboxes {
            mailbox.definition.encode(&mut out);
            out.put_u32(mailbox.uid_next.0);
            out.put_u64(mailbox.highest_mod_seq.0);
            out.put_u32(mailbox.first_recent.0);
            out.put_u16(u16::try_from(mailbox.keywords.len()).expect("a mailbox has at most 56 keywords"));
            mailbox.keywords.iter().for_each(|keyword| out.put_text(keyword));
            encode_messages(&mut out, &mailbox.messages);
        }
        out.put_count(self.subscriptions.len());
        self.subscriptions.iter().for_each(|name| out.put_text(name));
        encode_starts(&mut out, &self.starts);
        KeyUse::encode_all(&mut out, &self.keys);
        self.standing.encode(&mut out);
        encode_taken(&mut out, &self.taken);
        out
    }

    /// From its bytes.
    pub fn decode(bytes: &[u8]) -> Result<AccountImage<'static>, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u16("image version")? != VERSION {
            return Err(Malformed("image version"));
        }
        reader.u16("image reserved")?;
        let next_mailbox = MailboxId(reader.u32("image next mailbox")?);
        let next_uid_validity = UidValidity(reader.u32("image next uid validity")?);
        let count = reader.u32("image mailboxes")?;
        let mut mailboxes = Vec::new();
        for _ in 0..count {
            mailboxes.push(decode_mailbox(&mut reader)?);
        }
        let count = reader.u32("image subscriptions")?;
        let mut subscriptions = Vec::new();
        for _ in 0..count {
            subscriptions.push(reader.text("image subscription")?.to_owned());
        }
        let starts = decode_starts(&mut reader)?;
        let keys = KeyUse::decode_all(&mut reader)?;
        let standing = Standing::decode(&mut reader)?;
        let taken = decode_taken(&mut reader)?;
        reader.end("image end")?;
        Ok(AccountImage {
            next_mailbox,
            next_uid_validity,
            mailboxes,
            subscriptions,
            starts,
            keys,
            standing,
            taken,
        })
    }
}

fn decode_mailbox(reader: &mut Reader<'_>) -> Result<MailboxImage<'static>, Malformed> {
    let definition = MailboxDefinition::decode(reader)?;
    let uid_next = Uid(reader.u32("image uid next")?);
    let highest_mod_seq = ModSeq(reader.u64("image mod-sequence")?);
    let first_recent = Uid(reader.u32("image recent")?);
    let count = reader.u16("image keywords")?;
    if usize::from(count) > Flags::KEYWORDS_MAX {
        return Err(Malformed("image keywords"));
    }
    let mut keywords = Vec::new();
    for _ in 0..count {
        keywords.push(reader.text("image keyword")?.to_owned());
    }
    let messages = decode_messages(reader)?;
    if messages.last().is_some_and(|message| message.uid >= uid_next) {
        return Err(Malformed("image uid next"));
    }
    Ok(MailboxImage {
        definition,
        uid_next,
        highest_mod_seq,
        first_recent,
        keywords,
        messages: Cow::Owned(messages),
    })
}
