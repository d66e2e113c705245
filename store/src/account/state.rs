//! An account's state in memory, shared by all its sessions, and how records change it.
//!
//! Invariants:
//! - Changes come from `apply` alone, which live commits and loading share: what is in memory is what a reload gives.
//! - `pushed_head` runs ahead of `head` for links on their way to the disk; `reserved` for messages on their way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use pigeon_engine::sync::{Notify, Semaphore};
use pigeon_store_format::{
    AccountId, AccountImage, Change, LogPosition, MailboxDefinition, MailboxId, MailboxImage, Malformed, Message,
    ModSeq, MoveId, MovedBody, SegmentBytes, Standing, StreamedStart, TAKEN_MAX, Transfer, Uid, UidRanges, UidValidity,
};

use super::keys::Keys;
use super::names::INBOX;
use super::{Limits, Usage};
use crate::journal::segments::add_bytes;
use crate::mailbox::state::MailboxCell;

/// INBOX's number in every account.
pub(crate) const INBOX_ID: MailboxId = MailboxId(1);

/// Permits of an account's gate: an append takes one, any other change takes all.
pub(crate) const GATE_ALL: usize = 1 << 20;

/// An account as its handles share it.
pub(crate) struct AccountCell {
    pub(crate) id: AccountId,
    pub(crate) state: RefCell<AccountState>,
    /// Appends pass it together, every other change alone, and each until it is durable: a change is decided on a state
    /// that only appends can still alter.
    pub(crate) gate: Semaphore,
    pub(crate) changed: Rc<Notify>,
    pub(crate) limits: Cell<Limits>,
    pub(crate) pop3_locked: Cell<bool>,
    /// For eviction: when it was asked for last.
    pub(crate) used_at: Cell<u64>,
    /// Memory it takes, bytes, about.
    pub(crate) memory_bytes: Cell<usize>,
    /// A snapshot is due, and said so.
    pub(crate) snapshot_due: Cell<bool>,
    /// Snapshots are written one at a time, so that the newest is the last one whose image was taken.
    pub(crate) snapshotting: Semaphore,
    /// It is being fetched: by one at a time.
    pub(crate) importing: Cell<bool>,
}

#[derive(Default)]
pub(crate) struct AccountState {
    pub(crate) mailboxes: BTreeMap<MailboxId, Rc<MailboxCell>>,
    pub(crate) names: BTreeMap<String, MailboxId>,
    pub(crate) subscriptions: BTreeSet<String>,
    pub(crate) next_mailbox: MailboxId,
    pub(crate) next_uid_validity: UidValidity,
    /// Rises with changes of the list of mailboxes, in memory only.
    pub(crate) list_generation: u64,
    /// Streamed bodies: where the chunks of the body that ends at the key begin.
    pub(crate) starts: BTreeMap<LogPosition, LogPosition>,
    /// Body entries that more than one message refers to (copies): how many more.
    extra_references: HashMap<(LogPosition, u16), u32>,
    /// Of messages that came under a key.
    pub(crate) keys: Keys,
    pub(crate) usage: Usage,
    /// Of messages on their way to the disk.
    pub(crate) reserved: Usage,
    pub(crate) head: LogPosition,
    pub(crate) pushed_head: LogPosition,
    pub(crate) chain: Chain,
    /// Whose it is.
    pub(crate) standing: Standing,
    /// The moves by which it came here, oldest first.
    pub(crate) taken: Vec<MoveId>,
}

/// The records that loading the account would read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Links behind what the last snapshot covers.
    pub(crate) links: u32,
    /// Bytes of the snapshot's image.
    pub(crate) image_bytes: u64,
    /// Bytes of all of them.
    pub(crate) segments: Vec<SegmentBytes>,
}

/// Where a link is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkPlace {
    pub(crate) position: LogPosition,
    pub(crate) segment: u64,
    pub(crate) occupied_bytes: u64,
}

impl AccountCell {
    pub(crate) fn new(id: AccountId, state: AccountState) -> Rc<AccountCell> {
        let cell = AccountCell {
            id,
            memory_bytes: Cell::new(state.memory_bytes()),
            state: RefCell::new(state),
            gate: Semaphore::new(GATE_ALL),
            changed: Rc::default(),
            limits: Cell::default(),
            pop3_locked: Cell::new(false),
            used_at: Cell::new(0),
            snapshot_due: Cell::new(false),
            snapshotting: Semaphore::new(1),
            importing: Cell::new(false),
        };
        Rc::new(cell)
    }
}

