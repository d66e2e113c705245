//! Making snapshots: whole from all records of a source, or from the one before and what changed.
//!
//! A record that would break an invariant (a second owner of an address, an unknown node) is not put in; it is
//! reported, and the caller decides: the LDIF file is then refused as a whole, a directory keeps the record's last
//! good version.

mod accounts;
mod changes;
mod check;
mod many;
mod others;
mod replace;

pub use changes::Changes;
pub(crate) use many::threads;

use super::{CopyState, Snapshot};
use crate::dn::canonical_dn;
use crate::entry::Entry;
use crate::mistake::{Mistake, Mistakes};
use crate::password::{Decoy, cost_class};
use crate::record::{Account, AccountUuid, Group};
use crate::schema::convert::Record;
use crate::schema::{AttributeMap, Purpose};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// From so many changed records on the tables are made anew, if it is much of them, too. Few in tests, which try both ways.
const MANY_CHANGES: usize = if cfg!(test) { 8 } else { 1000 };

/// How many accounts are looked at to find the commonest kind of secret.
const DECOY_SAMPLE: usize = 1000;

/// What is wrong with a record in the company of the others.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Which record of the input it is about.
    pub(crate) ordinal: usize,
    pub(crate) dn: String,
    /// About which of its values; `None` is the DN.
    pub(crate) purpose: Option<Purpose>,
    /// The value in canonical form, by which the source can find its place.
    pub(crate) value: String,
    pub(crate) message: String,
    /// The record was put in all the same.
    pub(crate) harmless: bool,
}

impl Problem {
    fn into_mistake(self, map: &AttributeMap) -> Mistake {
        let attribute = self
            .purpose
            .and_then(|purpose| map.attributes(purpose).first().cloned());
        Mistake {
            position: None,
            dn: Some(self.dn),
            attribute,
            message: self.message,
        }
    }
}

/// A snapshot made by [`Snapshot::with_changes`].
pub struct Changed {
    /// The next generation.
    pub snapshot: Snapshot,
    /// Records that were not taken; the last good version of each is still in force.
    pub mistakes: Mistakes,
    /// What does no harm.
    pub warnings: Mistakes,
    /// Which of the entries that were put were not taken.
    pub refused: HashSet<AccountUuid>,
}

/// The snapshot of all records of a source, state `Live`, in the generation after `previous`.
pub(crate) fn whole(records: Vec<Option<Record>>, previous: &Snapshot) -> (Snapshot, Vec<Problem>) {
    let mut snapshot = Snapshot::sized(previous.generation + 1, previous.key.clone(), records.len());
    snapshot.state = CopyState::Live;
    let mut draft = Draft {
        snapshot,
        previous,
        problems: Vec::new(),
        ids: HashMap::new(),
    };
    let kept = (records.len() >= MANY_CHANGES).then(Vec::new);
    draft.put_all(records, kept, |_| ());
    draft.make_room_for_groups();
    draft.check_references();
    draft.snapshot.compact();
    draft.snapshot.choose_decoy();
    (draft.snapshot, draft.problems)
}

