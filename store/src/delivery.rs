//! Delivering a finished body to accounts.

use bytes::Bytes;
use pigeon_store_format::{AccountId, Flags, MailboxId, ModSeq, Uid, UidValidity};

use crate::account::Limits;

/// One recipient of a body.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Must have been named to `begin_body`.
    pub account: AccountId,
    /// The account's limits as control data has them now.
    pub limits: Limits,
    /// The mailbox by name, usually `INBOX`.
    pub mailbox: String,
    /// System flags the message has from the start.
    pub flags: Flags,
    /// Keywords it has from the start.
    pub keywords: Vec<String>,
    /// INTERNALDATE, seconds since the Unix epoch, UTC.
    pub internal_date: i64,
    /// Make the mailbox when it is not there; otherwise the delivery fails with `NoSuchMailbox`.
    pub create_mailbox: bool,
    /// Bytes for this recipient alone, put in front of the shared body, whole header lines; may be empty, at most
    /// `options::PREPEND_BYTES_MAX`.
    pub prepend: Bytes,
}

/// Where a message came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Of that mailbox.
    pub uid_validity: UidValidity,
    /// The message's.
    pub uid: Uid,
    /// The message's.
    pub mod_seq: ModSeq,
}
