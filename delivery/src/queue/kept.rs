//! The mailbox `undeliverable` of one volume: what could neither be delivered nor reported. As soon as there is a postmaster who
//! takes it, the message itself goes to him, with a line in front of its header that says whom it was for.
//!
//! What cannot be read stays, is named, and is looked at again after pauses that grow, and by the next process: another version of
//! this program may understand it.

use super::attempt::{Route, owner};
use super::envelope::{QueuedEnvelope, QueuedRecipient};
use super::index::QueueIndex;
use super::report::{Addressee, postmasters};
use super::runner::{Stop, gauge, unix_seconds};
use super::stored::{Stored, Unreadable};
use super::telling::derived_key;
use super::{Located, QueueEvent, QueueParts, UNDELIVERABLE};
use crate::mail_store::{DeliveryError, Recipient};
use crate::placement::Place;
use bytes::Bytes;
use futures_util::future::select;
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account, AccountUuid};
use pigeon_proto::smtp::MailParameters;
use pigeon_store::{Mailbox, MessageKey, StoreError, Uid, Volume, VolumeState};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So often is looked whether control data has changed.
const LOOK: Duration = Duration::from_secs(5);
/// So often everything is tried, for a postmaster whose mailbox has room again.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// Between two looks at a message that cannot be read: each of them reads the disk in vain. Doubled each time.
const UNREADABLE_FIRST: Duration = Duration::from_secs(10 * 60);
const UNREADABLE_LAST: Duration = Duration::from_secs(24 * 60 * 60);
/// Behind the id of a message that a postmaster on another node is to get.
const KEPT_SUFFIX: &str = ".kept";
/// Recipients that the line in front names.
const NAMED_MAX: usize = 100;

/// See the module.
pub(super) struct Kept {
    volume: usize,
    mailbox: Mailbox,
    index: Arc<QueueIndex>,
    parts: QueueParts,
    /// What there was at the last pass: generation of control data, the next UID, and when.
    looked: Option<(u64, Uid, Instant)>,
    /// What cannot be read.
    unread: BTreeMap<Uid, Unread>,
    /// Which postmasters have not taken what, by generation of their records: what else changes does not make them.
    refused: BTreeMap<Uid, Vec<(AccountUuid, u64)>>,
    /// What of `unread` was told last.
    unreadable: Option<Arc<str>>,
}

/// A message that cannot be read.
struct Unread {
    why: String,
    pause: Duration,
    /// Nobody looks at it before.
    next: Instant,
}

/// Why it is time to try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Control data has changed, or there is more.
    Changed,
    /// It was long ago.
    Again,
}

/// Where the postmaster's mailbox is.
enum To {
    Here(Arc<Account>, Option<Place>),
    There(Arc<Server>, Arc<Account>),
}

impl Kept {
    pub(super) fn new(volume: usize, mailbox: Mailbox, index: Arc<QueueIndex>, parts: QueueParts) -> Kept {
        Kept {
            volume,
            mailbox,
            index,
            parts,
            looked: None,
            unread: BTreeMap::new(),
            refused: BTreeMap::new(),
            unreadable: None,
        }
    }

    /// Until `stop` says so or the volume is closed.
    pub(super) async fn run(mut self, of: Volume, stop: Rc<Stop>) {
        let changed = self.mailbox.account().changed();
        loop {
            let woken = (changed.notified(), stop.changed());
            if stop.is_set() || of.state() == VolumeState::Closed {
                return;
            }
            let is_writable = matches!(of.state(), VolumeState::Writable | VolumeState::NearlyFull);
            if is_writable && let Some(due) = self.due() {
                self.pass(&stop, due).await;
            }
            self.index.publish(
                self.volume,
                UNDELIVERABLE,
                gauge(&self.mailbox, self.unreadable.clone()),
            );
            let woken = async move {
                select(pin!(woken.0), pin!(woken.1)).await;
            };
            // Nobody woke it: then it is time for a look.
            let _ = pigeon_engine::timeout(LOOK, woken).await;
        }
    }

