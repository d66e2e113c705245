//! Sessions of accounts that another node owns: from the login on this core to the redirector, and back to nothing.

use super::core::{SessionKey, node};
use super::joins::refuse;
use super::shared::Shared;
use crate::config::Service;
use crate::status::Counter;
use futures_util::FutureExt;
use futures_util::future::Either;
use pigeon_datatree_cache::record::{BackendProtocol, NodeState, Server};
use pigeon_datatree_cache::{CoreCopy, Owner};
use pigeon_engine::current_core;
use pigeon_engine::reach::Reach;
use pigeon_engine::stream::Stream;
use pigeon_proxy::redirect::{Ending, KeysFor, RedirectEvent, Redirector};
use pigeon_proxy::{Login, Opening};
use pigeon_serve::imap::EndReason;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// For a node that does not read what it is told.
const REFERRAL_TIME: Duration = Duration::from_secs(10);

/// Whose the account of a login is. `None`: to be told as a temporary failure; the log says why.
pub(super) fn owner(service: Service, login: &Login) -> Option<Owner> {
    // What another node redirected is for here: it was checked at the login, and goes no further.
    if service.is_backend() {
        return Some(Owner::Here);
    }
    let node = node()?;
    let this = node.shared.config.cluster.as_ref().map(|cluster| cluster.node.as_str());
    let owner = node.copy.snapshot().owner_of(&login.account, this);
    if let Owner::Nowhere(why) = &owner {
        tracing::error!(session = %login.session, dn = login.account.dn(), %why, "nobody owns the account");
        return None;
    }
    if let Owner::Node(server) = &owner
        && server.state() == NodeState::Down
    {
        node.counters().count(Counter::OwnersDown);
        tracing::info!(session = %login.session, node = server.name(), "the account's node is down, by control data");
        return None;
    }
    Some(owner)
}

/// Redirects a session of this core. It counts as one of its service from here on, so that changes of control data find it.
pub(super) async fn redirect(service: Service, unlimited: bool, login: Login, stream: Stream, server: Arc<Server>) {
    let Some(node) = node() else { return };
    let Some(redirector) = node.contexts.redirector.clone() else {
        return refuse(stream, &login.opening).await;
    };
    node.clone().run_session(service, |key| {
        let Ok(permit) = node.limits.admit(stream.peer_address().ip(), unlimited) else {
            node.counters().count(Counter::SessionsRefused);
            return Either::Left(Box::pin(async move { refuse(stream, &login.opening).await }));
        };
        let end = node.session_end(key, service, &login.account);
        node.note(key, login.session, stream.peer_address(), Some(&server));
        let ended = async move { ending(end.ended().await) };
        // Not an async block, which would have room for all of this while the session waits.
        Either::Right(redirector.run(login, stream, server, ended).map(move |()| drop(permit)))
    });
}

fn ending(reason: EndReason) -> Ending {
    match reason {
        EndReason::Draining => Ending::WhenSilent,
        EndReason::AccessEnded => Ending::Now,
    }
}

/// Redirects a session that is one of this core already.
pub(super) async fn redirect_here(
    service: Service,
    key: SessionKey,
    login: Login,
    stream: Stream,
    server: Arc<Server>,
) {
    let Some(node) = node() else { return };
    let Some(redirector) = node.contexts.redirector.clone() else {
        return refuse(stream, &login.opening).await;
    };
    let end = node.session_end(key, service, &login.account);
    node.note(key, login.session, stream.peer_address(), Some(&server));
    let ended = async move { ending(end.ended().await) };
    Box::pin(redirector.run(login, stream, server, ended)).await;
}

/// Tells the node that redirected a session where the account is.
pub(super) async fn refer(server: &Server, login: &Login, mut stream: Stream) {
    let protocol = match login.opening {
        Opening::Imap { .. } => BackendProtocol::Imap,
        Opening::Pop3 { .. } => BackendProtocol::Pop3,
    };
    let Some((host, port)) = server.backends(protocol).next() else {
        tracing::error!(session = %login.session, node = server.name(), "the node has no private address");
        return refuse(stream, &login.opening).await;
    };
    if let Some(node) = node() {
        node.counters().count(Counter::RedirectsReferred);
    }
    let answer = login.opening.referral(&pigeon_proxy::Place {
        user: login.account.name().to_owned(),
        host: host.to_owned(),
        port,
    });
    stream.set_deadline(Some(pigeon_engine::now() + REFERRAL_TIME));
    if stream.send(answer).await.is_ok() {
        stream.close().await;
    }
}

/// The redirector of this core, for a node in a cluster.
pub(super) fn redirector(
    shared: &Arc<Shared>,
    copy: &Rc<CoreCopy>,
    keys: KeysFor,
    reach: Reach,
) -> Option<Rc<Redirector>> {
    let cluster = shared.cluster.as_ref()?;
    let counted = shared.clone();
    let count = move |event| {
        let counters = &counted.counters[usize::from(current_core().0)];
        match event {
            RedirectEvent::Redirected => counters.count(Counter::SessionsRedirected),
            RedirectEvent::Unavailable => counters.count(Counter::BackendsUnavailable),
            RedirectEvent::NoPort => counters.count(Counter::BackendPortsExhausted),
            RedirectEvent::Misconfigured => counters.count(Counter::BackendsMisconfigured),
            RedirectEvent::Referred => counters.count(Counter::ReferralsFollowed),
            RedirectEvent::Astray => counters.count(Counter::ReferralsAstray),
            RedirectEvent::BytesForward(bytes) => counters.add(Counter::RedirectedBytesIn, bytes),
            RedirectEvent::BytesBackward(bytes) => counters.add(Counter::RedirectedBytesOut, bytes),
            RedirectEvent::BytesSpliced(bytes) => counters.add(Counter::RedirectedBytesSpliced, bytes),
        }
    };
    Some(Rc::new(Redirector::new(
        &cluster.node,
        keys,
        copy.clone(),
        reach,
        shared
            .config
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.private_address),
        count,
    )))
}
