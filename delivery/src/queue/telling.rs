//! Who is told that somebody does not get a message: its sender, else a postmaster; else it is kept, in the mailbox
//! `undeliverable` (`kept`).
//!
//! Invariant: a recipient whose message was given up is off it only when a report is durable, at its reader or in the queue, or
//! the message in `undeliverable`.

use super::attempt::{Attempt, Outcome, Results, Route, owner};
use super::envelope::{QueuedEnvelope, QueuedRecipient};
use super::report::{Addressee, Failure, HEADER_BYTES_MAX, Report, addressees};
use super::runner::unix_seconds;
use super::stored::Stored;
use super::{Located, QueueEvent, UNDELIVERABLE};
use crate::mail_store::{DeliveryError, Recipient};
use bytes::Bytes;
use pigeon_datatree_cache::Snapshot;
use pigeon_proto::smtp::MailParameters;
use pigeon_store::{Mailbox, MessageKey, StoreError};

/// Why somebody was not told.
enum Untold {
    /// Perhaps later.
    Later(String),
    /// Never: the next one is.
    Never(String),
}

impl Attempt {
    /// Tells the sender, or whoever else is to be told, of all failures; who cannot be told now waits on.
    pub(super) async fn report_all(&self, stored: &Stored, results: &mut Results) {
        let envelope = &stored.envelope;
        let snapshot = self.parts.copy.snapshot();
        let mut reports: Vec<(Vec<Addressee>, Vec<Failure>)> = Vec::new();
        for failure in std::mem::take(&mut results.failures) {
            let failed = &envelope.recipients[failure.place];
            tracing::warn!(
                id = envelope.id, recipient = %failed.address, reason = %failure.reason, "queued mail is given up"
            );
            let to = addressees(&snapshot, envelope, failed);
            let same = |(other, _): &&mut (Vec<Addressee>, _)| {
                let addresses = |to: &[Addressee]| to.iter().map(|(_, address)| address.clone()).collect::<Vec<_>>();
                addresses(other) == addresses(&to)
            };
            match reports.iter_mut().find(same) {
                Some((_, failures)) => failures.push(failure),
                None => reports.push((to, vec![failure])),
            }
        }
        for (to, failures) in reports {
            let told = self.tell(stored, &snapshot, to, &failures).await;
            for failure in failures {
                match &told {
                    Ok(event) => {
                        (self.parts.count)(*event);
                        results.settled.push(failure.place);
                    }
                    Err(why) => results.later.push((failure.place, why.clone())),
                }
            }
        }
    }

    /// The first of those who can be told; without one it is kept.
    async fn tell(
        &self,
        stored: &Stored,
        snapshot: &Snapshot,
        to: Vec<Addressee>,
        failures: &[Failure],
    ) -> Result<QueueEvent, String> {
        for (account, address) in to {
            match self
                .report(stored, snapshot, (account, address.clone()), failures)
                .await
            {
                Ok(()) => return Ok(QueueEvent::Bounced),
                Err(Untold::Later(why)) => return Err(why),
                Err(Untold::Never(why)) => {
                    tracing::warn!(id = stored.envelope.id, %address, why, "a report is not taken");
                }
            }
        }
        self.keep(stored, failures).await.map_err(|error| error.to_string())?;
        Ok(QueueEvent::Kept)
    }

