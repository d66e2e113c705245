//! What a source said since the last snapshot, as records.

use crate::bulk;
use crate::entry::Entry;
use crate::mistake::Mistakes;
use crate::record::AccountUuid;
use crate::schema::AttributeMap;
use crate::schema::convert::{self, Record};
use crate::snapshot::Snapshot;
use foldhash::quality::RandomState;
use std::collections::{HashMap, HashSet};

/// Entries that changed, already as records: what a directory sends in minutes takes the memory of the copy, not of the
/// text. Of what is said of one UUID the last counts, if it can be read.
#[derive(Default)]
pub struct Changes {
    pub(super) records: Vec<Option<Record>>,
    pub(super) said: Said,
    pub(super) mistakes: Mistakes,
    pub(super) warnings: Mistakes,
    pub(super) refused: HashSet<AccountUuid>,
}

/// What was said last of a UUID: which record it has now, or that it has none.
pub(super) type Said = HashMap<AccountUuid, Option<u32>, RandomState>;

impl Changes {
    /// None yet.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// An entry is so now.
    pub fn put(&mut self, entry: &Entry<'_>, map: &AttributeMap) {
        self.put_unless(entry, map, |_| false);
    }

    /// An entry is so now. One that says what is in force in `current` already is not a change.
    pub(crate) fn put_after(&mut self, entry: &Entry<'_>, map: &AttributeMap, current: &Snapshot) {
        self.put_unless(entry, map, |record| match record {
            Record::Account(account) => current
                .account(account.id())
                .is_some_and(|before| before.same_entry(account)),
            _ => false,
        });
    }

    fn put_unless(&mut self, entry: &Entry<'_>, map: &AttributeMap, is_known: impl FnOnce(&Record) -> bool) {
        let mut own = Mistakes::default();
        let (id, record) = convert::record(entry, map, &mut own, &mut self.warnings);
        if !own.is_empty() {
            // What was said before stands.
            self.mistakes.extend(own);
            self.refused.extend(id);
            return;
        }
        let Some(id) = id else { return };
        if !self.said.contains_key(&id) && record.as_ref().is_some_and(is_known) {
            self.refused.remove(&id);
            return;
        }
        self.forget(id);
        let ordinal = record.is_some().then(|| ordinal(self.records.len()));
        self.said.insert(id, ordinal);
        self.records.extend(record.map(Some));
    }

    /// An entry is gone.
    pub fn remove(&mut self, id: AccountUuid) {
        self.forget(id);
        self.said.insert(id, None);
    }

    /// Entries that are all there is of each, read elsewhere: their records, those without one, and what is wrong. For a
    /// snapshot after `previous`.
    pub(crate) fn all(
        records: Vec<Option<Record>>,
        without: impl Iterator<Item = AccountUuid>,
        mistakes: Mistakes,
        warnings: Mistakes,
        previous: &Snapshot,
    ) -> Changes {
        let mut said = Said::default();
        // Who was there before is found by it, and otherwise it is of no use.
        if previous.ids().next().is_some() {
            said = bulk::map(records.len());
            said.extend(without.map(|id| (id, None)));
            for (place, record) in records.iter().enumerate() {
                said.extend(record.as_ref().map(|record| (record.id(), Some(ordinal(place)))));
            }
        }
        Changes {
            records,
            said,
            mistakes,
            warnings,
            refused: HashSet::new(),
        }
    }

    /// Whether nothing was put or removed.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.said.is_empty() && self.refused.is_empty()
    }

    fn forget(&mut self, id: AccountUuid) {
        self.refused.remove(&id);
        if let Some(Some(ordinal)) = self.said.remove(&id) {
            self.records[ordinal as usize] = None;
        }
    }
}

fn ordinal(place: usize) -> u32 {
    u32::try_from(place).expect("records of 300 bytes fill the memory long before")
}
