//! Drives a login's core over a stream.

use super::LoginContext;
use crate::authenticate::{Attempt, Outcome, ProofAttempt};
use crate::backend::{Login, Opening};
use crate::drain::DrainHandle;
use crate::session_id::SessionId;
use futures_util::future::{Either, select};
use pigeon_datatree_cache::Service;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::{Claim, Exchange};
use pigeon_proto::transfer;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What a core asks of the driver. Output written before the event is sent first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Send the output, then go on with the rest of the input.
    Flush,
    /// Check this, then call `refused` or `challenge`, or hand over. What is left of the input goes with the stream.
    Check(Claim),
    /// Do the handshake. What is left of the input came in the clear, and makes the handshake fail.
    StartTls,
    /// Close.
    Close,
}

/// Whether a node logs in to fetch the account.
pub(crate) fn is_transfer(received: &Received) -> bool {
    let mut forwarded = received.forwarded.iter();
    forwarded.any(|(name, value)| name == transfer::PURPOSE && value == transfer::VERSION)
}

/// Why a login failed, in what the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Credentials,
    NotAllowed,
    Temporary,
}

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It took too long to log in.
    TimedOut,
    /// The node stops.
    Draining,
}

/// A protocol up to the login, as a value.
pub(super) trait LoginCore: 'static {
    const SERVICE: Service;

    /// Takes bytes off the front of `input` up to the next event; `None` when it is used up.
    fn next_event(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event>;

    /// The check failed; writes the answer.
    fn refused(&mut self, refusal: Refusal, out: &mut Vec<u8>);

    /// The check needs another word of the client; writes the question.
    fn challenge(&mut self, exchange: Exchange, challenge: &str, out: &mut Vec<u8>);

    /// What a redirector said of the session.
    fn take_received(&mut self) -> Received;

    /// The check succeeded: what the backend goes on with.
    fn opening(&mut self) -> Opening;

    /// TLS is on.
    fn tls_started(&mut self);

    /// Writes what is said to a client that is sent away.
    fn farewell(&self, reason: Farewell, out: &mut Vec<u8>);
}

/// A connection before its login. It is moved about in its box, which keeps the future of a silent client small.
struct Session<S, C> {
    stream: S,
    core: C,
    id: SessionId,
    context: Rc<LoginContext<S>>,
    drain: DrainHandle,
}

/// From the greeting, which is in `greeting`, to the end of the connection or its hand-over.
pub(super) fn serve<S: ByteStream, C: LoginCore>(
    stream: S,
    core: C,
    greeting: Vec<u8>,
    id: SessionId,
    context: Rc<LoginContext<S>>,
) -> impl Future<Output = ()> {
    let drain = context.drain.register();
    Box::new(Session {
        stream,
        core,
        id,
        context,
        drain,
    })
    .run(greeting)
}

