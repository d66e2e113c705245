//! A hash table that a snapshot shares with the one after it.
//!
//! It is cut into shards of a few hundred entries, each behind an `Arc`: a change copies the shards it touches and
//! shares the others, so that one changed record of a million costs microseconds and not a rebuilt table. A shard is
//! open addressing with linear probing over 32-bit fragments of the hash, with the values beside them: 12 bytes a
//! slot, and a lookup touches two places before the record itself. Keys are not stored; the caller compares them in
//! the record.
//!
//! Invariant: the empty slots of a shard are at least a quarter, so that every probe ends.

use std::sync::Arc;

/// Entries of one shard when a table is built. A guess between the cost of copying a shard (its entries) and that of
/// copying the list of shards (one for each 512 entries).
const SHARD_ENTRIES: usize = 512;

pub(crate) struct Table<T> {
    shards: Arc<[Arc<Shard<T>>]>,
    len: usize,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Table {
            shards: Arc::clone(&self.shards),
            len: self.len,
        }
    }
}

struct Shard<T> {
    /// 0 is an empty slot.
    fragments: Box<[u32]>,
    values: Box<[Option<Arc<T>>]>,
    used: usize,
}

impl<T> Clone for Shard<T> {
    fn clone(&self) -> Self {
        Shard {
            fragments: self.fragments.clone(),
            values: self.values.clone(),
            used: self.used,
        }
    }
}

impl<T> Table<T> {
    /// An empty table, made for about `expected` entries; it takes more, with larger shards.
    pub(crate) fn for_entries(expected: usize) -> Table<T> {
        let shards = expected / SHARD_ENTRIES + 1;
        Table {
            shards: (0..shards).map(|_| Arc::new(Shard::with_slots(0))).collect(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn shard_index(&self, hash: u64) -> usize {
        // The high half of the hash chooses the shard, the low half the slot, so that they are independent.
        let scaled = (hash >> 32).wrapping_mul(self.shards.len() as u64) >> 32;
        usize::try_from(scaled).expect("less than the number of shards")
    }

    /// The value whose key has this hash and for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        let shard = &self.shards[self.shard_index(hash)];
        shard
            .slot_of(fragment(hash), |value| is_it(value))
            .and_then(|slot| shard.values[slot].as_ref())
    }

    /// Adds a value under a key that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, value: Arc<T>) {
        let index = self.shard_index(hash);
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[index]).insert(fragment(hash), value);
        self.len += 1;
    }

    /// Takes out the value for which `is_it` holds under this hash.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let index = self.shard_index(hash);
        let slot = self.shards[index].slot_of(fragment(hash), |value| is_it(value))?;
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[index]);
        let value = shard.values[slot].take();
        shard.fragments[slot] = 0;
        shard.used -= 1;
        // What was placed behind the slot may not be found past the hole: place all again.
        shard.resize(shard.fragments.len());
        self.len -= 1;
        value
    }

    /// Gives back the memory that growing took in advance.
    pub(crate) fn compact(&mut self) {
        for shard in Arc::make_mut(&mut self.shards) {
            let slots = slots_for(shard.used);
            if slots < shard.fragments.len() {
                Arc::make_mut(shard).resize(slots);
            }
        }
    }

    /// All values; one with several keys comes once for each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.shards.iter().flat_map(|shard| shard.values.iter().flatten())
    }

    /// Values of `self` in shards that `other` does not share; all of them if the tables are cut differently.
    pub(crate) fn iter_unshared<'a>(&'a self, other: &'a Table<T>) -> impl Iterator<Item = &'a Arc<T>> {
        let same_cut = self.shards.len() == other.shards.len();
        let shards = self.shards.iter().enumerate();
        shards
            .filter(move |(index, shard)| !(same_cut && Arc::ptr_eq(shard, &other.shards[*index])))
            .flat_map(|(_, shard)| shard.values.iter().flatten())
    }
}

