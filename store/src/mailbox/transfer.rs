//! Copying and moving messages within an account (RFC 9051 sections 6.4.7 and 6.4.8): one atomic record each.

use pigeon_store_format::{Change, Flags, Message, ModSeq, NewKeyword, Transfer, Uid};

use super::append::{keyword_flags, next_uid};
use super::{Mailbox, existing, sorted};
use crate::StoreError;
use crate::account::Usage;
use crate::account::state::AccountState;
use crate::journal::Purpose;

/// What is to be written, and the pairs of old and new UID.
type Decision = (Change<'static>, Vec<(Uid, Uid)>);

impl Mailbox {
    /// Copies messages into a mailbox of the same account: all that are there, or none. Bodies are shared. Gives the pairs of old and
    /// new UID, ascending.
    pub async fn copy(&self, uids: &[Uid], to: &Mailbox) -> Result<Vec<(Uid, Uid)>, StoreError> {
        self.transfer(uids, to, false).await
    }

    /// Moves messages into a mailbox of the same account in one atomic step (RFC 6851). Gives the pairs of old and new UID, ascending.
    /// Into the mailbox itself, messages get new UIDs.
    pub async fn move_messages(&self, uids: &[Uid], to: &Mailbox) -> Result<Vec<(Uid, Uid)>, StoreError> {
        self.transfer(uids, to, true).await
    }

    async fn transfer(&self, uids: &[Uid], to: &Mailbox, take: bool) -> Result<Vec<(Uid, Uid)>, StoreError> {
        if to.account.id() != self.account.id() {
            return Err(StoreError::NoSuchMailbox);
        }
        let uids = sorted(uids);
        let pass = self.account.cell.pass_alone().await;
        let decide = |state: &AccountState| self.decide_transfer(state, &uids, to, take);
        match self
            .account
            .volume
            .change(&self.account.cell, pass, Purpose::Change, decide)
            .await?
        {
            Some((durable, pairs)) => durable.await.map(|()| pairs),
            None => Ok(Vec::new()),
        }
    }

    fn decide_transfer(
        &self,
        state: &AccountState,
        uids: &[Uid],
        to: &Mailbox,
        take: bool,
    ) -> Result<Option<Decision>, StoreError> {
        let source = self.usable(state)?;
        let target = to.usable(state)?;
        let there = existing(&source, uids);
        if there.is_empty() {
            return Ok(None);
        }
        let messages: Vec<Message> = there.iter().filter_map(|uid| source.message(uid).copied()).collect();
        if !take {
            let bytes = messages.iter().map(|message| u64::from(message.size)).sum();
            let more = Usage {
                bytes,
                messages: messages.len() as u64,
            };
            self.account.limits().check(state.usage, state.reserved, more)?;
        }
        let first_uid = next_uid(target.uid_next, 0)?;
        let mut pairs = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            pairs.push((message.uid, next_uid(first_uid, index)?));
        }
        let mut keywords: Vec<NewKeyword> = Vec::new();
        let mut keyword_map = Vec::new();
        let flags = messages.iter().fold(Flags::NONE, |all, message| all | message.flags);
        for index in flags.keyword_indices() {
            let Some(name) = source.keywords.get(index) else {
                continue;
            };
            let mapped = keyword_flags(&target.keywords, &mut keywords, std::slice::from_ref(name), true)?;
            if let Some(new) = mapped.keyword_indices().next() {
                let byte = |index: usize| u8::try_from(index).expect("a mailbox has at most 56 keywords");
                keyword_map.push((byte(index), byte(new)));
            }
        }
        let same = self.cell.id == to.cell.id;
        let transfer = Transfer {
            source: self.cell.id,
            target: to.cell.id,
            uids: there,
            first_uid,
            mod_seq: ModSeq(target.highest_mod_seq.0 + 1),
            keywords,
            keyword_map,
        };
        let change = if take {
            let source_mod_seq = ModSeq(source.highest_mod_seq.0 + if same { 2 } else { 1 });
            Change::Move {
                transfer,
                source_mod_seq,
            }
        } else {
            Change::Copy(transfer)
        };
        Ok(Some((change, pairs)))
    }
}
