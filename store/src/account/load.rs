//! Loading an account: its last snapshot, then the links since.

use bytes::Bytes;
use pigeon_store_format::{
    AccountId, AccountImage, Change, LINK_BYTES, Link, LogPosition, Malformed, RecordKind, SnapshotEnd, SnapshotPart,
    occupied_bytes,
};

use super::state::{AccountState, Chain, LinkPlace};
use crate::StoreError;
use crate::journal::segments::add_bytes;
use crate::volume::VolumeInner;

/// A guess at a link's bytes.
const USUAL_LINK_BYTES: usize = 4096;

/// A link as read.
struct ReadLink {
    position: LogPosition,
    kind: RecordKind,
    payload: Bytes,
}

impl ReadLink {
    fn fields(&self) -> &[u8] {
        &self.payload[LINK_BYTES..]
    }

    fn occupied_bytes(&self) -> u64 {
        occupied_bytes(self.payload.len()) as u64
    }
}

impl VolumeInner {
    /// The account's state, from the journal; a new account's when nothing of it is there.
    pub(crate) async fn load_account(&self, account: AccountId) -> Result<AccountState, StoreError> {
        let head = self.heads.borrow().find(account);
        let Some(head) = head else {
            return Ok(AccountState::new_account(self.marker.uid_validity_base));
        };
        let malformed = |error: Malformed| StoreError::Damaged {
            what: format!("account {account}: its records do not fit together: {}", error.0),
        };
        // From the head back to the last snapshot, and on to what that covers.
        let mut links: Vec<ReadLink> = Vec::new();
        let mut snapshot: Option<usize> = None;
        let mut stop = LogPosition::NONE;
        let mut position = head.head;
        while position > stop {
            let (link, previous) = self.read_link(account, position).await?;
            if link.kind == RecordKind::Snapshot && snapshot.is_none() {
                let Ok(Change::Snapshot(end)) = Change::decode(link.kind, link.fields()) else {
                    return Err(malformed(Malformed("snapshot")));
                };
                stop = end.covers;
                snapshot = Some(links.len());
            }
            links.push(link);
            if previous >= position {
                return Err(malformed(Malformed("link previous")));
            }
            position = previous;
        }
        let mut state = match snapshot {
            Some(index) => self.load_snapshot(account, &links[index]).await?,
            None => AccountState::empty(self.marker.uid_validity_base),
        };
        let newest_snapshot = snapshot;
        for (index, link) in links.iter().enumerate().rev() {
            let place = LinkPlace {
                position: link.position,
                segment: self.segments.number_of(link.position),
                occupied_bytes: link.occupied_bytes(),
            };
            if link.kind == RecordKind::Snapshot {
                // The newest is what the state began with; older ones among the links say nothing new.
                state.note_link(place);
                if Some(index) == newest_snapshot {
                    state.chain.links = 0;
                }
                continue;
            }
            let change = Change::decode(link.kind, link.fields()).map_err(malformed)?;
            state.apply(&change, place).map_err(malformed)?;
        }
        state.pushed_head = state.head;
        Ok(state)
    }

    async fn read_link(
        &self,
        account: AccountId,
        position: LogPosition,
    ) -> Result<(ReadLink, LogPosition), StoreError> {
        let damaged = |what: &str| StoreError::Damaged {
            what: format!("account {account}: its record at journal position {position}: {what}"),
        };
        let segment = self
            .segments
            .at(position)
            .ok_or_else(|| damaged("its segment is missing"))?;
        let read = self.read_record(&segment, position, USUAL_LINK_BYTES).await;
        let (kind, payload) = read.map_err(|error| match error {
            StoreError::Damaged { what } => StoreError::Damaged {
                what: format!("account {account}: {what}"),
            },
            other => other,
        })?;
        let (link, _) = Link::decode(&payload).map_err(|error| damaged(error.0))?;
        if !kind.is_account_link() || link.account != account {
            return Err(damaged("another account's"));
        }
        Ok((
            ReadLink {
                position,
                kind,
                payload,
            },
            link.previous,
        ))
    }

    async fn load_snapshot(&self, account: AccountId, link: &ReadLink) -> Result<AccountState, StoreError> {
        let damaged = |what: &str| StoreError::Damaged {
            what: format!(
                "account {account}: its snapshot at journal position {}: {what}",
                link.position
            ),
        };
        let Ok(Change::Snapshot(end)) = Change::decode(link.kind, link.fields()) else {
            return Err(damaged("malformed"));
        };
        let mut chain = Chain {
            image_bytes: end.image_bytes,
            ..Chain::default()
        };
        let image = self.load_image(account, &end, &mut chain).await?;
        let image = AccountImage::decode(&image).map_err(|error| damaged(error.0))?;
        let mut state = AccountState::from_image(image).map_err(|error| damaged(error.0))?;
        state.chain = chain;
        Ok(state)
    }

    /// The whole image of a snapshot, from its parts.
    async fn load_image(
        &self,
        account: AccountId,
        end: &SnapshotEnd<'_>,
        chain: &mut Chain,
    ) -> Result<Vec<u8>, StoreError> {
        let damaged = |position: LogPosition, what: &str| StoreError::Damaged {
            what: format!("account {account}: a part of its snapshot at journal position {position}: {what}"),
        };
        let mut parts: Vec<Bytes> = Vec::new();
        let mut position = end.last_part;
        for index in (0..end.parts).rev() {
            let segment = self
                .segments
                .at(position)
                .ok_or_else(|| damaged(position, "its segment is missing"))?;
            let (kind, payload) = self
                .read_record(&segment, position, self.snapshot_part_bytes() + 4096)
                .await?;
            let part = SnapshotPart::decode(&payload).map_err(|error| damaged(position, error.0))?;
            if kind != RecordKind::SnapshotPart || part.account != account || part.index != index {
                return Err(damaged(position, "another one"));
            }
            let number = self.segments.number_of(position);
            add_bytes(&mut chain.segments, number, occupied_bytes(payload.len()) as u64);
            parts.push(payload.slice_ref(part.image));
            if part.previous >= position {
                return Err(damaged(position, "malformed"));
            }
            position = part.previous;
        }
        let mut image = Vec::new();
        parts.iter().rev().for_each(|part| image.extend_from_slice(part));
        image.extend_from_slice(end.image);
        if image.len() as u64 != end.image_bytes {
            return Err(damaged(end.last_part, "not as long as it should be"));
        }
        Ok(image)
    }
}
