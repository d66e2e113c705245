//! From a decision to a durable change: how links get into the journal, and what happens when they are durable.

use std::cell::RefCell;
use std::rc::Rc;

use pigeon_engine::sync::Permit;
use pigeon_store_format::{Change, Link, LogPosition, MailboxId, RecordKind, SegmentBytes, Uid, occupied_bytes};

use super::state::{AccountCell, AccountState, GATE_ALL, LinkPlace};
use crate::StoreError;
use crate::body::PlacedBody;
use crate::journal::Purpose;
use crate::journal::batch::Effect;
use crate::journal::outcome::Durable;
use crate::journal::segments::{Segments, add_bytes};
use crate::volume::VolumeInner;

/// A pass through an account's gate; the journal keeps it until the change is durable.
pub(crate) type Pass = Rc<GatePass>;

/// See `Pass`.
pub(crate) struct GatePass {
    _permit: Permit,
    /// Bodies that the change will refer to: kept from compaction until it does.
    bodies: RefCell<Vec<Rc<PlacedBody>>>,
}

impl GatePass {
    fn new(permit: Permit) -> Pass {
        Rc::new(Self {
            _permit: permit,
            bodies: RefCell::default(),
        })
    }

    pub(crate) fn hold(&self, body: Rc<PlacedBody>) {
        self.bodies.borrow_mut().push(body);
    }
}

impl AccountCell {
    /// For a change that appends only.
    pub(crate) async fn pass_shared(&self) -> Pass {
        GatePass::new(self.gate.acquire(1).await)
    }

    /// Whether a change is under way.
    pub(crate) fn gate_is_busy(&self) -> bool {
        self.gate.available() < GATE_ALL
    }

    /// For any other change: no other is under way then.
    pub(crate) async fn pass_alone(&self) -> Pass {
        GatePass::new(self.gate.acquire(GATE_ALL).await)
    }
}

/// Counting an account's memory looks at all its mailboxes: done once in so many changes.
const MEASURE_EVERY: u64 = 16;

/// A first guess at what a link takes; most take less.
const USUAL_LINK_BYTES: usize = 256;

