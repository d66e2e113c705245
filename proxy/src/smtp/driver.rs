//! The dialogue over a stream: receive, let the core think, answer it, send.
//!
//! The loop itself holds the stream, the core's value and a few words, so that an idle session is small; what takes longer
//! than a look into memory (a message's end, a password, TLS) runs in a box of its own. Before anything is waited for, the
//! receive buffer is given back, what the core has not consumed of it is put back in front of the stream, and the output
//! is sent.

mod tasks;

use super::context::SmtpContext;
use super::counters::{SmtpCounters, add};
use super::recipients::Circumstances;
use super::trace::Hop;
use super::transaction::Transaction;
use crate::drain::DrainHandle;
use crate::mail_store::EnvelopeInfo;
use crate::session_id::SessionId;
use pigeon_datatree_cache::{Account, Recipient, Service};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::stream::TlsInfo;
use pigeon_proto::address::{Address, ForwardPath};
use pigeon_proto::sasl::Claim;
use pigeon_proto::smtp::{
    BodySummary, Enhanced, Event, MailParameters, Mode, Peer, RecipientParameters, Reply, Session,
};
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
///
/// A function that gives a future, and not an async one, so that the future holds stream and driver once: the arguments of
/// an async function keep their room beside the variables that they are moved into.
pub fn serve<S: ByteStream>(
    mut stream: S,
    session: SessionId,
    context: Rc<SmtpContext>,
) -> impl Future<Output = ()> + 'static {
    let mut driver = Driver::new(&stream, session, context);
    let open = OpenSession::new(driver.context.counters.clone());
    async move {
        // Also when the task is cancelled.
        let _open = open;
        tracing::debug!(%session, peer = %driver.peer, mode = ?driver.context.options.mode, "session begins");
        match Box::pin(driver.greet(stream)).await {
            Some(greeted) => stream = greeted,
            None => return,
        }
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
                    let (consumed, task) = driver.advance(&chunk, &stream);
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
}

/// Counts a session for as long as it goes on.
struct OpenSession {
    counters: Rc<SmtpCounters>,
}

impl OpenSession {
    fn new(counters: Rc<SmtpCounters>) -> OpenSession {
        add(&counters.sessions, 1);
        add(&counters.sessions_open, 1);
        OpenSession { counters }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let open = &self.counters.sessions_open;
        open.set(open.get().saturating_sub(1));
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
    Authenticate(Claim),
    StartTls,
    Close,
}

struct Driver {
    core: Session,
    id: SessionId,
    context: Rc<SmtpContext>,
    drain: DrainHandle,
    peer: SocketAddr,
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
            core: Session::new(context.session_options(), known),
            id,
            drain: context.drain.register(),
            context,
            peer,
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
        let idle = self.core.is_idle();
        let drain = &self.drain;
        let mut receive = pin!(stream.receive());
        poll_fn(|context| {
            if idle && drain.poll_begun(context).is_ready() {
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
    async fn farewell<S: ByteStream>(&mut self, stream: S) {
        let output = self.core.take_output();
        stream.set_timeout(Some(FAREWELL_TIME));
        // The connection ends either way.
        let _ = stream.send_last(output.into()).await;
    }

    /// Feeds the core, and answers what memory can answer. Gives how much of `input` is done with, and what has to be waited
    /// for before the rest.
    fn advance<S: ByteStream>(&mut self, input: &[u8], stream: &S) -> (usize, Option<Task>) {
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
                Event::Recipient { path, parameters } => {
                    let answer = self.recipient(path, parameters, stream);
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
        // The login may be old: who has been switched off since sends nothing more.
        if let Some(submitter) = &self.submitter
            && !snapshot
                .account(submitter.id())
                .is_some_and(|account| account.may(Service::Submission))
        {
            return Err(Reply::new(550, Enhanced(5, 7, 1), "this account may not send mail"));
        }
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
            answered_singly: self.context.options.mode == Mode::Lmtp,
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

    fn recipient<S: ByteStream>(
        &mut self,
        path: ForwardPath,
        parameters: RecipientParameters,
        stream: &S,
    ) -> Result<(), Reply> {
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
            reverse_path: envelope.reverse_path.as_ref(),
            delivered_to: context.policy.delivered_to,
            local_address: &|| stream.local_address().ip(),
            host_name: &context.options.host_name,
            accepts: &|account| context.store.accepts(account, snapshot),
        };
        match recipients.add(path, parameters, &circumstances) {
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
            from_node: self.context.nodes.is_some(),
        });
    }
}
