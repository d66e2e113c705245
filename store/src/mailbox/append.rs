//! Putting messages into a mailbox: what APPEND and deliveries share.

use std::borrow::Cow;
use std::rc::Rc;

use pigeon_store_format::{BodyReference, Change, Flags, KeyUse, Message, ModSeq, NewKeyword, StreamedStart, Uid};

use super::Mailbox;
use crate::account::keys::KeyState;
use crate::account::state::AccountState;
use crate::account::{Limits, Usage};
use crate::body::PlacedBody;
use crate::journal::Purpose;
use crate::options::KEYWORD_BYTES_MAX;
use crate::{Appended, FinishedBody, StoreError};

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

/// A message whose body is in the journal and that gets its UID now.
pub(crate) struct Planned {
    pub(crate) body: Rc<PlacedBody>,
    /// In the body's list of accounts.
    pub(crate) entry: u16,
    pub(crate) flags: Flags,
    pub(crate) keywords: Vec<String>,
    pub(crate) internal_date: i64,
}

impl Planned {
    fn size(&self) -> u32 {
        self.body.size_for(self.entry)
    }
}

impl Mailbox {
    /// Puts messages in: all or none (RFC 3502).
    pub async fn append(&self, messages: Vec<NewMessage>) -> Result<Vec<Appended>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let volume = &self.account.volume;
        // Refuse before anything is written, as far as that can be known by now.
        let more = Usage {
            bytes: messages.iter().map(|message| message.body.info().size).sum(),
            messages: messages.len() as u64,
        };
        {
            let state = self.account.cell.state.borrow();
            drop(self.usable(&state)?);
            self.account.limits().check(state.usage, state.reserved, more)?;
        }
        let mut planned = Vec::with_capacity(messages.len());
        for NewMessage {
            body,
            flags,
            keywords,
            internal_date,
        } in messages
        {
            let body = Rc::new(
                volume
                    .place_body(body, &[(self.account.id(), bytes::Bytes::new())])
                    .await?,
            );
            planned.push(Planned {
                body,
                entry: 0,
                flags,
                keywords,
                internal_date,
            });
        }
        self.append_planned(&planned, self.account.limits()).await
    }

    /// As `append`, of messages whose bodies are in the journal.
    pub(crate) async fn append_planned(
        &self,
        planned: &[Planned],
        limits: Limits,
    ) -> Result<Vec<Appended>, StoreError> {
        let (durable, appended) = self.push_planned(planned, limits, None).await?;
        durable.await.map(|()| appended)
    }

    /// Puts the messages on their way: gives what tells when they have arrived. With a key that the account has seen, or
    /// that is on its way already, nothing is put: no place is given, and what tells is of the ones before.
    pub(crate) async fn push_planned(
        &self,
        planned: &[Planned],
        limits: Limits,
        key: Option<KeyUse>,
    ) -> Result<(crate::journal::outcome::Durable, Vec<Appended>), StoreError> {
        // A keyword that is new to the mailbox changes more than an append may beside others.
        let new_keyword = {
            let state = self.cell.state.borrow();
            planned
                .iter()
                .flat_map(|message| &message.keywords)
                .any(|name| position(&state.keywords, name).is_none())
        };
        let account = &self.account.cell;
        let pass = if new_keyword {
            account.pass_alone().await
        } else {
            account.pass_shared().await
        };
        planned.iter().for_each(|message| pass.hold(message.body.clone()));
        let volume = &self.account.volume;
        let decide = |state: &AccountState| {
            if key.is_some_and(|key| state.keys.state_of(key.key) != KeyState::New) {
                return Ok(None);
            }
            self.decide_append(state, planned, limits, key).map(Some)
        };
        let pushed = volume.change(account, pass, Purpose::Body, decide).await?;
        Ok(pushed.unwrap_or_else(|| (volume.journal.durable_when(), Vec::new())))
    }

    fn decide_append(
        &self,
        state: &AccountState,
        planned: &[Planned],
        limits: Limits,
        key: Option<KeyUse>,
    ) -> Result<(Change<'static>, Vec<Appended>), StoreError> {
        let mailbox = self.usable(state)?;
        let bytes = planned.iter().map(|message| u64::from(message.size())).sum();
        limits.check(
            state.usage,
            state.reserved,
            Usage {
                bytes,
                messages: planned.len() as u64,
            },
        )?;
        let mod_seq = ModSeq(mailbox.pushed_mod_seq.0 + 1);
        let mut keywords = Vec::new();
        let mut messages = Vec::with_capacity(planned.len());
        let mut starts = Vec::new();
        for (index, new) in planned.iter().enumerate() {
            let named = keyword_flags(&mailbox.keywords, &mut keywords, &new.keywords, true)?;
            let body: BodyReference = new.body.reference(new.entry);
            if let Some(start) = new.body.start {
                starts.push(StreamedStart {
                    end: body.position,
                    start,
                });
            }
            messages.push(Message {
                uid: next_uid(mailbox.pushed_uid_next, index)?,
                size: new.size(),
                mod_seq,
                flags: new.flags.system() | named,
                internal_date: new.internal_date,
                body,
            });
        }
        let appended = messages.iter().map(|message| Appended {
            mailbox: self.cell.id,
            uid_validity: self.cell.uid_validity,
            uid: message.uid,
            mod_seq,
        });
        let appended = appended.collect();
        let change = Change::Append {
            mailbox: self.cell.id,
            keywords,
            messages: Cow::Owned(messages),
            starts,
            key,
        };
        Ok((change, appended))
    }
}

/// The UID `index` behind `first`; the last one is never given, so that UIDNEXT stays a number.
pub(crate) fn next_uid(first: Uid, index: usize) -> Result<Uid, StoreError> {
    let index = u32::try_from(index).map_err(|_| StoreError::TooMany)?;
    let uid = first
        .0
        .checked_add(index)
        .filter(|uid| *uid < u32::MAX)
        .ok_or(StoreError::TooMany)?;
    Ok(Uid(uid))
}

/// Where a keyword stands in the table, without regard to case (RFC 9051 section 2.3.2).
fn position(table: &[String], name: &str) -> Option<usize> {
    table.iter().position(|keyword| keyword.eq_ignore_ascii_case(name))
}

/// The flags that keywords by name stand for. Those that are not in the table are added to `new`, or left out.
pub(crate) fn keyword_flags(
    table: &[String],
    new: &mut Vec<NewKeyword>,
    names: &[String],
    add: bool,
) -> Result<Flags, StoreError> {
    let mut flags = Flags::NONE;
    for name in names {
        let there = position(table, name);
        let made = || {
            new.iter()
                .find(|keyword| keyword.name.eq_ignore_ascii_case(name))
                .map(|keyword| usize::from(keyword.index))
        };
        let index = match there.or_else(made) {
            Some(index) => index,
            None if !add => continue,
            None => {
                if name.is_empty() || name.len() > KEYWORD_BYTES_MAX {
                    return Err(StoreError::TooManyKeywords);
                }
                let index = table.len() + new.len();
                if index >= Flags::KEYWORDS_MAX {
                    return Err(StoreError::TooManyKeywords);
                }
                new.push(NewKeyword {
                    index: u8::try_from(index).expect("below 56"),
                    name: name.clone(),
                });
                index
            }
        };
        flags = flags | Flags::keyword(index).ok_or(StoreError::TooManyKeywords)?;
    }
    Ok(flags)
}
