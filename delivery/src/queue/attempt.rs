//! One try to bring one queued message: where each recipient's mail belongs now, and what each place says. `telling` has what is
//! told to whom when somebody does not get it.
//!
//! A message whose answer was lost is brought again under its key, which the other node keeps for a day. After that, and to a
//! server that knows no keys, it is brought all the same: a duplicate is preferred to a loss. It is counted and logged.

use super::report::{Failure, Reason};
use super::runner::unix_seconds;
use super::stored::{Stored, Unreadable};
use super::{Located, QueueEvent, QueueParts, QueuedRecipient, is_up};
use crate::mail_store::{DeliveryError, Recipient};
use crate::placement::Place;
use crate::remote::{RemoteEnvelope, RemoteError, RemoteRecipient};
use bytes::Bytes;
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account, AccountUuid, Owner, Recipient as Found, Snapshot};
use pigeon_proto::smtp::{Enhanced, Reply};
use pigeon_store::{FlagChange, Mailbox, StoreError, Uid};
use std::rc::Rc;
use std::sync::Arc;

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody waits for the message any more.
    Done,
    /// The node is away.
    Unreached,
    /// It was there, and broke off at this message.
    BrokenOff,
    /// Somebody was told to come later.
    Later,
    /// The volume is closed.
    Closed,
}

/// What a try came to, and what the queue has to remember of it.
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    /// An answer was lost: somebody may have the message who still waits for it.
    pub(super) unsure: bool,
    /// Could not be written into the volume.
    pub(super) unmarked: Option<FlagChange>,
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Ending {
        Ending {
            outcome,
            unsure: false,
            unmarked: None,
        }
    }
}

/// Where a recipient's mail belongs now.
pub(super) enum Route {
    Here(Arc<Account>),
    There(Arc<Server>, Arc<Account>),
    /// Nobody has the address any more.
    Unknown,
    /// It cannot be told now.
    Wait(String),
}

/// A try; see `run`.
pub(super) struct Attempt {
    pub(super) parts: QueueParts,
    /// The node that the mailbox is for.
    pub(super) destination: Rc<str>,
    pub(super) mailbox: Mailbox,
    pub(super) uid: Uid,
    /// It has waited for longer than it may: who cannot have it now is reported.
    pub(super) expired: bool,
    /// When an answer to a try was lost first, as far as that is known.
    pub(super) unsure_since: Option<i64>,
}

/// A recipient's place, and its record as it is now.
type Placed = (usize, Arc<Account>);

/// What recipients were told, by their places.
#[derive(Default)]
pub(super) struct Results {
    /// They have it, or somebody else was told.
    pub(super) settled: Vec<usize>,
    pub(super) failures: Vec<Failure>,
    unreached: Vec<(usize, String)>,
    pub(super) later: Vec<(usize, String)>,
    /// An answer was lost.
    unsure: bool,
    /// The node was there, and broke off.
    broken_off: bool,
}

impl Attempt {
    /// Tries it. What settled recipients is durable before they are taken off the message.
    pub(super) async fn run(self) -> Ending {
        (self.parts.count)(QueueEvent::Tried);
        let stored = match Stored::open(&self.mailbox, self.uid).await {
            Ok(stored) => stored,
            Err(Unreadable::Gone) => return Outcome::Done.into(),
            Err(Unreadable::Store(StoreError::Closed)) => return Outcome::Closed.into(),
            Err(Unreadable::Store(StoreError::Damaged { what })) => return self.put_aside(&what).await.into(),
            Err(Unreadable::Store(error)) => {
                let mailbox = self.mailbox.name();
                tracing::error!(mailbox, uid = %self.uid, %error, "a queued message cannot be read now");
                return Outcome::Later.into();
            }
            Err(Unreadable::Malformed(what)) => return self.put_aside(what).await.into(),
        };
        let mut results = Results::default();
        self.bring(&stored, &mut results).await;
        if self.expired {
            let over = results.unreached.drain(..).chain(results.later.drain(..));
            results.failures.extend(over.map(|(place, last)| Failure {
                place,
                reason: Reason::Expired(last),
            }));
        }
        self.report_all(&stored, &mut results).await;
        self.end(&stored, results).await
    }

    async fn end(&self, stored: &Stored, results: Results) -> Ending {
        let outcome = match (results.unreached.is_empty(), results.later.is_empty()) {
            (true, true) => return Outcome::Done.into(),
            (false, _) if results.broken_off => Outcome::BrokenOff,
            (false, _) => Outcome::Unreached,
            (true, false) => Outcome::Later,
        };
        let mut ending = Ending {
            unsure: results.unsure,
            ..outcome.into()
        };
        if let Some(change) = stored.change(&results.settled, results.unsure && !stored.is_unsure())
            && let Err(error) = self.mailbox.store_flags(std::slice::from_ref(&change)).await
        {
            tracing::warn!(uid = %self.uid, %error, "who has a queued message could not be noted");
            ending.unmarked = Some(change);
        }
        if let Some((_, why)) = results.later.first() {
            tracing::info!(
                destination = &*self.destination,
                id = stored.envelope.id,
                why,
                "queued mail is tried later"
            );
        }
        ending
    }

