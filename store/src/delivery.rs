//! Delivering a finished body to accounts: stored once, put into a mailbox of each. A delivery that comes again under the same
//! key is answered as the first one, and not stored again.

use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{AccountId, Flags, KeyUse, MailboxId, MessageKey, ModSeq, Uid, UidValidity};

use crate::account::keys::KeyState;
use crate::account::{Limits, Usage};
use crate::journal::outcome::Durable;
use crate::mailbox::Planned;
use crate::volume::VolumeInner;
use crate::volume::counters::add;
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
    /// Names this copy: when the account got one under the same key within 24 hours (by the internal dates of what comes with
    /// keys; of the last `KEYS_MAX` at most), nothing is stored.
    pub key: Option<MessageKey>,
}

impl Delivery {
    fn key_use(&self) -> Option<KeyUse> {
        let at = self.internal_date;
        self.key.map(|key| KeyUse { key, at })
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It has its place.
    Stored(Appended),
    /// The account had it already: its key is known.
    Known,
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

/// What is known of a delivery before anything is written.
enum Acceptance {
    Mailbox(Mailbox),
    Known,
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
    ) -> Vec<Result<Delivered, StoreError>> {
        let mut results: Vec<Option<Result<Delivered, StoreError>>> = to.iter().map(|_| None).collect();
        // Who cannot have it is told before anything is written.
        let mut accepted = Vec::with_capacity(to.len());
        for (index, delivery) in to.iter().enumerate() {
            match self.accept(delivery, body.info().size).await {
                Ok(Acceptance::Mailbox(mailbox)) => accepted.push(Accepted { index, mailbox }),
                Ok(Acceptance::Known) => results[index] = Some(Ok(self.known())),
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
        results: &mut [Option<Result<Delivered, StoreError>>],
    ) {
        let mut under_way: Vec<(usize, Durable, Option<Appended>)> = Vec::with_capacity(accepted.len());
        for (entry, Accepted { index, mailbox }) in accepted.into_iter().enumerate() {
            let delivery = &to[index];
            let planned = Planned {
                body: body.clone(),
                entry: u16::try_from(entry).expect("bounded by BODY_ACCOUNTS_MAX"),
                flags: delivery.flags,
                keywords: delivery.keywords.clone(),
                internal_date: delivery.internal_date,
            };
            let key = delivery.key_use();
            match mailbox
                .push_planned(std::slice::from_ref(&planned), delivery.limits, key)
                .await
            {
                Ok((durable, appended)) => under_way.push((index, durable, appended.into_iter().next())),
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        for (index, durable, appended) in under_way {
            let durable = durable.await;
            results[index] = Some(durable.map(|()| appended.map_or_else(|| self.known(), Delivered::Stored)));
        }
        // Until here compaction leaves the body's segments alone.
        drop(body);
    }

    /// Counts a delivery that the account had already.
    fn known(&self) -> Delivered {
        add(&self.counters.duplicates, 1);
        Delivered::Known
    }

    /// The mailbox that a delivery goes to, if it may.
    async fn accept(self: &Rc<Self>, delivery: &Delivery, size: u64) -> Result<Acceptance, StoreError> {
        let cell = self.account(delivery.account).await?;
        let account = Account {
            volume: self.clone(),
            cell,
        };
        account.set_limits(delivery.limits);
        {
            let state = account.cell.state.borrow();
            if !state.standing.is_here() {
                return Err(StoreError::Elsewhere);
            }
            // Before the limits: it has its place already.
            if let Some(key) = delivery.key_use() {
                match state.keys.state_of(key.key) {
                    KeyState::Durable => return Ok(Acceptance::Known),
                    KeyState::New if state.keys.is_full_at(key.at) => add(&self.counters.keys_forgotten, 1),
                    KeyState::New | KeyState::UnderWay => {}
                }
            }
            let more = Usage {
                bytes: size.saturating_add(delivery.prepend.len() as u64),
                messages: 1,
            };
            delivery.limits.check(state.usage, state.reserved, more)?;
        }
        let mailbox = match account.mailbox(&delivery.mailbox).filter(Mailbox::is_selectable) {
            Some(mailbox) => Ok(mailbox),
            None if delivery.create_mailbox => match account.create_mailbox(&delivery.mailbox, None).await {
                // Another delivery made it meanwhile.
                Err(StoreError::MailboxExists) => account.mailbox(&delivery.mailbox).ok_or(StoreError::NoSuchMailbox),
                other => other,
            },
            None => Err(StoreError::NoSuchMailbox),
        };
        mailbox.map(Acceptance::Mailbox)
    }
}
