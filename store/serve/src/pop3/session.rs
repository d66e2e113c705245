//! Drives `pigeon_proto::pop3::Transaction` over a stream and a mailbox.

use crate::imap::{EndReason, SessionEnd};
use bytes::Bytes;
use futures_util::future::{Either, select};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::pop3::{Listing, Maildrop, MessageText, Transaction, TransactionEvent};
use pigeon_proto::sasl::Mechanisms;
use pigeon_store::{Account, BodyReader, BodyTraits, Mailbox, Message, Pop3Lock, ReadAhead, StoreError, Uid, Volume};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of a message in memory at a time: large enough that the disk and the socket are busy with bytes and not with
/// operations. A guess.
const READ_BYTES: usize = 128 * 1024;

/// Pieces up to this are put together into one send.
const GATHER_BYTES: usize = 16 * 1024;

/// Messages that may be read along with one.
const AHEAD_MAX: usize = 64;

/// Messages in one expunge; far below what one atomic record of the store holds.
const EXPUNGE_MAX: usize = 1_000;

/// One login, as the proxy has verified it. The session sends the answer to PASS or AUTH.
pub struct Pop3Login {
    /// The account's mail.
    pub account: Account,
    /// The volume that holds it.
    pub volume: Volume,
    /// In every log line.
    pub session_id: u64,
    /// With which the node ends the session.
    pub end: Rc<SessionEnd>,
    /// How long it waits for the client, and how much it bears.
    pub limits: Pop3Limits,
}

/// Bounds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pop3Limits {
    /// For the next command; RFC 1939 section 3 asks for at least ten minutes.
    pub idle_timeout: Duration,
    /// For a client that does not read what it asked for.
    pub send_timeout: Duration,
    /// Bad commands after which the session is closed.
    pub bad_commands_max: u32,
    /// Those that were on offer before the login, for `CAPA`.
    pub mechanisms: Mechanisms,
}

/// A session after its login. It is moved about in its box, which keeps the future of a silent client small.
struct Session<S> {
    stream: S,
    core: Transaction,
    volume: Volume,
    mailbox: Mailbox,
    /// Keeps the account in memory and to this session alone, until its last word.
    lock: Option<(Account, Pop3Lock)>,
    session_id: u64,
    end: Rc<SessionEnd>,
    limits: Pop3Limits,
    /// Who reads one message after the other gets them from long reads.
    last_read: Option<Uid>,
    ahead: Option<Box<ReadAhead>>,
}

/// Serves one login over `stream` until the client quits, goes, or is sent away. Bytes that came behind the login's command
/// must have been put back into the stream.
pub async fn run<S: ByteStream>(stream: S, login: Pop3Login) {
    let Some(mut session) = Box::pin(open(stream, login)).await else {
        return;
    };
    loop {
        session.stream.set_timeout(Some(session.limits.idle_timeout));
        let received = match select(pin!(session.stream.receive()), pin!(session.end.ended())).await {
            Either::Left((received, _)) => received.ok().flatten(),
            Either::Right(_) => None,
        };
        // The end of a session without QUIT, by the peer, by time or by the node, deletes nothing and needs no word (RFC
        // 1939 section 3).
        let Some(chunk) = received else { return };
        let mut rest = &chunk[..];
        let mut out = Vec::new();
        let event = session.core.next_event(&mut rest, &mut out);
        if !rest.is_empty() {
            session.stream.put_back(rest);
        }
        drop(chunk);
        session = match Box::pin(session.act(out, event)).await {
            Some(session) => session,
            None => return,
        };
    }
}

/// Takes the lock and the snapshot, and answers the login.
async fn open<S: ByteStream>(mut stream: S, login: Pop3Login) -> Option<Box<Session<S>>> {
    let Pop3Login {
        account,
        volume,
        session_id,
        end,
        limits,
    } = login;
    let refusal: &'static [u8] = match (account.lock_pop3(), account.mailbox("INBOX")) {
        (None, _) => b"-ERR [IN-USE] Another POP3 session is using this maildrop\r\n",
        (Some(_), None) => b"-ERR [SYS/PERM] There is no INBOX\r\n",
        (Some(lock), Some(mailbox)) => {
            let messages = |messages: &[Message]| {
                Maildrop::new(
                    mailbox.uid_validity().0,
                    messages.iter().map(|message| (message.uid.0, message.size)),
                )
            };
            let mut out = Vec::new();
            let core = Transaction::new(
                mailbox.with_messages(messages),
                limits.bad_commands_max,
                limits.mechanisms,
                &mut out,
            );
            send(&mut stream, limits.send_timeout, out.into()).await.ok()?;
            return Some(Box::new(Session {
                stream,
                core,
                volume,
                mailbox,
                lock: Some((account, lock)),
                session_id,
                end,
                limits,
                last_read: None,
                ahead: None,
            }));
        }
    };
    tracing::info!(session = %hex(session_id), "login refused: {}", String::from_utf8_lossy(refusal).trim_end());
    if send(&mut stream, limits.send_timeout, Bytes::from_static(refusal))
        .await
        .is_ok()
    {
        stream.close().await;
    }
    None
}

impl<S: ByteStream> Session<S> {
    /// Sends the output and does what the core asks for; gives the session back when it goes on.
    async fn act(mut self: Box<Self>, out: Vec<u8>, event: Option<TransactionEvent>) -> Option<Box<Self>> {
        self.send(out).await.ok()?;
        match event {
            None | Some(TransactionEvent::Flush) => Some(self),
            Some(TransactionEvent::List(listing)) => {
                self.list(listing).await.ok()?;
                Some(self)
            }
            Some(TransactionEvent::Retrieve { uid, bytes, body_lines }) => {
                self.retrieve(Uid(uid), bytes, body_lines).await.ok()?;
                Some(self)
            }
            Some(TransactionEvent::Update) => {
                self.ahead = None;
                let deleted = self.update().await;
                // A client that has its answer may come again at once.
                self.lock = None;
                let mut out = Vec::new();
                self.core.updated(deleted, &mut out);
                self.send(out).await.ok()?;
                self.close().await;
                None
            }
            Some(TransactionEvent::Close) => {
                self.close().await;
                None
            }
        }
    }

