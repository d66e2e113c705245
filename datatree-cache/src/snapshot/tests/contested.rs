//! Names that several want at once: who was in force with one stays so, whatever else comes with the same change.

use super::*;

const BEFORE: &str = "\
dn: dc=x
entryUUID: 00000000-0000-4000-8000-000000000001
objectClass: pigeonDomain
associatedDomain: x.example

dn: cn=one
entryUUID: 00000000-0000-4000-8000-000000000002
objectClass: pigeonServer
cn: one

dn: cn=two
entryUUID: 00000000-0000-4000-8000-000000000003
objectClass: pigeonServer
cn: two

dn: uid=a
entryUUID: 00000000-0000-4000-8000-00000000000a
uid: a
mail: a@x.example
mailHost: one

dn: uid=b
entryUUID: 00000000-0000-4000-8000-00000000000b
uid: b
mail: b@x.example

dn: cn=c
entryUUID: 00000000-0000-4000-8000-00000000000c
mail: c@x.example
rfc822member: a@x.example
";

fn account(id: char, uid: &str, mail: &str, more: &str) -> String {
    format!("dn: uid={uid}\nentryUUID: 00000000-0000-4000-8000-00000000000{id}\nuid: {uid}\nmail: {mail}\n{more}\n")
}

/// The snapshot after the changes, made in both ways, and how many of them were not taken.
fn changed(entries: &[String]) -> (Snapshot, usize) {
    let map = AttributeMap::default();
    let before = Snapshot::from_ldif(BEFORE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let text = entries.concat();
    let changes = || {
        let mut changes = Changes::new();
        let parsed = crate::ldif::parse(text.as_bytes()).expect("good LDIF");
        parsed.iter().for_each(|entry| changes.put(entry, &map));
        changes
    };
    let one = before.changed_as(changes(), &map, CopyState::Live, false);
    let all = before.changed_as(changes(), &map, CopyState::Live, true);
    assert_eq!(one.refused, all.refused);
    let owners = |snapshot: &Snapshot| ["a", "b", "c", "d"].map(|name| show(snapshot.recipient(name, "x.example")));
    assert_eq!(owners(&one.snapshot), owners(&all.snapshot));
    (one.snapshot, one.refused.len())
}

fn dn_of<'a>(snapshot: &'a Snapshot, address: &str) -> Option<&'a str> {
    snapshot.login(address).map(|account| account.dn())
}

#[test]
fn nobody_takes_a_name_from_one_whose_change_is_not_taken() {
    // d wants a's address, and a's own change names a node that is not there.
    let (after, refused) = changed(&[
        account('a', "a", "a@x.example", "mailHost: nowhere\n"),
        account('d', "d", "a@x.example", ""),
    ]);
    assert_eq!((dn_of(&after, "a@x.example"), refused), (Some("uid=a"), 2));
    assert_eq!(after.login("a").map(|account| account.node()), Some(Some("one")));
    // b moves on to it, c to what b has, and d to what c has: all stay where they are.
    let group =
        "dn: cn=c\nentryUUID: 00000000-0000-4000-8000-00000000000c\nmail: b@x.example\nrfc822member: a@x.example\n\n"
            .to_owned();
    let (after, refused) = changed(&[
        account('a', "a", "a@x.example", "mailHost: nowhere\n"),
        account('b', "b", "a@x.example", ""),
        group,
        account('d', "d", "c@x.example", ""),
    ]);
    assert_eq!(refused, 4);
    assert_eq!(dn_of(&after, "a@x.example"), Some("uid=a"));
    assert_eq!(dn_of(&after, "b@x.example"), Some("uid=b"));
    assert!(matches!(after.recipient("c", "x.example"), Recipient::Group(_)));
    assert_eq!(after.account_count(), 2);
    // A DN alone is a name too.
    let (after, refused) = changed(&[
        account('a', "a", "a@x.example", "mailHost: nowhere\n"),
        account('d', "a", "d@x.example", ""),
    ]);
    assert_eq!((dn_of(&after, "a@x.example"), refused), (Some("uid=a"), 2));
}

#[test]
fn addresses_that_change_hands_do() {
    for swapped in [["b", "a"], ["a", "b"]] {
        let entries = swapped.map(|name| match name {
            "a" => account('a', "a", "b@x.example", ""),
            _ => account('b', "b", "a@x.example", ""),
        });
        let (after, refused) = changed(&entries);
        assert_eq!(refused, 0);
        assert_eq!(dn_of(&after, "a@x.example"), Some("uid=b"));
        assert_eq!(dn_of(&after, "b@x.example"), Some("uid=a"));
    }
    // The DNs likewise.
    let (after, refused) = changed(&[
        account('a', "b", "a@x.example", ""),
        account('b', "a", "b@x.example", ""),
    ]);
    assert_eq!(refused, 0);
    assert_eq!(dn_of(&after, "a@x.example"), Some("uid=b"));
}

#[test]
fn a_node_whose_change_is_not_taken_stays_and_so_does_who_is_on_it() {
    let node = |id, name: &str| {
        format!(
            "dn: cn={name}{id}\nentryUUID: 00000000-0000-4000-8000-00000000000{id}\nobjectClass: pigeonServer\ncn: {name}\n\n"
        )
    };
    // The first wants the id of the second, a third that of the first, and an account says that it is on the first.
    let (after, refused) = changed(&[
        node(2, "two"),
        node(4, "one"),
        account('b', "b", "b@x.example", "mailHost: one\n"),
    ]);
    assert_eq!(refused, 2);
    let nodes: Vec<_> = after.servers().map(|server| (server.name(), server.dn())).collect();
    assert_eq!(nodes, [("one", "cn=one"), ("two", "cn=two")]);
    assert_eq!(after.login("b").map(|account| account.node()), Some(Some("one")));
    // A domain's name likewise.
    let domain = |id, name: &str| {
        format!(
            "dn: dc={id}\nentryUUID: 00000000-0000-4000-8000-00000000000{id}\nobjectClass: pigeonDomain\nassociatedDomain: {name}\n\n"
        )
    };
    let (after, refused) = changed(&[domain(5, "x.example")]);
    assert_eq!(
        (refused, after.domain("x.example").map(|domain| domain.dn())),
        (1, Some("dc=x"))
    );
}

#[test]
fn an_account_stays_when_its_node_has_gone_and_its_change_is_not_taken() {
    let map = AttributeMap::default();
    let before = Snapshot::from_ldif(BEFORE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let node = AccountUuid(uuid::uuid!("00000000-0000-4000-8000-000000000002").into_bytes());
    let without = before.with_changes(&[], &[node], &map, CopyState::Live).snapshot;
    let text = account('a', "a", "a@x.example", "mailHost: one\nuserPassword: {CLEARTEXT}new\n");
    let entries = crate::ldif::parse(text.as_bytes()).expect("good LDIF");
    let after = without.with_changes(&entries, &[], &map, CopyState::Live);
    assert_eq!(after.refused.len(), 1);
    assert_eq!(dn_of(&after.snapshot, "a@x.example"), Some("uid=a"));
}
