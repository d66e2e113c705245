//! Sessions of accounts whose mail is on another node: a connection there, a login as this node for the user, and from then
//! on nothing but bytes.
//!
//! One [`Redirector`] a core. The password of the user was checked before and goes nowhere. Whatever fails ends in a
//! temporary failure for the client, never in "wrong password": the password was right. A backend that is gone is asked by
//! one attempt at a time (`pigeon_engine::reach`). A backend may refer to another node of the server_map; nobody is followed anywhere else.

mod session;

pub use session::Ending;

use crate::backend::{Login, Opening};
use crate::session_id::SessionId;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, LocalBoxFuture, ready};
use pigeon_datatree_cache::CoreCopy;
use pigeon_datatree_cache::record::{BackendProtocol, Server};
use pigeon_engine::reach::{Breaker, Permit, Reach};
use pigeon_engine::stream::Stream;
use pigeon_proto::redirect::imap::ImapRedirect;
use pigeon_proto::redirect::pop3::Pop3Redirect;
use pigeon_proto::redirect::{Answer, Event, Outcome, Redirect, Referral, SessionData};
use pigeon_proto::sasl::scram::client::ClientKeys;
use pigeon_proto::transfer;
use session::Redirected;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Attempts for one login.
const ATTEMPTS_MAX: u32 = 3;
/// Between two of them, less up to a half by chance.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Redirects that a session may go through: to the owner, and three referrals. The last backend is told of one more, since with
/// none left it would refuse.
const HOPS_MAX: u8 = REFERRALS_MAX + 2;
/// Referrals that are followed.
const REFERRALS_MAX: u8 = 3;
/// For a connection to be made on the private network.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// For the whole login at the backend.
const LOGIN_TIME: Duration = Duration::from_secs(15);
/// For a client that does not read the answer to its login.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Between two words about ports.
const NO_PORT_PAUSE: Duration = Duration::from_secs(10);
const NO_PORT: &str = "no local port is left for connections to it";

/// What became of redirects, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectEvent {
    /// A session was redirected.
    Redirected,
    /// The backend could not be reached, or asked to come again.
    Unavailable,
    /// All ports of this node are in use for connections to the backend.
    NoPort,
    /// The backend refused this node, or was not the right one: for a person to mend.
    Misconfigured,
    /// A backend referred to another node, which was asked next.
    Referred,
    /// A backend referred to where no node is, or once too often: the nodes do not agree whose the account is.
    Astray,
    /// So many bytes from clients to backends.
    BytesForward(u64),
    /// So many bytes from backends to clients.
    BytesBackward(u64),
    /// So many of both went through pipes instead of being copied.
    BytesSpliced(u64),
}

/// Derives this node's keys for a salt and a count, or finds them; off the core. `None`: too much to do.
pub type KeysFor = Rc<dyn Fn(Vec<u8>, u32) -> LocalBoxFuture<'static, Option<ClientKeys>>>;

/// Redirects sessions of one core.
pub struct Redirector {
    node: String,
    keys: KeysFor,
    copy: Rc<CoreCopy>,
    reach: Reach,
    backends: RefCell<HashMap<(String, BackendProtocol), Breaker>>,
    count: Box<dyn Fn(RedirectEvent)>,
    source: Option<IpAddr>,
    /// When it was last said that there is no port left.
    said_no_port: Cell<Option<Instant>>,
}

/// Why no backend took the session, in what the client may know.
#[derive(Debug)]
enum Failure {
    /// Come again.
    Unavailable,
    /// The backend's own words for the client.
    PassOn(String),
}

/// Why one attempt failed.
#[derive(Debug)]
enum Attempt {
    /// The next may succeed: nobody is there, or nobody answers.
    Again(String),
    /// The next may succeed: the backend has answered, or it is this node that lacks something.
    Busy(String),
    /// The next may succeed: nobody was asked, because somebody has found a moment ago that nobody is there.
    NotTried(String),
    /// The next may succeed: this node has no port left for connections there.
    NoPort,
    /// All further ones would fail in the same way.
    Misconfigured(String),
    PassOn(String),
    Elsewhere(Referral),
}

/// A backend to ask: a node and, where it was referred to, which of its places.
struct Way {
    server: Arc<Server>,
    place: Option<(String, u16)>,
    hops_left: u8,
}

