//! Putting a finished body into the journal with its recipients, so that messages can refer to it.

use bytes::Bytes;
use pigeon_store_format::{
    AccountId, BODY_END_FIELDS_BYTES, BODY_FIELDS_BYTES, Body, BodyEnd, BodyEntry, BodyReference, BodyTraits,
    ContentInfo, EXTENT_BYTES, LogPosition, RecordKind, entry_bytes, occupied_bytes,
};

use super::FinishedBody;
use super::open::OpenBody;
use super::scan::Scanner;
use super::writer::Streamed;
use crate::StoreError;
use crate::journal::Purpose;
use crate::journal::batch::Effect;
use crate::options::PREPEND_BYTES_MAX;
use crate::volume::VolumeInner;

/// A body in the journal. Held until its messages are durable: nothing refers to it before.
pub(crate) struct PlacedBody {
    position: LogPosition,
    /// Where a streamed body's chunks begin.
    pub(crate) start: Option<LogPosition>,
    size: u32,
    traits: BodyTraits,
    /// For each recipient: bytes in front, and what is known of them.
    entries: Vec<(u32, BodyTraits)>,
    _guard: OpenBody,
}

impl PlacedBody {
    /// Bytes of the message for this recipient.
    pub(crate) fn size_for(&self, entry: u16) -> u32 {
        self.entries
            .get(usize::from(entry))
            .map_or(0, |(prepend, _)| prepend.saturating_add(self.size))
    }

    /// How the message of this recipient refers to it.
    pub(crate) fn reference(&self, entry: u16) -> BodyReference {
        let own = self
            .entries
            .get(usize::from(entry))
            .map_or(BodyTraits::default(), |(_, traits)| *traits);
        let ends = if self.size == 0 { own } else { self.traits };
        let mut traits = BodyTraits(own.0 & !BodyTraits::ENDS_WITH_CRLF.0).union(self.traits);
        if ends.contains(BodyTraits::ENDS_WITH_CRLF) {
            traits = traits.union(BodyTraits::ENDS_WITH_CRLF);
        }
        BodyReference {
            position: self.position,
            entry,
            sharers: u16::try_from(self.entries.len()).expect("bounded by BODY_ACCOUNTS_MAX"),
            streamed: self.start.is_some(),
            traits,
        }
    }
}

impl VolumeInner {
    /// Puts a body into the journal for these recipients, at least one, with what goes in front for each.
    pub(crate) async fn place_body(
        &self,
        body: FinishedBody,
        recipients: &[(AccountId, Bytes)],
    ) -> Result<PlacedBody, StoreError> {
        let FinishedBody {
            accounts,
            info,
            pieces,
            streamed,
            permits,
        } = body;
        if recipients.iter().any(|(account, _)| !accounts.contains(account)) {
            return Err(StoreError::BadName("the body was not begun for this account"));
        }
        if recipients.iter().any(|(_, prepend)| prepend.len() > PREPEND_BYTES_MAX) {
            return Err(StoreError::TooLarge);
        }
        let entries: Vec<(u32, BodyTraits)> = recipients
            .iter()
            .map(|(_, prepend)| {
                let mut scanner = Scanner::new();
                scanner.take(prepend);
                (
                    u32::try_from(prepend.len()).expect("bounded above"),
                    scanner.info().traits,
                )
            })
            .collect();
        let size = u32::try_from(info.size).map_err(|_| StoreError::TooLarge)?;
        let (position, start, guard) = match streamed {
            None => {
                let (position, guard) = self.place_whole(info, &pieces, recipients).await?;
                (position, None, guard)
            }
            Some(streamed) => self.place_end(info, streamed, recipients).await?,
        };
        drop((pieces, permits));
        Ok(PlacedBody {
            position,
            start,
            size,
            traits: info.traits,
            entries,
            _guard: guard,
        })
    }

    async fn place_whole(
        &self,
        info: ContentInfo,
        pieces: &[Bytes],
        recipients: &[(AccountId, Bytes)],
    ) -> Result<(LogPosition, OpenBody), StoreError> {
        let head_bytes = BODY_FIELDS_BYTES + entries_bytes(recipients);
        let content_bytes: usize = pieces.iter().map(Bytes::len).sum();
        let mut head = Vec::with_capacity(head_bytes);
        Body::encode_head(&mut head, info, body_entries(recipients));
        self.journal
            .room(occupied_bytes(head_bytes + content_bytes), Purpose::Body)
            .await?;
        let pushed = self.journal.push(RecordKind::Body, Purpose::Body, &head, pieces);
        self.journal.attach(pushed, Effect::Body);
        Ok((
            pushed.position,
            self.open_bodies.begin(self.segments.number_of(pushed.position)),
        ))
    }

    /// See `Volume::append_unreferenced`.
    pub(crate) async fn append_unreferenced(&self, content: Bytes) -> Result<(), StoreError> {
        let info = ContentInfo {
            size: content.len() as u64,
            header_bytes: u32::try_from(content.len()).map_err(|_| StoreError::TooLarge)?,
            traits: BodyTraits::default(),
        };
        let mut head = Vec::with_capacity(BODY_FIELDS_BYTES + entry_bytes(0));
        // Blanked, as compaction leaves the entry of an account that has the message no more.
        let entry = BodyEntry {
            account: None,
            prepend: &[],
        };
        Body::encode_head(&mut head, info, std::iter::once(entry));
        let bytes = occupied_bytes(head.len() + content.len());
        self.journal.room(bytes, Purpose::Body).await?;
        self.journal.push(RecordKind::Body, Purpose::Body, &head, &[content]);
        self.journal.durable_when().await
    }

    async fn place_end(
        &self,
        info: ContentInfo,
        streamed: Streamed,
        recipients: &[(AccountId, Bytes)],
    ) -> Result<(LogPosition, Option<LogPosition>, OpenBody), StoreError> {
        let Streamed { body, extents, guard } = streamed;
        let bytes = BODY_END_FIELDS_BYTES + entries_bytes(recipients) + EXTENT_BYTES * extents.len();
        if bytes > self.journal.payload_bytes_max() {
            return Err(StoreError::TooLarge);
        }
        let mut payload = Vec::with_capacity(bytes);
        BodyEnd::encode(&mut payload, info, body, body_entries(recipients), &extents);
        self.journal.room(occupied_bytes(payload.len()), Purpose::Body).await?;
        let pushed = self.journal.push(RecordKind::BodyEnd, Purpose::Body, &payload, &[]);
        Ok((
            pushed.position,
            extents.iter().map(|extent| extent.position).min(),
            guard,
        ))
    }
}

fn entries_bytes(recipients: &[(AccountId, Bytes)]) -> usize {
    recipients.iter().map(|(_, prepend)| entry_bytes(prepend.len())).sum()
}

fn body_entries(recipients: &[(AccountId, Bytes)]) -> impl Iterator<Item = BodyEntry<'_>> {
    recipients.iter().map(|(account, prepend)| BodyEntry {
        account: Some(*account),
        prepend,
    })
}