    async fn report(
        &self,
        stored: &Stored,
        snapshot: &Snapshot,
        (account, to): Addressee,
        failures: &[Failure],
    ) -> Result<(), Untold> {
        let later = |error: &dyn std::fmt::Display| Untold::Later(error.to_string());
        let front = stored.front(HEADER_BYTES_MAX).await.map_err(|error| later(&error))?;
        let now = unix_seconds();
        let report = Report {
            envelope: &stored.envelope,
            failures,
            to: &to,
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
                Some(Located::Nowhere(why)) => return Err(Untold::Later(why)),
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
                results.pop().unwrap_or(Ok(())).map_err(|error| self.untold(&error))
            }
            Route::There(server, account) => {
                let own = QueuedEnvelope {
                    reverse_path: None,
                    parameters: MailParameters::default(),
                    received_at: now,
                    key,
                    id: format!("{}{REPORT_SUFFIX}", stored.envelope.id),
                    recipients: vec![QueuedRecipient {
                        account: account.id().0,
                        address: to.clone(),
                        prepend,
                    }],
                };
                let queued = async {
                    let mut entry = self.parts.queues.begin_own(&own, server.name()).await?;
                    entry.write(text).await?;
                    entry.commit(&[false], false).await
                };
                queued
                    .await
                    .map_err(|error: DeliveryError| Untold::Later(format!("{error:?}")))
            }
            Route::Unknown => Err(Untold::Never("nobody is there to be told".to_owned())),
            Route::Wait(why) => Err(Untold::Later(why)),
        }
    }

    fn untold(&self, error: &DeliveryError) -> Untold {
        let why = format!("{error:?}");
        match error {
            DeliveryError::OverQuota if self.parts.over_quota_defers && !self.expired => Untold::Later(why),
            DeliveryError::OverQuota | DeliveryError::TooLarge => Untold::Never(why),
            DeliveryError::NoSpace | DeliveryError::Elsewhere | DeliveryError::Unavailable(_) => Untold::Later(why),
        }
    }

    /// Nobody can be told: the message stays, apart, for those who do not get it.
    async fn keep(&self, stored: &Stored, failures: &[Failure]) -> Result<(), StoreError> {
        let apart = self.apart().await?;
        let pairs = self.mailbox.copy(&[self.uid], &apart).await?;
        let Some((_, uid)) = pairs.first().copied() else {
            return Err(StoreError::MessageGone);
        };
        let others = |place: &usize| failures.iter().all(|failure| failure.place != *place);
        let others: Vec<usize> = stored.places().filter(others).collect();
        if let Err(error) = stored.mark(&apart, uid, &others).await {
            // It would be shown for those who have it; what is kept is made anew.
            let _ = apart.expunge(&[uid]).await;
            return Err(error);
        }
        tracing::error!(
            id = stored.envelope.id, %uid, mailbox = UNDELIVERABLE,
            "mail can neither be delivered nor reported: it is kept until there is a postmaster"
        );
        Ok(())
    }

    /// What cannot be read goes out of the way of what can.
    pub(super) async fn put_aside(&self, why: &str) -> Outcome {
        let put = async {
            let apart = self.apart().await?;
            self.mailbox.copy(&[self.uid], &apart).await
        };
        let mailbox = self.mailbox.name();
        match put.await {
            Ok(pairs) => {
                let uid = pairs.first().map(|(_, uid)| uid.0);
                tracing::error!(
                    mailbox, from = %self.uid, uid, why,
                    "a queued message cannot be read, or is of another version: it is put aside in the mailbox {UNDELIVERABLE}"
                );
                (self.parts.count)(QueueEvent::PutAside);
                Outcome::Done
            }
            Err(error) => {
                tracing::error!(mailbox, uid = %self.uid, why, %error, "a queued message cannot be read, nor put aside");
                Outcome::Later
            }
        }
    }

    async fn apart(&self) -> Result<Mailbox, StoreError> {
        let account = self.mailbox.account();
        match account.mailbox(UNDELIVERABLE) {
            Some(mailbox) => Ok(mailbox),
            None => account.create_mailbox(UNDELIVERABLE, None).await,
        }
    }
}

/// Behind the id of the message that a report is about.
pub(super) const REPORT_SUFFIX: &str = ".report";

/// The same when the same is reported again because it could not be noted that it was.
fn key_of_report(key: MessageKey, failures: &[Failure]) -> MessageKey {
    let place = failures.first().map_or(0, |failure| failure.place);
    derived_key(key, 0xd5, place)
}

/// Of what is made of a message for some of its recipients: another for each purpose, the same each time.
pub(super) fn derived_key(key: MessageKey, purpose: u8, place: usize) -> MessageKey {
    let number = u128::from_be_bytes(key.0) ^ (u128::from(purpose) << 120) ^ place as u128;
    MessageKey(number.to_be_bytes())
}
