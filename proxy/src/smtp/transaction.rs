//! One message on its way in: its envelope, its recipients, and the bytes that have not gone to the store yet.
//!
//! Up to 128 KiB are collected and delivered in one go; a longer message goes to the store in pieces of 64 KiB, and no more
//! is received while the store has not taken a piece.

use super::confirmation;
use super::context::SmtpContext;
use super::outcome;
use super::recipients::Recipients;
use super::trace::{self, Hop, Received};
use crate::mail_store::{EnvelopeInfo, Transfer, TransferError};
use bytes::Bytes;
use pigeon_datatree_cache::Current;
use pigeon_proto::smtp::{BodySummary, Enhanced, HeaderScan, Mode, NODE_CIRCLE, Reply};
use std::rc::Rc;

/// Received lines that nodes may add beyond what a client may come with.
const NODE_HOPS_MAX: u32 = 8;

/// Bytes of a message that are collected before the store is asked.
const COLLECTED_BYTES_MAX: usize = 128 * 1024;
/// Bytes of each further piece.
const PIECE_BYTES: usize = 64 * 1024;
/// What is made room for at first: a usual message and its trace lines. More only when SIZE says so.
const FIRST_BYTES: usize = 8 * 1024;
const TRACE_BYTES: usize = 1024;

/// From MAIL to the answer.
pub(super) struct Transaction {
    pub(super) envelope: Rc<EnvelopeInfo>,
    pub(super) recipients: Recipients,
    /// What the recipients are looked up in, from the first to the last.
    pub(super) snapshot: Current,
    message: Vec<u8>,
    /// Bytes of `message` before the client's own; zero once it has been given away.
    trace_bytes: usize,
    /// Bytes of the client's message so far.
    bytes: u64,
    transfer: Option<Box<dyn Transfer>>,
    /// The header section, kept when the sender wants a report of the delivery.
    header_copy: Option<Bytes>,
}

/// The answers to a message: one, or in LMTP one for each accepted recipient.
pub(super) struct Answers {
    pub(super) replies: Vec<Reply>,
    /// Accounts that have it.
    pub(super) copies: u64,
    /// For the log: why it failed where the client's reply says less.
    pub(super) failure: Option<TransferError>,
}

impl Transaction {
    pub(super) fn new(envelope: EnvelopeInfo, snapshot: Current, mode: Mode) -> Transaction {
        Transaction {
            envelope: Rc::new(envelope),
            recipients: Recipients::new(mode == Mode::Lmtp),
            snapshot,
            message: Vec::new(),
            trace_bytes: 0,
            bytes: 0,
            transfer: None,
            header_copy: None,
        }
    }

    /// Writes the trace lines; the client's bytes follow.
    pub(super) fn begin_message(&mut self, hop: &Hop<'_>) {
        let envelope = &*self.envelope;
        let declared = envelope.parameters.size.unwrap_or(0);
        let declared = usize::try_from(declared).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let received = Received {
            hop,
            smtp_utf8: envelope.parameters.smtp_utf8,
            authenticated: envelope.submitter.is_some(),
            client: envelope.peer.ip(),
            id: envelope.id(),
            recipient: self.recipients.only(),
            time: envelope.received_at,
        };
        let mut lines = String::with_capacity(TRACE_BYTES + declared.max(FIRST_BYTES - TRACE_BYTES));
        trace::lines(&mut lines, envelope.reverse_path.as_ref(), &received);
        self.trace_bytes = lines.len();
        self.message = lines.into_bytes();
        self.bytes = 0;
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
    }

    /// The message is not wanted any more: what the store has of it is dropped there.
    pub(super) fn forget_message(&mut self) {
        self.message = Vec::new();
        self.transfer = None;
    }

    /// So much is collected that the store has to take it before more is received.
    pub(super) fn wants_to_send(&self) -> bool {
        let bound = if self.transfer.is_some() {
            PIECE_BYTES
        } else {
            COLLECTED_BYTES_MAX
        };
        self.message.len() >= bound
    }

