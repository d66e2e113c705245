//! What is expected of every source, in code. Tests call [`run`] with a [`Fixture`] for each kind of source.

use super::{DataTree, Event, Health, Loaded};
use crate::record::{AccountStatus, BackendProtocol, NodeState, Role, Service};
use crate::snapshot::{CopyState, Difference, NoOwner, Owner, Recipient, Snapshot};
use std::sync::Arc;
use std::time::Duration;

/// What the suite needs to drive a source: something that holds a tree and can be made to hold another.
pub trait Fixture {
    /// A source over what is held. Called once.
    fn source(&mut self) -> Box<dyn DataTree>;

    /// Makes it hold exactly the entries of this LDIF. Every entry has an entryUUID, parents come first.
    fn hold(&mut self, ldif: &str);

    /// Whether one wrong record refuses all (LDIF), or only itself (LDAP).
    fn whole_or_nothing(&self) -> bool;
}

const DOMAIN: &str = "\
dn: dc=example,dc=org
objectClass: top
objectClass: domain
objectClass: pigeonDomain
dc: example
associatedDomain: example.org
entryUUID: 00000000-0000-4000-8000-000000000001

dn: dc=alias,dc=org
objectClass: top
objectClass: domain
objectClass: pigeonDomain
dc: alias
associatedDomain: alias.example
pigeonAliasOf: example.org
entryUUID: 00000000-0000-4000-8000-000000000002

";

/// An account's entry with further lines.
fn account(number: u8, name: &str, more: &str) -> String {
    format!(
        "dn: uid={name},dc=example,dc=org\nobjectClass: top\nobjectClass: inetOrgPerson\ncn: {name}\nsn: {name}\nuid: {name}\nmail: {name}@example.org\nentryUUID: 00000000-0000-4000-8000-0000000001{number:02}\n{more}\n"
    )
}

/// How often a change is waited for, a second each, before it counts as missed.
const WAITS_MAX: usize = 30;

/// A source and the snapshot that it gave last.
struct Run<'a> {
    fixture: &'a mut dyn Fixture,
    source: Box<dyn DataTree>,
    current: Snapshot,
}

