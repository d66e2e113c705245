//! The connection that is followed: one persistent search, and probes of whether the server still lives.

use super::connect::{Connection, open, said, trouble};
use super::message::{self, Cookie, Done, Message};
use super::options::{LdapOptions, ServerUri};
use super::pace::Pace;
use super::servers::Trouble;
use crate::schema::Purpose;
use crate::source::Report;
use ldap3::controls::{MakeCritical, RefreshMode, SyncRequest};
use ldap3::exop::WhoAmI;
use ldap3::{Ldap, Scope, SearchStream};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};

/// Answers that say that the cookie is good for nothing: e-syncRefreshRequired (RFC 4533, 2.5), and protocolError, for a
/// cookie that it cannot read.
const COOKIE_REFUSED: [u32; 2] = [4096, 2];
/// What slapd says when the node has seen more than it has ("consumer state is newer than provider"): a replica that has not
/// got the last changes, a server that was killed before it wrote down how far it was, or was restored from a backup.
const BEHIND_COOKIE: u32 = 53;

/// The search's stream.
type Stream = SearchStream<'static, String, Vec<String>>;

/// A question whether the server lives; why not.
type Probe = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// A connection with its search.
pub(super) struct Link {
    connection: Connection,
    /// The search was sent with a cookie.
    asked_with_cookie: bool,
    stream: Stream,
    heard: Instant,
    begun: Instant,
    /// The question whether the server lives, while it is open. It outlasts the waits of `next`.
    probe: Option<Probe>,
    report: Report,
}

/// What following brought.
pub(super) enum Heard {
    Message(Message),
    /// The search is over and wants another one on the same server: the server said so, or it was time to ask.
    Again {
        /// The cookie is good for nothing.
        forget: bool,
    },
    /// The server has less than this node has seen.
    Behind,
    /// The connection is lost, or the server talks nonsense; why.
    Lost(Trouble),
}

impl Link {
    /// Connects, binds and searches.
    pub(super) async fn open(
        server: &ServerUri,
        options: &LdapOptions,
        cookie: Option<&Cookie>,
        report: Report,
    ) -> Result<Link, Trouble> {
        let connection = open(server, options).await?;
        let mut ldap = connection.ldap.clone();
        let request = SyncRequest {
            mode: RefreshMode::RefreshAndPersist,
            cookie: cookie.map(|cookie| cookie.bytes().to_vec()),
            reload_hint: false,
        };
        ldap.with_controls(vec![request.critical().into()]);
        // All user attributes; the entry's UUID comes with its state. What tells revisions apart is operational, mostly.
        let revision = options.attributes.attributes(Purpose::Revision);
        let attributes = std::iter::once("*".to_owned())
            .chain(revision.iter().cloned())
            .collect();
        let search = ldap.streaming_search(&options.base, Scope::Subtree, &options.filter, attributes);
        let stream = timeout(options.answer_timeout, search)
            .await
            .map_err(|_| Trouble::unreachable("the search cannot be sent").at(server))?
            .map_err(|error| trouble(&error, &format!("search below {}: ", options.base)).at(server))?;
        Ok(Link {
            connection,
            asked_with_cookie: cookie.is_some(),
            stream,
            heard: Instant::now(),
            begun: Instant::now(),
            probe: None,
            report,
        })
    }

    /// Waits for the next message; while there is none, makes sure that the server lives. `live`: the refresh is over, so
    /// silence is usual. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, options: &LdapOptions, live: bool) -> Heard {
        let repair = self.begun + options.repair_every;
        loop {
            // Also of a server that is never silent.
            if live && Instant::now() >= repair {
                return Heard::Again { forget: false };
            }
            let due = tokio::time::Instant::from_std(self.heard + options.probe_after);
            let probe = &mut self.probe;
            let ldap = &self.connection.ldap;
            let alive = async {
                if probe.is_none() {
                    sleep_until(due).await;
                }
                let answered = probe
                    .get_or_insert_with(|| Box::pin(ask(ldap.clone(), options.answer_timeout)))
                    .await;
                *probe = None;
                answered
            };
            tokio::select! {
                biased;
                heard = receive(&mut self.stream, &self.connection.pace, options, self.asked_with_cookie) => {
                    // Who speaks lives; the answer to an older question may be behind much else.
                    self.probe = None;
                    self.heard();
                    return heard;
                }
                answered = alive => {
                    if let Err(why) = answered {
                        return Heard::Lost(Trouble::unreachable(why));
                    }
                    self.heard();
                }
                () = sleep_until(repair.into()), if live => {}
            }
        }
    }

    /// Whether something is there already.
    pub(super) async fn next_now(&mut self, options: &LdapOptions) -> Option<Heard> {
        let heard = tokio::select! {
            biased;
            heard = receive(&mut self.stream, &self.connection.pace, options, self.asked_with_cookie) => Some(heard),
            // The reading task gets its turn first: it shares this thread.
            () = tokio::task::yield_now() => None,
        };
        if heard.is_some() {
            self.heard();
        }
        heard
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
        self.report.heard();
    }
}

/// Whether the server lives. One that was stopped is never noticed otherwise: its kernel acknowledges for it.
async fn ask(mut ldap: Ldap, patience: Duration) -> Result<(), String> {
    match timeout(patience, ldap.extended(WhoAmI)).await {
        Err(_) => Err(format!("no answer to a probe within {} s", patience.as_secs_f64())),
        Ok(Err(error)) => Err(said(&error)),
        // Refusing the operation is an answer as well.
        Ok(Ok(_)) => Ok(()),
    }
}

async fn receive(stream: &mut Stream, pace: &Pace, options: &LdapOptions, asked_with_cookie: bool) -> Heard {
    match pace.take(stream.next()).await {
        Ok(Some(response)) => match message::message(response) {
            Ok(message) => Heard::Message(message),
            Err(malformed) => Heard::Lost(Trouble::refused(format!(
                "the server sent what is no content synchronisation: {}",
                malformed.0
            ))),
        },
        Ok(None) => {
            let result = stream.finish().await;
            let Done { cookie, .. } = match message::done(&result.ctrls) {
                Ok(done) => done,
                Err(malformed) => {
                    let why = format!("a malformed end of the search: {}", malformed.0);
                    return Heard::Lost(Trouble::refused(why));
                }
            };
            Heard::Lost(match result.rc {
                code if asked_with_cookie && COOKIE_REFUSED.contains(&code) => return Heard::Again { forget: true },
                BEHIND_COOKIE if asked_with_cookie => return Heard::Behind,
                0 => match cookie {
                    Some(_) => Trouble::unreachable("the server ended the search"),
                    None => Trouble::refused(
                        "the server ended the search without a cookie: it does not know content synchronisation, or not for this base",
                    ),
                },
                12 => Trouble::refused(
                    "the server does not know content synchronisation (12): is the overlay syncprov loaded on this database?",
                ),
                32 => Trouble::refused(format!("expected an entry {}, found none (32)", options.base)),
                code => Trouble::of_result(code, format!("search below {}: {} ({code})", options.base, result.text)),
            })
        }
        Err(error) => Heard::Lost(trouble(&error, "")),
    }
}
