//! Delivering a finished body to accounts: stored once, put into a mailbox of each.

use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{AccountId, Flags, MailboxId, ModSeq, Uid, UidValidity};

use crate::account::{Limits, Usage};
use crate::journal::outcome::Durable;
use crate::mailbox::Planned;
use crate::volume::VolumeInner;
use crate::{Account, FinishedBody, Mailbox, StoreError};

/// One recipient of a body.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Must have been named to `begin_body`.
    pub account: AccountId,
    /// The account's limits as control data has them now.
    pub limits: Limits,
    /// The mailbox by name, usually `INBOX`.
    pub mailbox: String,
    /// System flags the message has from the start.
    pub flags: Flags,
    /// Keywords it has from the start.
    pub keywords: Vec<String>,
    /// INTERNALDATE, seconds since the Unix epoch, UTC.
    pub internal_date: i64,
    /// Make the mailbox when it is not there; otherwise the delivery fails with `NoSuchMailbox`.
    pub create_mailbox: bool,
    /// Bytes for this recipient alone, put in front of the shared body, whole header lines; may be empty, at most
    /// `options::PREPEND_BYTES_MAX`.
    pub prepend: Bytes,
}

/// Where a message came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Of that mailbox.
    pub uid_validity: UidValidity,
    /// The message's.
    pub uid: Uid,
    /// The message's.
    pub mod_seq: ModSeq,
}

/// A delivery that has its place.
struct Accepted {
    /// Among the deliveries.
    index: usize,
    mailbox: Mailbox,
}

impl VolumeInner {
    pub(crate) async fn deliver(
        self: &Rc<Self>,
        body: FinishedBody,
        to: Vec<Delivery>,
    ) -> Vec<Result<Appended, StoreError>> {
        let mut results: Vec<Option<Result<Appended, StoreError>>> = to.iter().map(|_| None).collect();
        // Who cannot have it is told before anything is written.
        let mut accepted = Vec::with_capacity(to.len());
        for (index, delivery) in to.iter().enumerate() {
            match self.accept(delivery, body.info().size).await {
                Ok(mailbox) => accepted.push(Accepted { index, mailbox }),
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        if !accepted.is_empty() {
            let recipients: Vec<(AccountId, Bytes)> = accepted
                .iter()
                .map(|one| (to[one.index].account, to[one.index].prepend.clone()))
                .collect();
            match self.place_body(body, &recipients).await {
                Ok(placed) => self.append_all(Rc::new(placed), &to, accepted, &mut results).await,
                Err(error) => accepted
                    .iter()
                    .for_each(|one| results[one.index] = Some(Err(error.clone()))),
            }
        }
        results
            .into_iter()
            .map(|result| result.expect("every delivery was accepted or refused"))
            .collect()
    }

    async fn append_all(
        &self,
        body: Rc<crate::body::PlacedBody>,
        to: &[Delivery],
        accepted: Vec<Accepted>,
        results: &mut [Option<Result<Appended, StoreError>>],
    ) {
        let mut under_way: Vec<(usize, Durable, Appended)> = Vec::with_capacity(accepted.len());
        for (entry, Accepted { index, mailbox }) in accepted.into_iter().enumerate() {
            let delivery = &to[index];
            let planned = Planned {
                body: body.clone(),
                entry: u16::try_from(entry).expect("bounded by BODY_ACCOUNTS_MAX"),
                flags: delivery.flags,
                keywords: delivery.keywords.clone(),
                internal_date: delivery.internal_date,
            };
            match mailbox
                .push_planned(std::slice::from_ref(&planned), delivery.limits)
                .await
            {
                Ok((durable, appended)) => match appended.into_iter().next() {
                    Some(appended) => under_way.push((index, durable, appended)),
                    None => results[index] = Some(Err(StoreError::MessageGone)),
                },
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        for (index, durable, appended) in under_way {
            results[index] = Some(durable.await.map(|()| appended));
        }
        // Until here compaction leaves the body's segments alone.
        drop(body);
    }

    /// The mailbox that a delivery goes to, if it may.
    async fn accept(self: &Rc<Self>, delivery: &Delivery, size: u64) -> Result<Mailbox, StoreError> {
        let cell = self.account(delivery.account).await?;
        let account = Account {
            volume: self.clone(),
            cell,
        };
        account.set_limits(delivery.limits);
        {
            let state = account.cell.state.borrow();
            let more = Usage {
                bytes: size.saturating_add(delivery.prepend.len() as u64),
                messages: 1,
            };
            delivery.limits.check(state.usage, state.reserved, more)?;
        }
        match account.mailbox(&delivery.mailbox).filter(Mailbox::is_selectable) {
            Some(mailbox) => Ok(mailbox),
            None if delivery.create_mailbox => match account.create_mailbox(&delivery.mailbox, None).await {
                // Another delivery made it meanwhile.
                Err(StoreError::MailboxExists) => account.mailbox(&delivery.mailbox).ok_or(StoreError::NoSuchMailbox),
                other => other,
            },
            None => Err(StoreError::NoSuchMailbox),
        }
    }
}
