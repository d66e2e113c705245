//! Every case of content synchronisation that a real server can be brought to show, and what a node makes of it.

use crate::slapd::{SUFFIX, Slapd};
use crate::{Following, options, person, provider};
use pigeon_datatree_cache::source::DataTree;
use pigeon_datatree_cache::{CopyState, Recipient};
use std::path::PathBuf;
use std::time::Duration;

/// A place for the copy.
struct Place(PathBuf);

impl Place {
    fn new(slapd: &Slapd) -> Place {
        // Removed with the server's.
        Place(slapd.directory().join("copy"))
    }
}

#[test]
fn changes_arrive_as_they_are_made() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice"]);
    let mut node = Following::start(options(&[slapd.uri()], None));
    assert_eq!(node.current.state(), CopyState::Live, "{:?}", node.told);
    assert!(node.has("alice"));
    slapd.change(&person("bob", ""));
    node.until("an added account", |now| now.login("bob").is_some());
    slapd.change(&format!(
        "dn: uid=bob,{SUFFIX}\nchangetype: modrdn\nnewrdn: uid=robert\ndeleteoldrdn: 1\n"
    ));
    let id = node.current.login("bob").expect("he was there").id();
    node.until("a renamed account", |now| now.login("robert").is_some());
    assert_eq!(node.current.login("robert").map(|account| account.id()), Some(id));
    assert!(!node.has("bob"));
    slapd.change(&format!("dn: uid=alice,{SUFFIX}\nchangetype: delete\n"));
    node.until("a deleted account", |now| now.login("alice").is_none());
    assert!(matches!(
        node.current.recipient("alice", "example.org"),
        Recipient::UnknownUser
    ));
}

#[test]
fn a_server_that_is_gone_leaves_the_copy_in_force() {
    if !crate::slapd::is_there() {
        return;
    }
    let mut slapd = provider(&["alice"]);
    let mut node = Following::start(options(&[slapd.uri()], None));
    slapd.kill();
    node.until("the lost state", |now| now.state() == CopyState::Lost);
    assert!(node.has("alice"));
    // Changed meanwhile, with the session log gone: what is there is named, the rest is swept.
    slapd.resume();
    slapd.change(&format!(
        "dn: uid=alice,{SUFFIX}\nchangetype: delete\n\n{}",
        person("bob", "")
    ));
    node.until_live();
    node.until("what changed meanwhile", |now| {
        now.login("bob").is_some() && now.login("alice").is_none()
    });
}

#[test]
fn a_server_that_was_stopped_is_noticed() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice"]);
    let mut node = Following::start(options(&[slapd.uri()], None));
    slapd.signal("STOP");
    node.until("the lost state", |now| now.state() == CopyState::Lost);
    assert!(node.told.iter().any(|told| told.contains("probe")), "{:?}", node.told);
    slapd.signal("CONT");
    node.until_live();
}

