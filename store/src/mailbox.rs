//! A mailbox: its messages, and the changes of them.

use pigeon_store_format::{Flags, MailboxId, Message, ModSeq, SpecialUse, Uid, UidValidity};

use crate::{Appended, FinishedBody, StoreError, View};

/// A mailbox. Clones are the same mailbox. It outlives its deletion: then it is empty and refuses changes.
#[derive(Clone)]
pub struct Mailbox {
    _private: (),
}

/// What STATUS tells (RFC 9051 section 6.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxStatus {
    /// Messages.
    pub messages: u32,
    /// Without `\Seen`.
    pub unseen: u32,
    /// With `\Deleted`.
    pub deleted: u32,
    /// Messages that no session has seen as recent yet (RFC 3501).
    pub recent: u32,
    /// Bytes of all messages.
    pub size: u64,
    /// The next message's UID, at least.
    pub uid_next: Uid,
    /// Of this mailbox.
    pub uid_validity: UidValidity,
    /// Of the last change.
    pub highest_mod_seq: ModSeq,
}

/// A message that is put into a mailbox.
pub struct NewMessage {
    /// Its bytes; begun with this account among the accounts.
    pub body: FinishedBody,
    /// System flags it has from the start.
    pub flags: Flags,
    /// Keywords it has from the start.
    pub keywords: Vec<String>,
    /// INTERNALDATE, seconds since the Unix epoch, UTC.
    pub internal_date: i64,
}

/// A change of one message's flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagChange {
    /// The message.
    pub uid: Uid,
    /// What is done with `flags` and `keywords`.
    pub operation: FlagOperation,
    /// System flags; keyword bits of this mailbox are taken as well.
    pub flags: Flags,
    /// Keywords by name, which join the mailbox's table when they are new (not when they are removed).
    pub keywords: Vec<String>,
    /// Only if the message's mod-sequence is not above this (RFC 7162 section 3.1.3).
    pub unchanged_since: Option<ModSeq>,
}

/// What a flag change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOperation {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// What became of a flag change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagResult {
    /// The message.
    pub uid: Uid,
    /// Its flags now.
    pub flags: Flags,
    /// Its mod-sequence now.
    pub mod_seq: ModSeq,
    /// What was done.
    pub outcome: FlagOutcome,
}

/// See `FlagResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOutcome {
    /// The flags are new, and so is the mod-sequence.
    Changed,
    /// The flags were so already; nothing was written.
    Unchanged,
    /// Not done: the message was changed after `unchanged_since`.
    Modified,
    /// Not done: there is no such message.
    Gone,
}

impl Mailbox {
    /// Within its account.
    pub fn id(&self) -> MailboxId {
        unimplemented!()
    }

    /// Its full name now.
    pub fn name(&self) -> String {
        unimplemented!()
    }

    /// Never changes for a mailbox.
    pub fn uid_validity(&self) -> UidValidity {
        unimplemented!()
    }

    /// Above every UID given so far.
    pub fn uid_next(&self) -> Uid {
        unimplemented!()
    }

    /// Of the last change.
    pub fn highest_mod_seq(&self) -> ModSeq {
        unimplemented!()
    }

    /// What it is for.
    pub fn special_use(&self) -> Option<SpecialUse> {
        unimplemented!()
    }

    /// It has been deleted (a name that cannot be selected any more counts as such).
    pub fn is_deleted(&self) -> bool {
        unimplemented!()
    }

    /// False for a name that is only there for its children.
    pub fn is_selectable(&self) -> bool {
        unimplemented!()
    }

    /// Counts, without a look at every message.
    pub fn status(&self) -> MailboxStatus {
        unimplemented!()
    }

    /// The keyword table: index `i` is the flag `Flags::keyword(i)`.
    pub fn keywords(&self) -> Vec<String> {
        unimplemented!()
    }

    /// All messages, sorted by UID, borrowed inside the closure only: do not call the store from it.
    pub fn with_messages<R>(&self, f: impl FnOnce(&[Message]) -> R) -> R {
        let _ = f;
        unimplemented!()
    }

    /// One message.
    pub fn message(&self, uid: Uid) -> Option<Message> {
        let _ = uid;
        unimplemented!()
    }

    /// Changes flags; durable when it returns. One result for each change, in their order. The messages that change share one
    /// new mod-sequence.
    pub async fn store_flags(&self, changes: &[FlagChange]) -> Result<Vec<FlagResult>, StoreError> {
        let _ = changes;
        unimplemented!()
    }

    /// Removes messages; durable when it returns. Gives those that were still there, ascending.
    pub async fn expunge(&self, uids: &[Uid]) -> Result<Vec<Uid>, StoreError> {
        let _ = uids;
        unimplemented!()
    }

    /// Copies messages into a mailbox of the same account: all that are there, or none. Bodies are shared. Gives the pairs of old and
    /// new UID, ascending.
    pub async fn copy(&self, uids: &[Uid], to: &Mailbox) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let _ = (uids, to);
        unimplemented!()
    }

    /// Moves messages into a mailbox of the same account in one atomic step (RFC 6851). Gives the pairs of old and new UID, ascending.
    pub async fn move_messages(&self, uids: &[Uid], to: &Mailbox) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let _ = (uids, to);
        unimplemented!()
    }

    /// Puts messages in: all or none (RFC 3502).
    pub async fn append(&self, messages: Vec<NewMessage>) -> Result<Vec<Appended>, StoreError> {
        let _ = messages;
        unimplemented!()
    }

    /// For the first read-write SELECT after messages came: the first UID that is `\Recent` in that session alone. `None` when no message is.
    pub fn take_recent(&self) -> Option<Uid> {
        unimplemented!()
    }

    /// A session's window on the mailbox, which knows all messages of now.
    pub fn view(&self) -> View {
        unimplemented!()
    }
}
