//! Putting many accounts in at once: the tables are made whole, each on a thread, instead of changed key by key.
//!
//! Keys are sorted by their hash. Accounts that share one with another account are left out of that and put one by one
//! afterwards, which decides who owns a name and says what is wrong. So the same are taken as one by one.

use super::{Draft, canonical};
use crate::bulk;
use crate::record::Account;
use crate::snapshot::Snapshot;
use crate::snapshot::table::{Key, Table};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

/// Threads at most. More would wait for memory.
const THREADS_MAX: usize = 8;

/// How many threads heavy work is spread over.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Calls its second argument with every name of one kind that an account has.
type Names = fn(&Account, &mut dyn FnMut(&[u8]));

/// The tables of accounts, and places of accounts that share a key with another one.
struct Tables {
    by_id: Table<Account>,
    by_dn: Table<Account>,
    by_address: Table<Account>,
    by_login: Table<Account>,
    doubtful: HashSet<u32>,
}

impl Draft<'_> {
    /// Puts accounts in, beside those of the snapshot before that are `kept`.
    pub(super) fn put_many(&mut self, kept: Vec<Arc<Account>>, mut accounts: Vec<(usize, Arc<Account>)>) {
        let mut left_out: HashSet<u32> = self.place_many(&mut accounts).into_iter().map(place_of).collect();
        left_out.extend(self.known_otherwise(&accounts).map(place_of));
        // Behind the new ones, whose places do not change.
        let new = accounts.len();
        let mut all = accounts;
        all.extend(kept.into_iter().map(|account| (usize::MAX, account)));
        let tables = loop {
            let tables = Tables::of(&self.snapshot, &all, &left_out);
            let before = left_out.len();
            left_out.extend(tables.doubtful.iter().filter(|place| (**place as usize) < new));
            if left_out.len() == before {
                break tables;
            }
        };
        self.take_tables(tables);
        if left_out.is_empty() {
            return;
        }
        let mut one_by_one: Vec<&(usize, Arc<Account>)> =
            left_out.into_iter().map(|place| &all[place as usize]).collect();
        one_by_one.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        let again: HashSet<usize> = one_by_one.iter().map(|(ordinal, _)| *ordinal).collect();
        self.problems.retain(|problem| !again.contains(&problem.ordinal));
        for (ordinal, account) in one_by_one {
            self.put_account(*ordinal, Arc::clone(account));
        }
    }

    /// Makes the tables anew with other records of the same accounts.
    pub(super) fn replace_many(&mut self, all: impl Iterator<Item = Arc<Account>>) {
        let all: Vec<_> = all.enumerate().collect();
        self.take_tables(Tables::of(&self.snapshot, &all, &HashSet::new()));
    }

    fn take_tables(&mut self, tables: Tables) {
        self.snapshot.accounts_by_id = tables.by_id;
        self.snapshot.accounts_by_dn = tables.by_dn;
        self.snapshot.accounts_by_address = tables.by_address;
        self.snapshot.accounts_by_login = tables.by_login;
    }

    /// Gives the records what only the snapshot knows. Returns the places of those that name what is not there.
    fn place_many(&mut self, accounts: &mut [(usize, Arc<Account>)]) -> Vec<usize> {
        let share = accounts.len().div_ceil(threads()).max(1);
        let (mut problems, mut unplaceable) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            let parts = accounts.chunks_mut(share).enumerate().map(|(part, accounts)| {
                let mut draft = self.part();
                scope.spawn(move || {
                    let mut bad = Vec::new();
                    for (place, (ordinal, account)) in accounts.iter_mut().enumerate() {
                        if draft.check_place(*ordinal, account) {
                            draft.place(*ordinal, account);
                        } else {
                            bad.push(part * share + place);
                        }
                    }
                    (draft.problems, bad)
                })
            });
            let parts: Vec<_> = parts.collect();
            for part in parts {
                let (found, bad) = part.join().expect("it panics for nothing that records hold");
                problems.extend(found);
                unplaceable.extend(bad);
            }
        });
        self.problems.extend(problems);
        unplaceable
    }

    /// A draft of the same snapshot, to look at on another thread.
    fn part(&self) -> Draft<'_> {
        let mut snapshot = self.snapshot.successor();
        snapshot.generation = self.snapshot.generation;
        Draft {
            snapshot,
            previous: self.previous,
            problems: Vec::new(),
            ids: std::collections::HashMap::new(),
        }
    }

    /// Places of accounts that share a key with a group, or a UUID with any other record.
    fn known_otherwise<'a>(&'a self, accounts: &'a [(usize, Arc<Account>)]) -> impl Iterator<Item = usize> + 'a {
        let snapshot = &self.snapshot;
        let has_groups = snapshot.groups_by_id.len() > 0;
        let is_known = move |account: &Account| {
            self.ids.contains_key(&account.id())
                || has_groups
                    && (snapshot.group(account.id()).is_some()
                        || snapshot.group_by_dn(&canonical(account.dn())).is_some()
                        || account.addresses().any(|address| {
                            let hash = snapshot.hash(address.as_bytes());
                            let is_it = |group: &crate::record::Group| group.has_address(address.as_bytes());
                            snapshot.groups_by_address.find(hash, is_it).is_some()
                        }))
        };
        let places = accounts.iter().enumerate();
        places
            .filter(move |(_, (_, account))| is_known(account))
            .map(|(place, _)| place)
    }
}

