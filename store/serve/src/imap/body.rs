//! A message opened for reading, and what is found out by reading it. It is never in memory whole: a piece at a time.

use super::refusal::{self, Refusal, refusal};
use super::summary::{Summary, SummaryCache, SummaryKey};
use bytes::Bytes;
use pigeon_engine::runtime::yield_now;
use pigeon_proto::message::{EnvelopeScanner, Structure, StructureScanner, write_envelope};
use pigeon_store::{BodyReader, Mailbox, Message, READ_MAX, ReadAhead, StoreError, VolumeId};
use std::ops::Range;
use std::rc::Rc;

/// Why a message could not be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// Another session has expunged it.
    Gone,
    /// The store failed.
    Failed(StoreError),
}

impl Unreadable {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Unreadable::Gone => refusal::SOME_GONE,
            Unreadable::Failed(error) => refusal(error),
        }
    }
}

/// An open message.
pub(super) struct OpenMessage {
    reader: BodyReader,
    key: SummaryKey,
    size: u64,
    header_bytes: u64,
    summary: Summary,
}

impl OpenMessage {
    /// Opens a message as the index had it a moment ago; `following` are those that the command wants next.
    pub(super) async fn open(
        volume: VolumeId,
        mailbox: &Mailbox,
        message: &Message,
        ahead: Option<&mut ReadAhead>,
        following: impl Iterator<Item = Message> + Clone,
        cache: &SummaryCache,
    ) -> Result<Self, Unreadable> {
        let reader = match ahead {
            None => mailbox.open_message(message.uid).await,
            Some(ahead) => mailbox.open_message_ahead(message.uid, ahead, following).await,
        };
        let reader = reader.map_err(|error| match error {
            StoreError::MessageGone => Unreadable::Gone,
            error => Unreadable::Failed(error),
        })?;
        let info = reader.info();
        let key = SummaryKey::new(volume, message.body);
        Ok(Self {
            reader,
            key,
            size: info.size,
            header_bytes: info.header_bytes.min(info.size),
            summary: cache.find(key),
        })
    }

    /// All of it, as a range.
    pub(super) fn all(&self) -> Range<u64> {
        0..self.size
    }

    /// The header with its empty line.
    pub(super) fn header(&self) -> Range<u64> {
        0..self.header_bytes
    }

    /// What follows the header.
    pub(super) fn text(&self) -> Range<u64> {
        self.header_bytes..self.size
    }

    /// The next bytes of a range, at least one while it is not empty.
    pub(super) async fn read(&self, range: &Range<u64>) -> Result<Bytes, Unreadable> {
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .unwrap_or(usize::MAX)
            .min(READ_MAX);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let bytes = self
            .reader
            .read(range.start, length)
            .await
            .map_err(Unreadable::Failed)?;
        if bytes.is_empty() {
            let what = "the message is shorter than its index says".to_owned();
            return Err(Unreadable::Failed(StoreError::Damaged { what }));
        }
        Ok(bytes.slice(..bytes.len().min(length)))
    }

    /// Gives a range in pieces to `take`, until that says enough.
    pub(super) async fn scan(&self, range: Range<u64>, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Unreadable> {
        let mut range = range;
        while !range.is_empty() {
            let piece = self.read(&range).await?;
            range.start += piece.len() as u64;
            if take(&piece) {
                break;
            }
            yield_now().await;
        }
        Ok(())
    }

    /// Its parts. Reads all of it the first time.
    pub(super) async fn structure(&mut self, cache: &SummaryCache) -> Result<Rc<Structure>, Unreadable> {
        if let Some(structure) = &self.summary.structure {
            return Ok(structure.clone());
        }
        let mut scanner = Box::new(StructureScanner::new());
        self.scan(self.all(), |piece| {
            scanner.push(piece);
            false
        })
        .await?;
        let structure = Rc::new(scanner.finish());
        self.summary.structure = Some(structure.clone());
        cache.remember(self.key, self.summary.clone());
        Ok(structure)
    }

    /// The value of ENVELOPE. Reads the header the first time.
    pub(super) async fn envelope(&mut self, cache: &SummaryCache) -> Result<Rc<[u8]>, Unreadable> {
        if let Some(envelope) = &self.summary.envelope {
            return Ok(envelope.clone());
        }
        let mut scanner = Box::new(EnvelopeScanner::new());
        self.scan(self.header(), |piece| scanner.push(piece)).await?;
        let mut written = Vec::new();
        write_envelope(&scanner.finish(), &mut written);
        let envelope: Rc<[u8]> = written.into();
        self.summary.envelope = Some(envelope.clone());
        cache.remember(self.key, self.summary.clone());
        Ok(envelope)
    }
}
