//! Lookups as tables; what a reload keeps; incremental against whole builds.

use super::*;
use crate::record::AccountStatus;
use crate::schema::AttributeMap;
use proptest::prelude::*;

const TREE: &str = "\
version: 1

dn: dc=example,dc=org
objectClass: domain
objectClass: pigeonDomain
associatedDomain: example.org
pigeonPostmaster: alice@example.org

dn: dc=net
objectClass: pigeonDomain
associatedDomain: alias.example
pigeonAliasOf: example.org

dn: dc=catch
objectClass: pigeonDomain
associatedDomain: catch.example
pigeonCatchAll: bob@example.org
pigeonAddressDelimiter: -

dn: dc=international
objectClass: pigeonDomain
associatedDomain: b\u{fc}cher.example
pigeonAddressDelimiter: none

dn: dc=off
objectClass: pigeonDomain
associatedDomain: off.example
pigeonDomainStatus: disabled

dn: dc=gone
objectClass: pigeonDomain
associatedDomain: gone.example
pigeonDomainStatus: deleted

dn: dc=quiet
objectClass: pigeonDomain
associatedDomain: quiet.example
pigeonDomainStatus: noaccess
pigeonDefaultQuotaSize: 1000
pigeonDefaultService: imap
pigeonDefaultService: smtp

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
mail: Alice@Example.org
mailAlternateAddress: a.liddell@example.org
mailAlternateAddress: \"alice liddell\"@example.org
mailAlternateAddress: alice+special@example.org
mailAlternateAddress: only@alias.example
userPassword: {SSHA}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh

dn: uid=bob,dc=example,dc=org
uid: bob
mail: bob@example.org
mailAlternateAddress: x@catch.example
mailAlternateAddress: bob@off.example
userPassword: {SSHA}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh

dn: uid=carol,dc=example,dc=org
mail: b\u{fc}ro@b\u{fc}cher.example
accountStatus: noaccess

dn: uid=dave,dc=example,dc=org
mail: dave@example.org
accountStatus: disabled

dn: uid=erin,dc=example,dc=org
mail: erin@example.org
uid: erin
userPassword: {PLAIN}x
accountStatus: deleted

dn: uid=frank,dc=example,dc=org
mail: frank@catch.example
accountStatus: deleted

dn: uid=grace,dc=example,dc=org
mail: grace@quiet.example

dn: uid=heidi,dc=example,dc=org
mail: heidi@example.org
enabledService: pop3

dn: cn=staff,dc=example,dc=org
mail: staff@example.org
rfc822member: alice@alias.example
rfc822member: dave@example.org
rfc822member: someone@elsewhere.example
rfc822member: inner@example.org
dnmember: UID=Bob, DC=example, DC=org
dnmember: uid=nobody,dc=example,dc=org

dn: cn=inner,dc=example,dc=org
mail: inner@example.org
rfc822member: staff@example.org
rfc822member: bob+list@example.org
rfc822member: Grace@QUIET.example
";