#[test]
fn a_node_starts_from_its_copy() {
    if !crate::slapd::is_there() {
        return;
    }
    let mut slapd = provider(&["alice", "bob", "carol"]);
    let place = Place::new(&slapd);
    let settings = || options(&[slapd_uri(&place)], Some(&place.0));
    let mut node = Following::start(settings());
    slapd.change(&person("dave", ""));
    node.until("an added account", |now| now.login("dave").is_some());
    drop(node);

    // Within the session log: what is gone is named.
    slapd.change(&format!("dn: uid=bob,{SUFFIX}\nchangetype: delete\n\n"));
    let mut node = Following::start(settings());
    assert_eq!(node.current.state(), CopyState::Boot);
    assert!(node.has("alice") && node.has("bob") && node.has("dave"));
    node.until_live();
    assert!(!node.has("bob") && node.has("alice") && node.has("dave"));
    drop(node);

    // The server is down: everybody is there, and nobody is unknown for good.
    slapd.stop();
    let mut node = Following::start(settings());
    assert_eq!(
        (node.current.state(), node.current.account_count()),
        (CopyState::Boot, 3)
    );
    assert!(!node.has("bob"));
    node.step(Duration::from_millis(200));
    assert_eq!(node.current.state(), CopyState::Boot);
    drop(node);

    // The server has lost its session log.
    slapd.resume();
    slapd.change(&format!("dn: uid=carol,{SUFFIX}\nchangetype: delete\n\n"));
    slapd.stop();
    slapd.resume();
    let mut node = Following::start(settings());
    assert!(node.has("carol"));
    node.until_live();
    assert!(!node.has("carol") && node.has("alice") && node.has("dave"));
    drop(node);

    // A copy that was cut off anywhere is one of an earlier moment, or none.
    let file = place.0.join("directory.copy");
    let whole = std::fs::read(&file).expect("the copy is there");
    for length in [whole.len() - 1, whole.len() / 2, 25, 5, 0] {
        std::fs::write(&file, &whole[..length]).expect("the copy's directory");
        let mut node = Following::start(settings());
        node.until_live();
        assert_eq!(node.current.account_count(), 2, "cut off at {length}");
        // And is whole again.
        drop(node);
        let node = Following::start(settings());
        assert_eq!(
            (node.current.state(), node.current.account_count()),
            (CopyState::Boot, 2),
            "cut off at {length}"
        );
    }
    std::fs::write(&file, b"something else altogether").expect("the copy's directory");
    let node = Following::start(settings());
    assert!(
        node.told.iter().any(|told| told.contains("directory.copy.damaged")),
        "{:?}",
        node.told
    );
    assert_eq!(
        (node.current.state(), node.current.account_count()),
        (CopyState::Live, 2)
    );
}

fn slapd_uri(place: &Place) -> String {
    let directory = place.0.parent().expect("it is in the server's directory");
    format!(
        "ldapi://{}",
        directory.join("ldapi").display().to_string().replace('/', "%2F")
    )
}

#[test]
fn the_next_server_takes_over() {
    if !crate::slapd::is_there() {
        return;
    }
    let mut first = provider(&["alice"]);
    let second = provider(&["alice", "bob"]);
    let mut node = Following::start(options(&[first.uri(), second.uri()], None));
    assert!(node.has("alice") && !node.has("bob"));
    first.kill();
    // A cookie of the first means nothing to the second: everything is asked for, and the rest is swept.
    node.until("the second server's tree", |now| {
        now.state() == CopyState::Live && now.login("bob").is_some()
    });
    assert_eq!(node.current.account_count(), 2);
}

#[test]
fn a_wrong_record_is_refused_alone_and_taken_when_it_can_be() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice", "bob"]);
    let place = Place::new(&slapd);
    let mut node = Following::start(options(&[slapd.uri()], Some(&place.0)));
    slapd.change(&format!(
        "dn: uid=bob,{SUFFIX}\nchangetype: modify\nreplace: mailQuotaSize\nmailQuotaSize: -1\n-\n\n{}",
        person("carol", "mailAlternateAddress: alice@example.org\n")
    ));
    slapd.change(&person("dave", ""));
    node.until("a good record behind wrong ones", |now| now.login("dave").is_some());
    assert!(node.has("bob") && !node.has("carol"));
    let told = node.told.join("\n");
    assert!(
        told.contains("uid=bob,dc=test: mailQuotaSize") && told.contains("-1"),
        "{told}"
    );
    assert!(
        told.contains("uid=carol,dc=test") && told.contains("alice@example.org"),
        "{told}"
    );
    let told = node.told.len();

    // After a start as before.
    drop(node);
    let mut node = Following::start(options(&[slapd.uri()], Some(&place.0)));
    assert!(node.has("bob") && !node.has("carol"));
    node.until_live();
    assert!(node.has("bob") && !node.has("carol") && told > 0);

    // What stood in the way is gone: carol comes without being touched.
    slapd.change(&format!("dn: uid=alice,{SUFFIX}\nchangetype: delete\n"));
    node.until("a record that was in conflict", |now| now.login("carol").is_some());
    drop(node);
    let node = Following::start(options(&[slapd.uri()], Some(&place.0)));
    assert!(node.has("carol"), "and stays");
}