    fn due(&mut self) -> Option<Due> {
        let generation = self.parts.copy.snapshot().generation();
        let (next, now) = (self.mailbox.uid_next(), pigeon_engine::now());
        let due = match self.looked {
            Some((_, _, at)) if now >= at + AGAIN => Some(Due::Again),
            Some((known, below, _)) if known == generation && below == next => None,
            _ => Some(Due::Changed),
        };
        if due.is_some() {
            // What has changed does not put the next look at everything off.
            let at = match (due, self.looked) {
                (Some(Due::Changed), Some((_, _, at))) => at,
                _ => now,
            };
            self.looked = Some((generation, next, at));
        }
        due
    }

    /// One message after the other.
    async fn pass(&mut self, stop: &Stop, due: Due) {
        let uids: BTreeSet<Uid> = self
            .mailbox
            .with_messages(|messages| messages.iter().map(|message| message.uid).collect());
        self.unread.retain(|uid, _| uids.contains(uid));
        self.refused.retain(|uid, _| uids.contains(uid));
        for uid in uids {
            if stop.is_set() {
                return;
            }
            let now = pigeon_engine::now();
            if self.unread.get(&uid).is_some_and(|unread| now < unread.next) {
                continue;
            }
            let why = match Stored::open(&self.mailbox, uid).await {
                Ok(stored) => {
                    self.unread.remove(&uid);
                    self.try_one(uid, &stored, due).await;
                    continue;
                }
                Err(Unreadable::Gone) => continue,
                Err(Unreadable::Store(StoreError::Closed)) => return,
                Err(Unreadable::Malformed(what)) => what.to_owned(),
                Err(Unreadable::Store(error)) => error.to_string(),
            };
            let pause = match self.unread.get(&uid) {
                Some(before) => before.pause.saturating_mul(2).min(UNREADABLE_LAST),
                None => UNREADABLE_FIRST,
            };
            let next = now + pause;
            self.unread.insert(uid, Unread { why, pause, next });
        }
        let named = self.unread.first_key_value().map(|(uid, Unread { why, .. })| {
            let count = self.unread.len();
            format!("{count} messages cannot be read, or are of another version: UID {uid}: {why}").into()
        });
        if let (Some(named), true) = (&named, named != self.unreadable) {
            let named: &str = named;
            tracing::error!(volume = self.volume, mailbox = UNDELIVERABLE, "{named}");
        }
        self.unreadable = named;
    }

