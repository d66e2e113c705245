//! What takes longer than a look into memory: the end of a message, a piece of a long one, a password, TLS. Each call runs
//! in a box of its own, so that an idle session does not carry it.

use super::{Driver, Task};
use crate::authenticate::{Attempt, CheckCredentials, NodeAuthenticator, Outcome, ProofAttempt};
use crate::mail_store::TransferError;
use crate::smtp::counters::add;
use crate::smtp::transaction::{Answers, Transaction};
use pigeon_datatree_cache::Service;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::address::Address;
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::Claim;
use pigeon_proto::smtp::{AuthenticationAnswer, BodySummary, Reply};
use std::fmt;

impl Driver {
    /// Does what has to be waited for. `None`: the session is over.
    pub(super) async fn perform<S: ByteStream>(&mut self, task: Task, mut stream: S) -> Option<S> {
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
            Task::Authenticate(claim) => {
                self.send(&mut stream).await.ok()?;
                self.authenticate(claim).await;
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

    /// A node of ours; all of it is a look into memory.
    fn authenticate_node(&mut self, nodes: &NodeAuthenticator, claim: Claim) {
        let now = pigeon_engine::now();
        let is_known = match claim {
            Claim::ScramFirst(first) => {
                let (exchange, challenge) = nodes.challenge(first);
                return self.core.challenge(exchange, challenge, now);
            }
            Claim::Scram(proof) => nodes.admits(self.id, self.peer.ip(), &proof),
            Claim::Password(_) => false,
        };
        let counters = &self.context.counters;
        let (counter, answer) = match is_known {
            true => (&counters.authentications, AuthenticationAnswer::Accepted),
            false => (&counters.authentications_refused, AuthenticationAnswer::Refused),
        };
        add(counter, 1);
        self.core.answer_authentication(answer, now);
    }

    async fn authenticate(&mut self, claim: Claim) {
        if let Some(nodes) = self.context.nodes.clone() {
            return self.authenticate_node(&nodes, claim);
        }
        let counters = self.context.counters.clone();
        let (session, peer, service) = (self.id, self.peer.ip(), Service::Submission);
        let trusted = self.context.policy.trusted.contains(peer);
        let outcome = match (&self.context.authenticate, claim) {
            (None, _) => Outcome::Unavailable,
            (Some(authenticate), Claim::Password(credentials)) => {
                let attempt = Attempt {
                    session,
                    credentials,
                    received: Received::default(),
                    peer,
                    trusted,
                    service,
                };
                authenticate.check(attempt).await
            }
            (Some(authenticate), Claim::Scram(proof)) => {
                let attempt = ProofAttempt {
                    session,
                    proof,
                    received: Received::default(),
                    peer,
                    trusted,
                    service,
                };
                authenticate.check_proof(attempt).await
            }
            (Some(authenticate), Claim::ScramFirst(first)) => {
                let (exchange, challenge) = authenticate.challenge(first);
                return self.core.challenge(exchange, challenge, pigeon_engine::now());
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
            // Who brings messages names no user, so that nobody is anywhere else.
            Outcome::Unavailable | Outcome::Elsewhere(_) => AuthenticationAnswer::Unavailable,
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
            tracing::info!(session = %self.id, message_id = %envelope.id(), %from, bytes = summary.bytes, copies, "message stored");
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

    fn log_refusal(&self, reply: &Reply, failure: Option<&TransferError>, transaction: &Transaction) {
        let counters = &self.context.counters;
        let counter = if reply.is_temporary() {
            &counters.messages_deferred
        } else {
            &counters.messages_refused
        };
        add(counter, 1);
        let (session, message_id) = (self.id, transaction.envelope.id());
        match failure {
            Some(error) if error.is_temporary() => {
                tracing::warn!(%session, %message_id, %reply, %error, "message deferred")
            }
            _ => tracing::info!(%session, %message_id, %reply, "message refused"),
        }
    }
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
