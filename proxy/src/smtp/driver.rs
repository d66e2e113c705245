//! The dialogue over a stream: receive, let the core think, answer it, send.
//!
//! The loop itself holds the stream, the core's value and a few words, so that an idle session is small; what takes longer
//! than a look into memory (a message's end, a password, TLS) runs in a box of its own. Before anything is waited for, the
//! receive buffer is given back, what the core has not consumed of it is put back in front of the stream, and the output
//! is sent.

use super::context::SmtpContext;
use super::counters::add;
use super::recipients::Circumstances;
use super::trace::Hop;
use super::transaction::{Answers, Transaction};
use crate::authenticate::{Attempt, Outcome};
use crate::drain::DrainHandle;
use crate::mail_store::EnvelopeInfo;
use crate::session_id::SessionId;
use pigeon_datatree_cache::{Account, Recipient, Service};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::stream::TlsInfo;
use pigeon_proto::address::{Address, ForwardPath};
use pigeon_proto::sasl::Credentials;
use pigeon_proto::smtp::{AuthenticationAnswer, BodySummary, Enhanced, Event, MailParameters, Peer, Reply, Session};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Replies wait for more input up to here, then they are sent first.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;
/// For the last words to a client whose time is over; a guess.
const FAREWELL_TIME: Duration = Duration::from_secs(5);

/// Runs a session from the greeting to its end. The stream has passed `accept::greet`.
pub async fn serve<S: ByteStream>(stream: S, session: SessionId, context: Rc<SmtpContext>) {
    let mut driver = Driver::new(&stream, session, context);
    let counters = driver.context.counters.clone();
    add(&counters.sessions, 1);
    add(&counters.sessions_open, 1);
    // Also when the task is cancelled.
    let _open = scopeguard(move || {
        counters
            .sessions_open
            .set(counters.sessions_open.get().saturating_sub(1))
    });
    tracing::debug!(%session, peer = %driver.peer, mode = ?driver.context.options.mode, "session begins");
    let Some(mut stream) = Box::pin(driver.greet(stream)).await else {
        return;
    };
    loop {
        let received = match driver.receive(&mut stream).await {
            Waited::Received(received) => received,
            Waited::Drained => {
                driver.core.shut_down();
                return Box::pin(driver.farewell(stream)).await;
            }
        };
        let step = match received {
            Ok(Some(chunk)) => {
                let (consumed, task) = driver.advance(&chunk);
                if consumed < chunk.len() {
                    stream.put_back(&chunk[consumed..]);
                }
                task
            }
            Ok(None) => return Box::pin(stream.close()).await,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                add(&driver.context.counters.time_outs, 1);
                driver.core.time_out();
                return Box::pin(driver.farewell(stream)).await;
            }
            Err(error) => {
                tracing::debug!(%session, %error, "connection lost");
                return;
            }
        };
        if let Some(task) = step {
            match Box::pin(driver.perform(task, stream)).await {
                Some(next) => stream = next,
                None => return,
            }
        }
        if driver.send(&mut stream).await.is_err() {
            return;
        }
    }
}

/// Runs `end` when it is dropped.
fn scopeguard(end: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(end)
}

/// A sender as it is logged.
struct Path<'a>(Option<&'a Address>);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "<{address}>"),
            None => f.write_str("<>"),
        }
    }
}

enum Waited<C> {
    Received(io::Result<Option<C>>),
    Drained,
}

/// What has to be waited for.
enum Task {
    /// There is much output, or a piece of a message for the store.
    Flush,
    Finish(BodySummary),
    Authenticate(Credentials),
    StartTls,
    Close,
}

struct Driver {
    core: Session,
    id: SessionId,
    context: Rc<SmtpContext>,
    drain: DrainHandle,
    peer: SocketAddr,
    local: SocketAddr,
    /// Boxed: most sessions have at most one of these, and idle ones none.
    transaction: Option<Box<Transaction>>,
    transactions: u32,
    tls: Option<Box<TlsInfo>>,
    submitter: Option<Arc<Account>>,
}