/// The part of a hash that is stored: never 0, which marks an empty slot.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn fragment(hash: u64) -> u32 {
    (hash as u32).max(1)
}

/// Slots that leave a quarter empty, and at least one.
fn slots_for(used: usize) -> usize {
    used + used / 3 + 1
}

impl<T> Shard<T> {
    fn with_slots(slots: usize) -> Shard<T> {
        Shard {
            fragments: vec![0; slots].into(),
            values: vec![None; slots].into(),
            used: 0,
        }
    }

    /// Where the probe for a fragment begins.
    fn start(&self, fragment: u32) -> usize {
        let scaled = u64::from(fragment).wrapping_mul(self.fragments.len() as u64) >> 32;
        usize::try_from(scaled).expect("less than the number of slots")
    }

    #[inline]
    fn slot_of(&self, fragment: u32, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let mut slot = self.start(fragment);
        loop {
            match self.fragments[slot] {
                0 => return None,
                found if found == fragment && self.values[slot].as_ref().is_some_and(|value| is_it(value)) => {
                    return Some(slot);
                }
                _ => {}
            }
            slot += 1;
            if slot == self.fragments.len() {
                slot = 0;
            }
        }
    }

    fn insert(&mut self, fragment: u32, value: Arc<T>) {
        if slots_for(self.used + 1) > self.fragments.len() {
            self.resize(slots_for(self.used + 1 + self.used / 2));
        }
        self.place(fragment, value);
    }

    fn place(&mut self, fragment: u32, value: Arc<T>) {
        let mut slot = self.start(fragment);
        while self.fragments[slot] != 0 {
            slot += 1;
            if slot == self.fragments.len() {
                slot = 0;
            }
        }
        self.fragments[slot] = fragment;
        self.values[slot] = Some(value);
        self.used += 1;
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(self, Shard::with_slots(slots));
        for (fragment, value) in old.fragments.into_iter().zip(old.values) {
            if let Some(value) = value {
                self.place(fragment, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Debug)]
    struct Pair(u32, u32);

    /// A poor hash on purpose: keys collide in fragment and shard.
    fn hash(key: u32) -> u64 {
        let mixed = u64::from(key % 7);
        (mixed << 60) | (u64::from(key % 13) << 28) | u64::from(key % 3)
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..200_u32, any::<u32>()), 0..400), expected in 0..2000_usize) {
            let mut table = Table::for_entries(expected);
            let mut model: HashMap<u32, u32> = HashMap::new();
            let mut before = table.clone();
            let mut before_len = 0;
            for (step, (add, key, value)) in steps.into_iter().enumerate() {
                if add && !model.contains_key(&key) {
                    table.insert(hash(key), Arc::new(Pair(key, value)));
                    model.insert(key, value);
                } else {
                    let removed = table.remove(hash(key), |pair| pair.0 == key).map(|pair| pair.1);
                    prop_assert_eq!(removed, model.remove(&key));
                }
                if step % 50 == 0 {
                    prop_assert_eq!(before.iter().count(), before_len, "a clone does not change");
                    table.compact();
                    before = table.clone();
                    before_len = model.len();
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for key in 0..200 {
                prop_assert_eq!(table.find(hash(key), |pair| pair.0 == key).map(|pair| pair.1), model.get(&key).copied());
            }
            prop_assert_eq!(table.iter().count(), model.len());
        }
    }

    #[test]
    fn a_change_shares_all_other_shards() {
        let mut table = Table::for_entries(100_000);
        for key in 0..10_000_u32 {
            table.insert(
                u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                Arc::new(Pair(key, 0)),
            );
        }
        let before = table.clone();
        table.insert(77, Arc::new(Pair(77, 1)));
        assert!(table.iter_unshared(&before).count() < 10_000 / 100);
        assert!(before.find(77, |pair| pair.1 == 1).is_none());
        assert!(table.find(77, |pair| pair.1 == 1).is_some());
    }
}
