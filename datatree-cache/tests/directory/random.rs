//! Random changes of a directory, with restarts of the server and of the node in between: at the end of each round the
//! copy is what `slapcat` says, entry by entry. Twenty rounds are 10,000 adds, modifies, renames and deletes.

use crate::slapd::{SUFFIX, Slapd};
use crate::{Following, domain, options, person};
use pigeon_datatree_cache::source::DataTree;
use pigeon_datatree_cache::{Account, Snapshot};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The rounds of the short form; `PIGEON_DIRECTORY_ROUNDS` sets another number.
const ROUNDS: usize = 20;
const CHANGES_A_ROUND: usize = 500;
/// Names that come and go.
const NAMES: u64 = 300;

/// xorshift: small, and the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Everything that is said of an account but its generation.
fn described(account: &Account) -> String {
    let mut others: Vec<String> = account
        .others()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    others.sort();
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?}",
        account.dn(),
        account.addresses().collect::<Vec<_>>(),
        account.login_names().collect::<Vec<_>>(),
        account.quota(),
        account.status(),
        account.secrets().collect::<Vec<_>>(),
        others
    )
}

fn all(snapshot: &Snapshot) -> BTreeMap<String, String> {
    snapshot
        .accounts()
        .map(|account| (account.id().to_string(), described(account)))
        .collect()
}

/// What one has and the other has not, shortened.
fn different<'a>(one: &'a BTreeMap<String, String>, other: &'a BTreeMap<String, String>) -> [Vec<&'a str>; 2] {
    let only = |one: &'a BTreeMap<String, String>, other: &BTreeMap<String, String>| {
        let missing = one.iter().filter(|(id, account)| other.get(*id) != Some(account));
        missing.take(5).map(|(_, account)| account.as_str()).collect()
    };
    [only(one, other), only(other, one)]
}

/// One round's changes, for `ldapmodify`. `there` has the names that exist.
fn changes(chance: &mut Chance, there: &mut Vec<u64>) -> String {
    let mut records = String::new();
    let mut made = 0;
    while made < CHANGES_A_ROUND {
        let absent = |chance: &mut Chance, there: &[u64]| {
            let number = chance.below(NAMES);
            (!there.contains(&number)).then_some(number)
        };
        match chance.below(10) {
            0..=3 => {
                let Some(number) = absent(chance, there) else { continue };
                there.push(number);
                made += 1;
                let secret = format!("userPassword: {{CLEARTEXT}}{}\n", chance.below(1 << 40));
                records.push_str(&person(&format!("u{number}"), &secret));
            }
            kind if !there.is_empty() => {
                let index = usize::try_from(chance.below(there.len() as u64)).expect("an index fits");
                let name = there[index];
                let dn = format!("uid=u{name},{SUFFIX}");
                made += 1;
                match kind {
                    4..=6 => {
                        let (quota, text) = (chance.below(1 << 30), chance.below(1 << 30));
                        let status =
                            ["active", "noaccess", "disabled"][usize::try_from(chance.below(3)).expect("below 3")];
                        let _ = write!(
                            records,
                            "dn: {dn}\nchangetype: modify\nreplace: mailQuotaSize\nmailQuotaSize: {quota}\n-\nreplace: description\n\
                             description: {text}\n-\nreplace: accountStatus\naccountStatus: {status}\n-\n\n"
                        );
                    }
                    7 => {
                        let Some(new) = absent(chance, there) else {
                            made -= 1;
                            continue;
                        };
                        there[index] = new;
                        let _ = write!(
                            records,
                            "dn: {dn}\nchangetype: modrdn\nnewrdn: uid=u{new}\ndeleteoldrdn: 1\n\n\
                             dn: uid=u{new},{SUFFIX}\nchangetype: modify\nreplace: mail\nmail: u{new}@example.org\n-\n\n"
                        );
                    }
                    _ => {
                        there.swap_remove(index);
                        let _ = write!(records, "dn: {dn}\nchangetype: delete\n\n");
                    }
                }
            }
            _ => {}
        }
    }
    records
}

#[test]
fn the_copy_is_what_the_directory_holds() {
    if !crate::slapd::is_there() {
        return;
    }
    let rounds = std::env::var("PIGEON_DIRECTORY_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |text| {
        text.parse().expect("PIGEON_DIRECTORY_ROUNDS is a number")
    });
    let seed = std::env::var("PIGEON_DIRECTORY_SEED").ok();
    let seed = seed.map_or(0x9e37_79b9_7f4a_7c15, |text| {
        text.parse().expect("PIGEON_DIRECTORY_SEED is a number")
    });
    let mut chance = Chance(seed);
    // The processes are killed here, not the power.
    let mut slapd = Slapd::with("", "dbnosync");
    slapd.change(&(domain() + &person("marker", "")));
    let copy = slapd.directory().join("copy");
    let settings = options(&[slapd.uri()], Some(&copy));
    let mut node = Some(Following::start(settings.clone()));
    let mut there = Vec::new();
    for round in 0..rounds {
        let what = format!("round {round} of seed {seed}");
        if chance.below(3) == 0 {
            // The node misses a round.
            drop(node.take());
        }
        let records = changes(&mut chance, &mut there);
        match chance.below(4) {
            0 => {
                slapd.change(&records);
                slapd.stop();
                slapd.resume();
            }
            1 => {
                slapd.change(&records);
                slapd.kill();
                slapd.resume();
            }
            _ => slapd.change(&records),
        }
        slapd.change(&format!(
            "dn: uid=marker,{SUFFIX}\nchangetype: modify\nreplace: description\ndescription: round {round}\n"
        ));
        let held = slapd.slapcat();
        let node = node.get_or_insert_with(|| Following::start(settings.clone()));
        let held = Snapshot::from_ldif(&held).unwrap_or_else(|mistakes| panic!("{what}: {mistakes}"));
        let held = all(&held);
        assert_eq!(held.len(), there.len() + 1, "{what}");
        let mut patience = 20;
        while all(&node.current) != held && patience > 0 {
            node.step(Duration::from_secs(1));
            patience -= 1;
        }
        if all(&node.current) != held {
            let report = node.source.report().map(|report| report.read());
            panic!("{what}: {:?}; {report:?}", different(&all(&node.current), &held));
        }
    }
}
