//! The module mailStore: one body, many recipients, each in a volume of some core.
//!
//! A body is written once for each volume (once for each thousand of recipients there). The volume's core gets the buffers themselves (`Bytes`), not copies: in one
//! call for a message of up to `COLLECTED_MAX`, in a stream of calls with one chunk under way beyond that, so that a
//! message of any size takes a bounded piece of memory.

use crate::placement::{Place, PlacementError, VolumeTable};
use crate::transfers::{self, Handle};
use crate::volumes;
use bytes::Bytes;
use futures_util::future::join_all;
use pigeon_datatree_cache::Account;
use pigeon_engine::runtime::CoreGone;
use pigeon_engine::{current_core, on_core};
use pigeon_store::options::BODY_ACCOUNTS_MAX;
use pigeon_store::{AccountId, BodyWriter, Delivery, Flags, Limits, MessageKey, StoreError};
use std::sync::Arc;

/// Bytes of a body that are kept back for another core until it is whole; one call then does everything.
const COLLECTED_MAX: usize = 128 * 1024;

/// Why a recipient's copy was not stored. Nothing was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryError {
    /// The account's quota does not allow it.
    OverQuota,
    /// The message is larger than the store takes.
    TooLarge,
    /// The disk is nearly full.
    NoSpace,
    /// The volume does not have the account any more, or not yet: it moves (`pigeon_store::Standing`).
    Elsewhere,
    /// Anything that may be over later: the text is for the log.
    Unavailable(String),
}

impl From<StoreError> for DeliveryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OverQuota { .. } => Self::OverQuota,
            StoreError::TooLarge => Self::TooLarge,
            StoreError::NearlyFull => Self::NoSpace,
            StoreError::Elsewhere => Self::Elsewhere,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// One recipient of a message.
#[derive(Clone)]
pub struct Recipient {
    /// The record as it was when the recipient was accepted: one delivery, one record.
    pub account: Arc<Account>,
    /// The volume where it is while it moves; `None`: where the table places it.
    pub place: Option<Place>,
    /// Header lines for this recipient alone, in front of the body; may be empty.
    pub prepend: Bytes,
    /// The message's key, where it has one: what the account has under it already is not stored again.
    pub key: Option<MessageKey>,
}

/// What the owning core needs of a recipient.
#[derive(Clone)]
pub(crate) struct RecipientParts {
    account: AccountId,
    limits: Limits,
    prepend: Bytes,
    internal_date: i64,
    key: Option<MessageKey>,
    /// Not INBOX, but this one, which is made when it is not there.
    mailbox: Option<Arc<str>>,
    keywords: Vec<String>,
}

impl RecipientParts {
    fn new(recipient: Recipient, received_at: i64) -> Self {
        let account = &recipient.account;
        Self {
            account: AccountId(account.id().0),
            limits: Limits {
                bytes: account.quota().bytes,
                messages: account.quota().messages,
            },
            prepend: recipient.prepend,
            internal_date: received_at,
            key: recipient.key,
            mailbox: None,
            keywords: Vec::new(),
        }
    }

    /// Of an account that control data does not know, without limits.
    pub(crate) fn reserved(
        account: AccountId,
        mailbox: Arc<str>,
        keywords: Vec<String>,
        prepend: Bytes,
        internal_date: i64,
    ) -> Self {
        Self {
            account,
            limits: Limits::default(),
            prepend,
            internal_date,
            key: None,
            mailbox: Some(mailbox),
            keywords,
        }
    }
}

/// Delivers into the node's volumes. Cheap to clone.
#[derive(Clone)]
pub struct MailStore {
    table: Arc<VolumeTable>,
}

impl MailStore {
    /// Over these volumes.
    pub fn new(table: Arc<VolumeTable>) -> Self {
        Self { table }
    }

