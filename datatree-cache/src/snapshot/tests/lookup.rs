//! Who gets mail, who may log in, and what a domain says.

use super::*;
use crate::record::Service;

#[test]
fn recipients() {
    let tree = tree();
    for (local, domain, expect) in [
        ("alice", "example.org", "alice@example.org"),
        ("ALICE", "EXAMPLE.ORG", "alice@example.org"),
        ("a.liddell", "example.org", "alice@example.org"),
        ("Alice Liddell", "example.org", "alice@example.org"),
        ("alice+News", "example.org", "alice@example.org (News)"),
        ("alice+a+b", "example.org", "alice@example.org (a+b)"),
        ("alice+", "example.org", "alice@example.org ()"),
        ("alice+special", "example.org", "alice@example.org"),
        ("+news", "example.org", "UnknownUser"),
        ("bob-x", "example.org", "UnknownUser"),
        ("nobody", "example.org", "UnknownUser"),
        ("nobody+x", "example.org", "UnknownUser"),
        ("alice", "elsewhere.example", "UnknownDomain"),
        ("", "example.org", "UnknownUser"),
        ("", "elsewhere.example", "UnknownDomain"),
        ("alice", "not a domain", "UnknownDomain"),
        ("alice", "[192.0.2.1]", "UnknownDomain"),
        // Alias domains.
        ("alice", "alias.example", "alice@example.org"),
        ("alice+x", "Alias.Example", "alice@example.org (x)"),
        ("only", "alias.example", "alice@example.org"),
        ("only+y", "alias.example", "alice@example.org (y)"),
        ("only", "example.org", "UnknownUser"),
        // Catch-all, and a delimiter of its own.
        ("x", "catch.example", "bob@example.org"),
        ("x-y", "catch.example", "bob@example.org (y)"),
        ("whoever", "catch.example", "bob@example.org"),
        ("frank", "catch.example", "UnknownUser"),
        // International names.
        ("b\u{fc}ro", "b\u{fc}cher.example", "b\u{fc}ro@xn--bcher-kva.example"),
        ("B\u{dc}RO", "B\u{dc}CHER.example", "b\u{fc}ro@xn--bcher-kva.example"),
        (
            "bu\u{308}ro",
            "xn--bcher-kva.EXAMPLE",
            "b\u{fc}ro@xn--bcher-kva.example",
        ),
        ("b\u{fc}ro+x", "b\u{fc}cher.example", "UnknownUser"),
        // Status.
        ("dave", "example.org", "Disabled"),
        ("erin", "example.org", "UnknownUser"),
        ("bob", "off.example", "Disabled"),
        ("nobody", "off.example", "Disabled"),
        ("bob", "gone.example", "UnknownDomain"),
        ("grace", "quiet.example", "grace@quiet.example"),
        ("heidi", "example.org", "Disabled"),
        // Groups.
        ("staff", "example.org", "group staff@example.org"),
        ("Staff", "alias.example", "group staff@example.org"),
        // Postmaster.
        ("postmaster", "example.org", "alice@example.org"),
        ("Postmaster", "alias.example", "alice@example.org"),
        ("postmaster", "catch.example", "bob@example.org"),
        ("postmaster", "quiet.example", "UnknownUser"),
        ("PostMaster", "", "alice@example.org"),
        ("alice", "", "UnknownDomain"),
    ] {
        assert_eq!(show(tree.recipient(local, domain)), expect, "{local}@{domain}");
    }
    let long = "x".repeat(65);
    assert_eq!(show(tree.recipient(&long, "example.org")), "UnknownUser");
    assert_eq!(show(tree.recipient(&long, "elsewhere.example")), "UnknownDomain");
    assert_eq!(show(tree.recipient("a", &"x.".repeat(200))), "UnknownDomain");
}

