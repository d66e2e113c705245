//! The connections of one core to one peer: a bounded number, one message at a time on each.

use super::connection::Connection;
use super::{
    CONNECT_TIME, CONNECTIONS_MAX, CountRemote, IDLE_MAX, IDLE_TIME, LOOK_TIME, NodeIdentity, PeerState, RemoteError,
    RemoteEvent,
};
use pigeon_datatree_cache::record::{BackendProtocol, Server};
use pigeon_engine::reach::Breaker;
use pigeon_engine::stream::Stream;
use pigeon_engine::sync::{Permit, Semaphore};
use pigeon_proto::lmtp_client::{Failure, Greeting, NodeLogin};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two attempts at a peer that does not answer, with a random quarter more or less, so that cores and nodes do not come
/// at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two words about ports.
const LACKING_PAUSE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Peer {
    identity: NodeIdentity,
    pub(super) count: CountRemote,
    server: RefCell<Arc<Server>>,
    breaker: RefCell<Breaker>,
    permits: Semaphore,
    idle: RefCell<Vec<Idle>>,
    /// A task looks after `idle`.
    tended: Cell<bool>,
    /// A task looks whether it is back.
    sought: Cell<bool>,
    said_lacking: Cell<Option<Instant>>,
    itself: Weak<Peer>,
}

/// Why there is no connection.
enum Unconnected {
    /// It does not answer, or not as it should.
    Failed(Failure),
    /// This node lacks something, of which the peer is not to be blamed.
    Lacking(String),
}

struct Idle {
    connection: Box<Connection<Stream>>,
    since: Instant,
}

/// A connection for one message. In a box, because it passes through many futures, each of which would have room for it and copy
/// it.
pub(super) struct Lease {
    pub(super) connection: Box<Connection<Stream>>,
    _permit: Permit,
}

impl Peer {
    pub(super) fn new(identity: NodeIdentity, count: CountRemote, server: Arc<Server>) -> Rc<Peer> {
        Rc::new_cyclic(|itself| Peer {
            identity,
            count,
            server: RefCell::new(server),
            breaker: RefCell::default(),
            permits: Semaphore::new(CONNECTIONS_MAX),
            idle: RefCell::default(),
            tended: Cell::new(false),
            sought: Cell::new(false),
            said_lacking: Cell::new(None),
            itself: itself.clone(),
        })
    }

    /// As control data has it now. Another address or key is another server: connections that wait are closed.
    pub(super) fn set_server(&self, server: &Arc<Server>) {
        let before = self.server.replace(server.clone());
        if before.generation() != server.generation() {
            self.idle.borrow_mut().clear();
            self.breaker.borrow_mut().succeeded();
        }
    }

    pub(super) fn name(&self) -> String {
        self.server.borrow().name().to_owned()
    }

