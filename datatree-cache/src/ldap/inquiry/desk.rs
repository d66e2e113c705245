//! The thread behind [`super::Inquiries`]: takes questions, finds connections, goes to the next server.

use super::{Bound, Inquiry, InquiryLimits, Question, Reread};
use crate::ldap::connect::{self, Connection, said};
use crate::ldap::message;
use crate::ldap::options::{LdapOptions, ServerUri};
use crate::record::AccountUuid;
use crate::schema::Purpose;
use ldap3::{Ldap, LdapError, LdapResult, Scope};
use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Every entry; the base alone says which.
const ANY: &str = "(objectClass=*)";
/// Result codes of RFC 4511, 4.1.9.
const SUCCESS: u32 = 0;
const NO_SUCH_OBJECT: u32 = 32;
const CONSTRAINT_VIOLATION: u32 = 19;
const INVALID_DN_SYNTAX: u32 = 34;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_ACCESS_RIGHTS: u32 = 50;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;
const UNWILLING_TO_PERFORM: u32 = 53;

/// See the module.
pub(super) struct Desk {
    options: LdapOptions,
    limits: InquiryLimits,
    permits: Arc<Semaphore>,
    state: RefCell<State>,
    /// The last question found no server.
    away: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    /// Which server is asked first: the last one that answered.
    server: usize,
    /// While no server answers, none is tried again before then; a question until then is answered at once.
    away: Option<Away>,
    idle: VecDeque<Idle>,
}

#[derive(Clone)]
struct Away {
    until: Instant,
    pause: Duration,
    why: String,
}

/// What a connection is for. One on which accounts are bound may not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Bind,
    Read,
}

struct Idle {
    connection: Connection,
    server: usize,
    used: Use,
    since: Instant,
}

impl Desk {
    pub(super) fn new(options: LdapOptions, limits: InquiryLimits, away: Arc<AtomicBool>) -> Desk {
        Desk {
            options,
            limits,
            permits: Arc::new(Semaphore::new(limits.connections.max(1))),
            state: RefCell::default(),
            away,
        }
    }