    /// Gives the store what is collected. After an error the message is to be abandoned with the reply.
    pub(super) async fn send(&mut self, header: &HeaderScan, context: &SmtpContext) -> Result<(), Refusal> {
        self.check_header(header, context)?;
        if self.recipients.size_max().is_some_and(|size_max| self.bytes > size_max) {
            return Err(Refusal::from(outcome::refusal(
                &TransferError::TooLarge,
                context.policy.over_quota,
            )));
        }
        let result = self.send_piece(PIECE_BYTES, context).await;
        result.map_err(|error| {
            self.forget_message();
            Refusal {
                reply: outcome::refusal(&error, context.policy.over_quota),
                failure: Some(error),
            }
        })
    }

    async fn send_piece(&mut self, next_bytes: usize, context: &SmtpContext) -> Result<(), TransferError> {
        if self.transfer.is_none() {
            // The accounts stay here for the answers; a message of this size can afford the copy of the list.
            let targets = self.recipients.targets().to_vec();
            self.transfer = Some(context.store.begin(&self.envelope, targets).await?);
        }
        self.keep_header();
        let next = if next_bytes == 0 {
            Vec::new()
        } else {
            Vec::with_capacity(next_bytes + FIRST_BYTES)
        };
        let piece = std::mem::replace(&mut self.message, next);
        self.trace_bytes = 0;
        match &mut self.transfer {
            Some(transfer) if !piece.is_empty() => transfer.write(Bytes::from(piece)).await,
            _ => Ok(()),
        }
    }

    /// Before the first bytes are given away.
    fn keep_header(&mut self) {
        if self.trace_bytes > 0 && self.recipients.wants_confirmation() {
            self.header_copy = confirmation::header_section(&self.message);
        }
    }

    /// Looks for loops, and completes the header of a submission while it is still here.
    fn check_header(&mut self, header: &HeaderScan, context: &SmtpContext) -> Result<(), Refusal> {
        // What nodes pass to each other in circles is to be mended by nodes, and is no fault of the sender's: it waits.
        let hops = header.received_count();
        if let Some(nodes) = &context.nodes
            && hops > context.policy.received_max.saturating_add(NODE_HOPS_MAX)
        {
            nodes.went_in_circles(&self.envelope.id(), hops);
            return Err(Refusal::from(NODE_CIRCLE));
        }
        if context.nodes.is_none() && hops > context.policy.received_max {
            let reply = Reply::new(554, Enhanced(5, 4, 6), "too many hops, this looks like a mail loop");
            return Err(Refusal::from(reply));
        }
        // A header section of more than what is collected is left as it is.
        let complete = header.has_date() && header.has_message_id();
        if context.options.mode == Mode::Submission && self.trace_bytes > 0 && !complete {
            let envelope = &self.envelope;
            let lines = trace::completion(
                header.has_date(),
                header.has_message_id(),
                envelope.id(),
                &context.options.host_name,
                envelope.received_at,
            );
            self.message
                .splice(self.trace_bytes..self.trace_bytes, lines.into_bytes());
        }
        Ok(())
    }

