//! One core of the node: its sessions, its listeners, and what they share. Everything here is the core's own; other cores
//! and the control thread come in through the functions that take no `self`, by the thread.

use super::access::{Began, may_go_on};
use super::contexts::Contexts;
use super::shared::Shared;
use super::standing::Standing;
use crate::config::Service;
use futures_util::FutureExt;
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account, AccountUuid, CoreCopy};
use pigeon_engine::sync::Notify;
use pigeon_engine::{Task, current_core};
use pigeon_proxy::connections::ConnectionLimits;
use pigeon_proxy::drain::Drain;
use pigeon_proxy::{SessionId, SessionIds};
use pigeon_serve::imap::{EndReason, SessionEnd};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

/// How often a draining core looks whether its sessions are gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct CoreNode {
    pub(super) shared: Arc<Shared>,
    pub(super) ids: SessionIds,
    pub(super) limits: ConnectionLimits,
    pub(super) drain: Drain,
    pub(super) copy: Rc<CoreCopy>,
    pub(super) contexts: Contexts,
    /// Sessions for as long as they are on this core.
    sessions: RefCell<Slab<Session>>,
    listeners: RefCell<Vec<Task<()>>>,
    /// Brings the mail that waits here.
    pub(super) queue: super::queue::Running,
    ended: Cell<bool>,
    end: Notify,
}

/// A session on this core.
#[derive(Default)]
struct Session {
    task: Option<Task<()>>,
    /// How a session that has logged in is told to end.
    end: Option<Weak<SessionEnd>>,
    /// Once it has logged in.
    login: Option<Box<LoggedIn>>,
}

/// Of a session that has logged in.
pub(super) struct LoggedIn {
    pub(super) service: Service,
    /// What let it in.
    pub(super) record: Arc<Account>,
    /// On this core.
    pub(super) began: Began,
    /// For people who ask.
    pub(super) noted: Option<Noted>,
}

/// What is told of a session that has logged in.
pub(super) struct Noted {
    pub(super) session: SessionId,
    pub(super) client: SocketAddr,
    /// The node that it was redirected to.
    pub(super) node: Option<Arc<Server>>,
}

thread_local! {
    static NODE: RefCell<Option<Rc<CoreNode>>> = const { RefCell::new(None) };
}

/// The node on this core. `None` before `start` and after the end.
pub(super) fn node() -> Option<Rc<CoreNode>> {
    NODE.with_borrow(Clone::clone)
}

/// The root task of a core: lives until `end`.
pub(super) async fn main(shared: Arc<Shared>) {
    let core = current_core().0;
    let limits = &shared.config.limits;
    let copy = Rc::new(shared.copy.for_core());
    let drain = Drain::new();
    let node = Rc::new(CoreNode {
        ids: SessionIds::new(core, u64::try_from(shared.started_at.as_millis()).unwrap_or(u64::MAX)),
        limits: ConnectionLimits::new(limits.sessions_per_core_max, limits.sessions_per_address_max),
        contexts: Contexts::new(shared.clone(), copy.clone(), drain.clone()),
        copy,
        drain,
        sessions: RefCell::default(),
        listeners: RefCell::default(),
        queue: super::queue::Running::default(),
        ended: Cell::new(false),
        end: Notify::new(),
        shared,
    });
    NODE.set(Some(node.clone()));
    let publishing = pigeon_engine::spawn(super::publish::publish(node.clone()));
    while !node.ended.get() {
        node.end.notified().await;
    }
    publishing.cancel();
    NODE.set(None);
}

/// Ends `main` on this core.
pub(super) async fn end() {
    if let Some(node) = node() {
        node.ended.set(true);
        node.end.notify_all();
    }
}

/// Takes no more connections, asks all sessions to end, and ends those that have not after `patience`.
pub(super) async fn drain(patience: Duration) {
    let Some(node) = node() else { return };
    for listener in node.listeners.take() {
        listener.cancel();
    }
    node.drain.begin();
    super::moves::stop_all();
    for end in node
        .sessions
        .borrow()
        .iter()
        .filter_map(|(_, session)| session.end.as_ref()?.upgrade())
    {
        end.end(EndReason::Draining);
    }
    let deadline = pigeon_engine::now() + patience;
    while !node.sessions.borrow().is_empty() && pigeon_engine::now() < deadline {
        pigeon_engine::sleep(DRAIN_POLL).await;
    }
    node.queue.stop(deadline).await;
    node.cancel_sessions();
}

impl CoreNode {
    /// Keeps a listener's task until the node drains.
    pub(super) fn keep_listener(&self, task: Task<()>) {
        self.listeners.borrow_mut().push(task);
    }

