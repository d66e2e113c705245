//! A mailbox: its messages, and what a session asks of them.
//!
//! `state` holds what is so; `flags`, `transfer` and `append` decide changes.

mod append;
mod flags;
pub(crate) mod state;
mod transfer;

use std::rc::Rc;

use pigeon_store_format::{Change, MailboxId, Message, ModSeq, SpecialUse, Uid, UidRanges, UidValidity};

pub use self::append::NewMessage;
pub(crate) use self::append::Planned;
pub use self::flags::{FlagChange, FlagOperation, FlagOutcome, FlagResult};
use self::state::{MailboxCell, MailboxState};
use crate::account::state::AccountState;
use crate::body::OpenedBody;
use crate::body::ahead::record_bytes;
use crate::{Account, BodyReader, ReadAhead, StoreError, View};

/// A mailbox. Clones are the same mailbox. It outlives its deletion: then it is empty and refuses changes.
#[derive(Clone)]
pub struct Mailbox {
    pub(crate) account: Account,
    pub(crate) cell: Rc<MailboxCell>,
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

impl Mailbox {
    /// Within its account.
    pub fn id(&self) -> MailboxId {
        self.cell.id
    }

    /// The account it is in.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Its full name now.
    pub fn name(&self) -> String {
        self.cell.state.borrow().name.clone()
    }

    /// Never changes for a mailbox.
    pub fn uid_validity(&self) -> UidValidity {
        self.cell.uid_validity
    }

    /// Above every UID given so far.
    pub fn uid_next(&self) -> Uid {
        self.cell.state.borrow().uid_next
    }

    /// Of the last change.
    pub fn highest_mod_seq(&self) -> ModSeq {
        self.cell.state.borrow().highest_mod_seq
    }

    /// What it is for.
    pub fn special_use(&self) -> Option<SpecialUse> {
        self.cell.state.borrow().special_use
    }

    /// It has been deleted (a name that cannot be selected any more counts as such).
    pub fn is_deleted(&self) -> bool {
        self.cell.state.borrow().deleted
    }

    /// False for a name that is only there for its children.
    pub fn is_selectable(&self) -> bool {
        let state = self.cell.state.borrow();
        state.selectable && !state.deleted
    }

    /// Counts, without a look at every message.
    pub fn status(&self) -> MailboxStatus {
        let state = self.cell.state.borrow();
        MailboxStatus {
            messages: as_count(state.messages.len()),
            unseen: state.unseen,
            deleted: state.marked_deleted,
            recent: as_count(state.messages.len() - state.rank(state.first_recent)),
            size: state.size,
            uid_next: state.uid_next,
            uid_validity: self.cell.uid_validity,
            highest_mod_seq: state.highest_mod_seq,
        }
    }

    /// The keyword table: index `i` is the flag `Flags::keyword(i)`.
    pub fn keywords(&self) -> Vec<String> {
        self.cell.state.borrow().keywords.clone()
    }

    /// All messages, sorted by UID, borrowed inside the closure only: do not call the store from it.
    pub fn with_messages<R>(&self, f: impl FnOnce(&[Message]) -> R) -> R {
        f(&self.cell.state.borrow().messages)
    }

    /// One message.
    pub fn message(&self, uid: Uid) -> Option<Message> {
        self.cell.state.borrow().message(uid).copied()
    }

    /// Opens a message for reading; it stays readable while the reader is held, also when the message is expunged or compaction moves
    /// it. Damage is told with account, mailbox and UID. `MessageGone`: it was expunged before.
    pub async fn open_message(&self, uid: Uid) -> Result<BodyReader, StoreError> {
        let volume = &self.account.volume;
        self.open(uid, async |message| {
            volume.open_body(message.body, record_bytes(&message)).await
        })
        .await
    }

    /// As `open_message`, for one of several that are read one after the other: `following` are those that come next, as the index had
    /// them a moment ago, and may be read along with it. What is read so does not drive others' mail out of the cache.
    pub async fn open_message_ahead(
        &self,
        uid: Uid,
        ahead: &mut ReadAhead,
        following: impl Iterator<Item = Message> + Clone,
    ) -> Result<BodyReader, StoreError> {
        let volume = &self.account.volume;
        self.open(uid, async |message| {
            volume.open_body_ahead(&message, ahead, following.clone()).await
        })
        .await
    }