#[test]
fn unknown_is_uncertain_unless_the_copy_is_live() {
    for state in [CopyState::Boot, CopyState::Refresh, CopyState::Lost] {
        let tree = tree().in_state(state);
        assert_eq!(tree.generation(), 2);
        for (local, domain, expect) in [
            ("alice", "example.org", "alice@example.org"),
            ("nobody", "example.org", "Uncertain"),
            ("alice", "elsewhere.example", "Uncertain"),
            ("dave", "example.org", "Disabled"),
            ("postmaster", "quiet.example", "Uncertain"),
        ] {
            assert_eq!(
                show(tree.recipient(local, domain)),
                expect,
                "{state:?} {local}@{domain}"
            );
        }
    }
    assert_eq!(show(Snapshot::empty().recipient("alice", "example.org")), "Uncertain");
    assert_eq!(show(Snapshot::empty().recipient("postmaster", "")), "Uncertain");
}

#[test]
fn logins() {
    let tree = tree();
    for (name, expect) in [
        ("alice", Some("alice@example.org")),
        ("Alice", Some("alice@example.org")),
        ("alice@example.org", Some("alice@example.org")),
        ("A.Liddell@Example.ORG", Some("alice@example.org")),
        ("alice@alias.example", Some("alice@example.org")),
        ("only@alias.example", Some("alice@example.org")),
        ("alice+x@example.org", None),
        ("whoever@catch.example", None),
        ("staff@example.org", None),
        ("erin", None),
        ("erin@example.org", None),
        ("dave@example.org", Some("dave@example.org")),
        ("", None),
        ("@", None),
        ("carol", None),
    ] {
        assert_eq!(tree.login(name).map(|account| account.name()), expect, "{name}");
    }
    let may = |name: &str, service| tree.login(name).is_some_and(|account| account.may(service));
    for service in Service::ALL {
        assert!(may("alice", service));
        assert!(!may("dave@example.org", service));
    }
    assert!(may("b\u{fc}ro@b\u{fc}cher.example", Service::Smtp));
    assert!(!may("b\u{fc}ro@b\u{fc}cher.example", Service::Imap));
    assert!(!may("grace@quiet.example", Service::Imap), "the domain lets nobody in");
    assert!(may("heidi@example.org", Service::Pop3));
    assert!(!may("heidi@example.org", Service::Imap));
}

#[test]
fn domains_and_their_defaults() {
    let tree = tree();
    assert!(tree.is_local_domain("EXAMPLE.org"));
    assert!(tree.is_local_domain("B\u{fc}cher.example"));
    assert!(tree.is_local_domain("off.example"));
    assert!(!tree.is_local_domain("gone.example"));
    assert!(!tree.is_local_domain("org"));
    assert_eq!(
        tree.domain("b\u{fc}cher.example").map(|domain| domain.display_name()),
        Some("b\u{fc}cher.example")
    );
    let names: Vec<_> = tree.domains().map(|domain| domain.name()).collect();
    assert!(names.is_sorted() && names.len() == 7, "{names:?}");
    let grace = tree.login("grace@quiet.example").expect("she is there");
    assert_eq!(grace.quota().bytes, Some(1000));
    assert_eq!(grace.status(), AccountStatus::NoAccess);
    assert_eq!(format!("{:?}", grace.services()), "{\"smtp\", \"imap\"}");
}

#[test]
fn the_decoy_costs_what_most_secrets_cost() {
    let text = "dn: uid=a\nmail: a@x.example\nuserPassword: {PLAIN}x\n\ndn: uid=b\nmail: b@x.example\nuserPassword: {CRYPT}$6$rounds=1000$saltsaltsalt$cpw5HANMkRpVhG5C7hROYKVFIzmpAiA/Q9MBG83WtEum2StjOghVgd8YznzTvoIUrbSG/raf8zry1pndIWCFL1\n\ndn: uid=c\nmail: c@x.example\nuserPassword: {CRYPT}$6$rounds=1000$saltsaltsalt$cpw5HANMkRpVhG5C7hROYKVFIzmpAiA/Q9MBG83WtEum2StjOghVgd8YznzTvoIUrbSG/raf8zry1pndIWCFL1\n";
    let decoy = Snapshot::from_ldif(text)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
        .decoy();
    assert!(decoy.is_like("{CRYPT}$6$rounds=1000$"));
    assert_eq!(
        decoy.verify(b"Tr0ub4dor&3"),
        crate::password::Verdict::Mismatch,
        "never a match"
    );
}