    /// Runs a session as a task of this core, counted from here to its end. A session that is handed over to this same
    /// core is for a moment there twice.
    pub(super) fn run_session<F>(self: &Rc<Self>, service: Service, session: impl FnOnce(SessionKey) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.counters().session_started(service);
        let key = SessionKey(self.sessions.borrow_mut().insert(Session::default()));
        let open = OpenSession {
            node: self.clone(),
            key,
            service,
        };
        // Not an async block, which would have room for the session twice: as what it captures and as what it awaits.
        let task = pigeon_engine::spawn(session(key).map(move |()| drop(open)));
        if let Some(session) = self.sessions.borrow_mut().get_mut(key.0) {
            session.task = Some(task);
        }
    }

    /// How a session that `record` let in is told to end; at once when the node drains already, or when control data has
    /// changed since.
    pub(super) fn session_end(&self, key: SessionKey, service: Service, record: &Arc<Account>) -> Rc<SessionEnd> {
        let end = Rc::new(SessionEnd::new());
        if self.drain.has_begun() {
            end.end(EndReason::Draining);
        }
        let snapshot = self.copy.snapshot();
        let began = Began::now(&snapshot, record);
        if !may_go_on(&snapshot, service, record, began.before(service, record)) {
            end.end(EndReason::AccessEnded);
        }
        if let Some(session) = self.sessions.borrow_mut().get_mut(key.0) {
            session.end = Some(Rc::downgrade(&end));
            session.login = Some(Box::new(LoggedIn {
                service,
                record: record.clone(),
                began,
                noted: None,
            }));
        }
        end
    }

    /// What people may ask of a session that has its end.
    pub(super) fn note(&self, key: SessionKey, session: SessionId, client: SocketAddr, node: Option<&Arc<Server>>) {
        let mut sessions = self.sessions.borrow_mut();
        if let Some(login) = sessions.get_mut(key.0).and_then(|session| session.login.as_mut()) {
            login.noted = Some(Noted {
                session,
                client,
                node: node.cloned(),
            });
        }
    }

    /// Shows the sessions of this core that have logged in.
    pub(super) fn visit_logged_in(&self, visit: impl FnMut(&LoggedIn)) {
        let sessions = self.sessions.borrow();
        let logged_in = sessions.iter().filter_map(|(_, session)| session.login.as_deref());
        logged_in.for_each(visit);
    }

    /// What control data says of this node.
    pub(super) fn standing(&self) -> Standing {
        Standing::of(&self.copy.snapshot(), self.shared.node_id())
    }

    /// Ends the sessions of these accounts that may not go on. Returns how many there are.
    pub(super) fn end_sessions_of(
        &self,
        accounts: &HashSet<AccountUuid>,
        may_go_on: impl Fn(Service, &Arc<Account>, Began) -> bool,
    ) -> usize {
        self.end_sessions_where(|login| {
            accounts.contains(&login.record.id()) && !may_go_on(login.service, &login.record, login.began)
        })
    }

    /// Ends the sessions that a volume of this core serves for the account, and none that is only redirected from here: that may
    /// be with the new owner already. Returns how many there are.
    pub(super) fn end_sessions_served(&self, account: AccountUuid) -> usize {
        self.end_sessions_where(|login| {
            let is_served = login.noted.as_ref().is_some_and(|noted| noted.node.is_none());
            is_served && login.record.id() == account
        })
    }

    fn end_sessions_where(&self, is_to_end: impl Fn(&LoggedIn) -> bool) -> usize {
        let mut ends = Vec::new();
        for (_, session) in self.sessions.borrow().iter() {
            if session.login.as_deref().is_some_and(&is_to_end) {
                ends.extend(session.end.as_ref().and_then(Weak::upgrade));
            }
        }
        ends.iter().for_each(|end| end.end(EndReason::AccessEnded));
        ends.len()
    }

    /// This core's counters.
    pub(super) fn counters(&self) -> &crate::status::CoreCounters {
        &self.shared.counters[usize::from(current_core().0)]
    }

    fn cancel_sessions(&self) {
        let tasks: Vec<Task<()>> = self
            .sessions
            .borrow_mut()
            .iter_mut()
            .filter_map(|(_, session)| session.task.take())
            .collect();
        if !tasks.is_empty() {
            tracing::info!(sessions = tasks.len(), "sessions are closed");
        }
        tasks.into_iter().for_each(Task::cancel);
    }
}

/// Names a session on its core.
#[derive(Clone, Copy)]
pub(super) struct SessionKey(usize);

/// Counts a session's end, however it comes.
struct OpenSession {
    node: Rc<CoreNode>,
    key: SessionKey,
    service: Service,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let session = self.node.sessions.borrow_mut().remove(self.key.0);
        drop(session);
        self.node.counters().session_ended(self.service);
    }
}
