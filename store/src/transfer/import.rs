//! Taking an account in: bodies first, in rounds, then the whole state in one durable change.
//!
//! What has arrived is a part of the account's state from `stage` on, so that compaction keeps it and a crash costs no second
//! fetch; but as long as the account is `Incoming` nobody else sees it. Each image replaces the state whole: only the last one,
//! taken when the old owner changes nothing any more, has to be of one moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{
    AccountImage, BodyReference, Counterpart, LogPosition, MailboxId, MailboxImage, Message, MoveId, Standing,
    StreamedStart, Uid,
};

use super::{NOT_NOW, all_bytes, check_place};
use crate::account::names::{INBOX, checked};
use crate::account::state::{AccountCell, AccountState, INBOX_ID};
use crate::body::PlacedBody;
use crate::journal::Purpose;
use crate::options::{KEYWORD_BYTES_MAX, MAILBOXES_MAX};
use crate::{Account, BodyWriter, FinishedBody, StoreError};

/// A body that has to be fetched: of this message, and of others that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// Its UID there.
    pub uid: Uid,
    /// Its bytes.
    pub size: u32,
}

/// Where a body is at the other end: what messages with the same one share.
type Source = (LogPosition, u16);

/// An account on its way in. Dropped: it goes on later from what was staged.
pub struct Import {
    account: Account,
    from: Counterpart,
    image: Option<AccountImage<'static>>,
    /// In the journal, and not staged yet.
    placed: BTreeMap<(MailboxId, Uid), PlacedBody>,
    placed_bytes: u64,
    _turn: Turn,
}

/// One import of an account at a time.
struct Turn(Rc<AccountCell>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.importing.set(false);
    }
}

/// Where bodies are here, as far as they are.
#[derive(Clone, Copy)]
struct Local {
    body: BodyReference,
    start: Option<LogPosition>,
}

impl Import {
    pub(super) async fn begin(account: &Account, from: Counterpart) -> Result<Import, StoreError> {
        check_place(&from)?;
        if account.cell.importing.replace(true) {
            return Err(StoreError::BadName("the account is being fetched already"));
        }
        let turn = Turn(account.cell.clone());
        account
            .step(|state| match &state.standing {
                Standing::Here if state.pushed_head == LogPosition::NONE => Ok(Some(Standing::Incoming(from.clone()))),
                Standing::Moved(_) => Ok(Some(Standing::Incoming(from.clone()))),
                Standing::Incoming(before) if before.place == from.place => Ok(None),
                Standing::Incoming(_) => Ok(Some(Standing::Incoming(from.clone()))),
                _ => Err(NOT_NOW),
            })
            .await?;
        let standing = account.standing();
        let from = standing.counterpart().cloned().ok_or(NOT_NOW)?;
        Ok(Import {
            account: account.clone(),
            from,
            image: None,
            placed: BTreeMap::new(),
            placed_bytes: 0,
            _turn: turn,
        })
    }

    /// The number of the move, for `Account::hand_over` at the other end. It stays the same over crashes.
    pub fn id(&self) -> MoveId {
        self.from.id
    }

    /// Takes an image of the account, which replaces the one before. Gives the bodies that are missing here.
    pub fn plan(&mut self, image: &[u8]) -> Result<Vec<Wanted>, StoreError> {
        let image = AccountImage::decode(image).map_err(|error| StoreError::Damaged {
            what: format!(
                "account {}: the image that came with its move: {error}",
                self.account.id()
            ),
        })?;
        check_image(&image)?;
        let state = self.account.cell.state.borrow();
        let mut found: HashSet<Source> = HashSet::new();
        for (mailbox, message) in messages_of(&image) {
            if self.local(&state, mailbox, message).is_some() {
                found.insert(source(message));
            }
        }
        let mut wanted = Vec::new();
        for (mailbox, message) in messages_of(&image) {
            if found.insert(source(message)) {
                wanted.push(Wanted {
                    mailbox: mailbox.definition.id,
                    uid: message.uid,
                    size: message.size,
                });
            }
        }
        drop(state);
        self.image = Some(image);
        Ok(wanted)
    }