    async fn bring(&self, stored: &Stored, results: &mut Results) {
        let mut here = Vec::new();
        let mut there: Vec<(Arc<Server>, Vec<Placed>)> = Vec::new();
        let snapshot = self.parts.copy.snapshot();
        for place in stored.waiting() {
            match route(&snapshot, &self.parts.node, &stored.envelope.recipients[place]) {
                Route::Here(account) => here.push((place, account)),
                Route::There(server, account) => {
                    match there.iter_mut().find(|(known, _)| known.name() == server.name()) {
                        Some((_, recipients)) => recipients.push((place, account)),
                        None => there.push((server, vec![(place, account)])),
                    }
                }
                Route::Unknown => results.failures.push(Failure {
                    place,
                    reason: Reason::Unknown,
                }),
                Route::Wait(why) => results.later.push((place, why)),
            }
        }
        drop(snapshot);
        let mut in_volumes = Vec::with_capacity(here.len());
        for (place, account) in here {
            match (self.parts.locate)(account.clone()).await {
                None => in_volumes.push((place, account, None)),
                Some(Located::Volume(volume)) => in_volumes.push((place, account, Some(volume))),
                Some(Located::Node(server)) => {
                    match there.iter_mut().find(|(known, _)| known.name() == server.name()) {
                        Some((_, recipients)) => recipients.push((place, account)),
                        None => there.push((server, vec![(place, account)])),
                    }
                }
                Some(Located::Nowhere(why)) => results.later.push((place, why)),
            }
        }
        if !in_volumes.is_empty() {
            self.bring_here(stored, in_volumes, results).await;
        }
        for (server, recipients) in there {
            if server.name() == &*self.destination {
                self.bring_there(stored, &server, recipients, results).await;
            } else {
                self.hand_on(stored, &server, recipients, results).await;
            }
        }
    }

    /// For accounts that have come to this node. They arrive now, as at another node: a key is kept for a day from then on.
    async fn bring_here(&self, stored: &Stored, to: Vec<(usize, Arc<Account>, Option<Place>)>, results: &mut Results) {
        let envelope = &stored.envelope;
        let recipients = to.iter().map(|(place, account, volume)| Recipient {
            account: account.clone(),
            place: *volume,
            prepend: envelope.recipients[*place].prepend.clone(),
            key: Some(envelope.key),
        });
        let delivered = async {
            let mut transfer = self.parts.local.begin(unix_seconds(), recipients.collect()).await?;
            let mut offset = 0;
            while offset < stored.bytes() {
                let piece = stored.read(offset).await?;
                offset += piece.len() as u64;
                transfer.write(piece).await?;
            }
            Ok(transfer.commit().await)
        };
        let delivered = delivered.await.unwrap_or_else(|error| vec![Err(error); to.len()]);
        for ((place, ..), result) in to.into_iter().zip(delivered) {
            match result {
                Ok(()) => self.settle(place, results),
                Err(DeliveryError::OverQuota) if !self.parts.over_quota_defers => {
                    self.refuse(place, Reply::new(552, Enhanced(5, 2, 2), "mailbox full"), results);
                }
                Err(DeliveryError::TooLarge) => {
                    self.refuse(place, Reply::new(552, Enhanced(5, 3, 4), "message too large"), results);
                }
                Err(error) => results.later.push((place, format!("{error:?}"))),
            }
        }
    }

    async fn bring_there(&self, stored: &Stored, server: &Arc<Server>, to: Vec<Placed>, results: &mut Results) {
        if !is_up(server) {
            let down = |(place, _)| (place, "its node is down, as control data has it".to_owned());
            results.unreached.extend(to.into_iter().map(down));
            return;
        }
        let mut left = to;
        // A server may take only some at a time; some are answered each time.
        while !left.is_empty() {
            left = self.bring_some(stored, server, left, results).await;
        }
    }