    async fn open(
        &self,
        uid: Uid,
        mut body: impl AsyncFnMut(Message) -> Result<Rc<OpenedBody>, StoreError>,
    ) -> Result<BodyReader, StoreError> {
        // Compaction may move the body between the look and the open, at most once in a long while.
        const TRIES: usize = 3;
        let mut result = Err(StoreError::MessageGone);
        for _ in 0..TRIES {
            let message = self.message(uid).ok_or(StoreError::MessageGone)?;
            result = body(message).await;
            if !matches!(result, Err(StoreError::MessageGone)) {
                break;
            }
        }
        let opened = result.map_err(|error| self.name_damage(uid, error))?;
        let reader = BodyReader::new(self.account.volume.clone(), opened);
        Ok(reader.of(self.clone(), uid))
    }

    pub(crate) fn name_damage(&self, uid: Uid, error: StoreError) -> StoreError {
        match error {
            StoreError::Damaged { what } => StoreError::Damaged {
                what: format!(
                    "account {}, mailbox {}, UID {uid}: {what}",
                    self.account.id(),
                    self.name()
                ),
            },
            other => other,
        }
    }

    /// Removes messages; durable when it returns. Gives those that were still there, ascending.
    pub async fn expunge(&self, uids: &[Uid]) -> Result<Vec<Uid>, StoreError> {
        let uids = sorted(uids);
        let pass = self.account.cell.pass_alone().await;
        let segments = &self.account.volume.segments;
        let decide = |state: &AccountState| {
            let mailbox = self.usable(state)?;
            let there = existing(&mailbox, &uids);
            if there.is_empty() {
                return Ok(None);
            }
            let mod_seq = ModSeq(mailbox.highest_mod_seq.0 + 1);
            drop(mailbox);
            let gone = AccountState::messages_of(&self.cell, &there);
            let dead = crate::account::dead_bytes(state, &gone, segments);
            let change = Change::Expunge {
                mailbox: self.cell.id,
                mod_seq,
                uids: there,
                dead,
            };
            Ok(Some((
                change,
                gone.iter().map(|message| message.uid).collect::<Vec<_>>(),
            )))
        };
        let purpose = crate::journal::Purpose::Change;
        match self
            .account
            .volume
            .change(&self.account.cell, pass, purpose, decide)
            .await?
        {
            Some((durable, gone)) => durable.await.map(|()| gone),
            None => Ok(Vec::new()),
        }
    }

    /// For the first read-write SELECT after messages came: the first UID that is `\Recent` in that session alone (RFC 3501
    /// section 2.3.2). `None` when no message is. Kept on disk without waiting for it: after a crash messages may be recent again.
    pub fn take_recent(&self) -> Option<Uid> {
        let (first, next) = {
            let mut state = self.cell.state.borrow_mut();
            let first = state.first_recent;
            let next = state.uid_next;
            if state.messages.last().is_none_or(|last| last.uid < first) {
                return None;
            }
            state.first_recent = next;
            (first, next)
        };
        self.account
            .volume
            .housekeeping
            .note_recent(&self.account.cell, self.cell.id, next);
        Some(first)
    }

    /// A session's window on the mailbox, which knows all messages of now.
    pub fn view(&self) -> View {
        View::new(self.clone())
    }

    /// The mailbox's state, if it still takes changes.
    pub(crate) fn usable(&self, _: &AccountState) -> Result<std::cell::Ref<'_, MailboxState>, StoreError> {
        let state = self.cell.state.borrow();
        if state.deleted || !state.selectable {
            return Err(StoreError::NoSuchMailbox);
        }
        Ok(state)
    }
}

/// Ascending, each once.
fn sorted(uids: &[Uid]) -> Vec<Uid> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// Those of the ascending UIDs that are there.
fn existing(state: &MailboxState, uids: &[Uid]) -> UidRanges {
    UidRanges::from_ascending(uids.iter().copied().filter(|uid| state.message(*uid).is_some()))
}

fn as_count(count: usize) -> u32 {
    u32::try_from(count).expect("a mailbox has fewer messages than UIDs")
}