impl Snapshot {
    /// The next generation, with some entries changed or added and some removed, in state `state`. An entry that the
    /// schema does not take any longer counts as removed. Costs time by what changed; a changed domain costs time by
    /// the number of accounts.
    pub fn with_changes(
        &self,
        changed: &[Entry<'_>],
        removed: &[AccountUuid],
        map: &AttributeMap,
        state: CopyState,
    ) -> Changed {
        let mut changes = Changes::new();
        changed.iter().for_each(|entry| {
            changes.put(entry, map);
        });
        removed.iter().for_each(|id| changes.remove(*id));
        self.changed_by(changes, map, state)
    }

    /// The same with changes that were gathered one by one.
    pub fn changed_by(&self, changes: Changes, map: &AttributeMap, state: CopyState) -> Changed {
        let count = changes.said.len().max(changes.records.len());
        let many = count >= MANY_CHANGES.max(self.account_count() / 8) || self.is_crowded();
        self.changed_as(changes, map, state, many)
    }

    /// `many`: the tables of accounts are made anew, instead of changed key by key. The outcome is the same.
    pub(super) fn changed_as(&self, changes: Changes, map: &AttributeMap, state: CopyState, many: bool) -> Changed {
        let Changes {
            records,
            said,
            mut mistakes,
            mut warnings,
            mut refused,
        } = changes;
        let mut draft = Draft {
            snapshot: self.successor(),
            previous: self,
            problems: Vec::new(),
            ids: HashMap::new(),
        };
        draft.snapshot.state = state;
        let (old, kept) = draft.take_out(&said, many);
        let is_first = self.account_count() == 0;
        let mut domains_came_back = false;
        draft.put_all(records, kept, |draft| {
            domains_came_back = draft.put_components_back(&old, &said);
        });
        draft.put_back(old, &said);
        if !is_first || domains_came_back {
            draft.relink();
        }
        draft.make_room_for_groups();
        // The records are in by now, and what they name may come with the next change.
        let taken = draft.problems.len();
        draft.check_references();
        draft.problems[taken..]
            .iter_mut()
            .for_each(|problem| problem.harmless = true);
        let Draft {
            mut snapshot, problems, ..
        } = draft;
        if many {
            snapshot.compact();
            snapshot.choose_decoy();
        }
        let wrong: HashSet<usize> = problems
            .iter()
            .filter(|problem| !problem.harmless)
            .map(|problem| problem.ordinal)
            .collect();
        if !wrong.is_empty() {
            let is_wrong = |ordinal: &Option<u32>| ordinal.is_some_and(|ordinal| wrong.contains(&(ordinal as usize)));
            let ids = said.iter().filter(|(_, ordinal)| is_wrong(ordinal));
            refused.extend(ids.map(|(id, _)| *id));
        }
        for problem in problems {
            if problem.harmless { &mut warnings } else { &mut mistakes }.push(problem.into_mistake(map));
        }
        Changed {
            snapshot,
            mistakes,
            warnings,
            refused,
        }
    }

    /// Whether tables of accounts hold far more than they were made for.
    fn is_crowded(&self) -> bool {
        self.accounts_by_id.is_crowded() || self.accounts_by_address.is_crowded() || self.accounts_by_login.is_crowded()
    }

    fn compact(&mut self) {
        self.accounts_by_id.compact();
        self.accounts_by_dn.compact();
        self.accounts_by_address.compact();
        self.accounts_by_login.compact();
        self.groups_by_id.compact();
        self.groups_by_dn.compact();
        self.groups_by_address.compact();
        self.domains_by_name.compact();
    }

    /// Takes one secret of the commonest cost as the decoy.
    fn choose_decoy(&mut self) {
        let mut classes: HashMap<String, (usize, Arc<Account>)> = HashMap::new();
        for account in self.accounts_by_id.iter().take(DECOY_SAMPLE) {
            if let Some(class) = account.secrets().next().and_then(cost_class) {
                classes.entry(class).or_insert_with(|| (0, Arc::clone(account))).0 += 1;
            }
        }
        let commonest = classes.iter().max_by_key(|(class, (count, _))| (*count, *class));
        if let Some(secret) = commonest.and_then(|(_, (_, account))| account.secrets().next()) {
            self.decoy = Decoy::of(secret);
        }
    }

    /// Takes a canonical DN.
    pub(super) fn account_by_dn(&self, dn: &str) -> Option<&Arc<Account>> {
        self.accounts_by_dn
            .find(self.hash(dn.as_bytes()), |account| canonical(account.dn()) == dn)
    }

    /// Takes a canonical DN.
    pub(super) fn group_by_dn(&self, dn: &str) -> Option<&Arc<Group>> {
        self.groups_by_dn
            .find(self.hash(dn.as_bytes()), |group| canonical(group.dn()) == dn)
    }
}

/// The canonical form of a DN that was checked when its record was made.
fn canonical(dn: &str) -> String {
    canonical_dn(dn).unwrap_or_default()
}

/// A snapshot in the making.
struct Draft<'a> {
    snapshot: Snapshot,
    previous: &'a Snapshot,
    problems: Vec<Problem>,
    /// UUIDs of what was put in from the input, accounts left out, with which record it was.
    ids: HashMap<AccountUuid, usize>,
}

impl Draft<'_> {
    /// Puts records in, those first that others name; `back` is called behind those. `kept`: the tables of accounts are
    /// made anew, of these and the new ones; without it they are changed one by one.
    fn put_all(&mut self, records: Vec<Option<Record>>, kept: Option<Vec<Arc<Account>>>, back: impl FnOnce(&mut Self)) {
        let mut others = Vec::new();
        // In the memory of the records themselves: there can be a million.
        let accounts: Vec<(usize, Arc<Account>)> = records
            .into_iter()
            .enumerate()
            .filter_map(|(ordinal, record)| match record? {
                Record::Account(account) => Some((ordinal, account)),
                other => {
                    others.push((ordinal, other));
                    None
                }
            })
            .collect();
        let mut groups = Vec::new();
        for (ordinal, record) in others {
            match record {
                Record::Group(group) => groups.push((ordinal, group)),
                Record::Domain(domain) => self.put_domain(ordinal, *domain),
                other => self.put_component(ordinal, other),
            }
        }
        back(self);
        match kept {
            Some(kept) => self.put_many(kept, accounts),
            None => accounts
                .into_iter()
                .for_each(|(ordinal, account)| self.put_account(ordinal, account)),
        }
        groups
            .into_iter()
            .for_each(|(ordinal, group)| self.put_group(ordinal, *group));
    }
}