impl<S: ByteStream, C: LoginCore> Session<S, C> {
    async fn run(mut self: Box<Self>, greeting: Vec<u8>) {
        self.stream.set_timeout(Some(self.context.timeout));
        if self.send(greeting).await.is_err() {
            return;
        }
        loop {
            let received = match select(pin!(self.stream.receive()), pin!(self.drain.begun())).await {
                Either::Left((received, _)) => Some(received),
                Either::Right(_) => None,
            };
            let chunk = match received {
                Some(Ok(Some(chunk))) => chunk,
                Some(Ok(None)) => return Box::pin(self.stream.close()).await,
                Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    return Box::pin(self.send_away(Farewell::TimedOut)).await;
                }
                Some(Err(_)) => return,
                None => return Box::pin(self.send_away(Farewell::Draining)).await,
            };
            let mut rest = &chunk[..];
            let mut out = Vec::new();
            let event = self.core.next_event(&mut rest, &mut out);
            if !rest.is_empty() {
                self.stream.put_back(rest);
            }
            drop(chunk);
            self = match Box::pin(self.act(out, event)).await {
                Some(session) => session,
                None => return,
            };
        }
    }

    /// Sends the output and does what the core asks for; gives the session back when it goes on.
    async fn act(mut self: Box<Self>, out: Vec<u8>, event: Option<Event>) -> Option<Box<Self>> {
        self.send(out).await.ok()?;
        match event {
            None | Some(Event::Flush) => Some(self),
            Some(Event::Close) => {
                self.stream.close().await;
                None
            }
            Some(Event::StartTls) => self.start_tls().await,
            Some(Event::Check(claim)) => self.check(claim).await,
        }
    }

    async fn start_tls(self: Box<Self>) -> Option<Box<Self>> {
        let Session {
            stream,
            mut core,
            id,
            context,
            drain,
        } = *self;
        let acceptor = context
            .tls
            .as_ref()
            .expect("STARTTLS is on offer only where there is a certificate");
        let stream = match stream.start_tls(acceptor).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(session = %id, %error, "TLS handshake failed");
                return None;
            }
        };
        core.tls_started();
        stream.set_timeout(Some(context.timeout));
        Some(Box::new(Session {
            stream,
            core,
            id,
            context,
            drain,
        }))
    }

    async fn check(mut self: Box<Self>, claim: Claim) -> Option<Box<Self>> {
        let (session, peer) = (self.id, self.stream.peer_address().ip());
        let trusted = self.context.trusts(peer);
        let service = C::SERVICE;
        let authenticate = &self.context.authenticate;
        let redirected;
        let mut taker = None;
        let checking = match claim {
            Claim::Password(credentials) => {
                let mut received = self.core.take_received();
                // Accounts are fetched by who has proven itself and had us prove ourselves.
                received.forwarded.retain(|(name, _)| name != transfer::PURPOSE);
                redirected = (received.client, received.connected);
                authenticate.check(Attempt {
                    session,
                    credentials,
                    received,
                    peer,
                    trusted,
                    service,
                })
            }
            Claim::Scram(proof) => {
                let received = self.core.take_received();
                redirected = (received.client, received.connected);
                if self.context.redirectors && is_transfer(&received) {
                    taker = Some(Arc::from(proof.name.as_str()));
                }
                authenticate.check_proof(ProofAttempt {
                    session,
                    proof,
                    received,
                    peer,
                    trusted,
                    service,
                })
            }
            Claim::ScramFirst(first) => {
                let (exchange, challenge) = authenticate.challenge(first);
                let mut out = Vec::new();
                self.core.challenge(exchange, &challenge, &mut out);
                self.send(out).await.ok()?;
                return Some(self);
            }
        };
        let refusal = match checking.await {
            Outcome::Accepted(account) => {
                let Session {
                    mut stream,
                    mut core,
                    id,
                    context,
                    ..
                } = *self;
                stream.set_timeout(None);
                // Of a redirect: who the client is, for limits and logs. The node that says so has logged in.
                if let (Some(client), Some(connected)) = redirected {
                    stream.set_addresses(client, connected);
                }
                let login = Login {
                    account,
                    session: id,
                    opening: core.opening(),
                    taker,
                };
                context.backend.hand_over(login, stream).await;
                return None;
            }
            Outcome::Elsewhere(place) => {
                let answer = self.core.opening().referral(&place);
                if self.stream.send(answer).await.is_ok() {
                    self.stream.close().await;
                }
                return None;
            }
            Outcome::Refused => Refusal::Credentials,
            Outcome::NotAllowed => Refusal::NotAllowed,
            Outcome::Unavailable => Refusal::Temporary,
        };
        let mut out = Vec::new();
        self.core.refused(refusal, &mut out);
        // It may have been one too many.
        let closing = self.core.next_event(&mut &[][..], &mut out) == Some(Event::Close);
        self.send(out).await.ok()?;
        if closing {
            self.stream.close().await;
            return None;
        }
        Some(self)
    }

    async fn send_away(mut self: Box<Self>, farewell: Farewell) {
        let mut out = Vec::new();
        self.core.farewell(farewell, &mut out);
        // The deadline may have passed, for sending too: give the farewell a second.
        self.stream.set_timeout(Some(Duration::from_secs(1)));
        if self.send(out).await.is_ok() {
            self.stream.close().await;
        }
    }

    async fn send(&mut self, out: Vec<u8>) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        Box::pin(self.stream.send(out.into())).await
    }
}