    async fn try_one(&mut self, uid: Uid, stored: &Stored, due: Due) {
        let waiting = stored.waiting();
        let snapshot = self.parts.copy.snapshot();
        let failed = waiting.first().map(|place| &stored.envelope.recipients[*place].address);
        let to: Vec<Addressee> = failed.map_or_else(Vec::new, |failed| postmasters(&snapshot, failed).collect());
        for (account, address) in to {
            // A postmaster who did not take it a moment ago is not asked again at once: it would go round and round.
            let failed = |place: &usize| stored.envelope.recipients[*place].account == account.id().0;
            if due == Due::Changed && (waiting.iter().any(failed) || self.has_refused(uid, account.as_ref())) {
                continue;
            }
            let asked = (account.id(), account.generation());
            let owner = owner(&snapshot, &self.parts.node, account);
            let to = match owner {
                Route::Here(account) => match (self.parts.locate)(account.clone()).await {
                    None => To::Here(account, None),
                    Some(Located::Volume(place)) => To::Here(account, Some(place)),
                    Some(Located::Node(server)) => To::There(server, account),
                    Some(Located::Nowhere(_)) => continue,
                },
                Route::There(server, account) => To::There(server, account),
                Route::Unknown | Route::Wait(_) => continue,
            };
            match self.hand_over(stored, &waiting, to, &address).await {
                Ok(()) => {
                    tracing::info!(id = stored.envelope.id, %address, "kept mail went to a postmaster");
                    (self.parts.count)(QueueEvent::ToPostmaster);
                    if let Err(error) = self.mailbox.expunge(&[uid]).await {
                        // It is handed over again, under the same key.
                        tracing::warn!(%uid, %error, "kept mail that went to a postmaster stays in the queue");
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(id = stored.envelope.id, %address, ?error, "a postmaster does not take kept mail now");
                    // What is wrong here may be over at the next change; his own refusal ends with a change of his record.
                    if matches!(error, DeliveryError::OverQuota | DeliveryError::TooLarge) {
                        let refused = self.refused.entry(uid).or_default();
                        refused.retain(|(id, _)| *id != asked.0);
                        refused.push(asked);
                    }
                }
            }
        }
    }

    /// Whether this postmaster did not take it, as he is in control data now.
    fn has_refused(&self, uid: Uid, account: &Account) -> bool {
        let refused = self.refused.get(&uid);
        refused.is_some_and(|refused| refused.contains(&(account.id(), account.generation())))
    }

    async fn hand_over(
        &self,
        stored: &Stored,
        waiting: &[usize],
        to: To,
        address: &pigeon_proto::address::Address,
    ) -> Result<(), DeliveryError> {
        let envelope = &stored.envelope;
        // One that went to a postmaster before, and came back, is the same message still.
        let is_kept = envelope.id.ends_with(KEPT_SUFFIX);
        let key: MessageKey = match is_kept {
            true => envelope.key,
            false => derived_key(envelope.key, 0xa9, waiting.first().copied().unwrap_or(0)),
        };
        let (now, prepend) = (unix_seconds(), Bytes::from_static(b"Return-Path: <>\r\n"));
        let front = match is_kept {
            true => Bytes::new(),
            false => Bytes::from(front(stored, waiting)),
        };
        match to {
            To::Here(account, place) => {
                let recipient = Recipient {
                    account,
                    place,
                    prepend,
                    key: Some(key),
                };
                let mut transfer = self.parts.local.begin(now, vec![recipient]).await?;
                transfer.write(front).await?;
                let mut offset = 0;
                while offset < stored.bytes() {
                    let piece = stored.read(offset).await?;
                    offset += piece.len() as u64;
                    transfer.write(piece).await?;
                }
                transfer.commit().await.pop().unwrap_or(Ok(()))
            }
            To::There(server, account) => {
                let own = QueuedEnvelope {
                    reverse_path: None,
                    parameters: MailParameters {
                        size: None,
                        returned: None,
                        envelope_id: None,
                        ..envelope.parameters.clone()
                    },
                    received_at: now,
                    key,
                    id: match is_kept {
                        true => envelope.id.clone(),
                        false => format!("{}{KEPT_SUFFIX}", envelope.id),
                    },
                    recipients: vec![QueuedRecipient {
                        account: account.id().0,
                        address: address.clone(),
                        prepend,
                    }],
                };
                let mut entry = self.parts.queues.begin_own(&own, server.name()).await?;
                entry.write(front).await?;
                let mut offset = 0;
                while offset < stored.bytes() {
                    let piece = stored.read(offset).await?;
                    offset += piece.len() as u64;
                    entry.write(piece).await?;
                }
                entry.commit(&[false], false).await
            }
        }
    }
}

/// Says whom it was for, and from whom.
fn front(stored: &Stored, waiting: &[usize]) -> String {
    let envelope = &stored.envelope;
    let sender = envelope
        .reverse_path
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut text = format!("X-Undelivered-From: <{sender}>\r\n");
    for place in waiting.iter().take(NAMED_MAX) {
        text.push_str(&format!(
            "X-Undelivered-To: <{}>\r\n",
            envelope.recipients[*place].address
        ));
    }
    text
}