impl Redirector {
    /// For the node of this id, which has these keys, and connects from `source` where it is given. Referrals are followed to nodes
    /// of the copy's server_map; `reach` is the core's; `count` is told what happens.
    pub fn new(
        node: &str,
        keys: KeysFor,
        copy: Rc<CoreCopy>,
        reach: Reach,
        source: Option<IpAddr>,
        count: impl Fn(RedirectEvent) + 'static,
    ) -> Redirector {
        Redirector {
            node: node.to_owned(),
            keys,
            copy,
            reach,
            backends: RefCell::default(),
            count: Box::new(count),
            source,
            said_no_port: Cell::new(None),
        }
    }

    /// The backends of which something is known: node, protocol, and whether it is out of reach. Nothing is known of one that was
    /// out of reach, and that nobody has tried for some seconds.
    pub fn backends(&self) -> Vec<(String, BackendProtocol, bool)> {
        let now = self.reach.now();
        let backends = self.backends.borrow();
        let known = backends
            .iter()
            .filter(|(_, breaker)| !breaker.is_open() || breaker.is_known_gone(now));
        known
            .map(|((node, protocol), breaker)| (node.clone(), *protocol, breaker.is_open()))
            .collect()
    }

    /// Redirects a session that has logged in to `server`, until it ends or `ended` does: then the client's connection is
    /// closed, for nobody knows where in the dialogue it is.
    ///
    /// What has room for a login is dropped before the session begins to wait, and not an `async fn`, which would have room
    /// for its arguments for ever.
    pub fn run(
        self: Rc<Self>,
        login: Login,
        client: Stream,
        server: Arc<Server>,
        ended: impl Future<Output = Ending>,
    ) -> impl Future<Output = ()> {
        let begun = Box::pin(self.begin(login, client, server));
        begun.then(|redirected| {
            redirected.map_or(Either::Left(ready(())), |redirected| {
                Either::Right(redirected.relay(ended))
            })
        })
    }

    /// Up to the answer to the login.
    async fn begin(self: Rc<Self>, login: Login, mut client: Stream, server: Arc<Server>) -> Option<Box<Redirected>> {
        let session = login.session;
        let (backend, answer, server) = match self.open(&login, &client, server).await {
            Ok(opened) => opened,
            Err(failure) => {
                refuse(client, &login.opening, failure).await;
                return None;
            }
        };
        (self.count)(RedirectEvent::Redirected);
        tracing::info!(%session, node = server.name(), account = %login.account.id(), "redirected");
        client.set_deadline(Some(pigeon_engine::now() + ANSWER_TIME));
        if client.send(answer_of(&login.opening, &answer)).await.is_err() {
            return None;
        }
        Some(Box::new(Redirected::new(session, client, backend, server, self)))
    }

    /// Logs in there, or at where it refers to.
    async fn open(
        &self,
        login: &Login,
        client: &Stream,
        server: Arc<Server>,
    ) -> Result<(Stream, Answer, Arc<Server>), Failure> {
        let protocol = match login.opening {
            Opening::Imap { .. } => BackendProtocol::Imap,
            Opening::Pop3 { .. } => BackendProtocol::Pop3,
        };
        let mut way = Way {
            server,
            place: None,
            hops_left: HOPS_MAX - 1,
        };
        loop {
            let referral = match self.open_at(login, client, protocol, &way).await? {
                Ok((stream, answer)) => return Ok((stream, answer, way.server)),
                Err(referral) => referral,
            };
            let Referral { host, port, .. } = &referral;
            let next = match way.hops_left > 1 {
                true => self.node_at(protocol, &referral),
                false => None,
            };
            let Some((server, place)) = next else {
                (self.count)(RedirectEvent::Astray);
                tracing::error!(
                    session = %login.session, node = way.server.name(), host, port, dn = login.account.dn(),
                    account = %login.account.id(), hops_left = way.hops_left,
                    "a backend refers elsewhere once too often, or to no node: the nodes do not agree whose the account is"
                );
                return Err(Failure::Unavailable);
            };
            (self.count)(RedirectEvent::Referred);
            tracing::info!(session = %login.session, from = way.server.name(), to = server.name(), "referred");
            way = Way {
                server,
                place: Some(place),
                hops_left: way.hops_left - 1,
            };
        }
    }