    /// Delivers a message that is in memory as a whole: as `begin`, `write` and `commit`. When all recipients are in one
    /// volume, as nearly always, it takes one step.
    pub async fn deliver(
        &self,
        received_at: i64,
        recipients: Vec<Recipient>,
        message: Bytes,
    ) -> Vec<Result<(), DeliveryError>> {
        let Some(Place { volume, core }) = self.only_place(&recipients) else {
            return self.deliver_in_steps(received_at, recipients, message).await;
        };
        let count = recipients.len();
        let recipients = recipients
            .into_iter()
            .map(|recipient| RecipientParts::new(recipient, received_at))
            .collect();
        on_core(core, move || deliver_whole(volume, [message], recipients))
            .await
            .unwrap_or_else(|_| vec![Err(core_gone()); count])
    }

    fn place(&self, recipient: &Recipient) -> Result<Place, PlacementError> {
        let account = &recipient.account;
        match recipient.place {
            Some(place) => Ok(place),
            None => self.table.place(&account.id().0, account.volume()),
        }
    }

    /// The place of all `recipients`, when one body there is enough for them.
    fn only_place(&self, recipients: &[Recipient]) -> Option<Place> {
        if recipients.len() > BODY_ACCOUNTS_MAX {
            return None;
        }
        let place = |recipient: &Recipient| self.place(recipient).ok();
        let (first, others) = recipients.split_first()?;
        let only = place(first)?;
        others
            .iter()
            .all(|recipient| place(recipient) == Some(only))
            .then_some(only)
    }

    async fn deliver_in_steps(
        &self,
        received_at: i64,
        recipients: Vec<Recipient>,
        message: Bytes,
    ) -> Vec<Result<(), DeliveryError>> {
        let count = recipients.len();
        let begun = match self.begin(received_at, recipients).await {
            Ok(mut transfer) => transfer.write(message).await.map(|()| transfer),
            Err(error) => Err(error),
        };
        match begun {
            Ok(transfer) => transfer.commit().await,
            Err(error) => vec![Err(error); count],
        }
    }

    /// Begins a message that came in at `received_at` (seconds since the Unix epoch). A recipient that cannot be placed fails at `commit`; an error here is of all recipients.
    pub async fn begin(&self, received_at: i64, recipients: Vec<Recipient>) -> Result<Transfer, DeliveryError> {
        let mut legs: Vec<Leg> = Vec::new();
        let mut places = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let account = &recipient.account;
            let place = match self.place(&recipient) {
                Ok(place) => place,
                Err(error) => {
                    tracing::error!(dn = account.dn(), %error, "mail for this account waits at the sender");
                    places.push(Err(DeliveryError::Unavailable(error.to_string())));
                    continue;
                }
            };
            let parts = RecipientParts::new(recipient, received_at);
            let leg = match legs
                .iter()
                .position(|leg| leg.place == place && leg.recipients.len() < BODY_ACCOUNTS_MAX)
            {
                Some(leg) => leg,
                None => {
                    legs.push(Leg {
                        place,
                        recipients: Vec::new(),
                        state: LegState::Collecting(Vec::new(), 0),
                    });
                    legs.len() - 1
                }
            };
            places.push(Ok((leg, legs[leg].recipients.len())));
            legs[leg].recipients.push(parts);
        }
        for leg in &mut legs {
            leg.open_local().await;
        }
        let transfer = Transfer { legs, places };
        transfer.still_wanted()?;
        Ok(transfer)
    }
}

/// A message being written. Dropped without `commit`, nothing of it is ever seen.
pub struct Transfer {
    legs: Vec<Leg>,
    /// For each recipient its leg and its place there, or why it has none.
    places: Vec<Result<(usize, usize), DeliveryError>>,
}

impl Transfer {
    /// To one account at a place; what it gets there is said at `commit_parts`.
    pub(crate) async fn to(place: Place, account: AccountId) -> Result<Transfer, DeliveryError> {
        let named = RecipientParts::reserved(account, "".into(), Vec::new(), Bytes::new(), 0);
        let mut leg = Leg {
            place,
            recipients: vec![named],
            state: LegState::Collecting(Vec::new(), 0),
        };
        leg.open_local().await;
        let transfer = Transfer {
            legs: vec![leg],
            places: Vec::new(),
        };
        transfer.still_wanted()?;
        Ok(transfer)
    }