impl VolumeInner {
    /// Waits for room, lets `decide` say what changes, and puts that into the journal. `decide` may be called more than once, and
    /// must only look; `None` from it: nothing is to be done. What it saw cannot change before the record is in its place.
    pub(crate) async fn change<T>(
        &self,
        account: &Rc<AccountCell>,
        pass: Pass,
        purpose: Purpose,
        mut decide: impl FnMut(&AccountState) -> Result<Option<(Change<'static>, T)>, StoreError>,
    ) -> Result<Option<(Durable, T)>, StoreError> {
        let mut wanted = USUAL_LINK_BYTES;
        loop {
            self.journal.room(wanted, purpose).await?;
            let Some((change, told)) = decide(&account.state.borrow())? else {
                return Ok(None);
            };
            if !may(&account.state.borrow(), &change) {
                return Err(StoreError::Elsewhere);
            }
            let fields = encode_fields(&change);
            let first = self.first_link_of(account);
            let first_bytes = first.as_ref().map_or(0, |(_, fields)| link_bytes(fields));
            wanted = first_bytes + link_bytes(&fields);
            if wanted > self.journal.room_now() {
                continue;
            }
            if let Some((first, fields)) = first {
                self.push_link(account, &pass, purpose, &first, &fields);
            }
            self.push_link(account, &pass, purpose, &change, &fields);
            return Ok(Some((self.journal.durable_when(), told)));
        }
    }

    /// The link that makes INBOX, when nothing of the account is in the journal yet.
    fn first_link_of(&self, account: &AccountCell) -> Option<(Change<'static>, Vec<u8>)> {
        if account.state.borrow().pushed_head != LogPosition::NONE {
            return None;
        }
        let inbox = AccountState::inbox(self.marker.uid_validity_base);
        let change = Change::MailboxCreate { mailboxes: vec![inbox] };
        let fields = encode_fields(&change);
        Some((change, fields))
    }

    /// Pushes a link for which room was asked.
    pub(crate) fn push_link(
        &self,
        account: &Rc<AccountCell>,
        pass: &Pass,
        purpose: Purpose,
        change: &Change<'_>,
        fields: &[u8],
    ) -> LogPosition {
        let mut state = account.state.borrow_mut();
        let link = Link {
            account: account.id,
            previous: state.pushed_head,
        };
        let pieces = [&link.to_bytes()[..], fields];
        let pushed = self.journal.push_pieces(change.kind(), purpose, pieces.into_iter());
        self.journal.attach(
            pushed,
            Effect::Link {
                account: account.clone(),
                _pass: pass.clone(),
            },
        );
        state.pushed_head = pushed.position;
        state.note_pushed(change);
        pushed.position
    }

    /// A link is durable: it takes effect.
    pub(crate) fn link_durable(
        &self,
        account: &Rc<AccountCell>,
        kind: RecordKind,
        position: LogPosition,
        payload: &[u8],
    ) {
        let (_, fields) = Link::decode(payload).expect("we wrote this link");
        let change = Change::decode(kind, fields).expect("we wrote this change");
        let place = LinkPlace {
            position,
            segment: self.segments.number_of(position),
            occupied_bytes: occupied_bytes(payload.len()) as u64,
        };
        {
            let mut state = account.state.borrow_mut();
            state
                .apply(&change, place)
                .expect("the change was decided on this state");
            state.note_durable(&change);
        }
        let (live, dead) = space_of(&change, place, &self.segments);
        self.segments.charge(&live);
        self.segments.discharge(&dead);
        self.heads.borrow_mut().link(account.id, position, base_of(&change));
        if self.counters.changes.get().is_multiple_of(MEASURE_EVERY) {
            self.accounts.measure(account);
        }
        self.counters.change_durable(&change);
        self.housekeeping.link_durable(account, self.options.snapshot_records);
        if let Some(mailbox) = changed_mailbox(&change) {
            notify(account, mailbox);
        }
        if let Change::Copy(transfer) | Change::Move { transfer, .. } = &change {
            notify(account, transfer.target);
        }
        if !matches!(change, Change::Moved { .. } | Change::Snapshot(_)) {
            account.changed.notify_all();
        }
    }
}

/// Whether an account as it stands takes the change. Compaction and moves go on wherever the account is.
fn may(state: &AccountState, change: &Change<'_>) -> bool {
    state.standing.is_here() || matches!(change, Change::Moved { .. } | Change::Handover { .. })
}

fn notify(account: &AccountCell, mailbox: MailboxId) {
    let cell = account.state.borrow().mailboxes.get(&mailbox).cloned();
    if let Some(cell) = cell {
        cell.changed.notify_all();
    }
}

/// The mailbox within which something changed; those that come and go are told by `AccountState::apply`.
fn changed_mailbox(change: &Change<'_>) -> Option<MailboxId> {
    match change {
        Change::Append { mailbox, .. } | Change::Flags { mailbox, .. } | Change::Expunge { mailbox, .. } => {
            Some(*mailbox)
        }
        Change::Move { transfer, .. } => Some(transfer.source),
        Change::Copy(_)
        | Change::MailboxCreate { .. }
        | Change::MailboxDelete { .. }
        | Change::MailboxRename { .. }
        | Change::InboxRename { .. }
        | Change::Subscribe { .. }
        | Change::Recent { .. }
        | Change::Moved { .. }
        | Change::Handover { .. }
        | Change::Snapshot(_) => None,
    }
}

pub(crate) fn encode_fields(change: &Change<'_>) -> Vec<u8> {
    let mut fields = Vec::with_capacity(128);
    change.encode(&mut fields);
    fields
}

/// What a link with such fields takes in a batch.
pub(crate) fn link_bytes(fields: &[u8]) -> usize {
    occupied_bytes(pigeon_store_format::LINK_BYTES + fields.len())
}

/// A snapshot says from where on the account can be loaded.
pub(crate) fn base_of(change: &Change<'_>) -> Option<LogPosition> {
    match change {
        Change::Snapshot(end) => Some(end.base),
        _ => None,
    }
}

/// What a link does to the counts of live bytes: bytes that are live from now on, and bytes that no longer are.
pub(crate) fn space_of(
    change: &Change<'_>,
    place: LinkPlace,
    segments: &Segments,
) -> (Vec<SegmentBytes>, Vec<SegmentBytes>) {
    let mut live = Vec::new();
    add_bytes(&mut live, place.segment, place.occupied_bytes);
    let dead = match change {
        Change::Append { messages, starts, .. } => {
            for message in messages.iter() {
                let start = starts
                    .iter()
                    .find(|item| item.end == message.body.position)
                    .map(|item| item.start);
                segments.add_share(&mut live, message, start);
            }
            Vec::new()
        }
        Change::Expunge { dead, .. } | Change::MailboxDelete { dead, .. } | Change::Handover { dead, .. } => {
            dead.clone()
        }
        Change::Moved { dead, live: moved, .. } => {
            moved
                .iter()
                .for_each(|item| add_bytes(&mut live, item.segment, item.bytes));
            dead.clone()
        }
        Change::Snapshot(end) => {
            end.live()
                .iter()
                .for_each(|item| add_bytes(&mut live, item.segment, item.bytes));
            end.dead()
        }
        Change::Flags { .. }
        | Change::Copy(_)
        | Change::Move { .. }
        | Change::MailboxCreate { .. }
        | Change::MailboxRename { .. }
        | Change::InboxRename { .. }
        | Change::Subscribe { .. }
        | Change::Recent { .. } => Vec::new(),
    };
    (live, dead)
}

impl AccountState {
    /// A change is on its way to the disk: the next decision must know.
    fn note_pushed(&mut self, change: &Change<'_>) {
        let Change::Append {
            mailbox, messages, key, ..
        } = change
        else {
            return;
        };
        key.iter().for_each(|key| self.keys.note_pushed(key.key));
        if let Some(cell) = self.mailboxes.get(mailbox) {
            let mut state = cell.state.borrow_mut();
            for message in messages.iter() {
                state.pushed_uid_next = Uid(message.uid.0.saturating_add(1));
                state.pushed_mod_seq = state.pushed_mod_seq.max(message.mod_seq);
                self.reserved.messages += 1;
                self.reserved.bytes += u64::from(message.size);
            }
        }
    }

    /// It arrived there.
    fn note_durable(&mut self, change: &Change<'_>) {
        if let Change::Append { messages, key, .. } = change {
            key.iter().for_each(|key| self.keys.note_durable(key.key));
            self.reserved.messages -= messages.len() as u64;
            self.reserved.bytes -= messages.iter().map(|message| u64::from(message.size)).sum::<u64>();
        }
    }
}
