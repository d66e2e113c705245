//! Groups: each member once, and bounds.

use super::*;

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
