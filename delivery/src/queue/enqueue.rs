//! Putting a message into the queue: into a volume of this node, as a message of the queue's own account.
//!
//! Invariant: `Ok` from `Entry::commit` means that the message is durable for everybody who was not done.

use super::envelope::{PREFIX_BYTES, QueuedEnvelope, RANGE_MAX, UNSURE, done_keyword, prefix, text_of};
use super::index::{QueueIndex, Sender, sender};
use super::{QUEUE_ACCOUNT, mailbox_of};
use crate::mail_store::{DeliveryError, RecipientParts, Transfer};
use crate::placement::VolumeTable;
use bytes::Bytes;
use pigeon_proto::address::Address;
use pigeon_store::MESSAGE_BYTES_MAX;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

/// Whether a volume has room for mail that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// It takes no mail now.
    No,
    /// It does, but as much waits there as may.
    Full,
    /// Yes.
    Yes,
}

/// Tells it of the volume at an index, as far as is known now.
pub type HasRoom = Rc<dyn Fn(usize) -> Room>;

/// Where mail can wait, from one core. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    table: Arc<VolumeTable>,
    index: Arc<QueueIndex>,
    has_room: HasRoom,
}

impl Queues {
    /// In these volumes.
    pub fn new(table: Arc<VolumeTable>, index: Arc<QueueIndex>, has_room: HasRoom) -> Queues {
        Queues { table, index, has_room }
    }

    /// Whether some volume has room for mail that has to wait, as far as is known now.
    pub fn room(&self) -> Room {
        let rooms = (0..self.table.seats().len()).map(|volume| (self.has_room)(volume));
        rooms.max().unwrap_or(Room::No)
    }

    /// Whether mail of this sender waits for this node: newer mail goes behind it.
    pub fn holds_up(&self, destination: &str, reverse_path: Option<&Address>) -> bool {
        self.index.waits(destination, sender(&text_of(reverse_path)))
    }

    /// Begins a message that waits for `destination`. `NoSpace`: as much waits as may, or the volumes are full.
    pub async fn begin(&self, envelope: &QueuedEnvelope, destination: &str) -> Result<Entry, DeliveryError> {
        self.begin_in(envelope, destination, Room::Yes).await
    }

    /// As `begin`, also where as much waits as may: it is a report, or the queue's own mail that goes elsewhere, and takes the
    /// place of what is there.
    pub(super) async fn begin_own(&self, envelope: &QueuedEnvelope, destination: &str) -> Result<Entry, DeliveryError> {
        self.begin_in(envelope, destination, Room::Full).await
    }

    async fn begin_in(
        &self,
        envelope: &QueuedEnvelope,
        destination: &str,
        least: Room,
    ) -> Result<Entry, DeliveryError> {
        let head = envelope.encode().ok_or(DeliveryError::TooLarge)?;
        let reverse_path = text_of(envelope.reverse_path.as_ref());
        let mut last = match self.room() {
            Room::No => DeliveryError::Unavailable("no volume takes mail".to_owned()),
            Room::Full | Room::Yes => DeliveryError::NoSpace,
        };
        // A sender's mail for a node is in one volume, as long as that takes mail: its order is kept there.
        for place in self.table.preferred(&spread(destination, &reverse_path, envelope)) {
            if (self.has_room)(place.volume) < least {
                continue;
            }
            let mut transfer = match Transfer::to(place, QUEUE_ACCOUNT).await {
                Ok(transfer) => transfer,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            transfer.write(head.clone()).await?;
            return Ok(Entry {
                transfer,
                bytes: head.len() as u64,
                mailbox: mailbox_of(destination).into(),
                recipients: envelope.recipients.len(),
                received_at: envelope.received_at,
                held: Held {
                    index: self.index.clone(),
                    destination: destination.to_owned(),
                    sender: sender(&reverse_path),
                    entered: 0,
                },
            });
        }
        Err(last)
    }
}

fn spread(destination: &str, reverse_path: &str, envelope: &QueuedEnvelope) -> [u8; 16] {
    if reverse_path.is_empty() {
        return envelope.key.0;
    }
    let mut hasher = DefaultHasher::new();
    (destination, reverse_path).hash(&mut hasher);
    let mut what = [0; 16];
    what[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    what
}

/// A message on its way into the queue. Dropped without `commit`, nothing of it is ever seen.
pub struct Entry {
    transfer: Transfer,
    bytes: u64,
    mailbox: Arc<str>,
    recipients: usize,
    received_at: i64,
    held: Held,
}

impl Entry {
    /// The next piece of the message.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), DeliveryError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > MESSAGE_BYTES_MAX - PREFIX_BYTES as u64 {
            return Err(DeliveryError::TooLarge);
        }
        self.transfer.write(piece).await
    }

    /// Makes it durable for those of the recipients (in their order) who are not `done`, at least one. `unsure`: the answer to a
    /// try was lost, and they may have it.
    pub async fn commit(mut self, done: &[bool], unsure: bool) -> Result<(), DeliveryError> {
        let mut parts = Vec::new();
        for first in (0..self.recipients).step_by(RANGE_MAX) {
            let range = first..self.recipients.min(first + RANGE_MAX);
            let is_done = |place: &usize| done.get(first + place).copied().unwrap_or(false);
            let places: Vec<usize> = (0..range.len()).filter(is_done).collect();
            if places.len() < range.len() {
                let done = places.into_iter().map(done_keyword);
                let keywords = done.chain(unsure.then(|| UNSURE.to_owned())).collect();
                let prefix = prefix(&range);
                let mailbox = self.mailbox.clone();
                parts.push(RecipientParts::reserved(
                    QUEUE_ACCOUNT,
                    mailbox,
                    keywords,
                    prefix,
                    self.received_at,
                ));
            }
        }
        // Before the runner can see it.
        self.held.enter(parts.len());
        self.transfer.commit_parts(parts).await?;
        self.held.entered = 0;
        Ok(())
    }
}

/// Takes a message out of the index again that did not get into the queue.
struct Held {
    index: Arc<QueueIndex>,
    destination: String,
    sender: Option<Sender>,
    entered: usize,
}

impl Held {
    fn enter(&mut self, messages: usize) {
        for _ in 0..messages {
            self.index.enter(&self.destination, self.sender);
            self.entered += 1;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for _ in 0..self.entered {
            self.index.leave(&self.destination, self.sender);
        }
    }
}
