//! Moving an account to another volume, of this node or another: the durable steps at both ends, what the old owner gives out,
//! and what the new one takes in (`import`). Who asks whom, and when, is the business of whoever calls.
//!
//! Invariants:
//! - At most one of the two volumes has the account here at any time, whatever crashes: the old one makes `HandingOver` durable
//!   before it gives out the last image, and the new one `Arrived` after it has all of that.
//! - What hands over does not come back by itself: only when the other end has said that it does not have the account by that
//!   very move, and never will; and the other end has made that durable.
//! - The old copy goes when the other end has said that it has it, and not before.

mod anew;
mod import;
mod staging;

use bytes::Bytes;
use pigeon_store_format::{
    Change, Counterpart, LogPosition, MailboxId, MoveId, PLACE_BYTES_MAX, SegmentBytes, Standing, Uid,
};

pub use self::import::{Import, Wanted};
use crate::account::state::AccountState;
use crate::journal::segments::Segments;
use crate::{Account, BodyReader, Mailbox, StoreError};

/// What is asked of an account that stands otherwise.
const NOT_NOW: StoreError = StoreError::BadName("the account's move has not come so far, or is over");

impl Account {
    /// Hands the account over: from here on nothing changes in it, and it stays so until `let_go` or `take_back`. Each attempt
    /// has a number of its own, and none takes the place of another: what is said late of an older one changes nothing.
    pub async fn hand_over(&self, to: &Counterpart) -> Result<(), StoreError> {
        check_place(to)?;
        self.step(|state| match &state.standing {
            Standing::Here | Standing::Arrived(_) => Ok(Some(Standing::HandingOver(to.clone()))),
            Standing::HandingOver(before) if before == to => Ok(None),
            _ => Err(NOT_NOW),
        })
        .await
    }

    /// The other end has said that it does not have the account by this hand-over, and never will: it is here again.
    pub async fn take_back(&self, id: MoveId) -> Result<(), StoreError> {
        self.step(|state| match &state.standing {
            Standing::HandingOver(to) if to.id == id => Ok(Some(Standing::Here)),
            Standing::Here => Ok(None),
            _ => Err(NOT_NOW),
        })
        .await
    }

    /// The other end has said that it has the account by this hand-over: the copy here goes.
    pub async fn let_go(&self, id: MoveId) -> Result<(), StoreError> {
        self.step(|state| match &state.standing {
            Standing::HandingOver(to) if to.id == id => Ok(Some(Standing::Moved(to.clone()))),
            Standing::Moved(to) if to.id == id => Ok(None),
            _ => Err(NOT_NOW),
        })
        .await
    }

    /// The place that the account came from knows that it is here.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.step(|state| match &state.standing {
            Standing::Arrived(_) => Ok(Some(Standing::Here)),
            Standing::Here => Ok(None),
            _ => Err(NOT_NOW),
        })
        .await
    }

    /// The place that the account would come from by this move keeps it: nothing will ever come by it, durably when this
    /// returns. What was fetched by it goes; what is being fetched right now fails. Refused when the account came by it.
    pub async fn abandon(&self, id: MoveId) -> Result<(), StoreError> {
        self.step(|state| match &state.standing {
            Standing::Incoming(from) if from.id == id => Ok(Some(Standing::GivenUp(from.clone()))),
            Standing::GivenUp(from) if from.id == id => Ok(None),
            // Only what is incoming by it could still arrive by it.
            _ if state.has_taken(id) == Some(false) => Ok(None),
            _ => Err(NOT_NOW),
        })
        .await
    }

    /// Whether the account came here by this move, at whatever it has become since; known until the place that it came from
    /// was told. `None`: so many were never told that it is not known.
    pub fn has_taken(&self, id: MoveId) -> Option<bool> {
        self.cell.state.borrow().has_taken(id)
    }

    /// Nothing of the account is here, and it does not begin here: durably, whoever asks for it is sent to that place. What was
    /// being fetched goes. `before` is the number of the move that it stood in when it was asked (zero: none): refused when
    /// it stands otherwise by now, or is here.
    pub async fn stand_aside(&self, before: MoveId, to: &Counterpart) -> Result<(), StoreError> {
        check_place(to)?;
        self.step(|state| match &state.standing {
            Standing::GivenUp(now) if now == to => Ok(None),
            Standing::Here if state.pushed_head == LogPosition::NONE && before == MoveId::default() => {
                Ok(Some(Standing::GivenUp(to.clone())))
            }
            Standing::Incoming(now) | Standing::GivenUp(now) if now.id == before => {
                Ok(Some(Standing::GivenUp(to.clone())))
            }
            _ => Err(NOT_NOW),
        })
        .await
    }

    async fn step(
        &self,
        mut next: impl FnMut(&AccountState) -> Result<Option<Standing>, StoreError>,
    ) -> Result<(), StoreError> {
        let segments = &self.volume.segments;
        self.alone(|state| {
            let Some(standing) = next(state)? else {
                return Ok(None);
            };
            let dead = match standing.is_gone() {
                true => all_bytes(state, segments),
                false => Vec::new(),
            };
            Ok(Some(Change::Handover { standing, dead }))
        })
        .await
    }

    /// The account as it is now, for `Import::plan` at the other end. After `hand_over` it is the last one.
    pub fn image(&self) -> Bytes {
        Bytes::from(self.cell.state.borrow().encode_image())
    }

    /// Opens a message by the numbers in the image.
    pub async fn open_by_number(&self, mailbox: MailboxId, uid: Uid) -> Result<BodyReader, StoreError> {
        let cell = self.cell.state.borrow().mailboxes.get(&mailbox).cloned();
        let mailbox = Mailbox {
            account: self.clone(),
            cell: cell.ok_or(StoreError::NoSuchMailbox)?,
        };
        mailbox.open_message(uid).await
    }

    /// Begins to fetch the account from there, or goes on with what an attempt before has left: refused when it is here. One at
    /// a time, and each by a number that was never used before: nothing can arrive by that of an attempt before any more.
    pub async fn begin_import(&self, from: Counterpart) -> Result<Import, StoreError> {
        Import::begin(self, from).await
    }
}

fn check_place(other: &Counterpart) -> Result<(), StoreError> {
    if other.place.is_empty() || other.place.len() > PLACE_BYTES_MAX {
        return Err(StoreError::BadName("not the name of a place"));
    }
    Ok(())
}

/// What the bodies of all messages take.
fn all_bytes(state: &AccountState, segments: &Segments) -> Vec<SegmentBytes> {
    let mut seen = std::collections::HashSet::new();
    let mut bytes = Vec::new();
    for cell in state.mailboxes.values() {
        for message in &cell.state.borrow().messages {
            if seen.insert((message.body.position, message.body.entry)) {
                segments.add_share(&mut bytes, message, state.start_of(message));
            }
        }
    }
    bytes
}
