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
use std::task::Poll;
use std::time::Duration;

/// A side that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(300);
/// When a backend dies, the sessions of its silent clients end within this time, and not all at once.
const SPREAD: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Redirected {
    session: SessionId,
    client: Stream,
    backend: Stream,
    relay: Relay,
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
            server,
            redirector,
        }
    }

    /// Until either side ends, or `ended` does.
    pub(super) async fn relay(mut self: Box<Self>, ended: impl Future<Output = ()>) {
        let mut ended = pin!(ended);
        let relayed = poll_fn(|context| {
            let session = &mut *self;
            let relayed = session
                .relay
                .poll(&mut session.client, &mut session.backend, STALLED, context);
            if let Poll::Ready(relayed) = relayed {
                return Poll::Ready(Some(relayed));
            }
            ended.as_mut().poll(context).map(|()| None)
        })
        .await;
        Box::pin(self.close(relayed)).await;
    }

    async fn close(self: Box<Self>, relayed: Option<Relayed>) {
        let Redirected {
            session,
            mut client,
            backend,
            server,
            redirector,
            ..
        } = *self;
        let Some(Relayed {
            forward,
            backward,
            spliced,
            is_asked,
            end,
        }) = relayed
        else {
            tracing::info!(%session, "redirected session ends: control data changed, or the node drains");
            return client.close().await;
        };
        (redirector.count)(RedirectEvent::BytesForward(forward));
        (redirector.count)(RedirectEvent::BytesBackward(backward));
        (redirector.count)(RedirectEvent::BytesSpliced(spliced));
        match end {
            RelayEnd::First => backend.close().await,
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

    fn size_of_future<F>(_: impl FnOnce(Box<Redirected>, std::future::Ready<()>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_that_waits_is_small() {
        let bytes = (size_of::<Redirected>(), size_of_future(Redirected::relay));
        assert!(bytes.0 <= 256 && bytes.1 <= 96, "{bytes:?}");
    }
}
