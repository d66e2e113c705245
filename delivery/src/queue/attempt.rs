//! One try to bring one queued message: where each recipient's mail belongs now, what each place says, and what is told to whom
//! when somebody does not get it.

use super::envelope::{QueuedEnvelope, QueuedRecipient};
use super::report::{Failure, HEADER_BYTES_MAX, Reason, Report, addressee};
use super::stored::{Stored, Unreadable};
use super::{Located, QueueEvent, QueueParts, UNDELIVERABLE, is_up};
use crate::mail_store::{DeliveryError, Recipient};
use crate::placement::Place;
use crate::remote::{RemoteEnvelope, RemoteError, RemoteRecipient};
use bytes::Bytes;
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account, AccountUuid, Owner, Recipient as Found, Snapshot};
use pigeon_proto::address::Address;
use pigeon_proto::smtp::{Enhanced, MailParameters, Reply};
use pigeon_store::{Mailbox, MessageKey, StoreError, Uid};
use std::rc::Rc;
use std::sync::Arc;

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody waits for the message any more.
    Done,
    /// The node is away.
    Unreached,
    /// Somebody was told to come later.
    Later,
    /// The volume is closed.
    Closed,
}

/// Where a recipient's mail belongs now.
enum Route {
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
}

/// A recipient's place, and its record as it is now.
type Placed = (usize, Arc<Account>);

/// Whom a report goes to.
type Addressee = (Arc<Account>, Address);

/// What recipients were told, by their places.
#[derive(Default)]
struct Results {
    /// They have it, or somebody else was told.
    settled: Vec<usize>,
    failures: Vec<Failure>,
    unreached: Vec<(usize, String)>,
    later: Vec<(usize, String)>,
}