impl AccountState {
    /// Nothing at all: what loading begins with.
    pub(crate) fn empty(uid_validity_base: u32) -> Self {
        Self {
            next_mailbox: INBOX_ID,
            next_uid_validity: UidValidity(uid_validity_base),
            ..Self::default()
        }
    }

    /// A new account with its INBOX, of which nothing is in the journal.
    pub(crate) fn new_account(uid_validity_base: u32) -> Self {
        let mut state = Self::empty(uid_validity_base);
        let inbox = Self::inbox(uid_validity_base);
        state.create(&inbox).expect("an empty account takes its INBOX");
        state
    }

    /// How INBOX is made in a new account.
    pub(crate) fn inbox(uid_validity_base: u32) -> MailboxDefinition {
        MailboxDefinition {
            id: INBOX_ID,
            uid_validity: UidValidity(uid_validity_base),
            special_use: None,
            selectable: true,
            name: INBOX.to_owned(),
        }
    }

    pub(crate) fn from_image(image: AccountImage<'_>) -> Result<Self, Malformed> {
        let mut state = Self {
            next_mailbox: image.next_mailbox,
            next_uid_validity: image.next_uid_validity,
            subscriptions: image.subscriptions.into_iter().collect(),
            starts: image.starts.iter().map(|item| (item.end, item.start)).collect(),
            keys: Keys::from_image(image.keys),
            standing: image.standing,
            taken: image.taken,
            ..Self::default()
        };
        let mut entries: Vec<(LogPosition, u16)> = Vec::new();
        for mailbox in image.mailboxes {
            let cell = MailboxCell::from_image(mailbox);
            {
                let inner = cell.state.borrow();
                entries.extend(
                    inner
                        .messages
                        .iter()
                        .map(|message| (message.body.position, message.body.entry)),
                );
                state.usage.bytes += inner.size;
                state.usage.messages += inner.messages.len() as u64;
                if state.names.insert(inner.name.clone(), cell.id).is_some() {
                    return Err(Malformed("image mailbox name"));
                }
            }
            if state.mailboxes.insert(cell.id, cell).is_some() {
                return Err(Malformed("image mailbox number"));
            }
        }
        entries.sort_unstable();
        for same in entries.chunk_by(|one, next| one == next).filter(|same| same.len() > 1) {
            state.extra_references.insert(same[0], as_u32(same.len() - 1));
        }
        Ok(state)
    }

    /// The state as an image. Borrows the messages of all mailboxes for as long.
    pub(crate) fn encode_image(&self) -> Vec<u8> {
        let cells: Vec<_> = self.mailboxes.values().collect();
        let states: Vec<_> = cells.iter().map(|cell| cell.state.borrow()).collect();
        let mut streamed: Vec<LogPosition> = Vec::new();
        if !self.starts.is_empty() {
            let all = states.iter().flat_map(|state| &state.messages);
            streamed.extend(
                all.filter(|message| message.body.streamed)
                    .map(|message| message.body.position),
            );
            streamed.sort_unstable();
        }
        let starts = self
            .starts
            .iter()
            .filter(|(end, _)| streamed.binary_search(end).is_ok());
        let mailboxes = cells.iter().zip(&states).map(|(cell, state)| MailboxImage {
            definition: cell.definition(),
            uid_next: state.uid_next,
            highest_mod_seq: state.highest_mod_seq,
            first_recent: state.first_recent,
            keywords: state.keywords.clone(),
            messages: (&state.messages).into(),
        });
        AccountImage {
            next_mailbox: self.next_mailbox,
            next_uid_validity: self.next_uid_validity,
            mailboxes: mailboxes.collect(),
            subscriptions: self.subscriptions.iter().cloned().collect(),
            starts: starts
                .map(|(end, start)| StreamedStart {
                    end: *end,
                    start: *start,
                })
                .collect(),
            keys: self.keys.to_image(),
            standing: self.standing.clone(),
            taken: self.taken.clone(),
        }
        .encode()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Rc<MailboxCell>> {
        self.mailboxes.get(self.names.get(name)?)
    }

    fn mailbox(&self, id: MailboxId) -> Result<&Rc<MailboxCell>, Malformed> {
        self.mailboxes.get(&id).ok_or(Malformed("mailbox number"))
    }

    /// Where the chunks of a message's body begin; `None` for whole bodies.
    pub(crate) fn start_of(&self, message: &Message) -> Option<LogPosition> {
        if !message.body.streamed {
            return None;
        }
        self.starts.get(&message.body.position).copied()
    }

    /// Whether any message refers to the body there.
    pub(crate) fn refers_to(&self, body: LogPosition) -> bool {
        self.mailboxes.values().any(|cell| {
            cell.state
                .borrow()
                .messages
                .iter()
                .any(|message| message.body.position == body)
        })
    }

    /// Memory it takes, bytes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let mailboxes: usize = self
            .mailboxes
            .values()
            .map(|cell| cell.state.borrow().memory_bytes() + 96)
            .sum();
        let names: usize = self.subscriptions.iter().map(|name| name.len() + 48).sum();
        size_of::<AccountCell>()
            + mailboxes
            + names
            + self.keys.memory_bytes()
            + (self.starts.len() + self.extra_references.len()) * 32
    }

