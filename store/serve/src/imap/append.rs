//! APPEND and MULTIAPPEND (RFC 3501 section 6.3.11, RFC 3502), with APPENDUID (RFC 4315) and APPENDLIMIT (RFC 7889).
//!
//! A message goes to the store as it arrives and is never held. What can be refused is refused before the client sends:
//! size, quota, a missing mailbox, a volume that takes no mail. All messages of a command are kept, or none.

use super::changes::Tell;
use super::refusal::{Refusal, target_refusal};
use super::session::{Reply, Session};
use super::wire::{Outcome, Step};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{AppendMessage, Tag, write};
use pigeon_store::{Appended, BodyWriter, Flags, NewMessage, QuotaResource, StoreError};

/// Messages in one command. Each holds a little memory until the last has come. A guess.
const MESSAGES_MAX: usize = 1000;

/// What an APPEND has so far.
struct Pending {
    messages: Vec<NewMessage>,
    /// Bytes of all, the one on its way included.
    bytes: u64,
}

impl<S: ByteStream> Session<S> {
    /// From the announcement of the first message to the tagged answer.
    pub(super) async fn append(&mut self, first: Box<AppendMessage>) -> Outcome {
        let tag = first.tag.clone();
        let name = first.mailbox.clone();
        let mut pending = Pending {
            messages: Vec::new(),
            bytes: 0,
        };
        let mut step = Step::Append(first);
        loop {
            match step {
                Step::Append(message) => {
                    if let Err(refused) = self.append_message(*message, &mut pending).await? {
                        self.wire.reader.refuse_literal();
                        return self.append_answer(&tag, refused).await;
                    }
                }
                Step::AppendEnd => break,
                Step::Bad(tag, reason) => return self.bad(tag.as_ref(), reason),
                _ => unreachable!("the reader gives nothing else within an APPEND"),
            }
            step = self.wire.next().await?;
        }
        let mailbox = match self.target(&name) {
            Ok(mailbox) => mailbox,
            Err(reply) => return self.append_answer(&tag, reply).await,
        };
        let reply = match mailbox.append(pending.messages).await {
            Ok(appended) => Reply::Ok(format!("{}APPEND completed", append_uid(&appended)).into()),
            Err(error) => self.append_refused(&error),
        };
        self.append_answer(&tag, reply).await
    }

    /// One message, from its announcement to its last byte. The inner error is the answer; the literal is to be refused
    /// then.
    async fn append_message(&mut self, message: AppendMessage, pending: &mut Pending) -> Outcome<Result<(), Reply>> {
        let mut writer = match self.append_begin(&message, pending).await {
            Ok(writer) => writer,
            Err(reply) => return Ok(Err(reply)),
        };
        if message.synchronising {
            self.wire.out.extend_from_slice(write::CONTINUE);
        }
        self.wire.reader.accept_literal();
        loop {
            match self.wire.next().await? {
                Step::AppendData(data) => {
                    if let Err(error) = writer.write(data).await {
                        return Ok(Err(self.append_refused(&error)));
                    }
                }
                Step::AppendMessageEnd => break,
                _ => unreachable!("the reader gives nothing else within a message"),
            }
        }
        match writer.finish().await {
            Ok(body) => {
                pending.messages.push(NewMessage {
                    body,
                    flags: Flags(u64::from(message.flags.system)),
                    keywords: message.flags.keywords,
                    internal_date: message.internal_date.unwrap_or_else(self.config.now),
                });
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(self.append_refused(&error))),
        }
    }

    /// Whether the message may come.
    async fn append_begin(&mut self, message: &AppendMessage, pending: &mut Pending) -> Result<BodyWriter, Reply> {
        self.target(&message.mailbox)?;
        if message.size == 0 {
            return Err(Reply::no("[CANNOT] A message cannot be empty"));
        }
        if message.size > self.message_bytes_max {
            return Err(Reply::No(
                format!("[TOOBIG] A message may have {} bytes", self.message_bytes_max).into(),
            ));
        }
        if pending.messages.len() >= MESSAGES_MAX {
            return Err(Reply::no("[LIMIT] Too many messages in one command"));
        }
        pending.bytes = pending.bytes.saturating_add(message.size);
        let (limits, usage) = (self.account.limits(), self.account.usage());
        let over = |limit: Option<u64>, used: u64, resource| {
            limit
                .filter(|limit| used > *limit)
                .map(|limit| StoreError::OverQuota { resource, limit })
        };
        let count = pending.messages.len() as u64 + 1;
        let over_quota = over(
            limits.bytes,
            usage.bytes.saturating_add(pending.bytes),
            QuotaResource::Bytes,
        )
        .or_else(|| {
            over(
                limits.messages,
                usage.messages.saturating_add(count),
                QuotaResource::Messages,
            )
        });
        if let Some(error) = over_quota {
            return Err(Reply::No(target_refusal(&error)));
        }
        self.volume
            .begin_body(&[self.account.id()])
            .await
            .map_err(|error| self.append_refused(&error))
    }

    fn append_refused(&self, error: &StoreError) -> Reply {
        if !matches!(error, StoreError::OverQuota { .. }) {
            self.warn("append failed", error);
        }
        Reply::No(target_refusal(error))
    }

    async fn append_answer(&mut self, tag: &Tag, reply: Reply) -> Outcome {
        // The client's own mailbox has grown: it hears of that before the OK.
        self.tell_changes(Tell::All, false).await?;
        let (condition, text): (_, Refusal) = match reply {
            Reply::Ok(text) => ("OK", text),
            Reply::No(text) => ("NO", text),
            Reply::Bad(text) => ("BAD", text.into()),
            Reply::Done => return Ok(()),
        };
        write::tagged(&mut self.wire.out, tag, condition, &text);
        self.wire.flush_if_full().await
    }
}

/// `[APPENDUID validity uids] `.
fn append_uid(appended: &[Appended]) -> String {
    let Some(first) = appended.first() else {
        return String::new();
    };
    let mut code = format!("[APPENDUID {} ", first.uid_validity.0).into_bytes();
    write::sequence_set(&mut code, appended.iter().map(|appended| appended.uid.0));
    code.extend_from_slice(b"] ");
    String::from_utf8(code).expect("numbers are ASCII")
}