impl Tables {
    fn of(snapshot: &Snapshot, all: &[(usize, Arc<Account>)], left_out: &HashSet<u32>) -> Tables {
        let made = |names: Names, expected: usize| {
            let mut keys = bulk::vector(expected);
            for (place, (_, account)) in all.iter().enumerate() {
                let value = place_of(place);
                if left_out.is_empty() || !left_out.contains(&value) {
                    names(account, &mut |name| {
                        let hash = snapshot.hash(name);
                        keys.push(Key { hash, value });
                    });
                }
            }
            keys.sort_unstable();
            keys.dedup();
            let table = Table::of_sorted(&keys, |place| &all[place as usize].1);
            (table, shared(&keys), keys)
        };
        let by_id = || made(|account, add| add(&account.id().0), all.len());
        let by_dn = || made(|account, add| add(canonical(account.dn()).as_bytes()), all.len());
        let by_address = || {
            let names: Names = |account, add| account.addresses().for_each(|address| add(address.as_bytes()));
            made(names, all.len() * 2)
        };
        let by_login = || {
            let names: Names = |account, add| account.login_names().for_each(|name| add(name.as_bytes()));
            made(names, all.len())
        };
        thread::scope(|scope| {
            let by_address = scope.spawn(by_address);
            let by_dn = scope.spawn(move || {
                let (by_dn, mut doubtful, keys) = by_dn();
                drop(keys);
                let (by_id, more, _) = by_id();
                doubtful.extend(more);
                (by_dn, by_id, doubtful)
            });
            let (by_login, more, login_keys) = by_login();
            let whole = "it panics for nothing that records hold";
            let (by_dn, by_id, mut doubtful) = by_dn.join().expect(whole);
            doubtful.extend(more);
            let (by_address, more, address_keys) = by_address.join().expect(whole);
            doubtful.extend(more);
            doubtful.extend(in_both(&login_keys, &address_keys));
            Tables {
                by_id,
                by_dn,
                by_address,
                by_login,
                doubtful,
            }
        })
    }
}

/// The accounts that share a hash.
fn shared(keys: &[Key]) -> HashSet<u32> {
    let pairs = keys.windows(2).filter(|pair| pair[0].hash == pair[1].hash);
    pairs.flat_map(|pair| [pair[0].value, pair[1].value]).collect()
}

/// The accounts that share a hash of one table with another account of the other.
fn in_both(one: &[Key], other: &[Key]) -> HashSet<u32> {
    let mut found = HashSet::new();
    let mut rest = other;
    for key in one {
        let behind = rest.iter().take_while(|other| other.hash < key.hash).count();
        rest = &rest[behind..];
        let same = rest.iter().take_while(|other| other.hash == key.hash);
        for other in same.filter(|other| other.value != key.value) {
            found.extend([key.value, other.value]);
        }
    }
    found
}

fn place_of(place: usize) -> u32 {
    u32::try_from(place).expect("accounts of 300 bytes fill the memory long before")
}