    /// Until nobody can ask any more. Within a `LocalSet`.
    pub(super) async fn serve(self, mut questions: mpsc::Receiver<Inquiry>) {
        let desk = Rc::new(self);
        loop {
            // First the connection, then the question: what has to wait waits in the queue, which is bounded.
            let permit = desk.permits.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            let next = timeout(desk.limits.idle, questions.recv()).await;
            desk.close_idle();
            match next {
                Err(_) => {}
                Ok(None) => return,
                Ok(Some(inquiry)) => {
                    let desk = desk.clone();
                    // A panic of the library's parsers ends this task, and the asker learns that.
                    tokio::task::spawn_local(async move {
                        desk.answer(inquiry).await;
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn answer(&self, inquiry: Inquiry) {
        let Inquiry {
            dn,
            id,
            asked,
            question,
        } = inquiry;
        // Whoever has gone meanwhile is dropped by the sends.
        match question {
            Question::Bind { password, answer } => {
                let open = self
                    .options
                    .servers
                    .iter()
                    .find(|server| !is_private(server, &self.options));
                let bound = if dn.is_empty() {
                    Bound::Unwilling("the record has no DN".to_owned())
                } else if let Some(server) = open {
                    Bound::Unwilling(format!("no password is sent to {server} without TLS"))
                } else {
                    let asking = self.ask(Use::Bind, asked, async |mut ldap| {
                        ldap.simple_bind(&dn, &password).await
                    });
                    asking.await.map_or_else(Bound::Away, |result| bound(&result))
                };
                let _ = answer.send(bound);
            }
            Question::Read { answer } => {
                let attributes = self.attributes();
                let asking = self.ask(Use::Read, asked, async |mut ldap| {
                    ldap.search(&dn, Scope::Base, ANY, attributes.clone()).await
                });
                let read = match asking.await {
                    Ok(found) => self.read(found, id),
                    Err(why) => Reread::Away(why),
                };
                let _ = answer.send(read);
            }
        }
    }

    fn attributes(&self) -> Vec<&str> {
        let map = &self.options.attributes;
        let secrets = [Purpose::Password, Purpose::AuthPassword]
            .into_iter()
            .flat_map(|purpose| map.attributes(purpose));
        // The UUID too: another entry may have taken the DN.
        secrets.map(String::as_str).chain([ENTRY_UUID]).collect()
    }

    fn read(&self, ldap3::SearchResult(entries, result): ldap3::SearchResult, id: AccountUuid) -> Reread {
        match result.rc {
            SUCCESS => {}
            NO_SUCH_OBJECT => return Reread::Gone,
            code => return Reread::Away(format!("search: {} ({code})", result.text)),
        }
        let entry = entries
            .into_iter()
            .find(|entry| !entry.is_ref() && !entry.is_intermediate());
        let Some(entry) = entry else { return Reread::Gone };
        let entry = match message::entry(entry.0) {
            Ok(entry) => entry,
            Err(malformed) => return Reread::Away(format!("a malformed entry: {}", malformed.0)),
        };
        let values = |name: &str| {
            let named = entry
                .attributes
                .iter()
                .filter(move |found| found.name.eq_ignore_ascii_case(name));
            named
                .filter_map(|found| std::str::from_utf8(&found.value).ok())
                .collect::<Vec<_>>()
        };
        let found = values(ENTRY_UUID)
            .first()
            .and_then(|text| uuid::Uuid::parse_str(text).ok());
        match found {
            None => return Reread::Away("the entry came without its entryUUID".to_owned()),
            Some(found) if found.into_bytes() != id.0 => return Reread::Gone,
            Some(_) => {}
        }
        let mut names = self.attributes();
        names.pop();
        let secrets = names.into_iter().flat_map(values).map(str::to_owned);
        Reread::Secrets(secrets.collect())
    }

    /// Asks one server after the other until one answers; why none did.
    async fn ask<T: Answer>(
        &self,
        used: Use,
        asked: Instant,
        question: impl AsyncFn(Ldap) -> Result<T, LdapError>,
    ) -> Result<T, String> {
        let servers = self.options.servers.len();
        let patience = self.options.answer_timeout;
        let deadline = asked + patience.saturating_mul(u32::try_from(servers + 1).unwrap_or(u32::MAX));
        let mut why = "it waited for too long".to_owned();
        // Each server once, and once more for a connection that ended while it was idle.
        for _ in 0..=servers {
            if let Some(away) = self.state().away.clone().filter(|away| Instant::now() < away.until) {
                return Err(away.why);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(why);
            }
            let (idle, server) = self.take(used);
            let fresh = idle.is_none();
            let connection = match idle {
                Some(connection) => Ok(connection),
                None => self.open(server, used).await,
            };
            let connection = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    why = error;
                    self.next(server);
                    continue;
                }
            };
            match timeout(patience.min(left), question(connection.ldap.clone())).await {
                Ok(Ok(answer)) if !matches!(answer.result().rc, BUSY | UNAVAILABLE) => {
                    self.give_back(connection, server, used);
                    return Ok(answer);
                }
                Ok(Ok(answer)) => {
                    let result = answer.result();
                    why = format!("{}: {} ({})", self.uri(server), result.text, result.rc);
                    self.next(server);
                }
                Ok(Err(error)) => {
                    why = format!("{}: {}", self.uri(server), said(&error));
                    if fresh {
                        self.next(server);
                    }
                }
                Err(_) => {
                    why = format!("{}: no answer within {} s", self.uri(server), patience.as_secs_f64());
                    self.next(server);
                }
            }
        }
        self.none_answers(&why);
        Err(why)
    }

    async fn open(&self, server: usize, used: Use) -> Result<Connection, String> {
        let uri = self.uri(server);
        match used {
            Use::Read => connect::open(uri, &self.options).await.map_err(|trouble| trouble.why),
            Use::Bind => connect::open_unbound(uri, &self.options).await,
        }
    }

    fn uri(&self, server: usize) -> &ServerUri {
        &self.options.servers[server % self.options.servers.len()]
    }

    /// An idle connection for this use, and the server that it leads to or that is to be opened.
    fn take(&self, used: Use) -> (Option<Connection>, usize) {
        let mut state = self.state();
        let at = state
            .idle
            .iter()
            .rposition(|idle| idle.used == used && !idle.connection.task.is_finished());
        if let Some(idle) = at.and_then(|at| state.idle.remove(at)) {
            return (Some(idle.connection), idle.server);
        }
        // One more than there may be makes room: of the other use, the one that waited longest.
        let busy = self
            .limits
            .connections
            .max(1)
            .saturating_sub(self.permits.available_permits());
        if busy + state.idle.len() > self.limits.connections.max(1) {
            state.idle.pop_front();
        }
        (None, state.server)
    }

    fn give_back(&self, connection: Connection, server: usize, used: Use) {
        let mut state = self.state();
        state.server = server;
        state.away = None;
        state.idle.push_back(Idle {
            connection,
            server,
            used,
            since: Instant::now(),
        });
        drop(state);
        self.away.store(false, Ordering::Relaxed);
    }

    /// From now on the server behind this one is asked first, unless another question has moved on already.
    fn next(&self, server: usize) {
        let mut state = self.state();
        if state.server == server {
            state.server = (server + 1) % self.options.servers.len();
        }
        state.idle.retain(|idle| idle.server != server);
    }

    /// Every server had its chance: for a pause that grows, questions are answered without asking.
    fn none_answers(&self, why: &str) {
        let mut state = self.state();
        let before = state.away.take().map(|away| away.pause);
        let pause = before.map_or(self.options.pause, |pause| {
            pause.saturating_mul(2).min(self.options.pause_max)
        });
        state.away = Some(Away {
            until: Instant::now() + pause,
            pause,
            why: why.to_owned(),
        });
        drop(state);
        self.away.store(true, Ordering::Relaxed);
    }

    fn close_idle(&self) {
        let mut state = self.state();
        state
            .idle
            .retain(|idle| idle.since.elapsed() < self.limits.idle && !idle.connection.task.is_finished());
    }

    /// Never across a wait.
    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}

/// RFC 4530.
const ENTRY_UUID: &str = "entryUUID";

/// What a question brings.
trait Answer {
    fn result(&self) -> &LdapResult;
}

impl Answer for LdapResult {
    fn result(&self) -> &LdapResult {
        self
    }
}

impl Answer for ldap3::SearchResult {
    fn result(&self) -> &LdapResult {
        &self.1
    }
}

/// Whether nobody else reads what is said to a server.
fn is_private(server: &ServerUri, options: &LdapOptions) -> bool {
    options.tls.start || server.is_private()
}

/// What the answer to a bind says of the password.
fn bound(result: &LdapResult) -> Bound {
    match result.rc {
        SUCCESS => Bound::Right,
        // slapd says 49 for all of them, so that nobody learns which entries there are. A locked account is 49 as well.
        INVALID_CREDENTIALS | NO_SUCH_OBJECT | INVALID_DN_SYNTAX | INAPPROPRIATE_AUTHENTICATION => Bound::Wrong,
        // 389-ds: locked after too many failures, and switched off. Of an account, where the other codes are of the server.
        code @ (CONSTRAINT_VIOLATION | INSUFFICIENT_ACCESS_RIGHTS | UNWILLING_TO_PERFORM) => {
            Bound::Barred(format!("{} ({code})", result.text))
        }
        code => Bound::Unwilling(format!("{} ({code})", result.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_result_says_of_a_password() {
        let said = |rc| {
            bound(&LdapResult {
                rc,
                matched: String::new(),
                text: "words".to_owned(),
                refs: Vec::new(),
                ctrls: Vec::new(),
            })
        };
        assert_eq!(said(0), Bound::Right);
        for code in [49, 32, 34, 48] {
            assert_eq!(said(code), Bound::Wrong, "{code}");
        }
        // 389-ds's lockout, insufficient access, unwilling.
        for code in [19, 50, 53] {
            assert_eq!(said(code), Bound::Barred(format!("words ({code})")));
        }
        // Referral, stronger authentication, confidentiality, other.
        for code in [10, 8, 13, 80] {
            assert_eq!(said(code), Bound::Unwilling(format!("words ({code})")));
        }
    }
}
