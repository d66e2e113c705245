//! Making, deleting, renaming and subscribing to mailboxes (RFC 9051 sections 6.3.4 to 6.3.8).

use pigeon_store_format::{Change, MailboxDefinition, MailboxId, ModSeq, SegmentBytes, SpecialUse, UidValidity};

use super::Account;
use super::names::{INBOX, canonical, checked, is_below, parents};
use super::state::AccountState;
use crate::journal::Purpose;
use crate::journal::segments::Segments;
use crate::options::MAILBOXES_MAX;
use crate::{Mailbox, StoreError};

/// Gives out definitions for mailboxes to be made in one change.
struct Definitions<'s> {
    state: &'s AccountState,
    made: Vec<MailboxDefinition>,
}

impl<'s> Definitions<'s> {
    fn new(state: &'s AccountState) -> Self {
        Self {
            state,
            made: Vec::new(),
        }
    }

    fn make(&mut self, name: &str, special_use: Option<SpecialUse>) -> Result<(), StoreError> {
        if self.state.mailboxes.len() + self.made.len() >= MAILBOXES_MAX {
            return Err(StoreError::TooManyMailboxes);
        }
        let count = u32::try_from(self.made.len()).expect("bounded by MAILBOXES_MAX");
        let number = self
            .state
            .next_mailbox
            .0
            .checked_add(count)
            .ok_or(StoreError::TooManyMailboxes)?;
        let validity = self
            .state
            .next_uid_validity
            .0
            .checked_add(count)
            .ok_or(StoreError::TooManyMailboxes)?;
        self.made.push(MailboxDefinition {
            id: MailboxId(number),
            uid_validity: UidValidity(validity),
            special_use,
            selectable: true,
            name: name.to_owned(),
        });
        Ok(())
    }

    fn make_parents(&mut self, name: &str) -> Result<(), StoreError> {
        for parent in parents(name) {
            if !self.state.names.contains_key(parent) && !self.made.iter().any(|made| made.name == parent) {
                self.make(parent, None)?;
            }
        }
        Ok(())
    }
}

fn selectable(state: &AccountState, name: &str) -> bool {
    state.by_name(name).is_some_and(|cell| cell.state.borrow().selectable)
}

impl Account {
    /// Makes a mailbox, and its parents where they are missing (RFC 9051 section 6.3.4).
    pub async fn create_mailbox(&self, name: &str, special_use: Option<SpecialUse>) -> Result<Mailbox, StoreError> {
        let name = checked(name)?;
        self.alone(|state| {
            if selectable(state, &name) {
                return Err(StoreError::MailboxExists);
            }
            let mut definitions = Definitions::new(state);
            definitions.make_parents(&name)?;
            definitions.make(&name, special_use)?;
            Ok(Some(Change::MailboxCreate {
                mailboxes: definitions.made,
            }))
        })
        .await?;
        self.mailbox(&name).ok_or(StoreError::NoSuchMailbox)
    }

    /// Deletes a mailbox with its messages (RFC 9051 section 6.3.5). One that has children stays as a name that cannot be
    /// selected; INBOX cannot be deleted.
    pub async fn delete_mailbox(&self, name: &str) -> Result<(), StoreError> {
        let name = canonical(name).into_owned();
        if name == INBOX {
            return Err(StoreError::BadName("INBOX cannot be deleted"));
        }
        let segments = &self.volume.segments;
        self.alone(|state| {
            let cell = state.by_name(&name).ok_or(StoreError::NoSuchMailbox)?;
            let keep_name = state.names.keys().any(|other| is_below(other, &name));
            let inner = cell.state.borrow();
            if keep_name && !inner.selectable {
                return Err(StoreError::BadName(
                    "the mailbox has children and cannot be selected: delete the children",
                ));
            }
            let dead = dead_bytes(state, &inner.messages, segments);
            Ok(Some(Change::MailboxDelete {
                mailbox: cell.id,
                keep_name,
                dead,
            }))
        })
        .await
    }

    /// Renames a mailbox and its children (RFC 9051 section 6.3.6). Renaming INBOX moves its messages and leaves it empty.
    pub async fn rename_mailbox(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let from = canonical(from).into_owned();
        let to = checked(to)?;
        self.alone(|state| {
            let cell = state.by_name(&from).ok_or(StoreError::NoSuchMailbox)?;
            if state.names.contains_key(&to) {
                return Err(StoreError::MailboxExists);
            }
            let mut definitions = Definitions::new(state);
            if from == INBOX {
                definitions.make_parents(&to)?;
                definitions.make(&to, None)?;
                let inbox_mod_seq = ModSeq(cell.state.borrow().highest_mod_seq.0 + 1);
                return Ok(Some(Change::InboxRename {
                    created: definitions.made,
                    inbox_mod_seq,
                }));
            }
            if is_below(&to, &from) {
                return Err(StoreError::BadName("a mailbox cannot go below itself"));
            }
            definitions.make_parents(&to)?;
            let mut renamed = vec![(cell.id, to.clone())];
            for (name, id) in state.names.iter().filter(|(name, _)| is_below(name, &from)) {
                // The new name may be longer: it must still be one.
                renamed.push((*id, checked(&format!("{to}{}", &name[from.len()..]))?));
            }
            Ok(Some(Change::MailboxRename {
                created: definitions.made,
                renamed,
            }))
        })
        .await
    }

    /// Subscribes to a name, which need not exist, or ends that.
    pub async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        let name = if subscribed {
            checked(name)?
        } else {
            canonical(name).into_owned()
        };
        self.alone(|state| {
            if state.subscriptions.contains(&name) == subscribed {
                return Ok(None);
            }
            if subscribed && state.subscriptions.len() >= MAILBOXES_MAX {
                return Err(StoreError::TooManyMailboxes);
            }
            Ok(Some(Change::Subscribe {
                subscribed,
                name: name.clone(),
            }))
        })
        .await
    }

    /// Makes a change while no other of the account is under way, and waits until it is durable.
    pub(crate) async fn alone(
        &self,
        mut decide: impl FnMut(&AccountState) -> Result<Option<Change<'static>>, StoreError>,
    ) -> Result<(), StoreError> {
        let pass = self.cell.pass_alone().await;
        let decide = |state: &AccountState| Ok(decide(state)?.map(|change| (change, ())));
        match self.volume.change(&self.cell, pass, Purpose::Change, decide).await? {
            Some((durable, ())) => durable.await,
            None => Ok(()),
        }
    }
}

/// What is given back when these messages go.
pub(crate) fn dead_bytes(
    state: &AccountState,
    gone: &[pigeon_store_format::Message],
    segments: &Segments,
) -> Vec<SegmentBytes> {
    let mut dead = Vec::new();
    for message in state.last_references(gone) {
        segments.add_share(&mut dead, message, state.start_of(message));
    }
    dead
}