impl Attempt {
    /// Tries it. What settled recipients is durable before they are taken off the message.
    pub(super) async fn run(self) -> Outcome {
        (self.parts.count)(QueueEvent::Tried);
        let stored = match Stored::open(&self.mailbox, self.uid).await {
            Ok(stored) => stored,
            Err(Unreadable::Gone) => return Outcome::Done,
            Err(Unreadable::Store(StoreError::Closed)) => return Outcome::Closed,
            Err(Unreadable::Store(error)) => {
                tracing::error!(uid = %self.uid, %error, "a queued message cannot be read now");
                return Outcome::Later;
            }
            Err(Unreadable::Malformed(what)) => {
                tracing::error!(uid = %self.uid, what, "a queued message is not understood: it is put aside");
                return match self.put_aside().await {
                    Ok(()) => Outcome::Done,
                    Err(_) => Outcome::Later,
                };
            }
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

    async fn end(&self, stored: &Stored, results: Results) -> Outcome {
        let outcome = match (results.unreached.is_empty(), results.later.is_empty()) {
            (true, true) => return Outcome::Done,
            (false, _) => Outcome::Unreached,
            (true, false) => Outcome::Later,
        };
        if !results.settled.is_empty()
            && let Err(error) = stored.mark_done(&results.settled).await
        {
            // They are brought again, under the same key.
            tracing::warn!(uid = %self.uid, %error, "who has a queued message could not be noted");
        }
        if let Some((_, why)) = results.later.first() {
            tracing::info!(
                destination = &*self.destination,
                id = stored.envelope.id,
                why,
                "queued mail is tried later"
            );
        }
        outcome
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

    /// For accounts that have come to this node.
    async fn bring_here(&self, stored: &Stored, to: Vec<(usize, Arc<Account>, Option<Place>)>, results: &mut Results) {
        let envelope = &stored.envelope;
        let recipients = to.iter().map(|(place, account, volume)| Recipient {
            account: account.clone(),
            place: *volume,
            prepend: envelope.recipients[*place].prepend.clone(),
            key: Some(envelope.key),
        });
        let delivered = async {
            let mut transfer = self
                .parts
                .local
                .begin(envelope.received_at, recipients.collect())
                .await?;
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
                return;
            }
        };
        for ((place, _), result) in to.into_iter().zip(delivered) {
            match result {
                Ok(()) => self.settle(place, results),
                Err(RemoteError::Answered(reply)) if !reply.is_temporary() => self.refuse(place, reply, results),
                Err(RemoteError::Answered(reply)) => results.later.push((place, reply.to_string())),
                Err(RemoteError::Denied(why)) => results.later.push((place, why)),
                Err(RemoteError::OutOfReach(why)) => results.unreached.push((place, why)),
            }
        }
    }

    /// Their account has moved on to yet another node: they wait for that one from now on.
    async fn hand_on(&self, stored: &Stored, server: &Arc<Server>, to: Vec<Placed>, results: &mut Results) {
        let mut done = vec![true; stored.envelope.recipients.len()];
        to.iter().for_each(|(place, _)| done[*place] = false);
        let handed_on = async {
            let mut entry = self.parts.queues.begin(&stored.envelope, server.name()).await?;
            let mut offset = 0;
            while offset < stored.bytes() {
                let piece = stored.read(offset).await?;
                offset += piece.len() as u64;
                entry.write(piece).await?;
            }
            entry.commit(&done).await
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

    /// Tells the sender, or whoever else is to be told, of all failures; who cannot be told now waits on.
    async fn report_all(&self, stored: &Stored, results: &mut Results) {
        let envelope = &stored.envelope;
        let snapshot = self.parts.copy.snapshot();
        let mut reports: Vec<(Option<Addressee>, Vec<Failure>)> = Vec::new();
        for failure in std::mem::take(&mut results.failures) {
            let failed = &envelope.recipients[failure.place].address;
            tracing::warn!(
                id = envelope.id, recipient = %failed, reason = %failure.reason, "queued mail is given up"
            );
            let to = addressee(&snapshot, envelope.reverse_path.as_ref(), failed);
            let same = |(other, _): &&mut (Option<Addressee>, _)| {
                other.as_ref().map(|(_, address)| address) == to.as_ref().map(|(_, address)| address)
            };
            match reports.iter_mut().find(same) {
                Some((_, failures)) => failures.push(failure),
                None => reports.push((to, vec![failure])),
            }
        }
        for (to, failures) in reports {
            let (event, told) = match to {
                Some((account, address)) => {
                    let told = self.report(stored, &snapshot, account, &address, &failures).await;
                    (QueueEvent::Bounced, told)
                }
                None => (QueueEvent::Kept, self.keep().await),
            };
            for failure in failures {
                match &told {
                    Ok(()) => {
                        (self.parts.count)(event);
                        results.settled.push(failure.place);
                    }
                    Err(why) => results.later.push((failure.place, why.clone())),
                }
            }
        }
    }

    async fn report(
        &self,
        stored: &Stored,
        snapshot: &Snapshot,
        account: Arc<Account>,
        to: &Address,
        failures: &[Failure],
    ) -> Result<(), String> {
        let front = stored
            .front(HEADER_BYTES_MAX)
            .await
            .map_err(|error| error.to_string())?;
        let now = i64::try_from(pigeon_engine::unix_time().as_secs()).unwrap_or(i64::MAX);
        let report = Report {
            envelope: &stored.envelope,
            failures,
            to,
            host_name: &self.parts.host_name,
            front: &front,
            now,
        };
        let text = Bytes::from(report.to_string());
        let key = key_of_report(stored.envelope.key, failures);
        let prepend = Bytes::from_static(b"Return-Path: <>\r\n");
        let mut route = owner(snapshot, &self.parts.node, account);
        let mut volume = None;
        if let Route::Here(account) = &route {
            match (self.parts.locate)(account.clone()).await {
                None => {}
                Some(Located::Volume(place)) => volume = Some(place),
                Some(Located::Node(server)) => route = Route::There(server, account.clone()),
                Some(Located::Nowhere(why)) => return Err(why),
            }
        }
        match route {
            Route::Here(account) => {
                let recipient = Recipient {
                    account,
                    place: volume,
                    prepend,
                    key: Some(key),
                };
                let mut results = self.parts.local.deliver(now, vec![recipient], text).await;
                results.pop().unwrap_or(Ok(())).map_err(|error| format!("{error:?}"))
            }
            Route::There(server, account) => {
                let own = QueuedEnvelope {
                    reverse_path: None,
                    parameters: MailParameters::default(),
                    received_at: now,
                    key,
                    id: format!("{}.report", stored.envelope.id),
                    recipients: vec![QueuedRecipient {
                        account: account.id().0,
                        address: to.clone(),
                        prepend,
                    }],
                };
                let queued = async {
                    let mut entry = self.parts.queues.begin(&own, server.name()).await?;
                    entry.write(text).await?;
                    entry.commit(&[false]).await
                };
                queued.await.map_err(|error: DeliveryError| format!("{error:?}"))
            }
            Route::Unknown => Err("nobody is there to be told".to_owned()),
            Route::Wait(why) => Err(why),
        }
    }

    /// Nobody can be told: the message stays, apart.
    async fn keep(&self) -> Result<(), String> {
        let kept = async {
            let apart = self.apart().await?;
            self.mailbox.copy(&[self.uid], &apart).await
        };
        let pairs = kept.await.map_err(|error| error.to_string())?;
        let uid = pairs.first().map(|(_, uid)| *uid);
        tracing::error!(
            ?uid,
            mailbox = UNDELIVERABLE,
            "mail can neither be delivered nor reported: it is kept"
        );
        Ok(())
    }

    async fn put_aside(&self) -> Result<(), StoreError> {
        let apart = self.apart().await?;
        self.mailbox.copy(&[self.uid], &apart).await?;
        (self.parts.count)(QueueEvent::Kept);
        Ok(())
    }

    async fn apart(&self) -> Result<Mailbox, StoreError> {
        let account = self.mailbox.account();
        match account.mailbox(UNDELIVERABLE) {
            Some(mailbox) => Ok(mailbox),
            None => account.create_mailbox(UNDELIVERABLE, None).await,
        }
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

fn owner(snapshot: &Snapshot, node: &str, account: Arc<Account>) -> Route {
    match snapshot.owner_of(&account, Some(node)) {
        Owner::Here => Route::Here(account),
        Owner::Node(server) => Route::There(server, account),
        Owner::Nowhere(why) => Route::Wait(why.to_string()),
    }
}

/// The same when the same is reported again because it could not be noted that it was.
fn key_of_report(key: MessageKey, failures: &[Failure]) -> MessageKey {
    let place = failures.first().map_or(0, |failure| failure.place);
    let number = u128::from_be_bytes(key.0) ^ (0xd5_u128 << 120) ^ place as u128;
    MessageKey(number.to_be_bytes())
}
