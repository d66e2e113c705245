//! A queued message as it is read back: its envelope, who still waits, and its bytes.

use super::envelope::{
    HEAD_BYTES, Malformed, PREFIX_BYTES, QueuedEnvelope, UNSURE, done_keyword, done_places, length, range,
};
use bytes::Bytes;
use pigeon_store::{BodyReader, FlagChange, FlagOperation, Flags, Mailbox, StoreError, Uid};
use std::ops::Range;

/// Bytes of one piece that is read.
const PIECE_BYTES: usize = 64 * 1024;

/// See the module.
pub(super) struct Stored {
    mailbox: Mailbox,
    uid: Uid,
    reader: BodyReader,
    pub(super) envelope: QueuedEnvelope,
    /// Its own among the envelope's recipients.
    range: Range<usize>,
    /// Where the message begins.
    start: u64,
}

/// Why a queued message cannot be read.
#[derive(Clone, Debug)]
pub(super) enum Unreadable {
    /// It is not there any more.
    Gone,
    /// The store's reason.
    Store(StoreError),
    /// Its bytes are not those of a queued message.
    Malformed(&'static str),
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::MessageGone => Unreadable::Gone,
            other => Unreadable::Store(other),
        }
    }
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Self {
        Unreadable::Malformed(malformed.0)
    }
}

impl Stored {
    /// Reads the envelope of a queued message.
    pub(super) async fn open(mailbox: &Mailbox, uid: Uid) -> Result<Stored, Unreadable> {
        let reader = mailbox.open_message(uid).await?;
        let front = exactly(&reader, 0, PREFIX_BYTES + HEAD_BYTES).await?;
        let range = range(&front[..PREFIX_BYTES])?;
        let length = length(&front[PREFIX_BYTES..])?;
        let at = (PREFIX_BYTES + HEAD_BYTES) as u64;
        let envelope = QueuedEnvelope::decode(&exactly(&reader, at, length).await?)?;
        if range.end > envelope.recipients.len() {
            return Err(Unreadable::Malformed("range"));
        }
        Ok(Stored {
            mailbox: mailbox.clone(),
            uid,
            reader,
            envelope,
            range,
            start: at + length as u64,
        })
    }

    /// The places among the envelope's recipients that wait.
    pub(super) fn waiting(&self) -> Vec<usize> {
        let message = self.mailbox.message(self.uid);
        let done = message.map_or(u64::MAX, |message| done_places(message.flags, &self.mailbox.keywords()));
        let first = self.range.start;
        self.range
            .clone()
            .filter(|place| done & 1 << (place - first) == 0)
            .collect()
    }

    /// All of the places, also of those who do not wait any more.
    pub(super) fn places(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Whether an answer was lost in an earlier try: somebody who waits may have it.
    pub(super) fn is_unsure(&self) -> bool {
        let message = self.mailbox.message(self.uid);
        let keywords = self.mailbox.keywords();
        let place = keywords.iter().position(|keyword| keyword == UNSURE);
        message
            .zip(place)
            .is_some_and(|(message, place)| message.flags.keyword_indices().any(|index| index == place))
    }

    /// What says that these do not wait any more; and, with `unsure`, that some who wait may have it. `None`: nothing.
    pub(super) fn change(&self, places: &[usize], unsure: bool) -> Option<FlagChange> {
        let done = places.iter().map(|place| done_keyword(place - self.range.start));
        let keywords: Vec<String> = done.chain(unsure.then(|| UNSURE.to_owned())).collect();
        (!keywords.is_empty()).then_some(FlagChange {
            uid: self.uid,
            operation: FlagOperation::Add,
            flags: Flags::NONE,
            keywords,
            unchanged_since: None,
        })
    }

    /// Says durably that these do not wait any more, in a copy.
    pub(super) async fn mark(&self, mailbox: &Mailbox, uid: Uid, places: &[usize]) -> Result<(), StoreError> {
        match self.change(places, false) {
            None => Ok(()),
            Some(change) => mailbox.store_flags(&[FlagChange { uid, ..change }]).await.map(drop),
        }
    }

    /// Bytes of the message.
    pub(super) fn bytes(&self) -> u64 {
        self.reader.info().size.saturating_sub(self.start)
    }

    /// A piece of the message; empty at its end.
    pub(super) async fn read(&self, offset: u64) -> Result<Bytes, StoreError> {
        self.reader.read(self.start.saturating_add(offset), PIECE_BYTES).await
    }

    /// Up to `bytes` from the front of the message.
    pub(super) async fn front(&self, bytes: usize) -> Result<Vec<u8>, StoreError> {
        let mut front = Vec::new();
        while front.len() < bytes {
            let piece = self.read(front.len() as u64).await?;
            if piece.is_empty() {
                break;
            }
            front.extend_from_slice(&piece);
        }
        front.truncate(bytes);
        Ok(front)
    }
}

async fn exactly(reader: &BodyReader, offset: u64, bytes: usize) -> Result<Vec<u8>, Unreadable> {
    let mut read = Vec::with_capacity(bytes.min(PIECE_BYTES));
    while read.len() < bytes {
        let piece = reader
            .read(offset + read.len() as u64, PIECE_BYTES.min(bytes - read.len()))
            .await?;
        if piece.is_empty() {
            return Err(Unreadable::Malformed("too short"));
        }
        read.extend_from_slice(&piece);
    }
    Ok(read)
}