    /// Of a link's change: makes it so. A change that does not fit the state is an error, and then the state is useless.
    pub(crate) fn apply(&mut self, change: &Change<'_>, place: LinkPlace) -> Result<(), Malformed> {
        match change {
            Change::Append {
                mailbox,
                keywords,
                messages,
                starts,
                key,
            } => {
                let cell = self.mailbox(*mailbox)?.clone();
                let mut state = cell.state.borrow_mut();
                state.add_keywords(keywords)?;
                state.append(messages)?;
                self.count_in(messages);
                self.starts.extend(starts.iter().map(|item| (item.end, item.start)));
                key.iter().for_each(|key| self.keys.keep(*key));
            }
            Change::Flags {
                mailbox,
                mod_seq,
                keywords,
                groups,
            } => {
                let mut state = self.mailbox(*mailbox)?.state.borrow_mut();
                state.add_keywords(keywords)?;
                state.change_flags(*mod_seq, groups);
            }
            Change::Expunge {
                mailbox, mod_seq, uids, ..
            } => {
                let gone = self.mailbox(*mailbox)?.state.borrow_mut().remove(*mod_seq, uids);
                self.count_out(&gone);
            }
            Change::Copy(transfer) => self.apply_copy(transfer)?,
            Change::Move {
                transfer,
                source_mod_seq,
            } => {
                self.apply_copy(transfer)?;
                let gone = self
                    .mailbox(transfer.source)?
                    .state
                    .borrow_mut()
                    .remove(*source_mod_seq, &transfer.uids);
                self.count_out(&gone);
            }
            Change::MailboxCreate { mailboxes } => {
                mailboxes
                    .iter()
                    .try_for_each(|definition| self.create(definition).map(drop))?;
            }
            Change::MailboxDelete { mailbox, keep_name, .. } => self.apply_delete(*mailbox, *keep_name)?,
            Change::MailboxRename { created, renamed } => {
                created
                    .iter()
                    .try_for_each(|definition| self.create(definition).map(drop))?;
                self.apply_rename(renamed)?;
            }
            Change::InboxRename { created, inbox_mod_seq } => self.apply_inbox_rename(created, *inbox_mod_seq)?,
            Change::Subscribe { subscribed, name } => {
                if *subscribed {
                    self.subscriptions.insert(name.clone());
                } else {
                    self.subscriptions.remove(name);
                }
                self.list_generation += 1;
            }
            Change::Recent { mailbox, first } => {
                let mut state = self.mailbox(*mailbox)?.state.borrow_mut();
                state.first_recent = state.first_recent.max(*first);
            }
            Change::Moved { bodies, .. } => self.apply_moved(bodies),
            Change::Snapshot(end) => {
                subtract(&mut self.chain.segments, &end.dead());
                for item in end.live() {
                    add_bytes(&mut self.chain.segments, item.segment, item.bytes);
                }
                self.chain.image_bytes = end.image_bytes;
                self.chain.links = 0;
            }
            Change::Handover { standing, .. } => {
                match standing {
                    Standing::Moved(_) | Standing::GivenUp(_) => self.forget(),
                    Standing::Arrived(from) => self.note_taken(from.id),
                    Standing::Here => {
                        // The other end knows now, and will not ask.
                        if let Standing::Arrived(from) = &self.standing {
                            self.taken.retain(|id| *id != from.id);
                        }
                    }
                    Standing::Incoming(_) | Standing::HandingOver(_) => {}
                }
                self.standing = standing.clone();
            }
        }
        self.note_link(place);
        Ok(())
    }

    /// The chain has one link more.
    pub(crate) fn note_link(&mut self, place: LinkPlace) {
        self.chain.links += 1;
        add_bytes(&mut self.chain.segments, place.segment, place.occupied_bytes);
        self.head = place.position;
    }

