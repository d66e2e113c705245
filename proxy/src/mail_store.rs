//! What accepted mail goes into: the traits between the SMTP driver and whatever keeps messages (pigeond joins them).
//!
//! Invariant: `Ok` from `Transfer::commit` or `MailStore::deliver` means that the message is durable for that recipient.
//! Everything here belongs to one core; an implementation that reaches other cores hands over the chunks, not copies.

use crate::session_id::SessionId;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::{Account, Snapshot};
use pigeon_proto::address::Address;
use pigeon_proto::smtp::{MailParameters, RecipientRefusal, Reply};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What is known about a message beside its bytes: the same for all of its recipients.
#[derive(Clone, Debug)]
pub struct EnvelopeInfo {
    /// The session that brought it.
    pub session: SessionId,
    /// Counts the session's transactions from 1: with the session it names the message in Received lines, replies and
    /// logs.
    pub transaction: u32,
    /// The sender; `None` is the null sender.
    pub reverse_path: Option<Address>,
    /// What came with MAIL.
    pub parameters: MailParameters,
    /// The client.
    pub peer: SocketAddr,
    /// Each recipient has an answer of its own (LMTP); else one is for all, and what fails for now for somebody is brought
    /// again for all.
    pub answered_singly: bool,
    /// Who authenticated, in submission.
    pub submitter: Option<Arc<Account>>,
    /// When it came in, in seconds since the Unix epoch: the internal date.
    pub received_at: i64,
}

impl EnvelopeInfo {
    /// The message's name: the session's id and the number of the transaction in it.
    pub fn id(&self) -> MessageId {
        MessageId {
            session: self.session,
            transaction: self.transaction,
        }
    }
}

/// Names a message in Received lines, replies and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The session that brought it.
    pub session: SessionId,
    /// Its number in the session, from 1.
    pub transaction: u32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.transaction)
    }
}

/// One account that gets the message. No account is in a transaction's list twice.
#[derive(Clone, Debug)]
pub struct Target {
    /// The record as it was when the transaction began.
    pub account: Arc<Account>,
    /// The address in RCPT that led to it first.
    pub address: Address,
    /// What stood behind the plus-delimiter in that address.
    pub detail: Option<Box<str>>,
    /// Header lines for this recipient alone, with their line ends, to be put in front of the body; may be empty.
    pub prepend: Bytes,
    /// The message's key, where another node of ours brought it: the same however often it is brought. What the account has
    /// under it already is not stored again.
    pub key: Option<[u8; 16]>,
}

/// Why a message could not be kept for a recipient, or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The account is full: 552 5.2.2, or 452 4.2.2 by policy.
    OverQuota,
    /// Over the size that the store or the account takes: 552 5.3.4.
    TooLarge,
    /// The volume is full or nearly so: 452 4.3.1.
    NoSpace,
    /// Not now; the text is for the log: 451 4.3.0.
    Unavailable(String),
    /// The account has meanwhile been removed, disabled or moved; the text is for the log: 451 4.2.1, so that the sender
    /// comes again and is then answered from the new record.
    Moved(String),
    /// The account was said to be in a volume that does not have it any more, or not yet: it moves at this moment. 451 4.2.1.
    Elsewhere,
    /// The node that keeps the account is out of reach, or broke off; the text is for the log: 451 4.4.1.
    OwnerAway(String),
    /// What the server that keeps the account answered.
    Answered(Reply),
}

impl TransferError {
    /// Whether the sender may come again with the same message.
    pub fn is_temporary(&self) -> bool {
        match self {
            TransferError::OverQuota | TransferError::TooLarge => false,
            TransferError::NoSpace
            | TransferError::Unavailable(_)
            | TransferError::Moved(_)
            | TransferError::Elsewhere
            | TransferError::OwnerAway(_) => true,
            TransferError::Answered(reply) => reply.is_temporary(),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::OverQuota => f.write_str("over quota"),
            TransferError::TooLarge => f.write_str("message too large"),
            TransferError::NoSpace => f.write_str("no space"),
            TransferError::Unavailable(why) => write!(f, "unavailable: {why}"),
            TransferError::Moved(why) => write!(f, "account moved: {why}"),
            TransferError::Elsewhere => f.write_str("the account is elsewhere by now"),
            TransferError::OwnerAway(why) => write!(f, "the account's node is out of reach: {why}"),
            TransferError::Answered(reply) => write!(f, "the account's server answered {reply}"),
        }
    }
}

impl std::error::Error for TransferError {}

/// Keeps messages.
pub trait MailStore {
    /// Whether a message for `account` can be taken here at all, as far as memory tells: asked at RCPT.
    fn accepts(&self, account: &Account, snapshot: &Snapshot) -> Result<(), RecipientRefusal> {
        let _ = (account, snapshot);
        Ok(())
    }

    /// Opens a transfer of one message to `recipients` (at least one). An error here is that of all recipients.
    fn begin(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Transfer>, TransferError>>;

    /// The same in one go for a message that is in memory as a whole (at most 128 KiB): one result for each recipient, in
    /// their order. An implementation can save itself the steps.
    fn deliver(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
        message: Bytes,
    ) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        let count = recipients.len();
        let begun = self.begin(envelope, recipients);
        Box::pin(async move {
            let begun = match begun.await {
                Ok(mut transfer) => transfer.write(message).await.map(|()| transfer),
                Err(error) => Err(error),
            };
            match begun {
                Ok(transfer) => transfer.commit().await,
                Err(error) => vec![Err(error); count],
            }
        })
    }
}

/// A message on its way into the store. Dropping it aborts: nothing of it is ever seen.
pub trait Transfer {
    /// Takes a piece of the body; waits while the store is behind (back pressure). An error ends the transfer for all
    /// recipients.
    fn write(&mut self, chunk: Bytes) -> LocalBoxFuture<'_, Result<(), TransferError>>;

    /// Makes it durable: one result for each recipient, in their order.
    fn commit(self: Box<Self>) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>>;
}
