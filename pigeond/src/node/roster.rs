//! Who is there, and how it stands with the other nodes: asked of the cores when somebody asks the status port.

use super::control::everywhere;
use super::core::node;
use super::shared::Shared;
use crate::status::{LinkStatus, Reach, SessionList, SessionStatus};
use pigeon_datatree_cache::record::BackendProtocol;
use pigeon_datatree_cache::{Account, AccountUuid};
use pigeon_engine::control::CoreHandle;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Sessions in one answer. A guess: some megabytes of JSON.
const SESSIONS_MAX: usize = 10_000;
/// A core that does not answer within this time is left out, and said to be.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whose sessions are asked for.
#[derive(Clone)]
pub(super) enum Whose {
    Everybody,
    Account(AccountUuid),
    /// Nobody in control data: a backend may serve whom it does not know.
    Address(Arc<str>),
}

impl Whose {
    /// By an address, a login name or an entryUUID.
    pub(super) fn of(shared: &Shared, name: Option<&str>) -> Whose {
        let Some(name) = name else {
            return Whose::Everybody;
        };
        let uuid = uuid::Uuid::parse_str(name)
            .ok()
            .map(|uuid| AccountUuid(uuid.into_bytes()));
        let known = uuid.or_else(|| shared.copy.current().login(name).map(|account| account.id()));
        known.map_or_else(|| Whose::Address(name.to_lowercase().into()), Whose::Account)
    }

    fn fits(&self, account: &Account) -> bool {
        match self {
            Whose::Everybody => true,
            Whose::Account(id) => account.id() == *id,
            Whose::Address(address) => account.addresses().any(|found| *found == **address),
        }
    }
}

/// The sessions that have logged in, of all cores, within bounds.
pub(super) async fn sessions(cores: &CoreHandle, whose: Whose) -> SessionList {
    let share = SESSIONS_MAX / usize::from(cores.core_count()).max(1);
    let asked = everywhere(cores, move |_| {
        let whose = whose.clone();
        async move { of_this_core(&whose, share) }
    });
    let Ok(lists) = tokio::time::timeout(PATIENCE, asked).await else {
        return SessionList {
            complete: false,
            ..SessionList::default()
        };
    };
    let mut all = SessionList {
        complete: lists.len() == usize::from(cores.core_count()),
        ..SessionList::default()
    };
    for list in lists {
        all.total += list.total;
        all.sessions.extend(list.sessions);
    }
    all.complete &= all.sessions.len() as u64 == all.total;
    all.sessions.sort_by_key(|session| session.since);
    all
}

fn of_this_core(whose: &Whose, most: usize) -> SessionList {
    let mut list = SessionList::default();
    let Some(node) = node() else { return list };
    node.visit_logged_in(|login| {
        let Some(noted) = login.noted.as_ref().filter(|_| whose.fits(&login.record)) else {
            return;
        };
        list.total += 1;
        if list.sessions.len() < most {
            list.sessions.push(SessionStatus {
                id: noted.session.to_string(),
                service: login.service.name(),
                account: login.record.name().to_owned(),
                account_id: login.record.id().to_string(),
                client: noted.client.to_string(),
                since: login.began.at,
                node: noted.node.as_ref().map(|server| server.name().to_owned()),
            });
        }
    });
    list
}

/// What the cores know of one other node, added up.
#[derive(Clone, Copy, Default)]
struct Seen {
    imap: Reach,
    pop3: Reach,
    lmtp: Reach,
    mail_connections: u64,
    sessions: u64,
}

/// The other nodes of the server_map, as the cores have found them.
pub(super) async fn links(cores: &CoreHandle, shared: &Shared) -> Vec<LinkStatus> {
    let asked = tokio::time::timeout(PATIENCE, everywhere(cores, |_| async { seen_here() }));
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for (name, here) in asked.await.unwrap_or_default().into_iter().flatten() {
        let all = seen.entry(name).or_default();
        all.imap = all.imap.max(here.imap);
        all.pop3 = all.pop3.max(here.pop3);
        all.lmtp = all.lmtp.max(here.lmtp);
        all.mail_connections += here.mail_connections;
        all.sessions += here.sessions;
    }
    let snapshot = shared.copy.current();
    let others = snapshot
        .servers()
        .filter(|server| Some(server.name()) != shared.node_id());
    others
        .map(|server| {
            let seen = seen.get(server.name()).copied().unwrap_or_default();
            LinkStatus {
                node: server.name().to_owned(),
                state: server.state().name(),
                imap: seen.imap,
                pop3: seen.pop3,
                lmtp: seen.lmtp,
                mail_connections: seen.mail_connections,
                sessions: seen.sessions,
            }
        })
        .collect()
}

fn seen_here() -> BTreeMap<String, Seen> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let Some(node) = node() else { return seen };
    let reach = |is_away| if is_away { Reach::Away } else { Reach::Reachable };
    for (name, protocol, is_away) in node
        .contexts
        .redirector
        .iter()
        .flat_map(|redirector| redirector.backends())
    {
        let there = seen.entry(name).or_default();
        match protocol {
            BackendProtocol::Imap => there.imap = reach(is_away),
            BackendProtocol::Pop3 => there.pop3 = reach(is_away),
            BackendProtocol::Lmtp | BackendProtocol::Status => {}
        }
    }
    for peer in node.contexts.peers.iter().flat_map(|peers| peers.states()) {
        let there = seen.entry(peer.name).or_default();
        there.lmtp = reach(peer.is_away);
        there.mail_connections = peer.connections as u64;
    }
    node.visit_logged_in(|login| {
        if let Some(server) = login.noted.as_ref().and_then(|noted| noted.node.as_ref()) {
            seen.entry(server.name().to_owned()).or_default().sessions += 1;
        }
    });
    seen
}
