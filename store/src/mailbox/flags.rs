//! Changing flags (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3).

use std::collections::HashMap;

use pigeon_store_format::{Change, FlagGroup, Flags, ModSeq, NewKeyword, Uid, UidRanges};

use super::Mailbox;
use super::append::keyword_flags;
use super::state::MailboxState;
use crate::StoreError;
use crate::account::state::AccountState;
use crate::journal::Purpose;

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

/// What a list of changes comes to.
struct Decision {
    keywords: Vec<NewKeyword>,
    groups: Vec<FlagGroup>,
    mod_seq: ModSeq,
    results: Vec<FlagResult>,
}

impl Mailbox {
    /// Changes flags; durable when it returns. One result for each change, in their order. The messages that change share one
    /// new mod-sequence.
    pub async fn store_flags(&self, changes: &[FlagChange]) -> Result<Vec<FlagResult>, StoreError> {
        let pass = self.account.cell.pass_alone().await;
        let mut unchanged = Vec::new();
        let decide = |state: &AccountState| {
            let Decision {
                keywords,
                groups,
                mod_seq,
                results,
            } = decide(&*self.usable(state)?, changes)?;
            if groups.is_empty() {
                unchanged = results;
                return Ok(None);
            }
            Ok(Some((
                Change::Flags {
                    mailbox: self.cell.id,
                    mod_seq,
                    keywords,
                    groups,
                },
                results,
            )))
        };
        match self
            .account
            .volume
            .change(&self.account.cell, pass, Purpose::Change, decide)
            .await?
        {
            Some((durable, results)) => durable.await.map(|()| results),
            None => Ok(unchanged),
        }
    }
}

fn decide(state: &MailboxState, changes: &[FlagChange]) -> Result<Decision, StoreError> {
    let mod_seq = ModSeq(state.highest_mod_seq.0 + 1);
    let mut keywords = Vec::new();
    let mut results = Vec::with_capacity(changes.len());
    // The flags that a message has after those changes that were decided already.
    let mut decided: HashMap<Uid, Flags> = HashMap::new();
    for change in changes {
        let uid = change.uid;
        let Some(message) = state.message(uid) else {
            results.push(FlagResult {
                uid,
                flags: Flags::NONE,
                mod_seq: ModSeq(0),
                outcome: FlagOutcome::Gone,
            });
            continue;
        };
        let old = decided.get(&uid).copied().unwrap_or(message.flags);
        if change.unchanged_since.is_some_and(|since| message.mod_seq > since) {
            let outcome = FlagOutcome::Modified;
            results.push(FlagResult {
                uid,
                flags: old,
                mod_seq: message.mod_seq,
                outcome,
            });
            continue;
        }
        let add_to_table = change.operation != FlagOperation::Remove;
        let named = keyword_flags(&state.keywords, &mut keywords, &change.keywords, add_to_table)?;
        // Bits that no keyword of the table stands for are nobody's.
        let known = Flags::SYSTEM | table_flags(state.keywords.len());
        let flags = change.flags.intersection(known) | named;
        let new = match change.operation {
            FlagOperation::Add => old | flags,
            FlagOperation::Remove => old.without(flags),
            FlagOperation::Replace => flags,
        };
        if new != old {
            decided.insert(uid, new);
        }
        let outcome = if new == old {
            FlagOutcome::Unchanged
        } else {
            FlagOutcome::Changed
        };
        let mod_seq = if decided.contains_key(&uid) {
            mod_seq
        } else {
            message.mod_seq
        };
        results.push(FlagResult {
            uid,
            flags: new,
            mod_seq,
            outcome,
        });
    }
    Ok(Decision {
        keywords,
        groups: group(state, decided),
        mod_seq,
        results,
    })
}

/// All keyword bits that a table of so many keywords gives a meaning.
fn table_flags(keywords: usize) -> Flags {
    (0..keywords).filter_map(Flags::keyword).fold(Flags::NONE, Flags::union)
}

/// Messages that get the same flags in one group.
fn group(state: &MailboxState, decided: HashMap<Uid, Flags>) -> Vec<FlagGroup> {
    let mut changed: Vec<(Flags, Flags, Uid)> = decided
        .into_iter()
        .filter_map(|(uid, new)| {
            let old = state.message(uid)?.flags;
            Some((new.without(old), old.without(new), uid))
        })
        .collect();
    changed.sort_unstable_by_key(|(set, clear, uid)| (set.0, clear.0, *uid));
    changed
        .chunk_by(|one, next| (one.0, one.1) == (next.0, next.1))
        .map(|same| FlagGroup {
            set: same[0].0,
            clear: same[0].1,
            uids: UidRanges::from_ascending(same.iter().map(|(_, _, uid)| *uid)),
        })
        .collect()
}
