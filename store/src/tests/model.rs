//! An account as plain maps: what the store must be equal to.

use std::collections::{BTreeMap, BTreeSet};

use super::harness::{message_text, read_message};
use crate::{Account, Flags, Volume};

/// A message that the model made up: its bytes follow from this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelBody {
    pub(crate) number: u64,
    pub(crate) bytes: usize,
    pub(crate) prepend: Vec<u8>,
}

impl ModelBody {
    pub(crate) fn shared(&self) -> Vec<u8> {
        message_text(self.number, self.bytes)
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = self.prepend.clone();
        content.extend_from_slice(&self.shared());
        content
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelMessage {
    pub(crate) body: ModelBody,
    pub(crate) size: u64,
    pub(crate) mod_seq: u64,
    pub(crate) system: Flags,
    pub(crate) keywords: BTreeSet<String>,
    pub(crate) date: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelMailbox {
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest_mod_seq: u64,
    pub(crate) selectable: bool,
    pub(crate) messages: BTreeMap<u32, ModelMessage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelAccount {
    pub(crate) next_uid_validity: u32,
    pub(crate) mailboxes: BTreeMap<String, ModelMailbox>,
    pub(crate) subscriptions: BTreeSet<String>,
}

impl ModelMailbox {
    fn new(uid_validity: u32) -> Self {
        Self {
            uid_validity,
            uid_next: 1,
            highest_mod_seq: 1,
            selectable: true,
            messages: BTreeMap::new(),
        }
    }

    /// Puts messages in, all in one change. Gives the UIDs.
    pub(crate) fn append(&mut self, messages: Vec<ModelMessage>) -> Vec<u32> {
        self.highest_mod_seq += 1;
        let mut uids = Vec::new();
        for mut message in messages {
            message.mod_seq = self.highest_mod_seq;
            uids.push(self.uid_next);
            self.messages.insert(self.uid_next, message);
            self.uid_next += 1;
        }
        uids
    }
}

impl ModelAccount {
    pub(crate) fn new(uid_validity_base: u32) -> Self {
        let inbox = ModelMailbox::new(uid_validity_base);
        Self {
            next_uid_validity: uid_validity_base + 1,
            mailboxes: BTreeMap::from([("INBOX".to_owned(), inbox)]),
            subscriptions: BTreeSet::new(),
        }
    }

    fn make(&mut self, name: &str) {
        let mailbox = ModelMailbox::new(self.next_uid_validity);
        self.next_uid_validity += 1;
        self.mailboxes.insert(name.to_owned(), mailbox);
    }

    fn make_parents(&mut self, name: &str) {
        for (index, _) in name.match_indices('/') {
            if !self.mailboxes.contains_key(&name[..index]) {
                self.make(&name[..index]);
            }
        }
    }

    /// False when there is one.
    pub(crate) fn create(&mut self, name: &str) -> bool {
        if self.mailboxes.get(name).is_some_and(|mailbox| mailbox.selectable) {
            return false;
        }
        self.make_parents(name);
        self.make(name);
        true
    }

    fn has_children(&self, name: &str) -> bool {
        self.mailboxes
            .keys()
            .any(|other| other.starts_with(&format!("{name}/")))
    }

    /// False when that is not allowed.
    pub(crate) fn delete(&mut self, name: &str) -> bool {
        let children = self.has_children(name);
        let Some(mailbox) = self.mailboxes.get_mut(name) else {
            return false;
        };
        if name == "INBOX" || (children && !mailbox.selectable) {
            return false;
        }
        if children {
            let uid_validity = mailbox.uid_validity;
            *mailbox = ModelMailbox {
                selectable: false,
                ..ModelMailbox::new(uid_validity)
            };
        } else {
            self.mailboxes.remove(name);
        }
        true
    }

    /// False when that is not allowed.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        if !self.mailboxes.contains_key(from)
            || self.mailboxes.contains_key(to)
            || to.starts_with(&format!("{from}/")) && from != "INBOX"
        {
            return false;
        }
        self.make_parents(to);
        if from == "INBOX" {
            let inbox = self.mailboxes.get_mut("INBOX").expect("always there");
            let (messages, uid_next, highest_mod_seq) = (
                std::mem::take(&mut inbox.messages),
                inbox.uid_next,
                inbox.highest_mod_seq,
            );
            inbox.highest_mod_seq += 1;
            self.make(to);
            let new = self.mailboxes.get_mut(to).expect("just made");
            *new = ModelMailbox {
                uid_next,
                highest_mod_seq,
                messages,
                ..new.clone()
            };
            return true;
        }
        let moved: Vec<String> = self
            .mailboxes
            .keys()
            .filter(|name| *name == from || name.starts_with(&format!("{from}/")))
            .cloned()
            .collect();
        for name in moved {
            let mailbox = self.mailboxes.remove(&name).expect("it is there");
            self.mailboxes.insert(format!("{to}{}", &name[from.len()..]), mailbox);
        }
        true
    }

    pub(crate) fn usage(&self) -> (u64, u64) {
        let messages = || self.mailboxes.values().flat_map(|mailbox| mailbox.messages.values());
        (messages().map(|message| message.size).sum(), messages().count() as u64)
    }
}

/// Whether the account is as the model says; the text says where it is not.
pub(crate) fn compare(account: &Account, model: &ModelAccount) -> Result<(), String> {
    let differs = |what: &str, store: &dyn std::fmt::Debug, model: &dyn std::fmt::Debug| {
        Err(format!("{what}: the store has {store:?}, the model {model:?}"))
    };
    let mut names: Vec<String> = account.mailboxes().iter().map(crate::Mailbox::name).collect();
    names.sort();
    let expected: Vec<String> = model.mailboxes.keys().cloned().collect();
    if names != expected {
        return differs("mailboxes", &names, &expected);
    }
    let subscriptions = account.subscriptions();
    let expected: Vec<String> = model.subscriptions.iter().cloned().collect();
    if subscriptions != expected {
        return differs("subscriptions", &subscriptions, &expected);
    }
    for (name, expected) in &model.mailboxes {
        let mailbox = account.mailbox(name).expect("it is in the list");
        let has = (
            mailbox.uid_validity().0,
            mailbox.uid_next().0,
            mailbox.highest_mod_seq().0,
            mailbox.is_selectable(),
        );
        let wants = (
            expected.uid_validity,
            expected.uid_next,
            expected.highest_mod_seq,
            expected.selectable,
        );
        if has != wants {
            return differs(
                &format!("{name}: validity, next UID, mod-sequence, selectable"),
                &has,
                &wants,
            );
        }
        let uids: Vec<u32> = mailbox.with_messages(|messages| messages.iter().map(|message| message.uid.0).collect());
        let wants: Vec<u32> = expected.messages.keys().copied().collect();
        if uids != wants {
            return differs(&format!("{name}: UIDs"), &uids, &wants);
        }
        let keywords = mailbox.keywords();
        for (uid, wants) in &expected.messages {
            let has = mailbox.message(crate::Uid(*uid)).expect("it is in the list");
            let words: BTreeSet<String> = has
                .flags
                .keyword_indices()
                .map(|index| keywords[index].clone())
                .collect();
            let has_all = (
                has.flags.system(),
                words,
                has.internal_date,
                u64::from(has.size),
                has.mod_seq.0,
            );
            let wants_all = (
                wants.system,
                wants.keywords.clone(),
                wants.date,
                wants.size,
                wants.mod_seq,
            );
            if has_all != wants_all {
                return differs(&format!("{name}: UID {uid}"), &has_all, &wants_all);
            }
        }
        let status = mailbox.status();
        let count = |flag: Flags, on: bool| {
            expected
                .messages
                .values()
                .filter(|message| message.system.contains(flag) == on)
                .count() as u32
        };
        let counts = (status.unseen, status.deleted, status.size);
        let sizes: u64 = expected.messages.values().map(|message| message.size).sum();
        let wants = (count(Flags::SEEN, false), count(Flags::DELETED, true), sizes);
        if counts != wants {
            return differs(&format!("{name}: counts"), &counts, &wants);
        }
    }
    let usage = (account.usage().bytes, account.usage().messages);
    if usage != model.usage() {
        return differs("usage", &usage, &model.usage());
    }
    Ok(())
}

/// Compares every body, byte by byte.
pub(crate) async fn compare_bodies(volume: &Volume, account: &Account, model: &ModelAccount) {
    for (name, expected) in &model.mailboxes {
        let mailbox = account.mailbox(name).expect("it was compared");
        for (uid, message) in &expected.messages {
            let bytes = read_message(&mailbox, crate::Uid(*uid)).await;
            let bytes = bytes.unwrap_or_else(|error| panic!("{name}: UID {uid}: {error}"));
            assert!(bytes == message.body.content(), "{name}: UID {uid}: other bytes");
            let piece = read_piece(volume, &mailbox, crate::Uid(*uid)).await;
            assert!(
                message.body.content()[3..].starts_with(&piece) && !piece.is_empty(),
                "{name}: UID {uid}: other bytes"
            );
        }
    }
}

/// A piece by reference; compaction may move the body while it is opened.
async fn read_piece(volume: &Volume, mailbox: &crate::Mailbox, uid: crate::Uid) -> bytes::Bytes {
    loop {
        let reference = mailbox.message(uid).expect("it is there").body;
        match volume.read_body(reference, 3, 10).await {
            Err(crate::StoreError::MessageGone) => {}
            result => return result.unwrap_or_else(|error| panic!("UID {uid}: {error}")),
        }
    }
}
