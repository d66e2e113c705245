//! The lookup of recipients and logins in a core's copy of control data, one name after the other. Hash tables have keys of their own
//! by chance: several copies even out what that does.

use crate::Round;
use pigeon_datatree_cache::{AttributeMap, Copy, CoreCopy, Recipient, Snapshot, ldif};
use std::hint::black_box;

const ACCOUNTS: usize = 500;

const COPIES: usize = 8;

/// Lookups in a round: each of the accounts, in one of the copies.
pub(crate) const LOOKUPS: usize = ACCOUNTS;

fn cores() -> Vec<CoreCopy> {
    let mut tree =
        "version: 1\n\ndn: dc=example\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n".to_owned();
    for account in 0..ACCOUNTS {
        tree += &format!(
            "\ndn: uid=user{account},dc=example\nuid: user{account}\nmail: user{account}@example.org\n\
             mailAlternateAddress: first.last{account}@example.org\nmailQuotaSize: 1000000000\n\
             userPassword: {{SSHA}}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh\n"
        );
    }
    let load = |_| {
        let loaded = ldif::snapshot(tree.as_bytes(), &AttributeMap::default(), &Snapshot::empty());
        let snapshot = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).snapshot;
        Copy::new(snapshot).for_core()
    };
    (0..COPIES).map(load).collect()
}

fn recipients(name: impl Fn(usize) -> String, expected: bool) -> Round {
    let cores = cores();
    let names: Vec<String> = (0..LOOKUPS).map(|number| name(number * 7 % ACCOUNTS)).collect();
    Box::new(move || {
        for (name, core) in names.iter().zip(cores.iter().cycle()) {
            let snapshot = core.snapshot();
            let found = snapshot.recipient(black_box(name), black_box("example.org"));
            assert_eq!(matches!(found, Recipient::Account { .. }), expected, "{name}");
        }
    })
}

/// Accounts by their address.
pub(crate) fn recipient() -> Round {
    recipients(|number| format!("user{number}"), true)
}

/// The same with a detail behind the name.
pub(crate) fn detail() -> Round {
    recipients(|number| format!("user{number}+list"), true)
}

/// Names that nobody has.
pub(crate) fn unknown() -> Round {
    recipients(|number| format!("nobody{number}"), false)
}

/// Accounts by what they log in with.
pub(crate) fn login() -> Round {
    let cores = cores();
    let names: Vec<String> = (0..LOOKUPS)
        .map(|number| format!("user{}@example.org", number * 7 % ACCOUNTS))
        .collect();
    Box::new(move || {
        for (name, core) in names.iter().zip(cores.iter().cycle()) {
            assert!(core.snapshot().login(black_box(name)).is_some(), "{name}");
        }
    })
}
