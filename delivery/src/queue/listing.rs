//! What waits in a volume, message by message, for people.

use super::stored::{Stored, Unreadable};
use super::{MAILBOX_PREFIX, QUEUE_ACCOUNT, UNDELIVERABLE};
use pigeon_store::{Mailbox, StoreError, Uid, Volume};

/// Recipients that are named of one message.
const NAMED_MAX: usize = 20;

/// A message that waits, or is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The node that it waits for; `None`: it could neither be delivered nor reported.
    pub destination: Option<String>,
    /// Its number in its mailbox.
    pub uid: u32,
    /// When it was taken, seconds since the Unix epoch.
    pub received_at: i64,
    /// Bytes, with the envelope.
    pub bytes: u64,
    /// What is in front of it; or why that cannot be read.
    pub envelope: Result<ListedEnvelope, String>,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEnvelope {
    /// Its name in replies and logs.
    pub id: String,
    /// The sender; empty for none.
    pub sender: String,
    /// The first of those who wait for it.
    pub recipients: Vec<String>,
    /// How many do.
    pub waiting: usize,
    /// An answer was lost: they may have it.
    pub unsure: bool,
}

/// The oldest `most` of a volume, those that are kept first. Reads the envelope of each from the disk.
pub async fn list(of: &Volume, most: usize) -> Result<Vec<Listed>, StoreError> {
    let account = of.account(QUEUE_ACCOUNT).await?;
    let mut mailboxes = account.mailboxes();
    mailboxes.sort_by_key(|mailbox| mailbox.name() != UNDELIVERABLE);
    let mut listed = Vec::new();
    for mailbox in mailboxes {
        let name = mailbox.name();
        let destination = name.strip_prefix(MAILBOX_PREFIX);
        if destination.is_none() && name != UNDELIVERABLE {
            continue;
        }
        let messages: Vec<(Uid, i64, u64)> = mailbox.with_messages(|messages| {
            let room = most.saturating_sub(listed.len());
            let first = messages.iter().take(room);
            first
                .map(|message| (message.uid, message.internal_date, u64::from(message.size)))
                .collect()
        });
        for (uid, received_at, bytes) in messages {
            let Some(envelope) = envelope_of(&mailbox, uid).await else {
                continue;
            };
            listed.push(Listed {
                destination: destination.map(str::to_owned),
                uid: uid.0,
                received_at,
                bytes,
                envelope,
            });
        }
    }
    Ok(listed)
}

/// `None`: it has gone.
async fn envelope_of(mailbox: &Mailbox, uid: Uid) -> Option<Result<ListedEnvelope, String>> {
    let stored = match Stored::open(mailbox, uid).await {
        Ok(stored) => stored,
        Err(Unreadable::Gone) => return None,
        Err(Unreadable::Store(error)) => return Some(Err(error.to_string())),
        Err(Unreadable::Malformed(what)) => return Some(Err(format!("not understood: {what}"))),
    };
    let envelope = &stored.envelope;
    let waiting = stored.waiting();
    let named = waiting.iter().take(NAMED_MAX);
    Some(Ok(ListedEnvelope {
        id: envelope.id.clone(),
        sender: envelope
            .reverse_path
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        recipients: named
            .map(|place| envelope.recipients[*place].address.to_string())
            .collect(),
        waiting: waiting.len(),
        unsure: stored.is_unsure(),
    }))
}
