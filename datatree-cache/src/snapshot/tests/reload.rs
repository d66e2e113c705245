//! What a reload keeps.

use super::*;

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