fn tree() -> Snapshot {
    Snapshot::from_ldif(TREE).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn show(recipient: Recipient<'_>) -> String {
    match recipient {
        Recipient::Account { account, detail: None } => account.name().to_owned(),
        Recipient::Account {
            account,
            detail: Some(detail),
        } => format!("{} ({detail})", account.name()),
        Recipient::Group(group) => format!("group {}", group.addresses().next().unwrap_or_default()),
        other => format!("{other:?}"),
    }
}

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

use crate::record::Service;

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
fn groups_are_expanded_once_each() {
    let tree = tree();
    let Recipient::Group(staff) = tree.recipient("staff", "example.org") else {
        panic!("a group")
    };
    let expansion = tree.expand(staff);
    let names: Vec<_> = expansion.accounts.iter().map(|account| account.name()).collect();
    assert_eq!(names, ["alice@example.org", "bob@example.org", "grace@quiet.example"]);
    assert_eq!(expansion.outside, ["someone@elsewhere.example"]);
    assert_eq!(
        (expansion.skipped, expansion.uncertain, expansion.truncated),
        (2, 0, false)
    );
    let lost = tree.in_state(CopyState::Lost);
    assert_eq!(
        lost.expand(staff).uncertain,
        2,
        "outside and missing members cannot be told apart now"
    );
}

#[test]
fn groups_are_bounded() {
    let mut deep = String::from(
        "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\ndn: cn=a\nmail: a@x.example\n\n",
    );
    for level in 0..20 {
        deep += &format!(
            "dn: cn=g{level}\nmail: g{level}@x.example\nrfc822member: g{}@x.example\n\n",
            level + 1
        );
    }
    deep += "dn: cn=g20\nmail: g20@x.example\nrfc822member: a@x.example\n\ndn: cn=wide\nmail: wide@x.example\n";
    for member in 0..GROUP_MEMBERS_MAX + 1 {
        deep += &format!("rfc822member: m{member}@elsewhere.example\n");
    }
    let tree = Snapshot::from_ldif(&deep).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let expand = |local| match tree.recipient(local, "x.example") {
        Recipient::Group(group) => tree.expand(group),
        other => panic!("{other:?}"),
    };
    assert!(expand("g0").truncated);
    assert!(!expand("g13").truncated);
    assert_eq!(expand("g13").accounts.len(), 1);
    assert!(expand("wide").truncated);
    assert_eq!(expand("wide").outside.len(), GROUP_MEMBERS_MAX);
}

fn reload(text: &str, previous: &Snapshot) -> Snapshot {
    crate::ldif::snapshot(text.as_bytes(), &AttributeMap::default(), previous)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
        .snapshot
}

fn names(accounts: &[Arc<Account>]) -> Vec<&str> {
    let mut names: Vec<_> = accounts.iter().map(|account| account.name()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let old = tree();
    let same = reload(TREE, &old);
    assert_eq!((old.generation(), same.generation()), (1, 2));
    let difference = same.difference(&old);
    assert_eq!((difference.changed.len(), difference.removed.len()), (0, 0));
    assert_eq!(same.login("alice").map(|account| account.generation()), Some(1));

    let changed = TREE.replace(
        "dn: uid=bob,dc=example,dc=org\n",
        "dn: uid=bob,dc=example,dc=org\naccountStatus: disabled\n",
    );
    let changed = changed.replace(
        "dn: uid=carol,dc=example,dc=org\n",
        "dn: uid=carola,dc=example,dc=org\n",
    );
    let changed = changed.replace("pigeonDefaultQuotaSize: 1000", "pigeonDefaultQuotaSize: 2000");
    let new = reload(&changed, &same);
    let difference = new.difference(&same);
    // Without an entryUUID a renamed entry is another account; a domain's defaults are part of its accounts.
    assert_eq!(
        names(&difference.changed),
        [
            "bob@example.org",
            "b\u{fc}ro@xn--bcher-kva.example",
            "grace@quiet.example"
        ]
    );
    assert_eq!(names(&difference.removed), ["b\u{fc}ro@xn--bcher-kva.example"]);
    assert_eq!(new.login("alice").map(|account| account.generation()), Some(1));
    assert_eq!(
        new.login("bob").map(|account| (account.generation(), account.status())),
        Some((3, AccountStatus::Disabled))
    );
    assert_eq!(
        same.login("bob").map(|account| account.status()),
        Some(AccountStatus::Active),
        "the old one stays as it was"
    );
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

/// A small world in which everything collides: 4 domains, 12 accounts, 4 groups.
fn entry(kind: u8, id: u8, variant: u8) -> (AccountUuid, String) {
    let uuid = uuid::Uuid::from_bytes([kind, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let text = match kind {
        0 => {
            let status = ["active", "noaccess", "disabled"][usize::from(variant) % 3];
            format!(
                "dn: dc=d{id}\nentryUUID: {uuid}\nobjectClass: pigeonDomain\nassociatedDomain: d{id}.example\npigeonDomainStatus: {status}\npigeonDefaultQuotaSize: {variant}\n"
            )
        }
        1 => format!(
            "dn: uid=u{},dc=x\nentryUUID: {uuid}\nuid: u{}\nmail: m{}@d{}.example\nmailAlternateAddress: n{id}@d{}.example\nuserPassword: {{SHA}}h0Vy56WuaklGamrFeLmK26eMaqY=\nmailQuotaCount: {variant}\n",
            variant % 13,
            variant % 5,
            variant % 7,
            variant % 4,
            variant % 3
        ),
        _ => format!(
            "dn: cn=g{id}\nentryUUID: {uuid}\nmail: m{}@d{}.example\nrfc822member: n{id}@d1.example\n",
            variant % 9,
            variant % 4
        ),
    };
    (AccountUuid(uuid.into_bytes()), text)
}

/// Everything that can be asked of the small world.
fn answers(snapshot: &Snapshot) -> Vec<String> {
    let mut answers = Vec::new();
    for domain in 0..4 {
        for local in (0..9).map(|m| format!("m{m}")).chain((0..12).map(|n| format!("n{n}"))) {
            answers.push(show(snapshot.recipient(&local, &format!("d{domain}.example"))));
        }
    }
    for uid in 0..5 {
        answers.push(format!(
            "{:?}",
            snapshot
                .login(&format!("u{uid}"))
                .map(|a| (a.name(), a.quota(), a.status()))
        ));
    }
    for dn in (0..13).map(|u| format!("uid=u{u},dc=x")) {
        answers.push(format!("{:?}", snapshot.account_by_dn(&dn).map(|a| a.id())));
    }
    answers
}

proptest! {
    #[test]
    fn changes_one_by_one_are_a_whole_build(steps in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..3_u8, 0..12_u8, any::<u8>()), 1..4), 1..30)) {
        let map = AttributeMap::default();
        let mut model: std::collections::BTreeMap<AccountUuid, String> = std::collections::BTreeMap::new();
        let mut snapshot = Snapshot::empty().in_state(CopyState::Live);
        for step in steps {
            let mut changed = std::collections::BTreeMap::new();
            let mut removed = Vec::new();
            for (add, kind, id, variant) in step {
                let (uuid, text) = entry(kind, if kind == 1 { id } else { id % 4 }, variant);
                if changed.contains_key(&uuid) || removed.contains(&uuid) {
                    continue;
                }
                if add {
                    changed.insert(uuid, text);
                } else {
                    removed.push(uuid);
                }
            }
            let text: String = changed.values().map(|text| format!("{text}\n")).collect();
            let entries = crate::ldif::parse(text.as_bytes()).unwrap();
            let before = answers(&snapshot);
            let next = snapshot.with_changes(&entries, &removed, &map, CopyState::Live);
            prop_assert_eq!(answers(&snapshot), before, "the one before stays as it was");
            for mistake in &next.mistakes.list {
                prop_assert!(mistake.message.contains("own") || mistake.message.contains("second entry"), "{}", mistake);
            }
            // What was not taken keeps its old version; ask the snapshot which it was.
            if next.mistakes.is_empty() {
                removed.iter().for_each(|uuid| drop(model.remove(uuid)));
                model.extend(changed);
                let whole: String = model.values().map(|text| format!("{text}\n")).collect();
                let whole = if whole.is_empty() { "dn: ou=none\nou: none\n".to_owned() } else { whole };
                let whole = reload(&whole, &Snapshot::empty());
                prop_assert_eq!(answers(&next.snapshot), answers(&whole));
                prop_assert_eq!(next.snapshot.account_count(), whole.account_count());
                prop_assert_eq!(next.snapshot.groups().count(), whole.groups().count());
                // A difference taken cheaply is the one taken dearly.
                let cheap = next.snapshot.difference(&snapshot);
                let ids = |accounts: &[Arc<Account>]| { let mut ids: Vec<_> = accounts.iter().map(|a| a.id()).collect(); ids.sort_unstable(); ids };
                let gone: Vec<_> = snapshot.accounts().filter(|a| next.snapshot.account(a.id()).is_none()).cloned().collect();
                prop_assert_eq!(ids(&cheap.removed), ids(&gone));
                let changed: Vec<_> = next.snapshot.accounts().filter(|a| a.generation() == next.snapshot.generation()).cloned().collect();
                prop_assert_eq!(ids(&cheap.changed), ids(&changed));
                snapshot = next.snapshot;
            }
        }
    }

    #[test]
    fn a_record_that_is_not_taken_keeps_its_last_good_version(variant in any::<u8>(), other in any::<u8>()) {
        let map = AttributeMap::default();
        let first = format!("{}\n{}\n{}", entry(0, 0, 0).1, entry(1, 0, variant).1, entry(1, 1, other).1);
        if let Ok(snapshot) = Snapshot::from_ldif(&first) {
            // Account 1 wants what account 0 has.
            let (id, text) = entry(1, 1, variant);
            let text = format!("{text}accountStatus: disabled\n");
            let next = snapshot.with_changes(&crate::ldif::parse(text.as_bytes()).unwrap(), &[], &map, CopyState::Live);
            prop_assert!(!next.mistakes.is_empty());
            prop_assert_eq!(answers(&next.snapshot), answers(&snapshot));
            prop_assert!(Arc::ptr_eq(next.snapshot.account(id).unwrap(), snapshot.account(id).unwrap()));
            // So does one that cannot be read.
            let broken = format!("{}mailQuotaSize: -1\n", entry(1, 1, other).1);
            let next = snapshot.with_changes(&crate::ldif::parse(broken.as_bytes()).unwrap(), &[], &map, CopyState::Live);
            prop_assert_eq!(next.mistakes.list.len(), 1);
            prop_assert_eq!(next.mistakes.list[0].attribute.as_deref(), Some("mailQuotaSize"));
            prop_assert_eq!(answers(&next.snapshot), answers(&snapshot));
        }
    }
}