    /// For the bytes of a message.
    pub async fn begin_body(&self) -> Result<BodyWriter, StoreError> {
        self.account.volume.begin_body(&[self.account.id()])
    }

    /// Takes the body of a message that was wanted.
    pub async fn place(&mut self, wanted: Wanted, body: FinishedBody) -> Result<(), StoreError> {
        if body.info().size != u64::from(wanted.size) {
            return Err(StoreError::Damaged {
                what: format!(
                    "account {}: mailbox {}, UID {}: {} bytes came, {} were expected",
                    self.account.id(),
                    wanted.mailbox,
                    wanted.uid,
                    body.info().size,
                    wanted.size
                ),
            });
        }
        let recipient = [(self.account.id(), Bytes::new())];
        let placed = self.account.volume.place_body(body, &recipient).await?;
        self.placed_bytes += u64::from(wanted.size);
        self.placed.insert((wanted.mailbox, wanted.uid), placed);
        Ok(())
    }

    /// Bytes and number of the bodies that would be fetched again after a crash.
    pub fn unstaged(&self) -> (u64, usize) {
        (self.placed_bytes, self.placed.len())
    }

    /// Keeps what has arrived; durable when it returns.
    pub async fn stage(&mut self) -> Result<(), StoreError> {
        let cell = self.account.cell.clone();
        let turn = cell.snapshotting.acquire(1).await;
        self.adopt().await?;
        let volume = self.account.volume.clone();
        let pushed = volume.push_snapshot_in_turn(&cell, Purpose::Change).await?;
        drop(turn);
        match pushed {
            Some(durable) => {
                volume.journal.hurry();
                durable.await
            }
            None => Ok(()),
        }
    }

    /// The account is here, as the last image says: durable when it returns. Refused while a body is missing, and nothing has
    /// changed then.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        if self.image.is_none() {
            return Err(NOT_NOW);
        }
        let cell = self.account.cell.clone();
        let turn = cell.snapshotting.acquire(1).await;
        let missing = self.adopt().await?;
        if missing > 0 {
            return Err(StoreError::Damaged {
                what: format!(
                    "account {}: {missing} messages did not come with its move",
                    self.account.id()
                ),
            });
        }
        // The link comes behind the image in the journal: both are there, or the account is still on its way.
        let volume = self.account.volume.clone();
        volume.push_snapshot_in_turn(&cell, Purpose::Change).await?;
        drop(turn);
        let from = self.from.clone();
        self.account
            .step(|state| match &state.standing {
                Standing::Incoming(now) if now.id == from.id => Ok(Some(Standing::Arrived(from.clone()))),
                _ => Err(NOT_NOW),
            })
            .await
    }

    /// Makes the state what the image says, as far as bodies are here. Gives the number of messages whose bodies are not.
    async fn adopt(&mut self) -> Result<usize, StoreError> {
        let Some(image) = &self.image else {
            return Ok(0);
        };
        let (cell, volume) = (&self.account.cell, &self.account.volume);
        let pass = cell.pass_alone().await;
        // After a failed write things stay under way for ever.
        volume.journal.check(Purpose::Change)?;
        if !matches!(&cell.state.borrow().standing, Standing::Incoming(from) if from.id == self.from.id) {
            return Err(NOT_NOW);
        }
        let (mut state, missing) = self.merged(image, &cell.state.borrow())?;
        {
            let mut there = cell.state.borrow_mut();
            // Estimates: what both refer to cancels out.
            volume.segments.charge(&all_bytes(&state, &volume.segments));
            volume.segments.discharge(&all_bytes(&there, &volume.segments));
            state.list_generation = there.list_generation + 1;
            state.head = there.head;
            state.pushed_head = there.pushed_head;
            state.chain = std::mem::take(&mut there.chain);
            state.standing = std::mem::take(&mut there.standing);
            *there = state;
        }
        drop(pass);
        volume.accounts.measure(cell);
        // From here on the account refers to them.
        self.placed.clear();
        self.placed_bytes = 0;
        Ok(missing)
    }

    /// The image with bodies as they are here, without the messages whose bodies are not.
    fn merged(&self, image: &AccountImage<'static>, state: &AccountState) -> Result<(AccountState, usize), StoreError> {
        let mut by_source: HashMap<Source, Local> = HashMap::new();
        for (mailbox, message) in messages_of(image) {
            if let Some(local) = self.local(state, mailbox, message) {
                by_source.insert(source(message), local);
            }
        }
        let mut starts: BTreeMap<LogPosition, LogPosition> = BTreeMap::new();
        let mut missing = 0;
        let mut mailboxes = Vec::with_capacity(image.mailboxes.len());
        for mailbox in &image.mailboxes {
            let mut messages = Vec::with_capacity(mailbox.messages.len());
            for message in mailbox.messages.iter() {
                let direct = self.local(state, mailbox, message);
                let Some(local) = direct.or_else(|| by_source.get(&source(message)).copied()) else {
                    missing += 1;
                    continue;
                };
                starts.extend(local.start.map(|start| (local.body.position, start)));
                messages.push(Message {
                    body: local.body,
                    ..*message
                });
            }
            mailboxes.push(MailboxImage {
                definition: mailbox.definition.clone(),
                keywords: mailbox.keywords.clone(),
                messages: Cow::Owned(messages),
                ..*mailbox
            });
        }
        let merged = AccountImage {
            mailboxes,
            subscriptions: image.subscriptions.clone(),
            starts: starts
                .into_iter()
                .map(|(end, start)| StreamedStart { end, start })
                .collect(),
            keys: image.keys.clone(),
            standing: Standing::Here,
            ..*image
        };
        let merged = AccountState::from_image(merged).map_err(|error| StoreError::Damaged {
            what: format!(
                "account {}: the image that came with its move: {error}",
                self.account.id()
            ),
        })?;
        Ok((merged, missing))
    }

    /// Where the body of a message of the image is here.
    fn local(&self, state: &AccountState, mailbox: &MailboxImage<'_>, message: &Message) -> Option<Local> {
        let id = mailbox.definition.id;
        if let Some(placed) = self.placed.get(&(id, message.uid)) {
            return Some(Local {
                body: placed.reference(0),
                start: placed.start,
            });
        }
        let cell = state.mailboxes.get(&id)?;
        if cell.uid_validity != mailbox.definition.uid_validity {
            return None;
        }
        let staged = cell.state.borrow();
        let there = staged.message(message.uid).filter(|there| there.size == message.size)?;
        Some(Local {
            body: there.body,
            start: state.start_of(there),
        })
    }
}

