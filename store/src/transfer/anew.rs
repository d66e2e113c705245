//! An account that nobody has, or whose mail is lost with the place that had it: here it begins, with what was fetched of it.

use pigeon_store_format::{AccountImage, MailboxImage, Standing, Uid, UidValidity};

use super::NOT_NOW;
use super::import::{Import, replace};
use crate::StoreError;
use crate::account::state::{AccountState, INBOX_ID};
use crate::journal::Purpose;

/// See `Import::begin_anew`.
pub(super) async fn begin(import: &Import) -> Result<(), StoreError> {
    let account = &import.account;
    let (cell, volume) = (account.cell.clone(), account.volume.clone());
    let turn = cell.snapshotting.acquire(1).await;
    let pass = cell.pass_alone().await;
    volume.journal.check(Purpose::Change)?;
    import.goes_on()?;
    let state = renumbered(&cell.state.borrow())?;
    replace(&cell, &volume, state);
    drop(pass);
    // The link comes behind the image: before it, nobody sees anything of this.
    volume.push_snapshot_in_turn(&cell, Purpose::Change).await?;
    drop(turn);
    let id = import.id();
    account
        .step(|state| match &state.standing {
            Standing::Incoming(now) if now.id == id => Ok(Some(Standing::Here)),
            _ => Err(NOT_NOW),
        })
        .await
}

/// The same mailboxes, INBOX among them, with another UIDVALIDITY each.
fn renumbered(state: &AccountState) -> Result<AccountState, StoreError> {
    let wrong = |error: pigeon_store_format::Malformed| StoreError::Damaged {
        what: format!("what is here of an account: {}", error.0),
    };
    let mut image = AccountImage::decode(&state.encode_image()).map_err(wrong)?;
    if !image.mailboxes.iter().any(|mailbox| mailbox.definition.id == INBOX_ID) {
        image.next_mailbox = image.next_mailbox.max(pigeon_store_format::MailboxId(INBOX_ID.0 + 1));
        image.mailboxes.insert(
            0,
            MailboxImage {
                definition: AccountState::inbox(image.next_uid_validity.0),
                uid_next: Uid(1),
                highest_mod_seq: pigeon_store_format::ModSeq(1),
                first_recent: Uid(1),
                keywords: Vec::new(),
                messages: Vec::new().into(),
            },
        );
    }
    for mailbox in &mut image.mailboxes {
        mailbox.definition.uid_validity = image.next_uid_validity;
        let next = image.next_uid_validity.0.checked_add(1);
        image.next_uid_validity = UidValidity(next.ok_or(StoreError::TooManyMailboxes)?);
    }
    AccountState::from_image(image).map_err(wrong)
}