impl Run<'_> {
    /// Waits until the snapshot in force satisfies `is_there`; returns what is different since before.
    fn until(&mut self, what: &str, is_there: impl Fn(&Snapshot) -> bool) -> Difference {
        let mut first: Option<Snapshot> = None;
        for _ in 0..WAITS_MAX {
            match self.source.watch(&self.current, Duration::from_secs(1)) {
                Event::Changed(loaded) => {
                    let Loaded { snapshot, .. } = *loaded;
                    assert!(
                        snapshot.generation() > self.current.generation(),
                        "{what}: generations only grow"
                    );
                    let before = std::mem::replace(&mut self.current, snapshot);
                    let first = first.get_or_insert(before);
                    if is_there(&self.current) {
                        assert_eq!(self.current.state(), CopyState::Live, "{what}");
                        return self.current.difference(first);
                    }
                }
                Event::Quiet => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        panic!("{what} was not seen");
    }

    fn status(&self, name: &str) -> Option<AccountStatus> {
        self.current.login(name).map(|account| account.status())
    }
}

fn names(accounts: &[Arc<crate::Account>]) -> Vec<&str> {
    let mut names: Vec<_> = accounts.iter().map(|account| account.name()).collect();
    names.sort_unstable();
    names
}

/// Runs the suite; panics with what was not as expected.
pub fn run(fixture: &mut dyn Fixture) {
    let alice = account(1, "alice", "mailQuotaSize: 1000\nmailAlternateAddress: a@example.org\n");
    let bob = account(2, "bob", "accountStatus: active\n");
    let carol = account(3, "carol", "");
    fixture.hold(&format!("{DOMAIN}{alice}{bob}{carol}"));
    let mut source = fixture.source();

    // The first load: typed records, current, healthy.
    let loaded = source
        .load(&Snapshot::empty())
        .unwrap_or_else(|error| panic!("first load: {error}"));
    assert!(!source.describe().is_empty());
    assert_eq!(source.health(), Health::Good);
    let mut run = Run {
        fixture,
        source,
        current: loaded.snapshot,
    };
    assert_eq!(run.current.state(), CopyState::Live);
    assert!(run.current.generation() > 0);
    assert_eq!(run.current.account_count(), 3);
    let found = run.current.login("alice").expect("alice is there");
    assert_eq!(found.quota().bytes, Some(1000));
    assert_eq!(
        found.addresses().collect::<Vec<_>>(),
        ["alice@example.org", "a@example.org"]
    );
    assert_eq!(found.id().to_string(), "00000000-0000-4000-8000-000000000101");
    assert!(found.may(Service::Imap));
    assert!(matches!(
        run.current.recipient("a", "alias.example"),
        Recipient::Account { .. }
    ));
    assert!(matches!(
        run.current.recipient("nobody", "example.org"),
        Recipient::UnknownUser
    ));

    // Nothing happens: nothing is told.
    assert!(matches!(run.source.watch(&run.current, Duration::ZERO), Event::Quiet));

    // A change of one account leaves the others the same.
    let before = Arc::clone(run.current.login("alice").expect("alice is there"));
    let bob_disabled = bob.replace("accountStatus: active", "accountStatus: disabled");
    run.fixture.hold(&format!("{DOMAIN}{alice}{bob_disabled}{carol}"));
    let difference = run.until("a changed status", |now| {
        now.login("bob")
            .is_some_and(|account| account.status() == AccountStatus::Disabled)
    });
    assert_eq!(
        (names(&difference.changed), names(&difference.removed)),
        (vec!["bob@example.org"], vec![])
    );
    assert!(Arc::ptr_eq(
        &before,
        run.current.login("alice").expect("alice is there")
    ));
    assert!(matches!(
        run.current.recipient("bob", "example.org"),
        Recipient::Disabled
    ));

    // One account is new, one is gone.
    let dave = account(4, "dave", "");
    run.fixture.hold(&format!("{DOMAIN}{alice}{bob_disabled}{dave}"));
    let difference = run.until("a new and a removed account", |now| {
        now.login("dave").is_some() && now.login("carol").is_none()
    });
    assert_eq!(
        (names(&difference.changed), names(&difference.removed)),
        (vec!["dave@example.org"], vec!["carol@example.org"])
    );

    // A rename keeps the key, and so the mail.
    let renamed = account(4, "david", "");
    run.fixture.hold(&format!("{DOMAIN}{alice}{bob_disabled}{renamed}"));
    run.until("a renamed account", |now| {
        now.login("david").is_some() && now.login("dave").is_none()
    });
    let id = run.current.login("david").expect("he is there").id();
    assert_eq!(id.to_string(), "00000000-0000-4000-8000-000000000104");
    assert!(matches!(
        run.current.recipient("dave", "example.org"),
        Recipient::UnknownUser
    ));

    // A domain's change is its accounts' change.
    let domain_off = DOMAIN.replacen(
        "associatedDomain: example.org",
        "associatedDomain: example.org\npigeonDomainStatus: disabled",
        1,
    );
    run.fixture.hold(&format!("{domain_off}{alice}{bob_disabled}{renamed}"));
    let difference = run.until("a disabled domain", |now| {
        now.login("alice")
            .is_some_and(|account| account.status() == AccountStatus::Disabled)
    });
    assert_eq!(names(&difference.changed).len(), 3);
    run.fixture.hold(&format!("{DOMAIN}{alice}{bob_disabled}{renamed}"));
    run.until("an enabled domain", |now| {
        now.login("alice")
            .is_some_and(|account| account.status() == AccountStatus::Active)
    });

    nodes(&mut run, &format!("{DOMAIN}{bob_disabled}{renamed}"));
    run.fixture.hold(&format!("{DOMAIN}{alice}{bob_disabled}{renamed}"));
    run.until("no nodes", |now| now.servers().count() == 0);
    wrong_records(&mut run, &alice, &bob_disabled, &renamed);

    // Asked for, it is read again though nothing changed; told to stop, it stops.
    let handle = run.source.handle();
    handle.reload();
    let generation = run.current.generation();
    run.until("a reload", |now| now.generation() > generation);
    handle.stop();
    assert!(matches!(
        run.source.watch(&run.current, Duration::from_secs(3600)),
        Event::Stopped
    ));
}

/// What the server_map says of a node, and where an account was before: each change is told. `others` are held beside it.
fn nodes(run: &mut Run<'_>, others: &str) {
    let node = |more: &str| {
        format!(
            "dn: cn=n1,dc=example,dc=org\nobjectClass: top\nobjectClass: device\nobjectClass: pigeonServer\ncn: n1\n\
             pigeonPrivateAddress: 10.0.0.1\npigeonPrivateAddress: status://10.0.0.1:2081\n{more}\
             entryUUID: 00000000-0000-4000-8000-000000000003\n\n"
        )
    };
    let alice = account(
        1,
        "alice",
        "mailHost: n1\npigeonPreviousHost: n0/old\npigeonPreviousHost: n2\npigeonPreviousHost: lost:n3\npigeonSessionsSince: 20261122101500.25Z\n",
    );
    run.fixture.hold(&format!("{others}{}{alice}", node("")));
    let server = |now: &Snapshot| now.server("n1").cloned();
    run.until("a node", |now| {
        server(now).is_some() && now.login("alice").is_some_and(|alice| alice.node().is_some())
    });
    let is = server(&run.current).expect("it is there");
    assert!(is.state() == NodeState::Up && is.has_role(Role::Mx) && is.has_role(Role::Store));
    let status: Vec<_> = is.backends(BackendProtocol::Status).collect();
    assert_eq!(status, [("10.0.0.1", 2080), ("10.0.0.1", 2081)]);
    let alice_now = run.current.login("alice").expect("she is there");
    let mut previous: Vec<_> = alice_now.previous().map(|previous| previous.to_string()).collect();
    // A directory may give values in another order.
    previous.sort();
    assert_eq!(previous, ["n0/old", "n2"]);
    assert!(alice_now.is_lost_on("n3") && !alice_now.is_lost_on("n2"));
    assert_eq!(alice_now.sessions_since(), Some(1_795_342_500_250));

    let front = node("pigeonRole: mx\npigeonRole: proxy\npigeonNodeState: draining\n");
    run.fixture.hold(&format!("{others}{front}{alice}"));
    run.until("another role", |now| {
        server(now).is_some_and(|server| server.state() == NodeState::Draining && !server.has_role(Role::Store))
    });
    let alice_now = run.current.login("alice").expect("she is there");
    let owner = run.current.owner_of(alice_now, Some("n2"));
    assert_eq!(owner, Owner::Nowhere(NoOwner::NotAStore("n1".to_owned())));

    let later = alice.replace("1015", "1115");
    run.fixture
        .hold(&format!("{others}{}{later}", node("pigeonNodeState: down\n")));
    run.until("a node that is down", |now| {
        server(now).is_some_and(|server| server.state() == NodeState::Down && server.has_role(Role::Store))
            && now
                .login("alice")
                .is_some_and(|alice| alice.sessions_since() == Some(1_795_346_100_250))
    });
}

/// Two owners of an address and a quota of -1: the last good data stays in force, and it is told.
fn wrong_records(run: &mut Run<'_>, alice: &str, bob: &str, david: &str) {
    let wrong_bob = format!(
        "{}mailAlternateAddress: A@Example.org\n\n",
        bob.trim_end_matches('\n').to_owned() + "\n"
    );
    let new_quota = alice.replace("mailQuotaSize: 1000", "mailQuotaSize: 2000");
    let wrong_david = david.replace("uid: david\n", "uid: david\nmailQuotaSize: -1\n");
    run.fixture
        .hold(&format!("{DOMAIN}{new_quota}{wrong_bob}{wrong_david}"));
    if run.fixture.whole_or_nothing() {
        let refused = (0..WAITS_MAX).find_map(|_| match run.source.watch(&run.current, Duration::from_secs(1)) {
            Event::Refused(error) => Some(error.to_string()),
            Event::Quiet => None,
            other => panic!("a wrong tree: {other:?}"),
        });
        let refused = refused.expect("a wrong tree is refused");
        assert!(refused.contains("belongs to") && refused.contains("-1"), "{refused}");
        assert!(matches!(run.source.health(), Health::Bad(_)));
        assert!(
            matches!(run.source.watch(&run.current, Duration::ZERO), Event::Quiet),
            "it is told once"
        );
    } else {
        let quota = |now: &Snapshot| now.login("alice").and_then(|account| account.quota().bytes);
        run.until("a tree with wrong records", |now| quota(now) == Some(2000));
    }
    assert_eq!(run.status("bob"), Some(AccountStatus::Disabled));
    assert!(
        matches!(run.current.recipient("a", "example.org"), Recipient::Account { account, .. } if account.name() == "alice@example.org")
    );
    assert_eq!(
        run.current.login("david").map(|account| account.quota().bytes),
        Some(None)
    );

    run.fixture.hold(&format!(
        "{DOMAIN}{new_quota}{bob}{}",
        david.replace("uid: david\n", "uid: david\nmailQuotaSize: 7\n")
    ));
    run.until("a mended tree", |now| {
        now.login("david")
            .is_some_and(|account| account.quota().bytes == Some(7))
            && now
                .login("alice")
                .is_some_and(|account| account.quota().bytes == Some(2000))
    });
    assert_eq!(run.source.health(), Health::Good);
}