    /// Ends a message of `to`: durable as all of these, or why not.
    pub(crate) async fn commit_parts(self, parts: Vec<RecipientParts>) -> Result<(), DeliveryError> {
        for mut leg in self.legs {
            leg.recipients.clone_from(&parts);
            leg.commit().await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Gives the next bytes to every volume, and waits until each has taken them. A volume that fails is left out from then on,
    /// its recipients fail at `commit`; when none is left the error is returned.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), DeliveryError> {
        for leg in &mut self.legs {
            leg.write(chunk.clone()).await;
        }
        self.still_wanted()
    }

    /// Ends the message. One result for each recipient, in their order; `Ok` only when durable.
    pub async fn commit(self) -> Vec<Result<(), DeliveryError>> {
        let outcomes = join_all(self.legs.into_iter().map(Leg::commit)).await;
        self.places
            .into_iter()
            .map(|place| place.and_then(|(leg, index)| outcomes[leg][index].clone()))
            .collect()
    }

    fn still_wanted(&self) -> Result<(), DeliveryError> {
        let mut first = None;
        for leg in &self.legs {
            match &leg.state {
                LegState::Failed(error) => first = first.or(Some(error)),
                _ => return Ok(()),
            }
        }
        let unplaced = self.places.iter().find_map(|place| place.as_ref().err());
        match first.or(unplaced) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

/// The part of a transfer that goes to one volume.
struct Leg {
    place: Place,
    recipients: Vec<RecipientParts>,
    state: LegState,
}

enum LegState {
    Local(BodyWriter),
    /// For another core, not sent yet.
    Collecting(Vec<Bytes>, usize),
    Remote(RemoteWriter),
    Failed(DeliveryError),
}

impl Leg {
    fn accounts(&self) -> Vec<AccountId> {
        self.recipients.iter().map(|recipient| recipient.account).collect()
    }

    async fn open_local(&mut self) {
        if self.place.core != current_core() {
            return;
        }
        let opened = match volumes::volume(self.place.volume) {
            Some(volume) => volume.begin_body(&self.accounts()).await.map_err(DeliveryError::from),
            None => Err(DeliveryError::Unavailable("volume is not open".into())),
        };
        self.state = match opened {
            Ok(writer) => LegState::Local(writer),
            Err(error) => LegState::Failed(error),
        };
    }

    async fn write(&mut self, chunk: Bytes) {
        let result = match &mut self.state {
            LegState::Local(writer) => writer.write(chunk).await.map_err(DeliveryError::from),
            LegState::Remote(remote) => remote.write(chunk).await,
            LegState::Failed(_) => Ok(()),
            LegState::Collecting(chunks, bytes) => {
                *bytes += chunk.len();
                chunks.push(chunk);
                if *bytes <= COLLECTED_MAX {
                    return;
                }
                let chunks = std::mem::take(chunks);
                match RemoteWriter::open(self.place, self.accounts(), chunks).await {
                    Ok(remote) => {
                        self.state = LegState::Remote(remote);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = result {
            self.state = LegState::Failed(error);
        }
    }

    async fn commit(self) -> Vec<Result<(), DeliveryError>> {
        let count = self.recipients.len();
        let Place { volume, core } = self.place;
        match self.state {
            LegState::Local(writer) => deliver_finished(volume, writer, self.recipients).await,
            LegState::Remote(remote) => remote.commit(self.recipients).await,
            LegState::Failed(error) => vec![Err(error); count],
            LegState::Collecting(chunks, _) => {
                let recipients = self.recipients;
                on_core(core, move || deliver_whole(volume, chunks, recipients))
                    .await
                    .unwrap_or_else(|_| vec![Err(core_gone()); count])
            }
        }
    }
}

/// A body of more than `COLLECTED_MAX` on another core. It exists before the first call is made, so that dropping it at any
/// point ends what the other core holds.
struct RemoteWriter {
    place: Place,
    handle: Handle,
    /// Committed or failed: there is nothing left to abort.
    ended: bool,
}

impl RemoteWriter {
    async fn open(place: Place, accounts: Vec<AccountId>, chunks: Vec<Bytes>) -> Result<Self, DeliveryError> {
        let (volume, handle) = (place.volume, Handle::next());
        let mut remote = Self {
            place,
            handle,
            ended: false,
        };
        let begun = on_core(place.core, move || {
            transfers::announce(handle);
            async move { transfers::begin(handle, volume, &accounts, chunks).await }
        });
        remote.settle(begun.await)?;
        Ok(remote)
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), DeliveryError> {
        let handle = self.handle;
        let written = on_core(self.place.core, move || transfers::write(handle, chunk)).await;
        self.settle(written)
    }

    async fn commit(mut self, recipients: Vec<RecipientParts>) -> Vec<Result<(), DeliveryError>> {
        let (count, handle) = (recipients.len(), self.handle);
        self.ended = true;
        on_core(self.place.core, move || transfers::commit(handle, recipients))
            .await
            .unwrap_or_else(|_| vec![Err(core_gone()); count])
    }

    /// After an error the other core has dropped the transfer itself.
    fn settle(&mut self, result: Result<Result<(), DeliveryError>, CoreGone>) -> Result<(), DeliveryError> {
        let result = result.unwrap_or_else(|_| Err(core_gone()));
        self.ended = result.is_err();
        result
    }
}

impl Drop for RemoteWriter {
    fn drop(&mut self) {
        if !self.ended {
            let (core, handle) = (self.place.core, self.handle);
            pigeon_engine::spawn(async move {
                // Nobody waits for the outcome: a core that is gone has dropped the writer itself.
                let _ = on_core(core, move || async move { transfers::abort(handle) }).await;
            });
        }
    }
}

/// Runs on the owner: the whole body in one call.
async fn deliver_whole(
    volume: usize,
    chunks: impl IntoIterator<Item = Bytes>,
    recipients: Vec<RecipientParts>,
) -> Vec<Result<(), DeliveryError>> {
    let accounts: Vec<AccountId> = recipients.iter().map(|recipient| recipient.account).collect();
    let written = async {
        let store = volumes::volume(volume).ok_or(DeliveryError::Unavailable("volume is not open".into()))?;
        let mut writer = store.begin_body(&accounts).await?;
        for chunk in chunks {
            writer.write(chunk).await?;
        }
        Ok(writer)
    };
    match written.await {
        Ok(writer) => deliver_finished(volume, writer, recipients).await,
        Err(error) => vec![Err(error); recipients.len()],
    }
}

/// Runs on the owner: ends the body and waits until every recipient's copy is durable.
pub(crate) async fn deliver_finished(
    volume: usize,
    writer: BodyWriter,
    recipients: Vec<RecipientParts>,
) -> Vec<Result<(), DeliveryError>> {
    let count = recipients.len();
    let Some(store) = volumes::volume(volume) else {
        return vec![Err(DeliveryError::Unavailable("volume is not open".into())); count];
    };
    let body = match writer.finish().await {
        Ok(body) => body,
        Err(error) => return vec![Err(error.into()); count],
    };
    let deliveries = recipients
        .into_iter()
        .map(|recipient| Delivery {
            account: recipient.account,
            limits: recipient.limits,
            create_mailbox: recipient.mailbox.is_some(),
            mailbox: recipient.mailbox.as_deref().unwrap_or("INBOX").to_owned(),
            flags: Flags::default(),
            keywords: recipient.keywords,
            internal_date: recipient.internal_date,
            prepend: recipient.prepend,
            key: recipient.key,
        })
        .collect();
    store
        .deliver(body, deliveries)
        .await
        .into_iter()
        .map(|result| result.map(drop).map_err(DeliveryError::from))
        .collect()
}

fn core_gone() -> DeliveryError {
    DeliveryError::Unavailable("the core that owns the volume has ended".into())
}
