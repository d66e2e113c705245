//! Changes of control data act on sessions: who may not go on as they logged in is ended, on every core.
//!
//! A login is checked against the copy; from then on its session keeps the record that let it in. With every snapshot the
//! sessions of changed accounts are compared with the record that is in force. A session that arrives is compared once
//! itself, so that no change falls between its login and its being known here.

use super::core::node;
use super::moves;
use crate::config::Service;
use pigeon_datatree_cache::source::Notice;
use pigeon_datatree_cache::{self as control_data, Account, AccountUuid, Snapshot};
use pigeon_engine::CoreId;
use pigeon_engine::control::CoreHandle;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Snapshots whose changes wait to be told to the cores, at most; then the follower waits.
const CHANGES_WAITING_MAX: usize = 4;

/// Accounts that changed in one snapshot.
type Changed = Arc<Changes>;

struct Changes {
    accounts: HashSet<AccountUuid>,
    /// The same as they are now: some may have to come here, or are here and are to go.
    candidates: Arc<Vec<Arc<Account>>>,
}

/// The follower's end.
pub(super) struct Teller(mpsc::Sender<Changed>);

/// Makes the way from the follower's thread to the cores. Runs on the control thread.
pub(super) fn tell_cores(cores: &CoreHandle) -> Teller {
    let (sender, mut changes) = mpsc::channel::<Changed>(CHANGES_WAITING_MAX);
    let cores = cores.clone();
    tokio::spawn(async move {
        while let Some(changed) = changes.recv().await {
            let calls = (0..cores.core_count()).map(CoreId).map(|core| {
                let changed = changed.clone();
                cores.call(core, || async move {
                    end_sessions(&changed.accounts);
                    moves::look(&changed.candidates);
                })
            });
            // A core that has ended has no sessions.
            futures_util::future::join_all(calls).await;
        }
    });
    Teller(sender)
}

impl Teller {
    /// Tells every core what changed. Blocks while they are behind: for the follower's thread.
    pub(super) fn tell(&self, notice: &Notice<'_>) {
        let Notice::Published { difference, .. } = notice else {
            return;
        };
        let accounts = difference.changed.iter().chain(&difference.removed);
        let changes = Changes {
            accounts: accounts.map(|account| account.id()).collect(),
            candidates: Arc::new(difference.changed.to_vec()),
        };
        if !changes.accounts.is_empty() {
            // Nobody listens any more: the node ends.
            let _ = self.0.blocking_send(Arc::new(changes));
        }
    }
}

/// Ends the sessions of this core whose accounts changed so that they may not go on.
fn end_sessions(changed: &HashSet<AccountUuid>) {
    let Some(node) = node() else { return };
    let snapshot = node.copy.snapshot();
    let ended = node.end_sessions_of(changed, |service, record, began| {
        may_go_on(&snapshot, service, record, began)
    });
    if ended > 0 {
        tracing::info!(sessions = ended, "sessions end: control data changed");
    }
}

/// The beginning of a session, for [`Account::sessions_since`]. A time that was said already when it began is no matter of
/// it, so that a clock that is ahead ends no session twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    /// Milliseconds since the Unix epoch.
    pub(super) at: u64,
    /// What was in force then.
    pub(super) since: Option<u64>,
}

impl Began {
    /// Of a session that arrives now.
    pub(super) fn now(snapshot: &Snapshot, record: &Account) -> Began {
        Began {
            at: u64::try_from(pigeon_engine::unix_time().as_millis()).unwrap_or(u64::MAX),
            since: snapshot
                .account(record.id())
                .and_then(|current| current.sessions_since()),
        }
    }

    /// Of one that was let in by `record` some time ago, on another core perhaps: whatever was said since counts. Another
    /// node's record says nothing of it, and that node looks after it.
    pub(super) fn before(self, service: Service, record: &Account) -> Began {
        Began {
            at: 0,
            since: if service.is_backend() {
                self.since
            } else {
                record.sessions_since()
            },
        }
    }

    fn is_over(self, current: &Account) -> bool {
        current.sessions_since() != self.since && current.sessions_since() > Some(self.at)
    }
}

/// Whether a session that was let in by `record` may go on with what is in force.
pub(super) fn may_go_on(snapshot: &Snapshot, service: Service, record: &Arc<Account>, began: Began) -> bool {
    let Some(current) = snapshot.account(record.id()) else {
        // A backend may have no control data: the node that redirected has, and ends the session.
        return service.is_backend();
    };
    if Arc::ptr_eq(current, record) {
        return true;
    }
    if began.is_over(current) {
        return false;
    }
    // An account that moves is where it was until it is handed over, which ends its sessions then.
    let moves = current.was_elsewhere();
    if service.is_backend() {
        // What was forwarded holds no secrets, and this node has the account, whatever the two records say of its node.
        let stays = current.volume() == record.volume() || moves || record.was_elsewhere();
        return current.may(used(service)) && stays;
    }
    let stays = current.node() == record.node() && current.volume() == record.volume() || moves;
    current.may(used(service)) && current.secrets().eq(record.secrets()) && stays
}

