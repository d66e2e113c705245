//! Who is there, and how it stands with the other nodes: asked of the cores when somebody asks the status port.

use super::core::node;
use super::moves;
use super::queue;
use super::shared::Shared;
use crate::status::{AccountPlace, LinkStatus, Links, Reach, SessionList, SessionStatus, WaitingList};
use futures_util::future::join_all;
use pigeon_datatree_cache::record::BackendProtocol;
use pigeon_datatree_cache::{Account, AccountUuid};
use pigeon_engine::CoreId;
use pigeon_engine::control::CoreHandle;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Sessions in one answer. A guess: some megabytes of JSON.
const SESSIONS_MAX: usize = 10_000;
/// Messages in one answer; the envelope of each is read from a disk.
const WAITING_MAX: usize = 1000;
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

/// Asks all cores at once, each for as long as [`PATIENCE`]: what they say, and which did not answer. One that hangs takes
/// nothing from the others' answers.
async fn ask<T, F, W>(cores: &CoreHandle, work: W) -> (Vec<T>, Vec<u16>)
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    W: Fn() -> F + Clone + Send + 'static,
{
    let calls = (0..cores.core_count()).map(|core| {
        let (cores, work) = (cores.clone(), work.clone());
        async move { cores.call(CoreId(core), work).await.ok() }
    });
    within(PATIENCE, calls).await
}

/// Waits for each as long as `patience`; which by their places did not end well.
async fn within<T>(
    patience: Duration,
    calls: impl Iterator<Item = impl Future<Output = Option<T>>>,
) -> (Vec<T>, Vec<u16>) {
    let calls = calls.map(|call| async move { tokio::time::timeout(patience, call).await.ok().flatten() });
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    for (core, answer) in (0..).zip(join_all(calls).await) {
        match answer {
            Some(answer) => answers.push(answer),
            None => silent.push(core),
        }
    }
    (answers, silent)
}

/// The sessions that have logged in, of all cores, within bounds.
pub(super) async fn sessions(cores: &CoreHandle, whose: Whose) -> SessionList {
    let share = SESSIONS_MAX / usize::from(cores.core_count()).max(1);
    let asked = ask(cores, move || {
        let whose = whose.clone();
        async move { of_this_core(&whose, share) }
    });
    let (lists, silent_cores) = asked.await;
    let mut all = SessionList {
        complete: silent_cores.is_empty(),
        silent_cores,
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

/// What waits in the volumes of all cores, within bounds.
pub(super) async fn waiting(cores: &CoreHandle, shared: &Arc<Shared>) -> WaitingList {
    let share = WAITING_MAX / usize::from(cores.core_count()).max(1);
    let shared = shared.clone();
    let asked = ask(cores, move || {
        let shared = shared.clone();
        async move { queue::list_own(&shared, share).await }
    });
    let (lists, silent_cores) = asked.await;
    let mut all = WaitingList {
        complete: silent_cores.is_empty(),
        silent_cores,
        messages: Vec::new(),
    };
    for (messages, complete) in lists {
        all.complete &= complete;
        all.messages.extend(messages);
    }
    all.messages
        .sort_by_key(|message| (message.node.is_some(), message.received_at));
    all
}

/// How an account stands in the volumes of all cores; `None` when a core does not answer.
pub(super) async fn places(cores: &CoreHandle, account: AccountUuid) -> Option<Vec<AccountPlace>> {
    let (lists, silent_cores) = ask(cores, move || moves::report(account)).await;
    silent_cores.is_empty().then(|| lists.into_iter().flatten().collect())
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
pub(super) async fn links(cores: &CoreHandle, shared: &Shared) -> Links {
    let (asked, silent_cores) = ask(cores, || async { seen_here() }).await;
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for (name, here) in asked.into_iter().flatten() {
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
    let links = others
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
        .collect();
    Links { links, silent_cores }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::pin::Pin;

    #[test]
    fn a_core_that_hangs_is_named_and_hides_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        type Call = Pin<Box<dyn Future<Output = Option<&'static str>>>>;
        let calls: [Call; 4] = [
            Box::pin(ready(Some("first"))),
            Box::pin(pending()),
            Box::pin(ready(None)),
            Box::pin(ready(Some("last"))),
        ];
        let (answers, silent) = runtime.block_on(within(PATIENCE, calls.into_iter()));
        assert_eq!((answers, silent), (vec!["first", "last"], vec![1, 2]));
    }
}