#[test]
fn nobody_who_was_refused_is_unknown() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice"]);
    slapd.change(&person(
        "carol",
        "mailAlternateAddress: c.arol@example.org\nmailQuotaSize: -1\n",
    ));
    slapd.change(&format!(
        "dn: dc=wrong,{SUFFIX}\nchangetype: add\nobjectClass: domain\nobjectClass: pigeonDomain\ndc: wrong\n\
         associatedDomain: wrong.example\npigeonDomainStatus: nonsense\n"
    ));
    let place = Place::new(&slapd);
    let settings = || options(&[slapd.uri()], Some(&place.0));
    let uncertain = |node: &Following, local: &str, domain: &str| {
        matches!(node.current.recipient(local, domain), Recipient::Uncertain)
    };
    // From the server, and from the copy beside it.
    for _ in 0..2 {
        let mut node = Following::start(settings());
        node.until_live();
        let report = node.source.report().expect("a directory reports").read();
        assert_eq!((report.refused_count, report.refused.list.len()), (2, 2), "{report:?}");
        assert!(report.refused.to_string().contains("uid=carol,dc=test: mailQuotaSize"));
        for (local, domain) in [
            ("carol", "example.org"),
            ("C.Arol", "example.org"),
            ("carol+news", "example.org"),
            ("anybody", "wrong.example"),
        ] {
            assert!(uncertain(&node, local, domain), "{local}@{domain}");
        }
        assert!(!node.current.is_nobody("carol") && !node.current.is_nobody("Carol@EXAMPLE.org"));
        assert!(node.current.is_nobody("dave") && !node.current.is_nobody("alice"));
        assert!(matches!(
            node.current.recipient("dave", "example.org"),
            Recipient::UnknownUser
        ));
        assert!(matches!(
            node.current.recipient("dave", "elsewhere.example"),
            Recipient::UnknownDomain
        ));
    }
    let mut node = Following::start(settings());
    node.until_live();
    slapd.change(&format!(
        "dn: uid=carol,{SUFFIX}\nchangetype: modify\nreplace: mailQuotaSize\nmailQuotaSize: 7\n\n\
         dn: dc=wrong,{SUFFIX}\nchangetype: delete\n"
    ));
    node.until("the mended record", |now| now.login("carol").is_some());
    node.until("the end of the wrong domain", |now| {
        matches!(now.recipient("anybody", "wrong.example"), Recipient::UnknownDomain)
    });
    let report = node.source.report().expect("a directory reports").read();
    assert_eq!((report.refused_count, report.refused.list.len()), (0, 0), "{report:?}");
}

#[test]
fn a_copy_that_is_old_for_long_raises_an_alarm_once() {
    if !crate::slapd::is_there() {
        return;
    }
    let mut slapd = provider(&["alice"]);
    let mut node = Following::start(pigeon_datatree_cache::ldap::LdapOptions {
        alarm_after: Duration::from_millis(700),
        ..options(&[slapd.uri()], None)
    });
    let report = node.source.report().expect("a directory reports");
    assert_eq!((report.read().state, report.read().alarm), (CopyState::Live, false));
    assert_eq!(report.read().server, slapd.uri());
    slapd.kill();
    node.until("the lost state", |now| now.state() == CopyState::Lost);
    assert!(report.read().trouble.is_some() && report.read().current_at.is_some());
    for _ in 0..40 {
        node.step(Duration::from_millis(100));
    }
    let alarms = |node: &Following| node.told.iter().filter(|told| told.starts_with("alarm: ")).count();
    assert_eq!(alarms(&node), 1, "{:?}", node.told);
    assert!(report.read().alarm);
    slapd.resume();
    node.until_live();
    let after = report.read();
    assert_eq!(
        (after.state, after.alarm, after.trouble),
        (CopyState::Live, false, None)
    );
}