    /// The node that has a backend there. What is not in the server_map is nobody to talk to.
    fn node_at(&self, protocol: BackendProtocol, referral: &Referral) -> Option<(Arc<Server>, (String, u16))> {
        let snapshot = self.copy.snapshot();
        let mut found = None;
        for server in snapshot.servers() {
            let mut backends = server.backends(protocol);
            let is_there = |(host, port): &(&str, u16)| {
                host.eq_ignore_ascii_case(&referral.host) && referral.port.is_none_or(|named| named == *port)
            };
            if let Some((host, port)) = backends.find(is_there) {
                found = Some((Arc::clone(server), (host.to_owned(), port)));
                break;
            }
        }
        found
    }

    /// Logs in at a node. The inner error: it refers elsewhere.
    async fn open_at(
        &self,
        login: &Login,
        client: &Stream,
        protocol: BackendProtocol,
        way: &Way,
    ) -> Result<Result<(Stream, Answer), Referral>, Failure> {
        let server = &way.server;
        let places: Vec<(String, u16)> = match &way.place {
            Some(place) => vec![place.clone()],
            None => server
                .backends(protocol)
                .map(|(host, port)| (host.to_owned(), port))
                .collect(),
        };
        if places.is_empty() {
            tracing::error!(session = %login.session, node = server.name(), protocol = protocol.name(), "the node has no private address");
            (self.count)(RedirectEvent::Misconfigured);
            return Err(Failure::Unavailable);
        }
        let begun = pigeon_engine::now();
        for attempt in 0..ATTEMPTS_MAX {
            // Who let the whole time pass would do so again, and the client waits; another place may answer.
            let is_late = pigeon_engine::now().saturating_duration_since(begun) >= LOGIN_TIME;
            if is_late && attempt as usize >= places.len() {
                break;
            }
            if attempt > 0 {
                pigeon_engine::sleep(jittered(RETRY_PAUSE)).await;
            }
            let (host, port) = &places[attempt as usize % places.len()];
            let redirect = self.redirect(login, client, way.hops_left);
            match self.attempt(redirect, server, protocol, (host, *port)).await {
                Ok(opened) => return Ok(Ok(opened)),
                Err(Attempt::Again(why) | Attempt::Busy(why) | Attempt::NotTried(why)) => {
                    (self.count)(RedirectEvent::Unavailable);
                    tracing::warn!(session = %login.session, node = server.name(), host, port, why, "redirect failed");
                }
                Err(Attempt::NoPort) => self.tell_of_ports(server.name(), host, *port),
                Err(Attempt::Misconfigured(why)) => {
                    (self.count)(RedirectEvent::Misconfigured);
                    tracing::error!(session = %login.session, node = server.name(), host, port, why, "a backend refuses this node");
                    return Err(Failure::Unavailable);
                }
                Err(Attempt::PassOn(text)) => return Err(Failure::PassOn(text)),
                Err(Attempt::Elsewhere(referral)) => return Ok(Err(referral)),
            }
        }
        Err(Failure::Unavailable)
    }

    /// Each time would be a line for each login.
    fn tell_of_ports(&self, node: &str, host: &str, port: u16) {
        (self.count)(RedirectEvent::NoPort);
        let now = pigeon_engine::now();
        let said = self.said_no_port.get();
        if said.is_none_or(|said| now.saturating_duration_since(said) >= NO_PORT_PAUSE) {
            self.said_no_port.set(Some(now));
            tracing::error!(
                node,
                host,
                port,
                "all local ports are in use for connections to a backend: see net.ipv4.ip_local_port_range"
            );
        }
    }

    fn redirect(&self, login: &Login, client: &Stream, hops_left: u8) -> Redirect {
        Redirect {
            node: self.node.clone(),
            // A user without an address logs in by another name; the account's id goes along anyway.
            user: login.account.name().to_owned(),
            nonce: crate::authenticate::random_nonce(),
            session: SessionData {
                id: login.session.to_string(),
                client: client.peer_address(),
                connected: client.local_address(),
                hops_left,
            },
            forwarded: login.account.forward(),
        }
    }