fn source(message: &Message) -> Source {
    (message.body.position, message.body.entry)
}

fn messages_of<'i>(image: &'i AccountImage<'static>) -> impl Iterator<Item = (&'i MailboxImage<'static>, &'i Message)> {
    let mailboxes = image.mailboxes.iter();
    mailboxes.flat_map(|mailbox| mailbox.messages.iter().map(move |message| (mailbox, message)))
}

/// What the state's own operations would not have let come to be.
fn check_image(image: &AccountImage<'_>) -> Result<(), StoreError> {
    const NOT_ONE: StoreError = StoreError::BadName("not the image of an account");
    let inbox = image.mailboxes.iter().find(|mailbox| mailbox.definition.id == INBOX_ID);
    if inbox.is_none_or(|inbox| inbox.definition.name != INBOX || !inbox.definition.selectable)
        || image.mailboxes.len() > MAILBOXES_MAX
        || image.subscriptions.len() > MAILBOXES_MAX
    {
        return Err(NOT_ONE);
    }
    for mailbox in &image.mailboxes {
        let definition = &mailbox.definition;
        let is_named = checked(&definition.name).is_ok_and(|name| name == definition.name);
        let has_words = mailbox
            .keywords
            .iter()
            .all(|keyword| (1..=KEYWORD_BYTES_MAX).contains(&keyword.len()));
        let is_numbered = definition.id < image.next_mailbox && definition.uid_validity < image.next_uid_validity;
        let is_counted = mailbox
            .messages
            .iter()
            .all(|message| message.uid.0 < u32::MAX && message.mod_seq <= mailbox.highest_mod_seq);
        if !is_named || !has_words || !is_numbered || !is_counted {
            return Err(NOT_ONE);
        }
    }
    Ok(())
}