/// What a listener's sessions use.
fn used(service: Service) -> control_data::Service {
    match service {
        Service::Smtp => control_data::Service::Smtp,
        Service::Lmtp | Service::BackendLmtp => control_data::Service::Lmtp,
        Service::Submission | Service::Submissions => control_data::Service::Submission,
        Service::Pop3 | Service::Pop3s | Service::BackendPop3 | Service::BackendPop3s => control_data::Service::Pop3,
        Service::Imap | Service::Imaps | Service::BackendImap | Service::BackendImaps => control_data::Service::Imap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 10:15:00 UTC.
    const BEGAN: Began = Began {
        at: 1_795_342_500_000,
        since: None,
    };

    fn tree(more: &str) -> Snapshot {
        Snapshot::from_ldif(&format!(
            "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\n\
             dn: uid=a\nuid: a\nmail: a@x.example\nentryUUID: 00000000-0000-4000-8000-000000000001\n{more}"
        ))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    #[test]
    fn what_ends_a_session_and_what_does_not() {
        let before = tree("userPassword: {CLEARTEXT}one\n");
        let record = before.login("a").expect("it is there");
        let goes_on = |more: &str| may_go_on(&tree(more), Service::Imap, record, BEGAN);
        let same = "userPassword: {CLEARTEXT}one\n";
        assert!(may_go_on(&before, Service::Imap, record, BEGAN));
        assert!(goes_on(same));
        assert!(goes_on(&format!(
            "{same}mailQuotaSize: 7\nmailAlternateAddress: b@x.example\n"
        )));
        assert!(goes_on(&format!("{same}enabledService: imap\n")));
        let there = format!("{same}mailHost: n2\n");
        assert!(!goes_on(&there), "its mail is somewhere else");
        assert!(
            goes_on(&format!("{there}pigeonPreviousHost: n1\n")),
            "it is moved, and its mail still here"
        );
        for more in [
            "userPassword: {CLEARTEXT}two\n",
            "",
            &format!("{same}accountStatus: noaccess\n"),
            &format!("{same}accountStatus: disabled\n"),
            &format!("{same}accountStatus: deleted\n"),
            &format!("{same}enabledService: pop3\n"),
        ] {
            assert!(!goes_on(more), "{more}");
        }
        assert!(!may_go_on(&Snapshot::empty(), Service::Imap, record, BEGAN));
    }
    #[test]
    fn who_is_told_to_log_in_again_is_told_once() {
        let since = |time: &str| tree(&format!("pigeonSessionsSince: {time}\n"));
        let before = tree("");
        let record = before.login("a").expect("it is there");
        assert!(may_go_on(&since("20261122101459Z"), Service::Imap, record, BEGAN));
        assert!(may_go_on(&since("20261122101500Z"), Service::Imap, record, BEGAN));
        assert!(!may_go_on(&since("20261122101500.001Z"), Service::Imap, record, BEGAN));
        assert!(!may_go_on(
            &since("20261122101500.001Z"),
            Service::BackendImap,
            record,
            BEGAN
        ));
        // It logged in when that time, of a clock that is ahead, was said already.
        let after = since("20261122101600Z");
        let record = after.login("a").expect("it is there");
        let began = Began {
            since: record.sessions_since(),
            ..BEGAN
        };
        let other = tree("pigeonSessionsSince: 20261122101600Z\nmailQuotaSize: 7\n");
        for service in [Service::Imap, Service::BackendImap] {
            assert!(may_go_on(&other, service, record, began));
            assert!(may_go_on(&tree(""), service, record, began));
            assert!(!may_go_on(&since("20261122101700Z"), service, record, began));
        }
        // What was said between the login and the arrival counts, whatever the clock says; what another node forwarded
        // does not know of it.
        let early = since("20261122100000Z");
        let forwarded = tree("");
        let forwarded = forwarded.login("a").expect("it is there");
        let arrived = Began::now(&early, forwarded);
        assert!(!may_go_on(
            &early,
            Service::Imap,
            forwarded,
            arrived.before(Service::Imap, forwarded)
        ));
        let backend = arrived.before(Service::BackendImap, forwarded);
        assert!(may_go_on(&early, Service::BackendImap, forwarded, backend));
    }
}
