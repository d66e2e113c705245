//! Drives a login's core over a stream.

use super::LoginContext;
use crate::authenticate::{Attempt, Outcome};
use crate::backend::{Login, Opening};
use crate::session_id::SessionId;
use pigeon_datatree_cache::Service;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::sasl::Credentials;
use std::io;
use std::rc::Rc;

/// What a core asks of the driver. Output written before the event is sent first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Send the output, then go on with the rest of the input.
    Flush,
    /// Check these, then call `refused`, or hand over. What is left of the input goes with the stream.
    Check(Credentials),
    /// Do the handshake. What is left of the input came in the clear, and makes the handshake fail.
    StartTls,
    /// Close.
    Close,
}

/// Why a login failed, in what the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Credentials,
    NotAllowed,
    Temporary,
}

/// A protocol up to the login, as a value.
pub(super) trait LoginCore: 'static {
    const SERVICE: Service;

    /// Takes bytes off the front of `input` up to the next event; `None` when it is used up.
    fn next_event(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event>;

    /// The check failed; writes the answer.
    fn refused(&mut self, refusal: Refusal, out: &mut Vec<u8>);

    /// The check succeeded: what the backend goes on with.
    fn opening(&mut self) -> Opening;

    /// TLS is on.
    fn tls_started(&mut self);

    /// Writes what is said to a client that took too long.
    fn timed_out(&self, out: &mut Vec<u8>);
}

/// From the greeting, which is in `greeting`, to the end of the connection or its hand-over.
pub(super) async fn serve<S: ByteStream, C: LoginCore>(
    mut stream: S,
    mut core: C,
    greeting: Vec<u8>,
    session: SessionId,
    context: Rc<LoginContext<S>>,
) {
    stream.set_timeout(Some(context.timeout));
    if send(&mut stream, greeting).await.is_err() {
        return;
    }
    loop {
        let chunk = match stream.receive().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Box::pin(stream.close()).await,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Box::pin(time_out(stream, core)).await;
            }
            Err(_) => return,
        };
        let mut rest = &chunk[..];
        let mut out = Vec::new();
        let event = core.next_event(&mut rest, &mut out);
        if !rest.is_empty() {
            stream.put_back(rest);
        }
        drop(chunk);
        if send(&mut stream, out).await.is_err() {
            return;
        }
        match event {
            None | Some(Event::Flush) => {}
            Some(event) => match Box::pin(act(event, stream, core, session, context.clone())).await {
                Some((next_stream, next_core)) => (stream, core) = (next_stream, next_core),
                None => return,
            },
        }
    }
}

/// Does what the core asks for; gives both back when the session goes on.
async fn act<S: ByteStream, C: LoginCore>(
    event: Event,
    mut stream: S,
    mut core: C,
    session: SessionId,
    context: Rc<LoginContext<S>>,
) -> Option<(S, C)> {
    match event {
        Event::Flush => Some((stream, core)),
        Event::Close => {
            stream.close().await;
            None
        }
        Event::StartTls => {
            let acceptor = context
                .tls
                .as_ref()
                .expect("STARTTLS is on offer only where there is a certificate");
            stream = match stream.start_tls(acceptor).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%session, %error, "TLS handshake failed");
                    return None;
                }
            };
            core.tls_started();
            stream.set_timeout(Some(context.timeout));
            Some((stream, core))
        }
        Event::Check(credentials) => {
            let attempt = Attempt {
                session,
                credentials,
                peer: stream.peer_address().ip(),
                service: C::SERVICE,
            };
            let refusal = match context.authenticate.check(attempt).await {
                Outcome::Accepted(account) => {
                    stream.set_timeout(None);
                    let login = Login {
                        account,
                        session,
                        opening: core.opening(),
                    };
                    context.backend.hand_over(login, stream).await;
                    return None;
                }
                Outcome::Refused => Refusal::Credentials,
                Outcome::NotAllowed => Refusal::NotAllowed,
                Outcome::Unavailable => Refusal::Temporary,
            };
            let mut out = Vec::new();
            core.refused(refusal, &mut out);
            send(&mut stream, out).await.ok()?;
            Some((stream, core))
        }
    }
}

async fn time_out<S: ByteStream>(mut stream: S, core: impl LoginCore) {
    let mut out = Vec::new();
    core.timed_out(&mut out);
    // The deadline has passed for sending, too: give the farewell a second.
    stream.set_timeout(Some(std::time::Duration::from_secs(1)));
    if send(&mut stream, out).await.is_ok() {
        stream.close().await;
    }
}

async fn send<S: ByteStream>(stream: &mut S, out: Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    Box::pin(stream.send(out.into())).await
}
