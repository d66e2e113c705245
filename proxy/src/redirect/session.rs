//! A redirected session after its login: two streams, bytes both ways, and how it ends.
//!
//! There may be many thousands that wait, so this is one small box and no `async fn` until the end.

use super::{RedirectEvent, Redirector, chance};
use crate::session_id::SessionId;
use pigeon_datatree_cache::record::Server;
use pigeon_engine::stream::{Relay, RelayEnd, Relayed, Stream};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A side that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(300);
/// When a backend dies, the sessions of its silent clients end within this time, and not all at once.
const SPREAD: Duration = Duration::from_secs(30);

/// A session in which nothing moved for so long is in the middle of nothing; and a backend that ends one of those has not been
/// asked to.
const SILENCE: Duration = Duration::from_secs(1);

/// Why a redirected session is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At once: its user may not go on.
    Now,
    /// When it is in the middle of nothing: the node ends.
    WhenSilent,
}

/// See the module.
pub(super) struct Redirected {
    session: SessionId,
    client: Stream,
    backend: Stream,
    relay: Relay,
    /// When a byte was last seen.
    moved: Instant,
    server: Arc<Server>,
    redirector: Rc<Redirector>,
}

impl Redirected {
    pub(super) fn new(
        session: SessionId,
        client: Stream,
        backend: Stream,
        server: Arc<Server>,
        redirector: Rc<Redirector>,
    ) -> Redirected {
        Redirected {
            session,
            client,
            backend,
            relay: Relay::default(),
            moved: pigeon_engine::now(),
            server,
            redirector,
        }
    }

    /// Until either side ends, or `ended` does.
    pub(super) async fn relay(mut self: Box<Self>, ended: impl Future<Output = Ending>) {
        let mut ended = pin!(ended);
        let relayed = poll_fn(|context| match self.poll(context) {
            Poll::Ready(relayed) => Poll::Ready(Ok(relayed)),
            Poll::Pending => ended.as_mut().poll(context).map(Err),
        })
        .await;
        Box::pin(async move {
            let relayed = match relayed {
                Ok(relayed) => Some(relayed),
                Err(Ending::Now) => None,
                Err(Ending::WhenSilent) => self.until_silent().await,
            };
            self.close(relayed).await;
        })
        .await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Relayed> {
        let before = self.relay.bytes();
        let polled = self.relay.poll(&mut self.client, &mut self.backend, STALLED, context);
        if self.relay.bytes() != before {
            self.moved = pigeon_engine::now();
        }
        polled
    }

    /// Goes on until nothing moves and nobody waits for an answer; the node's own patience bounds it.
    async fn until_silent(&mut self) -> Option<Relayed> {
        loop {
            let relayed = pigeon_engine::timeout(SILENCE / 4, poll_fn(|context| self.poll(context))).await;
            match relayed {
                Ok(relayed) => return Some(relayed),
                Err(_) if self.is_silent() && !self.relay.is_asked() => return None,
                Err(_) => {}
            }
        }
    }

    fn is_silent(&self) -> bool {
        pigeon_engine::now().saturating_duration_since(self.moved) >= SILENCE
    }

    async fn close(self: Box<Self>, relayed: Option<Relayed>) {
        let is_silent = self.is_silent();
        let (forward, backward) = self.relay.bytes();
        let Redirected {
            session,
            mut client,
            backend,
            server,
            redirector,
            ..
        } = *self;
        (redirector.count)(RedirectEvent::BytesForward(forward));
        (redirector.count)(RedirectEvent::BytesBackward(backward));
        let Some(Relayed {
            spliced, is_asked, end, ..
        }) = relayed
        else {
            tracing::info!(%session, "redirected session ends: control data changed, or the node drains");
            return client.close().await;
        };
        (redirector.count)(RedirectEvent::BytesSpliced(spliced));
        match end {
            // The backend has heard of the client's end, and ended or been silent since.
            RelayEnd::First => {
                drop(backend);
                client.close().await;
            }
            // After a LOGOUT the end comes with the last words. One that comes out of silence is the backend's death.
            RelayEnd::Second if is_silent && !is_asked => {
                tracing::warn!(%session, node = server.name(), "the backend has ended the session");
                linger(&mut client).await;
                client.close().await;
            }
            RelayEnd::Second => client.close().await,
            RelayEnd::FirstFailed(error) => tracing::debug!(%session, %error, "the client's connection failed"),
            RelayEnd::SecondFailed(error) => {
                tracing::warn!(%session, node = server.name(), %error, "the backend's connection failed");
                if !is_asked {
                    linger(&mut client).await;
                }
                client.close().await;
            }
        }
    }
}

/// Keeps a client that waits for nothing, and whose backend is gone, until it says something, or its time is over: so that
/// not all come back at once.
async fn linger(client: &mut Stream) {
    client.set_deadline(Some(pigeon_engine::now() + chance(SPREAD)));
    let _ = client.receive().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: impl FnOnce(Box<Redirected>, std::future::Ready<Ending>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_that_waits_is_small() {
        let bytes = (size_of::<Redirected>(), size_of_future(Redirected::relay));
        assert!(bytes.0 <= 256 && bytes.1 <= 96, "{bytes:?}");
    }
}