    pub(super) fn state(&self) -> PeerState {
        let in_use = CONNECTIONS_MAX.saturating_sub(self.permits.available());
        PeerState {
            name: self.name(),
            is_away: self.is_away(),
            connections: in_use + self.idle.borrow().len(),
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.breaker.borrow().is_open()
    }

    /// A connection that waits, or a new one.
    pub(super) async fn lease(&self, fresh: bool) -> Result<Lease, RemoteError> {
        if self.is_away() {
            return Err(RemoteError::OutOfReach("it did not answer a moment ago".to_owned()));
        }
        let permit = pigeon_engine::timeout(CONNECT_TIME, self.permits.acquire(1)).await;
        let permit = permit.map_err(|_| RemoteError::OutOfReach("all connections to it are busy".to_owned()))?;
        let waiting = || if fresh { None } else { self.idle.borrow_mut().pop() };
        while let Some(mut idle) = waiting() {
            if idle.connection.is_fresh().await {
                return Ok(Lease {
                    connection: idle.connection,
                    _permit: permit,
                });
            }
        }
        // Rare: most messages find a connection that waits, and need no room for making one.
        match Box::pin(self.connect()).await {
            Ok(connection) => {
                self.breaker.borrow_mut().succeeded();
                Ok(Lease {
                    connection,
                    _permit: permit,
                })
            }
            Err(Unconnected::Failed(failure)) => {
                self.failed(&failure, false);
                Err(RemoteError::OutOfReach(failure.to_string()))
            }
            Err(Unconnected::Lacking(why)) => Err(RemoteError::OutOfReach(why)),
        }
    }

    /// For a peer to take a piece of a message, and to answer at its end.
    pub(super) fn answer_time(&self) -> Duration {
        self.identity.answer_time
    }

    /// Whether it answers now; a connection that shows it is kept.
    pub(super) async fn look(&self) -> bool {
        match pigeon_engine::timeout(LOOK_TIME, self.connect()).await {
            Ok(Ok(connection)) => {
                self.breaker.borrow_mut().succeeded();
                self.keep(connection).await;
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The message of this lease is over, and the peer waits for the next.
    pub(super) async fn release(&self, lease: Lease) {
        self.breaker.borrow_mut().succeeded();
        self.keep(lease.connection).await;
    }

    async fn keep(&self, mut connection: Box<Connection<Stream>>) {
        // This also asks the ring to tell when the peer ends it.
        if self.idle.borrow().len() >= IDLE_MAX || !connection.is_fresh().await {
            return;
        }
        connection.reused = true;
        self.idle.borrow_mut().push(Idle {
            connection,
            since: pigeon_engine::now(),
        });
        if !self.tended.replace(true) {
            pigeon_engine::spawn(tend(self.itself.clone()));
        }
    }

    /// A connection or an attempt at one has failed.
    pub(super) fn failed(&self, failure: &Failure, hung: bool) {
        (self.count)(RemoteEvent::Failed);
        let peer = self.name();
        match failure {
            Failure::Unavailable(why) => tracing::warn!(peer, why, "another node does not take mail now"),
            Failure::Misconfigured(why) => {
                tracing::error!(
                    peer,
                    why,
                    "another node does not let this one in: check pigeonKey and cluster.key_file"
                );
            }
            Failure::Garbage(why) => tracing::error!(peer, why, "another node is not to be understood"),
        }
        self.idle.borrow_mut().clear();
        let now = self.identity.reach.now();
        let has_opened = self.breaker.borrow_mut().failed(now, hung);
        if has_opened && !self.sought.replace(true) {
            pigeon_engine::spawn(find_again(self.itself.clone()));
        }
    }

    /// What this node lacks for a connection. A word for each message would be too many.
    fn lacks(&self, host: &str, port: u16, error: &io::Error) -> String {
        let peer = self.name();
        let is_port = error.kind() == io::ErrorKind::AddrNotAvailable;
        (self.count)(match is_port {
            true => RemoteEvent::NoPort,
            false => RemoteEvent::Failed,
        });
        let now = pigeon_engine::now();
        let said = self.said_lacking.get();
        let is_due = said.is_none_or(|said| now.saturating_duration_since(said) >= LACKING_PAUSE);
        if is_due {
            self.said_lacking.set(Some(now));
        }
        match (is_port, is_due) {
            (true, true) => tracing::error!(
                peer,
                host,
                port,
                "all local ports are in use for mail to another node: see net.ipv4.ip_local_port_range"
            ),
            (false, true) => {
                tracing::error!(peer, host, port, %error, "this node lacks what a connection to another takes");
            }
            (_, false) => {}
        }
        match is_port {
            true => format!("no local port is left for {host} port {port}"),
            false => format!("{host} port {port}: {error}"),
        }
    }

    async fn connect(&self) -> Result<Box<Connection<Stream>>, Unconnected> {
        let server = self.server.borrow().clone();
        let greeting = || Greeting {
            host_name: self.identity.host_name.clone(),
            // Who has a key is a node of ours, and must prove it.
            login: server.keys().next().map(|_| NodeLogin {
                node: self.identity.node.clone(),
                nonce: uuid::Uuid::new_v4().simple().to_string(),
            }),
        };
        // A server of another kind may be anywhere.
        let source = server.keys().next().and(self.identity.source);
        let none = "control data has no private address for LMTP of it".to_owned();
        let mut last = Unconnected::Failed(Failure::Unavailable(none));
        for (host, port) in server.backends(BackendProtocol::Lmtp) {
            let deadline = pigeon_engine::now() + CONNECT_TIME;
            let connected = self
                .identity
                .reach
                .connect(server.name(), (host, port), source, deadline)
                .await;
            let connection = match connected {
                Ok(connection) => connection,
                // As `Reach::connect` has them.
                Err(error) if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Other) => {
                    last = Unconnected::Lacking(self.lacks(host, port, &error));
                    continue;
                }
                Err(error) => {
                    last = Unconnected::Failed(Failure::Unavailable(format!("{host} port {port}: {error}")));
                    continue;
                }
            };
            let patience = deadline.saturating_duration_since(pigeon_engine::now());
            let stream = Stream::plain(connection);
            match Connection::open(stream, greeting(), &self.identity.keys, patience).await {
                Ok(connection) => {
                    (self.count)(RemoteEvent::Connected);
                    return Ok(Box::new(connection));
                }
                Err(failure) => last = Unconnected::Failed(failure),
            }
        }
        Err(last)
    }
}

/// Tries a peer that does not answer until it does, or until control data has another of its name, or none.
async fn find_again(peer: Weak<Peer>) {
    loop {
        pigeon_engine::sleep(PAUSE.mul_f64(0.75 + 0.5 * f64::from(chance()) / 255.0)).await;
        let Some(peer) = peer.upgrade() else { return };
        match (peer.identity.servers)(&peer.name()) {
            Some(server) => peer.set_server(&server),
            None if peer.is_away() => {
                tracing::info!(
                    peer = peer.name(),
                    "a node that is away is not in the server_map any more"
                );
                peer.idle.borrow_mut().clear();
                // If it comes back it is another one.
                peer.breaker.borrow_mut().succeeded();
            }
            None => {}
        }
        if !peer.is_away() {
            peer.sought.set(false);
            return;
        }
        let generation = peer.server.borrow().generation();
        let Ok(connection) = peer.connect().await else { continue };
        if peer.server.borrow().generation() == generation {
            tracing::info!(peer = peer.name(), "another node takes mail again");
            peer.breaker.borrow_mut().succeeded();
            peer.keep(connection).await;
        }
    }
}

/// Closes connections that have waited long enough, until none waits.
async fn tend(peer: Weak<Peer>) {
    loop {
        pigeon_engine::sleep(IDLE_TIME / 4).await;
        let Some(peer) = peer.upgrade() else { return };
        let now = pigeon_engine::now();
        let is_young = |idle: &Idle| now.saturating_duration_since(idle.since) < IDLE_TIME;
        peer.idle.borrow_mut().retain(is_young);
        if peer.idle.borrow().is_empty() {
            peer.tended.set(false);
            return;
        }
    }
}

/// A random byte.
fn chance() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}