    /// Whether it came by this move; `None` when that is not known any more.
    pub(crate) fn has_taken(&self, id: MoveId) -> Option<bool> {
        match self.taken.contains(&id) {
            true => Some(true),
            false => (self.taken.len() < TAKEN_MAX).then_some(false),
        }
    }

    fn note_taken(&mut self, id: MoveId) {
        if self.taken.len() >= TAKEN_MAX {
            self.taken.remove(0);
        }
        self.taken.push(id);
    }

    /// Everything in it goes: it is somewhere else.
    fn forget(&mut self) {
        for cell in std::mem::take(&mut self.mailboxes).into_values() {
            {
                let mut state = cell.state.borrow_mut();
                state.deleted = true;
                let highest = state.highest_mod_seq;
                state.remove_all(highest);
            }
            cell.changed.notify_all();
        }
        self.names.clear();
        self.subscriptions.clear();
        self.starts.clear();
        self.extra_references.clear();
        self.keys = Keys::default();
        self.usage = Usage::default();
        self.list_generation += 1;
    }

    fn count_in(&mut self, messages: &[Message]) {
        self.usage.messages += messages.len() as u64;
        self.usage.bytes += messages.iter().map(|message| u64::from(message.size)).sum::<u64>();
    }

    fn count_out(&mut self, gone: &[Message]) {
        self.usage.messages -= gone.len() as u64;
        self.usage.bytes -= gone.iter().map(|message| u64::from(message.size)).sum::<u64>();
        for message in gone {
            self.release(message);
        }
    }

    /// One reference less to the message's body entry. True when it was the last.
    fn release(&mut self, message: &Message) -> bool {
        let key = (message.body.position, message.body.entry);
        match self.extra_references.get_mut(&key) {
            Some(1) => {
                self.extra_references.remove(&key);
                false
            }
            Some(count) => {
                *count -= 1;
                false
            }
            None => true,
        }
    }

