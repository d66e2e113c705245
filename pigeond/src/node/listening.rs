//! From a listener to a session of its service.

use super::core::{CoreNode, node};
use super::standing::greeting;
use crate::config::{Listener as Configured, Service};
use crate::status::Counter;
use futures_util::future::LocalBoxFuture;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::stream::Stream;
use pigeon_proxy::SessionId;
use pigeon_proxy::accept::{AcceptError, AcceptPolicy, greet};
use pigeon_proxy::connections::{ConnectionLimits, ConnectionPermit};
use pigeon_proxy::login::{self, LoginContext};
use pigeon_proxy::smtp::{self, SmtpContext};
use std::rc::Rc;
use std::time::Duration;

/// For a client that does not read why it is turned away; a guess.
const TURN_AWAY_TIME: Duration = Duration::from_secs(10);

/// What a session of a listener runs with.
#[derive(Clone)]
enum Context {
    Smtp(Rc<SmtpContext>),
    Pop3(Rc<LoginContext>),
    Imap(Rc<LoginContext>),
}

struct Door {
    node: Rc<CoreNode>,
    service: Service,
    policy: AcceptPolicy,
    context: Context,
}

/// Opens all configured listeners on this core.
pub(super) async fn listen() -> Result<(), String> {
    let Some(node) = node() else {
        return Err("the core has ended".to_owned());
    };
    node.start_queue();
    for configured in node.shared.config.all_listeners() {
        let listener = Listener::bind(configured.address)
            .map_err(|error| format!("listener {} {}: {error}", configured.service, configured.address))?;
        let door = Rc::new(open_door(&node, &configured));
        node.keep_listener(pigeon_engine::spawn(take_connections(listener, door)));
    }
    Ok(())
}

fn open_door(node: &Rc<CoreNode>, configured: &Configured) -> Door {
    let contexts = &node.contexts;
    let context = match configured.service {
        Service::Smtp | Service::Lmtp | Service::Submission | Service::Submissions => {
            Context::Smtp(contexts.smtp(configured))
        }
        Service::Pop3 | Service::Pop3s => Context::Pop3(contexts.login(configured)),
        Service::Imap | Service::Imaps => Context::Imap(contexts.login(configured)),
        Service::BackendPop3 | Service::BackendPop3s => Context::Pop3(contexts.backend(configured)),
        Service::BackendImap | Service::BackendImaps => Context::Imap(contexts.backend(configured)),
        Service::BackendLmtp => Context::Smtp(contexts.backend_lmtp(configured)),
    };
    Door {
        node: node.clone(),
        service: configured.service,
        policy: contexts.accept_policy(configured),
        context,
    }
}

async fn take_connections(listener: Listener, door: Rc<Door>) {
    loop {
        match listener.accept().await {
            Ok(connection) => {
                let id = door.node.ids.next();
                door.node
                    .run_session(door.service, |_| session(connection, id, door.clone()));
            }
            Err(error) => {
                tracing::error!(service = %door.service, %error, "the listener has failed, and takes no more connections");
                return;
            }
        }
    }
}

/// What is long over when a session waits is on the heap for that long only, and each protocol's future is as large as its
/// own: an idle session is small.
async fn session(connection: Connection, id: SessionId, door: Rc<Door>) {
    let Some((served, permit)) = Box::pin(open(connection, id, door)).await else {
        return;
    };
    served.await;
    drop(permit);
}

/// Does what comes before the protocol. `None`: the connection is not taken.
async fn open(
    connection: Connection,
    id: SessionId,
    door: Rc<Door>,
) -> Option<(LocalBoxFuture<'static, ()>, ConnectionPermit)> {
    let limits = match connection.is_one_too_many() {
        true => ConnectionLimits::new(0, 0),
        false => door.node.limits.clone(),
    };
    let (stream, permit) = match greet(Stream::plain(connection), &door.policy, &limits).await {
        Ok(greeted) => greeted,
        Err(error) => {
            let counter = match &error {
                AcceptError::Crowded(_) => Some(Counter::SessionsRefused),
                AcceptError::Tls(_) => Some(Counter::TlsFailures),
                AcceptError::NotAdmitted => {
                    tracing::warn!(session = %id, service = %door.service, %error, "connection closed");
                    Some(Counter::RedirectorsRefused)
                }
                AcceptError::Proxy(_) | AcceptError::Header(_) => None,
            };
            if let Some(counter) = counter {
                door.node.counters().count(counter);
            }
            tracing::debug!(session = %id, service = %door.service, %error, "connection not taken");
            return None;
        }
    };
    if stream.tls().is_some() {
        door.node.counters().count(Counter::TlsHandshakes);
    }
    if let Some(turned_away) = door.node.standing().turns_away(door.service) {
        door.node.counters().count(turned_away.counter());
        tracing::debug!(session = %id, service = %door.service, why = turned_away.why(), "connection not taken");
        turn_away(stream, door.service).await;
        return None;
    }
    let served: LocalBoxFuture<'static, ()> = match &door.context {
        Context::Smtp(context) => Box::pin(smtp::serve(stream, id, context.clone())),
        Context::Pop3(context) => Box::pin(login::pop3::serve(stream, id, context.clone())),
        Context::Imap(context) => Box::pin(login::imap::serve(stream, id, context.clone())),
    };
    Some((served, permit))
}

/// The client is told, and comes again.
async fn turn_away(mut stream: Stream, service: Service) {
    stream.set_deadline(Some(pigeon_engine::now() + TURN_AWAY_TIME));
    if stream.send(greeting(service)).await.is_ok() {
        stream.close().await;
    }
}