    /// Logs in at a node to fetch an account from it: from there on the two speak `pigeon_proto::transfer`. `forwarded` has the
    /// account's id, and its volume there. The text says why not.
    pub async fn open_transfer(
        &self,
        user: &str,
        session: SessionId,
        mut forwarded: Vec<(String, String)>,
        server: &Server,
    ) -> Result<Stream, String> {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        forwarded.push((transfer::PURPOSE.to_owned(), transfer::VERSION.to_owned()));
        let redirect = Redirect {
            node: self.node.clone(),
            user: user.to_owned(),
            nonce: crate::authenticate::random_nonce(),
            session: SessionData {
                id: session.to_string(),
                client: nobody,
                connected: nobody,
                hops_left: 1,
            },
            forwarded,
        };
        let protocol = BackendProtocol::Imap;
        let mut why = "it has no private address".to_owned();
        for place in server.backends(protocol) {
            why = match self.attempt(redirect.clone(), server, protocol, place).await {
                Ok((stream, _)) => return Ok(stream),
                Err(
                    Attempt::Again(why)
                    | Attempt::Busy(why)
                    | Attempt::NotTried(why)
                    | Attempt::Misconfigured(why)
                    | Attempt::PassOn(why),
                ) => why,
                Err(Attempt::NoPort) => NO_PORT.to_owned(),
                Err(Attempt::Elsewhere(referral)) => format!("it refers to {}", referral.host),
            };
        }
        Err(why)
    }

    async fn attempt(
        &self,
        redirect: Redirect,
        server: &Server,
        protocol: BackendProtocol,
        (host, port): (&str, u16),
    ) -> Result<(Stream, Answer), Attempt> {
        let node = server.name();
        let permit = self.with_breaker(node, protocol, |breaker, now| breaker.permit(now));
        match permit {
            Permit::No => return Err(Attempt::Again("it is out of reach, and tried now and then".to_owned())),
            Permit::After(wait) if wait.is_zero() => {}
            Permit::After(wait) => pigeon_engine::sleep(wait).await,
        }
        // Who has a key is a node like this one.
        let mut core = Core::new(protocol, redirect);
        let mut first = Vec::new();
        if server.keys().next().is_some() {
            core.start(&mut first);
        }
        let reached = self.log_in(core, first, node, (host, port)).await;
        match &reached {
            // Only what says that nobody is there, or that somebody is there who does not answer, counts against it.
            Err(Attempt::Again(_)) => {
                if self.with_breaker(node, protocol, |breaker, now| breaker.failed(now, false)) {
                    tracing::error!(node, protocol = protocol.name(), "a backend is out of reach");
                }
            }
            Err(Attempt::NotTried(_) | Attempt::NoPort) => {}
            _ => self.with_breaker(node, protocol, |breaker, _| breaker.succeeded()),
        }
        reached
    }

    fn with_breaker<T>(
        &self,
        node: &str,
        protocol: BackendProtocol,
        work: impl FnOnce(&mut Breaker, Duration) -> T,
    ) -> T {
        let now = self.reach.now();
        let mut backends = self.backends.borrow_mut();
        work(backends.entry((node.to_owned(), protocol)).or_default(), now)
    }

    async fn log_in(
        &self,
        mut core: Core,
        first: Vec<u8>,
        node: &str,
        place: (&str, u16),
    ) -> Result<(Stream, Answer), Attempt> {
        let again = |error: io::Error| Attempt::Again(error.to_string());
        let deadline = pigeon_engine::now() + CONNECT_TIME;
        let connected = self.reach.connect(node, place, self.source, deadline).await;
        let connection = connected.map_err(not_connected)?;
        let mut backend = Stream::plain(connection);
        backend.set_deadline(Some(pigeon_engine::now() + LOGIN_TIME));
        if !first.is_empty() {
            backend.send(Bytes::from(first)).await.map_err(again)?;
        }
        loop {
            let chunk = match backend.receive().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Err(Attempt::Again("it closed the connection".to_owned())),
                Err(error) => return Err(again(error)),
            };
            let mut input = &chunk[..];
            loop {
                let mut out = Vec::new();
                let event = core.take(&mut input, &mut out);
                let is_used_up = event.is_none();
                match event {
                    None => {}
                    Some(Event::Keys { salt, iterations }) => {
                        let keys = (self.keys)(salt, iterations).await;
                        let keys = keys.ok_or_else(|| Attempt::Busy("no thread for the keys".to_owned()))?;
                        core.keys(&keys, &mut out);
                    }
                    Some(Event::Done(outcome)) => {
                        let rest = input.to_vec();
                        return settle(backend, outcome, &rest);
                    }
                }
                if !out.is_empty() {
                    backend.send(Bytes::from(out)).await.map_err(again)?;
                }
                if is_used_up {
                    break;
                }
            }
        }
    }
}

