//! What a client reads when the store refuses: NO with the response code of RFC 5530 that fits, and nothing of the
//! store's inside.

use pigeon_store::StoreError;
use std::borrow::Cow;

/// The text of a NO.
pub(super) type Refusal = Cow<'static, str>;

/// For operations on the account's mailboxes and messages.
pub(super) fn refusal(error: &StoreError) -> Refusal {
    Cow::Borrowed(match error {
        StoreError::OverQuota { .. } => "[OVERQUOTA] Quota exceeded",
        StoreError::NoSuchMailbox => "[NONEXISTENT] No such mailbox",
        StoreError::MailboxExists => "[ALREADYEXISTS] Mailbox exists already",
        StoreError::BadName(why) => return Cow::Owned(format!("[CANNOT] {why}")),
        StoreError::TooManyMailboxes => "[LIMIT] Too many mailboxes",
        StoreError::TooManyKeywords => "[LIMIT] Too many keywords in this mailbox, or one too long",
        StoreError::TooMany => "[LIMIT] Too many messages for one command",
        StoreError::MessageGone => "[EXPUNGEISSUED] The message is gone",
        StoreError::NearlyFull => "[UNAVAILABLE] The server's disk is nearly full, try again later",
        StoreError::ReadOnly(_) => "[UNAVAILABLE] Mail can only be read at the moment",
        StoreError::Poisoned(_) | StoreError::Io(_) | StoreError::Closed | StoreError::Elsewhere => {
            "[UNAVAILABLE] The server has a problem with its disk, try again later"
        }
        StoreError::Damaged { .. } => "[CORRUPTION] The mail is damaged on the server",
        StoreError::TooLarge => "[TOOBIG] Message too large",
    })
}

/// For operations that put messages into a mailbox: the client may make a missing one and try again (RFC 3501 section 7.1).
pub(super) fn target_refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::NoSuchMailbox => Cow::Borrowed("[TRYCREATE] No such mailbox"),
        error => refusal(error),
    }
}

/// For mailboxes that are not there.
pub(super) const NO_SUCH_MAILBOX: Refusal = Cow::Borrowed("[NONEXISTENT] No such mailbox");
/// For commands that change the selected mailbox after EXAMINE.
pub(super) const READ_ONLY: Refusal = Cow::Borrowed("[READ-ONLY] Mailbox is open for reading only");
/// For messages that another session has expunged.
pub(super) const SOME_GONE: Refusal = Cow::Borrowed("[EXPUNGEISSUED] Some of the messages are gone");