    /// Lets the next session in before the connection's orderly end has been waited for.
    async fn close(self: Box<Self>) {
        let Session {
            stream, lock, ahead, ..
        } = *self;
        drop((lock, ahead));
        stream.close().await;
    }

    async fn list(&mut self, mut listing: Listing) -> io::Result<()> {
        loop {
            let mut out = Vec::with_capacity(GATHER_BYTES + 64);
            let done = listing.fill(self.core.maildrop(), &mut out, GATHER_BYTES);
            self.send(out).await?;
            if done {
                return Ok(());
            }
        }
    }

    async fn retrieve(&mut self, uid: Uid, bytes: u32, body_lines: Option<u64>) -> io::Result<()> {
        let first = match self.open_body(uid).await {
            Ok(reader) => reader.read(0, READ_BYTES).await.map(|first| (reader, first)),
            Err(error) => Err(error),
        };
        let (reader, first) = match first {
            Ok(open) => open,
            Err(error) => {
                let mut out = Vec::new();
                match error {
                    StoreError::MessageGone => self.core.message_gone(&mut out),
                    error => {
                        log_unreadable(self.session_id, uid, &error);
                        self.core.message_unreadable(&mut out);
                    }
                }
                return self.send(out).await;
            }
        };
        let may_have_dots = reader.info().traits.contains(BodyTraits::DOT_LINE);
        let mut text = MessageText::new(body_lines, may_have_dots);
        let mut sender = Sender {
            stream: &mut self.stream,
            timeout: self.limits.send_timeout,
            gathered: format!("+OK {bytes} octets\r\n").into_bytes(),
        };
        let mut offset = 0u64;
        let mut piece = first;
        while !piece.is_empty() && !text.is_done() {
            offset = offset.saturating_add(piece.len() as u64);
            sender.push(text.push(piece)).await?;
            if offset >= reader.info().size {
                break;
            }
            if self.end.reason() == Some(EndReason::AccessEnded) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            piece = reader.read(offset, READ_BYTES).await.map_err(|error| {
                // The answer has begun: only a broken connection tells the client that it is not whole.
                log_unreadable(self.session_id, uid, &error);
                io::Error::other(error)
            })?;
        }
        sender.push(Bytes::from_static(text.finish())).await?;
        sender.flush().await
    }

    async fn send(&mut self, out: Vec<u8>) -> io::Result<()> {
        send(&mut self.stream, self.limits.send_timeout, out.into()).await
    }

    /// Opens the message's body.
    async fn open_body(&mut self, uid: Uid) -> Result<BodyReader, StoreError> {
        // Whoever reads the second message after the first reads them all, as a rule.
        let following = self.mailbox.with_messages(|messages| {
            let index = messages.partition_point(|message| message.uid < uid);
            let before = index.checked_sub(1).map(|before| messages[before].uid);
            let goes_on = before.is_some() && self.last_read == before;
            let following = goes_on.then(|| messages.iter().skip(index + 1).take(AHEAD_MAX));
            following.map(|following| following.copied().collect::<Vec<Message>>())
        });
        self.last_read = Some(uid);
        if self.ahead.is_none() && following.as_ref().is_none_or(Vec::is_empty) {
            return self.mailbox.open_message(uid).await;
        }
        let ahead = self.ahead.get_or_insert_with(|| Box::new(self.volume.read_ahead()));
        // TOP and RETR of the same message: what has been read is there, and no more is read for it.
        let following = following.unwrap_or_default();
        self.mailbox.open_message_ahead(uid, ahead, following.into_iter()).await
    }

    /// The UPDATE state; whether all that was marked is gone.
    async fn update(&self) -> bool {
        let uids: Vec<Uid> = self.core.maildrop().deleted_uids().map(Uid).collect();
        for uids in uids.chunks(EXPUNGE_MAX) {
            if let Err(error) = self.mailbox.expunge(uids).await {
                tracing::warn!(session = %hex(self.session_id), %error, "deleted messages were not removed");
                return false;
            }
        }
        if !uids.is_empty() {
            tracing::info!(session = %hex(self.session_id), messages = uids.len(), "messages deleted");
        }
        true
    }
}

fn log_unreadable(session_id: u64, uid: Uid, error: &StoreError) {
    tracing::error!(session = %hex(session_id), uid = uid.0, %error, "message cannot be read");
}

/// Sends pieces, small ones together.
struct Sender<'a, S> {
    stream: &'a mut S,
    timeout: Duration,
    gathered: Vec<u8>,
}

impl<S: ByteStream> Sender<'_, S> {
    async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        if self.gathered.len() + piece.len() > GATHER_BYTES {
            self.flush().await?;
        }
        if piece.len() > GATHER_BYTES {
            return send(self.stream, self.timeout, piece).await;
        }
        self.gathered.extend_from_slice(&piece);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        send(self.stream, self.timeout, gathered.into()).await
    }
}

async fn send<S: ByteStream>(stream: &mut S, timeout: Duration, out: Bytes) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    stream.set_timeout(Some(timeout));
    Box::pin(stream.send(out)).await
}

/// A session's name, as every log line spells it.
fn hex(session: u64) -> String {
    format!("{session:016x}")
}