/// What this node lacks is not the backend's fault.
fn not_connected(error: io::Error) -> Attempt {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => Attempt::NoPort,
        // As `Reach::connect` has it.
        io::ErrorKind::NotConnected => Attempt::NotTried(error.to_string()),
        io::ErrorKind::Other => Attempt::Busy(error.to_string()),
        _ => Attempt::Again(error.to_string()),
    }
}

/// Either protocol's core.
enum Core {
    Imap(Box<ImapRedirect>),
    Pop3(Box<Pop3Redirect>),
}

impl Core {
    fn new(protocol: BackendProtocol, redirect: Redirect) -> Core {
        match protocol {
            BackendProtocol::Pop3 => Core::Pop3(Box::new(Pop3Redirect::new(redirect, true))),
            BackendProtocol::Imap | BackendProtocol::Lmtp | BackendProtocol::Status => {
                Core::Imap(Box::new(ImapRedirect::new(redirect, true)))
            }
        }
    }

    /// What a backend of our own kind may be asked before it has spoken.
    fn start(&mut self, out: &mut Vec<u8>) {
        match self {
            Core::Imap(core) => core.start(out),
            // It says first whether it takes XCLIENT.
            Core::Pop3(_) => {}
        }
    }

    fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        match self {
            Core::Imap(core) => core.take(input, out),
            Core::Pop3(core) => core.take(input, out),
        }
    }

    fn keys(&mut self, keys: &ClientKeys, out: &mut Vec<u8>) {
        match self {
            Core::Imap(core) => core.keys(keys, out),
            Core::Pop3(core) => core.keys(keys, out),
        }
    }
}

fn settle(mut backend: Stream, outcome: Outcome, rest: &[u8]) -> Result<(Stream, Answer), Attempt> {
    match outcome {
        Outcome::LoggedIn(answer) => {
            backend.set_deadline(None);
            backend.put_back(rest);
            Ok((backend, answer))
        }
        Outcome::Unavailable(why) => Err(Attempt::Busy(why)),
        Outcome::Garbage(why) => Err(Attempt::Misconfigured(format!("it does not speak as a backend: {why}"))),
        Outcome::Misconfigured(why) => Err(Attempt::Misconfigured(why)),
        Outcome::PassOn(text) => Err(Attempt::PassOn(text)),
        Outcome::Referral(referral) => Err(Attempt::Elsewhere(referral)),
    }
}

/// What the client is told when it is in.
fn answer_of(opening: &Opening, answer: &Answer) -> Bytes {
    let mut line = answer.untagged.clone();
    match opening {
        Opening::Imap { tag } => line.extend_from_slice(format!("{tag} OK ").as_bytes()),
        Opening::Pop3 { .. } => line.extend_from_slice(b"+OK "),
    }
    line.extend_from_slice(&answer.text);
    line.extend_from_slice(b"\r\n");
    Bytes::from(line)
}

async fn refuse(mut client: Stream, opening: &Opening, failure: Failure) {
    let answer = match (failure, opening) {
        (Failure::Unavailable, opening) => opening.unavailable(),
        (Failure::PassOn(text), Opening::Imap { tag }) => Bytes::from(format!("{tag} NO {text}\r\n* BYE {text}\r\n")),
        (Failure::PassOn(text), Opening::Pop3 { .. }) => Bytes::from(format!("-ERR {text}\r\n")),
    };
    client.set_deadline(Some(pigeon_engine::now() + Duration::from_secs(10)));
    if client.send(answer).await.is_ok() {
        client.close().await;
    }
}

/// Less up to a half.
fn jittered(pause: Duration) -> Duration {
    pause - chance(pause / 2)
}

/// Somewhere between nothing and `most`.
fn chance(most: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish() % 1024;
    most.mul_f64(chance as f64 / 1024.0)
}

impl fmt::Debug for Redirector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirector")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