    /// Of messages that go: those whose body entries no other message refers to.
    pub(crate) fn last_references<'m>(&self, gone: &'m [Message]) -> Vec<&'m Message> {
        let mut left: HashMap<(LogPosition, u16), u32> = HashMap::new();
        let mut last = Vec::new();
        for message in gone {
            let key = (message.body.position, message.body.entry);
            let Some(extra) = self.extra_references.get(&key) else {
                last.push(message);
                continue;
            };
            let left = left.entry(key).or_insert(*extra);
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => last.push(message),
            }
        }
        last
    }

    fn apply_copy(&mut self, transfer: &Transfer) -> Result<(), Malformed> {
        let source = self.mailbox(transfer.source)?.clone();
        let target = self.mailbox(transfer.target)?.clone();
        let copies: Vec<Message> = {
            let state = source.state.borrow();
            let mut uid = transfer.first_uid;
            let mut copies = Vec::new();
            for index in state.indices_in(&transfer.uids) {
                let message = state.messages[index];
                copies.push(Message {
                    uid,
                    mod_seq: transfer.mod_seq,
                    flags: transfer.map_flags(message.flags),
                    ..message
                });
                uid = Uid(uid.0.checked_add(1).ok_or(Malformed("transfer uid"))?);
            }
            copies
        };
        let mut state = target.state.borrow_mut();
        state.add_keywords(&transfer.keywords)?;
        state.append(&copies)?;
        drop(state);
        self.count_in(&copies);
        for message in &copies {
            *self
                .extra_references
                .entry((message.body.position, message.body.entry))
                .or_insert(0) += 1;
        }
        Ok(())
    }

    /// Makes a mailbox. INBOX of a new account is there already.
    fn create(&mut self, definition: &MailboxDefinition) -> Result<Rc<MailboxCell>, Malformed> {
        if definition.id == INBOX_ID
            && let Some(inbox) = self.mailboxes.get(&INBOX_ID)
        {
            return Ok(inbox.clone());
        }
        self.insert(MailboxCell::new(definition))
    }

    fn insert(&mut self, cell: Rc<MailboxCell>) -> Result<Rc<MailboxCell>, Malformed> {
        let name = cell.state.borrow().name.clone();
        if let Some(id) = self.names.get(&name) {
            let there = self.mailbox(*id)?.clone();
            if there.state.borrow().selectable {
                return Err(Malformed("mailbox name"));
            }
            there.state.borrow_mut().deleted = true;
            self.mailboxes.remove(&there.id);
        }
        if self.mailboxes.contains_key(&cell.id) {
            return Err(Malformed("mailbox number"));
        }
        let after = |number: u32| number.checked_add(1).ok_or(Malformed("mailbox number"));
        self.next_mailbox = self.next_mailbox.max(MailboxId(after(cell.id.0)?));
        self.next_uid_validity = self.next_uid_validity.max(UidValidity(after(cell.uid_validity.0)?));
        self.names.insert(name, cell.id);
        self.mailboxes.insert(cell.id, cell.clone());
        self.list_generation += 1;
        Ok(cell)
    }

    fn apply_delete(&mut self, id: MailboxId, keep_name: bool) -> Result<(), Malformed> {
        let cell = self.mailbox(id)?.clone();
        self.mailboxes.remove(&id);
        let mut state = cell.state.borrow_mut();
        self.names.remove(&state.name);
        self.list_generation += 1;
        state.deleted = true;
        let highest = state.highest_mod_seq;
        let gone = state.remove_all(highest);
        self.count_out(&gone);
        drop(state);
        if keep_name {
            let definition = MailboxDefinition {
                selectable: false,
                special_use: None,
                ..cell.definition()
            };
            self.insert(MailboxCell::new(&definition))?;
        }
        cell.changed.notify_all();
        Ok(())
    }

    fn apply_rename(&mut self, renamed: &[(MailboxId, String)]) -> Result<(), Malformed> {
        for (id, _) in renamed {
            let cell = self.mailbox(*id)?.clone();
            self.names.remove(&cell.state.borrow().name);
        }
        for (id, name) in renamed {
            let cell = self.mailbox(*id)?.clone();
            if self.names.insert(name.clone(), *id).is_some() {
                return Err(Malformed("mailbox name"));
            }
            cell.state.borrow_mut().name.clone_from(name);
        }
        self.list_generation += 1;
        Ok(())
    }

    fn apply_inbox_rename(&mut self, created: &[MailboxDefinition], mod_seq: ModSeq) -> Result<(), Malformed> {
        let (target, parents) = created.split_last().ok_or(Malformed("mailbox definition"))?;
        parents
            .iter()
            .try_for_each(|definition| self.create(definition).map(drop))?;
        let inbox = self.mailbox(INBOX_ID)?.clone();
        let mut state = inbox.state.borrow_mut();
        let (uid_next, highest) = (state.uid_next, state.highest_mod_seq);
        let messages = state.remove_all(mod_seq);
        let cell = MailboxCell::with_messages(target, messages, uid_next, highest);
        {
            let mut new = cell.state.borrow_mut();
            new.keywords.clone_from(&state.keywords);
            new.first_recent = state.first_recent;
        }
        drop(state);
        self.insert(cell)?;
        inbox.changed.notify_all();
        Ok(())
    }

    fn apply_moved(&mut self, bodies: &[MovedBody]) {
        let moved: HashMap<LogPosition, &MovedBody> = bodies.iter().map(|body| (body.from, body)).collect();
        for cell in self.mailboxes.values() {
            let mut state = cell.state.borrow_mut();
            for message in &mut state.messages {
                if let Some(body) = moved.get(&message.body.position) {
                    message.body.position = body.to;
                }
            }
        }
        let extra: Vec<_> = self
            .extra_references
            .keys()
            .filter(|(at, _)| moved.contains_key(at))
            .copied()
            .collect();
        for (at, entry) in extra {
            if let (Some(count), Some(body)) = (self.extra_references.remove(&(at, entry)), moved.get(&at)) {
                self.extra_references.insert((body.to, entry), count);
            }
        }
        for body in bodies {
            if self.starts.remove(&body.from).is_some() {
                self.starts.insert(body.to, body.start);
            }
        }
    }

    /// Messages of a mailbox by their UIDs.
    pub(crate) fn messages_of(cell: &MailboxCell, uids: &UidRanges) -> Vec<Message> {
        let state = cell.state.borrow();
        state.indices_in(uids).map(|index| state.messages[index]).collect()
    }
}

fn subtract(list: &mut Vec<SegmentBytes>, dead: &[SegmentBytes]) {
    for item in list.iter_mut() {
        let gone = dead
            .iter()
            .find(|gone| gone.segment == item.segment)
            .map_or(0, |gone| gone.bytes);
        item.bytes = item.bytes.saturating_sub(gone);
    }
    list.retain(|item| item.bytes > 0);
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).expect("an account has fewer messages of one body than 4 Gi")
}
