//! Writing an account's snapshot, so that loading it takes few reads, and so that compaction can drop its old records.

use std::rc::Rc;

use bytes::Bytes;
use pigeon_store_format::{
    Change, LINK_BYTES, LogPosition, RecordKind, SnapshotEnd, SnapshotPart, SnapshotPlace, occupied_bytes,
};

use super::commit::Pass;
use super::state::AccountCell;
use crate::StoreError;
use crate::journal::Purpose;
use crate::journal::outcome::Durable;
use crate::journal::segments::add_bytes;
use crate::volume::VolumeInner;
use crate::volume::counters::add;

/// The image bytes in one part of a snapshot, at most.
const PART_BYTES_MAX: usize = 128 * 1024;

impl VolumeInner {
    pub(crate) fn snapshot_part_bytes(&self) -> usize {
        PART_BYTES_MAX.min(self.journal.payload_bytes_max() / 4)
    }

    /// Writes a snapshot of the account as it is now; durable when it returns. The account may change meanwhile.
    pub(crate) async fn snapshot(&self, account: &Rc<AccountCell>, purpose: Purpose) -> Result<(), StoreError> {
        match self.push_snapshot(account, purpose).await? {
            Some(durable) => {
                self.journal.hurry();
                durable.await
            }
            None => Ok(()),
        }
    }

    /// Puts a snapshot on its way; `None` when there is nothing to be kept.
    pub(crate) async fn push_snapshot(
        &self,
        account: &Rc<AccountCell>,
        purpose: Purpose,
    ) -> Result<Option<Durable>, StoreError> {
        let turn = account.snapshotting.acquire(1).await;
        let pushed = self.push_snapshot_in_turn(account, purpose).await;
        drop(turn);
        pushed
    }

    /// As `push_snapshot`, by whoever has the turn.
    pub(crate) async fn push_snapshot_in_turn(
        &self,
        account: &Rc<AccountCell>,
        purpose: Purpose,
    ) -> Result<Option<Durable>, StoreError> {
        // All that is pushed is durable and applied: the state is that of `head`.
        let pass = account.pass_alone().await;
        // After a failed write things stay under way for ever.
        self.journal.check(purpose)?;
        let (covers, superseded, image) = {
            let state = account.state.borrow();
            if state.head == LogPosition::NONE {
                return Ok(None);
            }
            assert_eq!(
                state.head, state.pushed_head,
                "nothing is under way for whoever passes alone"
            );
            (
                state.head,
                state.chain.segments.clone(),
                Bytes::from(state.encode_image()),
            )
        };
        let base = self.journal.frontier();
        let image_bytes = image.len() as u64;
        let part_bytes = self.snapshot_part_bytes();
        // A big image takes many batches: let the account go on in the meantime. A small one is one record, at once.
        let pass: Option<Pass> = (image.len() <= part_bytes).then_some(pass);
        let mut rest = image;
        let mut live = Vec::new();
        let mut last_part = LogPosition::NONE;
        let mut parts = 0;
        while rest.len() > part_bytes {
            let mut payload = Vec::with_capacity(LINK_BYTES + 8);
            let head = SnapshotPart {
                account: account.id,
                previous: last_part,
                index: parts,
                image: &[],
            };
            head.encode(&mut payload);
            let piece = rest.split_to(part_bytes);
            let bytes = occupied_bytes(payload.len() + piece.len());
            self.journal.room(bytes, purpose).await?;
            last_part = self
                .journal
                .push(RecordKind::SnapshotPart, purpose, &payload, &[piece])
                .position;
            add_bytes(&mut live, self.segments.number_of(last_part), bytes as u64);
            parts += 1;
        }
        let pass = match pass {
            Some(pass) => pass,
            None => account.pass_shared().await,
        };
        let place = SnapshotPlace {
            covers,
            base,
            parts,
            last_part,
            image_bytes,
        };
        let mut fields = Vec::with_capacity(64 + rest.len());
        SnapshotEnd::encode_fields(&mut fields, place, &superseded, &live, &rest);
        self.journal.room(super::commit::link_bytes(&fields), purpose).await?;
        let change = Change::decode(RecordKind::Snapshot, &fields).expect("it was just encoded");
        self.push_link(account, &pass, purpose, &change, &fields);
        account.snapshot_due.set(false);
        add(&self.counters.snapshots, 1);
        Ok(Some(self.journal.durable_when()))
    }
}