    /// In one transaction. Gives those for whom there is to be another one.
    async fn bring_some(
        &self,
        stored: &Stored,
        server: &Arc<Server>,
        to: Vec<Placed>,
        results: &mut Results,
    ) -> Vec<Placed> {
        let envelope = &stored.envelope;
        let outgoing = Rc::new(RemoteEnvelope {
            reverse_path: envelope.reverse_path.clone(),
            parameters: envelope.parameters.clone(),
            key: envelope.key,
        });
        let recipients = to.iter().map(|(place, account)| RemoteRecipient {
            account: account.clone(),
            address: envelope.recipients[*place].address.clone(),
        });
        let mut transfer = self.parts.peers.begin(server, outgoing, recipients.collect()).await;
        let delivered = async {
            let mut last = Bytes::new();
            let mut offset = 0;
            while offset < stored.bytes() && !transfer.is_over() {
                let piece = stored.read(offset).await?;
                offset += piece.len() as u64;
                transfer.write(&std::mem::replace(&mut last, piece)).await;
            }
            Ok::<_, StoreError>(transfer.commit_with(last).await)
        };
        let delivered = match delivered.await {
            Ok(delivered) => delivered,
            Err(error) => {
                results
                    .later
                    .extend(to.into_iter().map(|(place, _)| (place, error.to_string())));
                return Vec::new();
            }
        };
        let perhaps_twice = self.may_be_there(stored, server);
        let mut left = Vec::new();
        for ((place, account), result) in to.into_iter().zip(delivered) {
            match result {
                Ok(()) => {
                    if perhaps_twice {
                        (self.parts.count)(QueueEvent::PerhapsTwice);
                        tracing::warn!(
                            id = envelope.id, recipient = %envelope.recipients[place].address,
                            "an answer was lost, and the key of the message may be forgotten: it may be there twice"
                        );
                    }
                    self.settle(place, results);
                }
                Err(RemoteError::Answered(reply)) if !reply.is_temporary() => self.refuse(place, reply, results),
                Err(RemoteError::Answered(reply)) => results.later.push((place, reply.to_string())),
                Err(RemoteError::TooMany(_)) => left.push((place, account)),
                Err(RemoteError::Denied(why)) => results.later.push((place, why)),
                Err(RemoteError::OutOfReach(why)) => results.unreached.push((place, why)),
                Err(RemoteError::BrokeOff(why)) => {
                    results.broken_off = true;
                    results.unreached.push((place, why));
                }
                Err(RemoteError::Unsure(why)) => {
                    results.unsure = true;
                    // A server that knows no keys stores it each time: pauses between the tries grow at once.
                    if server.keys().next().is_some() {
                        results.broken_off = true;
                        results.unreached.push((place, why));
                    } else {
                        results.later.push((place, why));
                    }
                }
                // Nothing but the queue says so.
                Err(RemoteError::NoRoom) => results.later.push((place, RemoteError::NoRoom.to_string())),
            }
        }
        left
    }

    /// Whether the node may have the message already and does not know it by its key any more.
    fn may_be_there(&self, stored: &Stored, server: &Server) -> bool {
        let since = match self.unsure_since {
            None if !stored.is_unsure() => return false,
            None => stored.envelope.received_at,
            Some(since) => since,
        };
        let age = unix_seconds().saturating_sub(since);
        let knows_keys = server.keys().next().is_some();
        !knows_keys || age >= i64::try_from(self.parts.key_life.as_secs()).unwrap_or(i64::MAX)
    }

    /// Their account has moved on to yet another node: they wait for that one from now on.
    async fn hand_on(&self, stored: &Stored, server: &Arc<Server>, to: Vec<Placed>, results: &mut Results) {
        let mut done = vec![true; stored.envelope.recipients.len()];
        to.iter().for_each(|(place, _)| done[*place] = false);
        let handed_on = async {
            let mut entry = self.parts.queues.begin_own(&stored.envelope, server.name()).await?;
            let mut offset = 0;
            while offset < stored.bytes() {
                let piece = stored.read(offset).await?;
                offset += piece.len() as u64;
                entry.write(piece).await?;
            }
            entry.commit(&done, stored.is_unsure()).await
        };
        match handed_on.await {
            Ok(()) => results.settled.extend(to.into_iter().map(|(place, _)| place)),
            Err(error) => results
                .later
                .extend(to.into_iter().map(|(place, _)| (place, format!("{error:?}")))),
        }
    }

    fn settle(&self, place: usize, results: &mut Results) {
        (self.parts.count)(QueueEvent::Delivered);
        results.settled.push(place);
    }

    fn refuse(&self, place: usize, reply: Reply, results: &mut Results) {
        results.failures.push(Failure {
            place,
            reason: Reason::Refused(reply),
        });
    }
}

fn route(snapshot: &Snapshot, node: &str, recipient: &QueuedRecipient) -> Route {
    if let Some(account) = snapshot.account(AccountUuid(recipient.account)) {
        return owner(snapshot, node, account.clone());
    }
    // Made anew, perhaps.
    match snapshot.recipient(recipient.address.local(), recipient.address.domain()) {
        Found::Account { account, .. } => owner(snapshot, node, account.clone()),
        Found::Uncertain => Route::Wait("control data is not current".to_owned()),
        Found::Group(_) | Found::Disabled | Found::UnknownUser | Found::UnknownDomain => Route::Unknown,
    }
}

pub(super) fn owner(snapshot: &Snapshot, node: &str, account: Arc<Account>) -> Route {
    match snapshot.owner_of(&account, Some(node)) {
        Owner::Here => Route::Here(account),
        Owner::Node(server) => Route::There(server, account),
        Owner::Nowhere(why) => Route::Wait(why.to_string()),
    }
}