#[test]
fn the_state_of_the_directory_that_the_copy_has_is_told() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice"]);
    let mut node = Following::start(options(&[slapd.uri()], None));
    let report = node.source.report().expect("a directory reports");
    let before = report.read().cookie.expect("slapd gives cookies");
    assert!(before.contains("csn="), "{before}");
    slapd.change(&person("bob", ""));
    node.until("bob", |now| now.login("bob").is_some());
    let after = report.read().cookie.expect("slapd gives cookies");
    assert!(after > before, "{before} {after}");
}

#[test]
fn what_is_wrong_is_said_once() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&[]);
    let uri = slapd.uri();
    let wrong_secret = pigeon_datatree_cache::ldap::LdapOptions {
        bind: pigeon_datatree_cache::ldap::Bind::Simple {
            dn: crate::slapd::ENGINE.to_owned(),
            password: "wrong".to_owned(),
        },
        ..options(std::slice::from_ref(&uri), None)
    };
    let wrong_base = pigeon_datatree_cache::ldap::LdapOptions {
        base: "dc=nowhere".to_owned(),
        ..options(std::slice::from_ref(&uri), None)
    };
    let nowhere = options(&["ldapi://%2Fnowhere%2Fldapi".to_owned()], None);
    // Two servers that are of no use for different reasons: each reason is told once.
    let both = pigeon_datatree_cache::ldap::LdapOptions {
        servers: [&nowhere.servers[..], &wrong_secret.servers[..]].concat(),
        ..wrong_secret.clone()
    };
    for (wrong, expected) in [
        (wrong_secret, vec!["wrong DN or password"]),
        (wrong_base, vec!["expected an entry dc=nowhere"]),
        (nowhere, vec!["connecting"]),
        (both, vec!["connecting", "wrong DN or password"]),
    ] {
        let mut node = Following::start(wrong);
        assert_eq!(node.current.state(), CopyState::Boot);
        for _ in 0..6 {
            node.step(Duration::from_millis(300));
        }
        for expected in expected {
            let said: Vec<_> = node.told.iter().filter(|told| told.contains(expected)).collect();
            assert_eq!(said.len(), 1, "{expected}: {:?}", node.told);
        }
    }
}

#[test]
fn the_copy_is_exported_as_ldif() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice"]);
    slapd.change(&format!(
        "dn: uid=jürgen,{SUFFIX}\nchangetype: add\nobjectClass: inetOrgPerson\nobjectClass: pigeonAccount\ncn: Jürgen\nsn:: IHg=\n\
         uid: jürgen\nmail: juergen@example.org\ndescription: {}\n",
        "long ".repeat(60)
    ));
    let place = Place::new(&slapd);
    let node = Following::start(options(&[slapd.uri()], Some(&place.0)));
    let mut exported = Vec::new();
    let count = pigeon_datatree_cache::ldap::export(&place.0, &mut exported).expect("a copy is there");
    assert_eq!(count, 6);
    let text = String::from_utf8(exported).expect("LDIF is ASCII");
    let again =
        pigeon_datatree_cache::Snapshot::from_ldif(&text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    assert_eq!(again.account_count(), node.current.account_count());
    for account in node.current.accounts() {
        let restored = again.account(account.id()).expect("the same UUID");
        assert_eq!((restored.dn(), restored.name()), (account.dn(), account.name()));
    }
    // A server takes it, UUIDs and all.
    let fresh = Slapd::start();
    let adds = text
        .replace("version: 1\n", "")
        .split("\n\n")
        .filter(|record| !record.trim().is_empty())
        .skip(3)
        .map(|record| record.replacen("\nobjectClass", "\nchangetype: add\nobjectClass", 1))
        .collect::<Vec<_>>()
        .join("\n\n");
    fresh.change(&(adds + "\n"));
}