    /// The message is complete: makes it durable and says what to answer.
    pub(super) async fn finish(&mut self, summary: BodySummary, header: &HeaderScan, context: &SmtpContext) -> Answers {
        if let Err(refusal) = self.check_header(header, context) {
            return self.refused(refusal, context);
        }
        // Refused for all before anyone has it: see the module's text.
        if self
            .recipients
            .size_max()
            .is_some_and(|size_max| summary.bytes > size_max)
            && !self.splits_by_size(context)
        {
            let reply = outcome::refusal(&TransferError::TooLarge, context.policy.over_quota);
            return self.refused(Refusal::from(reply), context);
        }
        let results = match self.commit(summary, context).await {
            Ok(results) => results,
            Err(error) => {
                let reply = outcome::refusal(&error, context.policy.over_quota);
                let refusal = Refusal {
                    reply,
                    failure: Some(error),
                };
                return self.refused(refusal, context);
            }
        };
        let over_quota = context.policy.over_quota;
        let id = self.envelope.id();
        let replies = if context.options.mode == Mode::Lmtp {
            let missing = Err(TransferError::Unavailable("the store gave no result".to_owned()));
            let result = |place: &usize| results.get(*place).unwrap_or(&missing);
            let reply = |links: &[usize]| outcome::reply(links.iter().map(result), over_quota, id);
            self.recipients.links().map(reply).collect()
        } else {
            vec![outcome::reply(results.iter(), over_quota, id)]
        };
        // An MTA in front of LMTP reports itself: DSN is not announced to it.
        if context.options.mode != Mode::Lmtp && replies.iter().all(Reply::is_positive) {
            self.confirm(context).await;
        }
        Answers {
            replies,
            copies: results.iter().filter(|result| result.is_ok()).count() as u64,
            failure: results.into_iter().find_map(Result::err),
        }
    }

    /// Reports to the sender what NOTIFY=SUCCESS asked for.
    async fn confirm(&mut self, context: &SmtpContext) {
        let delivered = self.recipients.take_to_confirm();
        if !delivered.is_empty() {
            let header = self.header_copy.take();
            confirmation::report(&self.envelope, &delivered, header, &self.snapshot, context).await;
        }
    }

    /// LMTP can answer for each recipient, and a message that goes out as a whole can be kept from some of them.
    fn splits_by_size(&self, context: &SmtpContext) -> bool {
        context.options.mode == Mode::Lmtp && !self.is_streamed()
    }

    /// Part of it is with the store, or would be if it had come in other pieces.
    fn is_streamed(&self) -> bool {
        self.transfer.is_some() || self.message.len() >= COLLECTED_BYTES_MAX
    }

    /// One result for each account.
    async fn commit(
        &mut self,
        summary: BodySummary,
        context: &SmtpContext,
    ) -> Result<Vec<Result<(), TransferError>>, TransferError> {
        if self.is_streamed() {
            self.send_piece(0, context).await?;
            return match self.transfer.take() {
                Some(transfer) => Ok(transfer.commit().await),
                None => Err(TransferError::Unavailable("no transfer".to_owned())),
            };
        }
        self.keep_header();
        let message = Bytes::from(std::mem::take(&mut self.message));
        let mut targets = self.recipients.take_targets();
        let takes = |target: &crate::mail_store::Target| {
            target
                .account
                .message_size_max()
                .is_none_or(|size_max| summary.bytes <= size_max)
        };
        let taken: Vec<bool> = match self.recipients.size_max() {
            Some(size_max) if summary.bytes > size_max => targets.iter().map(takes).collect(),
            _ => return Ok(context.store.deliver(&self.envelope, targets, message).await),
        };
        targets.retain(takes);
        let delivered = if targets.is_empty() {
            Vec::new()
        } else {
            context.store.deliver(&self.envelope, targets, message).await
        };
        let mut delivered = delivered.into_iter();
        let missing = || Err(TransferError::Unavailable("the store gave no result".to_owned()));
        Ok(taken
            .into_iter()
            .map(|taken| {
                if taken {
                    delivered.next().unwrap_or_else(missing)
                } else {
                    Err(TransferError::TooLarge)
                }
            })
            .collect())
    }

    fn refused(&mut self, refusal: Refusal, context: &SmtpContext) -> Answers {
        self.forget_message();
        let count = if context.options.mode == Mode::Lmtp {
            self.recipients.accepted()
        } else {
            1
        };
        Answers {
            replies: vec![refusal.reply; count],
            copies: 0,
            failure: refusal.failure,
        }
    }
}

/// Why a message is not taken.
pub(super) struct Refusal {
    pub(super) reply: Reply,
    /// For the log.
    pub(super) failure: Option<TransferError>,
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Refusal {
        Refusal { reply, failure: None }
    }
}