impl Driver {
    fn new<S: ByteStream>(stream: &S, id: SessionId, context: Rc<SmtpContext>) -> Driver {
        let peer = stream.peer_address();
        let tls = stream.tls().map(Box::new);
        let known = Peer {
            tls: tls.is_some(),
            trusted: context.policy.trusted.contains(peer.ip()),
        };
        Driver {
            core: Session::new(context.options.clone(), known),
            id,
            drain: context.drain.register(),
            context,
            peer,
            local: stream.local_address(),
            transaction: None,
            transactions: 0,
            tls,
            submitter: None,
        }
    }

    /// Watches the client for the configured time, and greets it when it kept silent.
    async fn greet<S: ByteStream>(&mut self, mut stream: S) -> Option<S> {
        let delay = self.context.policy.greeting_delay;
        let early = if delay.is_zero() {
            let mut receive = pin!(stream.receive());
            poll_fn(|context| {
                Poll::Ready(match receive.as_mut().poll(context) {
                    Poll::Ready(received) => Some(received),
                    Poll::Pending => None,
                })
            })
            .await
        } else {
            stream.set_timeout(Some(delay));
            match stream.receive().await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
                received => Some(received),
            }
        };
        match early {
            None => {
                self.core.greet(pigeon_engine::now());
                self.send(&mut stream).await.ok()?;
                Some(stream)
            }
            Some(Ok(Some(_))) => {
                add(&self.context.counters.early_talkers, 1);
                tracing::info!(session = %self.id, peer = %self.peer, "spoke before the greeting");
                self.core.refuse_early_talker();
                self.farewell(stream).await;
                None
            }
            Some(Ok(None) | Err(_)) => None,
        }
    }

    /// Waits for the client; an idle one also for the node's end.
    async fn receive<S: ByteStream>(&mut self, stream: &mut S) -> Waited<S::Chunk> {
        stream.set_deadline(self.core.deadline());
        if !self.core.is_idle() {
            return Waited::Received(stream.receive().await);
        }
        let mut receive = pin!(stream.receive());
        let mut drained = pin!(self.drain.begun());
        poll_fn(|context| {
            if drained.as_mut().poll(context).is_ready() {
                return Poll::Ready(Waited::Drained);
            }
            receive.as_mut().poll(context).map(Waited::Received)
        })
        .await
    }

    async fn send<S: ByteStream>(&mut self, stream: &mut S) -> io::Result<()> {
        let output = self.core.take_output();
        if output.is_empty() {
            return Ok(());
        }
        // While an answer is owed the core has no deadline; a client that does not read must not hold the session.
        let own = || pigeon_engine::now().checked_add(self.context.options.time_outs.command);
        stream.set_deadline(self.core.deadline().or_else(own));
        stream.send(output.into()).await
    }

    /// The last words, and the end.
    async fn farewell<S: ByteStream>(&mut self, mut stream: S) {
        let output = self.core.take_output();
        stream.set_timeout(Some(FAREWELL_TIME));
        if output.is_empty() || stream.send(output.into()).await.is_ok() {
            stream.close().await;
        }
    }

    /// Feeds the core, and answers what memory can answer. Gives how much of `input` is done with, and what has to be waited
    /// for before the rest.
    fn advance(&mut self, input: &[u8]) -> (usize, Option<Task>) {
        let now = pigeon_engine::now();
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let step = self.core.process(rest, now);
            at += step.consumed;
            let Some(event) = step.event else { break };
            match event {
                Event::Mail {
                    reverse_path,
                    parameters,
                } => {
                    let answer = self.mail(reverse_path, parameters);
                    self.core.answer_mail(answer, now);
                }
                Event::Recipient { path, .. } => {
                    let answer = self.recipient(path);
                    self.core.answer_recipient(answer, now);
                }
                Event::BodyBegin => self.begin_message(),
                Event::Body(piece) => {
                    if let Some(transaction) = &mut self.transaction {
                        transaction.append(piece.bytes(rest));
                    }
                }
                Event::BodyAbandoned(why) => {
                    add(&self.context.counters.messages_refused, 1);
                    tracing::info!(session = %self.id, ?why, "message refused");
                    self.transaction = None;
                }
                Event::Reset => self.transaction = None,
                Event::BodyEnd(summary) => return (at, Some(Task::Finish(summary))),
                Event::Authenticate(credentials) => return (at, Some(Task::Authenticate(credentials))),
                // What came behind it is seen by nobody: the handshake refuses it.
                Event::StartTls => return (at, Some(if at < input.len() { Task::Close } else { Task::StartTls })),
                Event::Close => return (at, Some(Task::Close)),
            }
            if self.core.output_bytes() > OUTPUT_BYTES_MAX {
                return (at, Some(Task::Flush));
            }
        }
        let wants_to_send = self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.wants_to_send());
        (at, wants_to_send.then_some(Task::Flush))
    }

    fn mail(&mut self, reverse_path: Option<Address>, parameters: MailParameters) -> Result<(), Reply> {
        let snapshot = self.context.copy.snapshot();
        if self.context.policy.sender_must_match
            && let (Some(submitter), Some(address)) = (&self.submitter, &reverse_path)
        {
            let found = snapshot.recipient(address.local(), address.domain());
            if !matches!(found, Recipient::Account { account, .. } if account.id() == submitter.id()) {
                return Err(Reply::new(553, Enhanced(5, 7, 1), "this is not your address"));
            }
        }
        self.transactions = self.transactions.saturating_add(1);
        let envelope = EnvelopeInfo {
            session: self.id,
            transaction: self.transactions,
            reverse_path,
            parameters,
            peer: self.peer,
            submitter: self.submitter.clone(),
            received_at: i64::try_from(pigeon_engine::unix_time().as_secs()).unwrap_or(i64::MAX),
        };
        self.transaction = Some(Box::new(Transaction::new(
            envelope,
            snapshot,
            self.context.options.mode,
        )));
        Ok(())
    }

    fn recipient(&mut self, path: ForwardPath) -> Result<(), Reply> {
        let context = &self.context;
        let counters = &context.counters;
        let Some(transaction) = &mut self.transaction else {
            unreachable!("the core lets RCPT through only in a transaction");
        };
        let Transaction {
            recipients,
            snapshot,
            envelope,
            ..
        } = &mut **transaction;
        let circumstances = Circumstances {
            snapshot,
            mode: context.options.mode,
            authenticated: self.submitter.is_some(),
            size: envelope.parameters.size,
            accounts_max: context.policy.accounts_max,
            delivered_to: context.policy.delivered_to,
            local_address: self.local.ip(),
            host_name: &context.options.host_name,
        };
        match recipients.add(path, &circumstances) {
            Ok(()) => {
                add(&counters.recipients_accepted, 1);
                Ok(())
            }
            Err(refusal) => {
                let reply = refusal.reply();
                let counter = if reply.is_temporary() {
                    &counters.recipients_deferred
                } else {
                    &counters.recipients_refused
                };
                add(counter, 1);
                tracing::info!(session = %self.id, peer = %self.peer, ?refusal, "recipient refused");
                Err(reply)
            }
        }
    }

    fn begin_message(&mut self) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.begin_message(&Hop {
            mode: self.context.options.mode,
            extended: self.core.is_extended(),
            client_name: self.core.client_name().unwrap_or_default(),
            host_name: &self.context.options.host_name,
            tls: self.tls.as_deref(),
        });
    }

    /// Does what has to be waited for. `None`: the session is over.
    async fn perform<S: ByteStream>(&mut self, task: Task, mut stream: S) -> Option<S> {
        match task {
            Task::Flush => {
                self.send(&mut stream).await.ok()?;
                self.send_piece().await;
                Some(stream)
            }
            Task::Finish(summary) => {
                self.send(&mut stream).await.ok()?;
                self.finish(summary).await;
                Some(stream)
            }
            Task::Authenticate(credentials) => {
                self.send(&mut stream).await.ok()?;
                self.authenticate(credentials).await;
                Some(stream)
            }
            Task::StartTls => self.start_tls(stream).await,
            Task::Close => {
                self.transaction = None;
                self.farewell(stream).await;
                tracing::debug!(session = %self.id, errors = self.core.errors(), "session ends");
                None
            }
        }
    }

    async fn start_tls<S: ByteStream>(&mut self, mut stream: S) -> Option<S> {
        self.send(&mut stream).await.ok()?;
        let context = self.context.clone();
        let acceptor = context.tls.as_ref()?;
        stream.set_timeout(Some(context.options.time_outs.command));
        match stream.start_tls(acceptor).await {
            Ok(stream) => {
                self.tls = stream.tls().map(Box::new);
                self.submitter = None;
                self.core.tls_started(pigeon_engine::now());
                Some(stream)
            }
            Err(error) => {
                add(&context.counters.tls_failures, 1);
                tracing::info!(session = %self.id, peer = %self.peer, %error, "TLS handshake failed");
                None
            }
        }
    }

    async fn authenticate(&mut self, credentials: Credentials) {
        let counters = self.context.counters.clone();
        let outcome = match &self.context.authenticate {
            None => Outcome::Unavailable,
            Some(authenticate) => {
                let attempt = Attempt {
                    session: self.id,
                    credentials,
                    peer: self.peer.ip(),
                    service: Service::Submission,
                };
                authenticate.check(attempt).await
            }
        };
        let answer = match outcome {
            Outcome::Accepted(account) => {
                add(&counters.authentications, 1);
                self.submitter = Some(account);
                AuthenticationAnswer::Accepted
            }
            Outcome::Refused | Outcome::NotAllowed => {
                add(&counters.authentications_refused, 1);
                AuthenticationAnswer::Refused
            }
            Outcome::Unavailable => AuthenticationAnswer::Unavailable,
        };
        self.core.answer_authentication(answer, pigeon_engine::now());
    }

    /// A piece of a long message, when there is one.
    async fn send_piece(&mut self) {
        let wants_to_send = self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.wants_to_send());
        if !wants_to_send {
            return;
        }
        let (Some(mut transaction), Some(header)) = (self.transaction.take(), self.core.header().cloned()) else {
            unreachable!("there are bytes of a message only in a message");
        };
        match transaction.send(&header, &self.context).await {
            Ok(()) => self.transaction = Some(transaction),
            Err(refusal) => {
                self.log_refusal(&refusal.reply, refusal.failure.as_ref(), &transaction);
                self.core.abandon_body(refusal.reply);
            }
        }
    }

    async fn finish(&mut self, summary: BodySummary) {
        let (Some(mut transaction), Some(header)) = (self.transaction.take(), self.core.header().cloned()) else {
            unreachable!("a message ends in a transaction");
        };
        let context = self.context.clone();
        let Answers {
            replies,
            copies,
            failure,
        } = transaction.finish(summary, &header, &context).await;
        let counters = &context.counters;
        if replies.iter().any(Reply::is_positive) {
            add(&counters.messages_stored, 1);
            add(&counters.bytes_stored, summary.bytes);
        }
        add(&counters.copies_stored, copies);
        if copies > 0 {
            let envelope = &transaction.envelope;
            let from = Path(envelope.reverse_path.as_ref());
            tracing::info!(session = %self.id, message = %envelope.id(), %from, bytes = summary.bytes, copies, "message stored");
        }
        if let Some(reply) = replies.iter().find(|reply| !reply.is_positive()) {
            self.log_refusal(reply, failure.as_ref(), &transaction);
        }
        drop(transaction);
        let now = pigeon_engine::now();
        let due = self.core.body_answers_due();
        debug_assert_eq!(due as usize, replies.len(), "one answer for each that is due");
        for reply in &replies {
            self.core.answer_body(reply, now);
        }
    }

    fn log_refusal(
        &self,
        reply: &Reply,
        failure: Option<&crate::mail_store::TransferError>,
        transaction: &Transaction,
    ) {
        let counters = &self.context.counters;
        let counter = if reply.is_temporary() {
            &counters.messages_deferred
        } else {
            &counters.messages_refused
        };
        add(counter, 1);
        let (session, message) = (self.id, transaction.envelope.id());
        match failure {
            Some(error) if error.is_temporary() => {
                tracing::warn!(%session, %message, %reply, %error, "message deferred")
            }
            _ => tracing::info!(%session, %message, %reply, "message refused"),
        }
    }
}
