//! Taking an account in: bodies first, in rounds, then the whole state in one durable change.
//!
//! What has arrived is a part of the account's state from `stage` on, so that compaction keeps it and a crash costs no second
//! fetch; but as long as the account is `Incoming` nobody else sees it. It is put behind what was staged before, so that each stage
//! costs what came since the last one (`staging`). Each image replaces the one before whole: only the last one, taken when the old
//! owner changes nothing any more, has to be of one moment, and only that one becomes the account's state.
//!
//! Invariant: what looks at every message of an account gives others a turn after some thousands of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{
    AccountImage, BodyReference, Counterpart, LogPosition, MailboxId, MailboxImage, Message, MoveId, Standing,
    StreamedStart, Uid,
};

use super::{NOT_NOW, all_bytes, anew, check_place};
use crate::account::names::{INBOX, checked};
use crate::account::state::{AccountCell, AccountState, INBOX_ID};
use crate::body::PlacedBody;
use crate::journal::Purpose;
use crate::options::{KEYWORD_BYTES_MAX, MAILBOXES_MAX};
use crate::volume::VolumeInner;
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

/// Messages that are looked at in one turn of the core.
const TURN_MESSAGES: usize = 4096;

/// An account on its way in. Dropped: it goes on later from what was staged.
pub struct Import {
    pub(super) account: Account,
    from: Counterpart,
    pub(super) image: Option<AccountImage<'static>>,
    /// In the journal, and not staged yet.
    pub(super) placed: BTreeMap<(MailboxId, Uid), Rc<PlacedBody>>,
    placed_bytes: u64,
    /// Messages looked at so far, each as often as it was.
    pub(super) looked_at: u64,
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
                // An attempt before may have been handed over to by its number: nothing can arrive by that any more.
                Standing::Moved(_) | Standing::GivenUp(_) | Standing::Incoming(_) => {
                    Ok(Some(Standing::Incoming(from.clone())))
                }
                _ => Err(NOT_NOW),
            })
            .await?;
        Ok(Import {
            account: account.clone(),
            from,
            image: None,
            placed: BTreeMap::new(),
            placed_bytes: 0,
            looked_at: 0,
            _turn: turn,
        })
    }

    /// The number of the move, for `Account::hand_over` at the other end.
    pub fn id(&self) -> MoveId {
        self.from.id
    }

    /// Takes an image of the account, which replaces the one before. Gives the bodies that are missing here.
    pub async fn plan(&mut self, image: &[u8]) -> Result<Vec<Wanted>, StoreError> {
        let image = AccountImage::decode(image).map_err(|error| self.wrong(error.0))?;
        check_image(&image)?;
        pigeon_engine::runtime::yield_now().await;
        let mut found: HashSet<Source> = HashSet::new();
        for (mailbox, some) in turns(&image) {
            {
                let state = self.account.cell.state.borrow();
                let here = some
                    .iter()
                    .filter(|message| self.local(&state, mailbox, message).is_some());
                found.extend(here.map(source));
            }
            self.looked_at += some.len() as u64;
            pigeon_engine::runtime::yield_now().await;
        }
        let mut wanted = Vec::new();
        for (mailbox, some) in turns(&image) {
            let missing = some.iter().filter(|message| found.insert(source(message)));
            wanted.extend(missing.map(|message| Wanted {
                mailbox: mailbox.definition.id,
                uid: message.uid,
                size: message.size,
            }));
            self.looked_at += some.len() as u64;
            pigeon_engine::runtime::yield_now().await;
        }
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
        self.placed.insert((wanted.mailbox, wanted.uid), Rc::new(placed));
        Ok(())
    }

    /// Bytes and number of the bodies that would be fetched again after a crash.
    pub fn unstaged(&self) -> (u64, usize) {
        (self.placed_bytes, self.placed.len())
    }

    /// Keeps what has arrived; durable when it returns.
    pub async fn stage(&mut self) -> Result<(), StoreError> {
        if self.placed.is_empty() || self.image.is_none() {
            return Ok(());
        }
        let cell = self.account.cell.clone();
        let turn = cell.snapshotting.acquire(1).await;
        let volume = self.account.volume.clone();
        let durable = match self.stage_behind().await? {
            Some(durable) => Some(durable),
            // Once in a while: what was staged so far is not what the image goes on from.
            None => {
                self.adopt(Purpose::Body, false).await?;
                volume.push_snapshot_in_turn(&cell, Purpose::Change).await?
            }
        };
        drop(turn);
        self.placed_bytes = 0;
        match durable {
            Some(durable) => {
                volume.journal.hurry();
                durable.await
            }
            None => Ok(()),
        }
    }

    /// The account is here, as the last image says: durable when it returns. Refused while a body is missing, and nothing has
    /// changed then.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.finish_counted().await.map(drop)
    }

    /// As `finish`; gives the number of messages that were looked at, each as often as it was.
    pub(crate) async fn finish_counted(mut self) -> Result<u64, StoreError> {
        if self.image.is_none() {
            return Err(NOT_NOW);
        }
        let cell = self.account.cell.clone();
        let turn = cell.snapshotting.acquire(1).await;
        self.adopt(Purpose::Change, true).await?;
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
            .await?;
        Ok(self.looked_at)
    }

    /// Nobody has the account: it begins here, with what was fetched of it so far, if anything; durable when this returns. Its
    /// mailboxes get another UIDVALIDITY, because more may have been there than is known.
    pub async fn begin_anew(self) -> Result<(), StoreError> {
        anew::begin(&self).await
    }

    /// Whether the account still comes by this move.
    pub(super) fn goes_on(&self) -> Result<(), StoreError> {
        match &self.account.cell.state.borrow().standing {
            Standing::Incoming(from) if from.id == self.from.id => Ok(()),
            _ => Err(NOT_NOW),
        }
    }

    /// Makes the state what the image says: the whole of it, or nothing while a body is missing; or what is here of it.
    async fn adopt(&mut self, purpose: Purpose, whole: bool) -> Result<(), StoreError> {
        let (cell, volume) = (self.account.cell.clone(), self.account.volume.clone());
        let pass = cell.pass_alone().await;
        // After a failed write things stay under way for ever.
        volume.journal.check(purpose)?;
        self.goes_on()?;
        let image = self.image.take().ok_or(NOT_NOW)?;
        let merged = self.merged(&image, whole).await;
        self.image = Some(image);
        replace(&cell, &volume, merged?);
        drop(pass);
        volume.accounts.measure(&cell);
        // From here on the account refers to them.
        self.placed.clear();
        Ok(())
    }

    /// The image with bodies as they are here. In part: without the messages whose bodies are not, and without those that share
    /// one with another, so that the next ones can be put behind.
    async fn merged(&mut self, image: &AccountImage<'static>, whole: bool) -> Result<AccountState, StoreError> {
        let mut by_source: HashMap<Source, Local> = HashMap::new();
        if whole {
            for (mailbox, some) in turns(image) {
                {
                    let state = self.account.cell.state.borrow();
                    let locals = some
                        .iter()
                        .filter_map(|message| Some((source(message), self.local(&state, mailbox, message)?)));
                    by_source.extend(locals);
                }
                self.looked_at += some.len() as u64;
                pigeon_engine::runtime::yield_now().await;
            }
        }
        let mut starts: BTreeMap<LogPosition, LogPosition> = BTreeMap::new();
        let mut missing = 0_usize;
        let mut mailboxes = Vec::with_capacity(image.mailboxes.len());
        for mailbox in &image.mailboxes {
            let mut messages = Vec::with_capacity(mailbox.messages.len());
            for some in mailbox.messages.chunks(TURN_MESSAGES) {
                {
                    let state = self.account.cell.state.borrow();
                    for message in some {
                        let direct = || self.local(&state, mailbox, message);
                        let Some(local) = by_source.get(&source(message)).copied().or_else(direct) else {
                            missing += 1;
                            continue;
                        };
                        starts.extend(local.start.map(|start| (local.body.position, start)));
                        messages.push(Message {
                            body: local.body,
                            ..*message
                        });
                    }
                }
                self.looked_at += some.len() as u64;
                pigeon_engine::runtime::yield_now().await;
            }
            let uid_next = match whole {
                true => mailbox.uid_next,
                false => Uid(messages.last().map_or(1, |message| message.uid.0 + 1)),
            };
            mailboxes.push(MailboxImage {
                definition: mailbox.definition.clone(),
                keywords: mailbox.keywords.clone(),
                messages: Cow::Owned(messages),
                uid_next,
                ..*mailbox
            });
        }
        if whole && missing > 0 {
            return Err(self.wrong(&format!("{missing} messages did not come with it")));
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
            taken: Vec::new(),
            ..*image
        };
        AccountState::from_image(merged).map_err(|error| self.wrong(error.0))
    }

    fn wrong(&self, what: &str) -> StoreError {
        StoreError::Damaged {
            what: format!(
                "account {}: the image that came with its move: {what}",
                self.account.id()
            ),
        }
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

/// All messages, so many at a time.
fn turns<'i>(
    image: &'i AccountImage<'static>,
) -> impl Iterator<Item = (&'i MailboxImage<'static>, &'i [Message])> + use<'i> {
    let mailboxes = image.mailboxes.iter();
    mailboxes.flat_map(|mailbox| mailbox.messages.chunks(TURN_MESSAGES).map(move |some| (mailbox, some)))
}

/// Puts another state in the place of an account's, by whoever passes alone. What it is to the volume stays.
pub(super) fn replace(cell: &AccountCell, volume: &VolumeInner, mut state: AccountState) {
    let mut there = cell.state.borrow_mut();
    // Estimates: what both refer to cancels out.
    volume.segments.charge(&all_bytes(&state, &volume.segments));
    volume.segments.discharge(&all_bytes(&there, &volume.segments));
    state.list_generation = there.list_generation + 1;
    state.head = there.head;
    state.pushed_head = there.pushed_head;
    state.chain = std::mem::take(&mut there.chain);
    state.standing = std::mem::take(&mut there.standing);
    state.taken = std::mem::take(&mut there.taken);
    *there = state;
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
