//! A hash table that a snapshot shares with the one after it.
//!
//! It is cut into shards of a few hundred entries, each behind an `Arc`: a change copies the shards it touches and
//! shares the others, so that one changed record of a million costs microseconds and not a rebuilt table. A shard is
//! open addressing with linear probing over 16-bit fragments of the hash, with the values beside them: 10 bytes a
//! slot, and a lookup touches two places before the record itself. Keys are not stored; the caller compares them in
//! the record. A shard has so few slots that fragments of one slot are still some 90 different ones.
//!
//! Invariants: the empty slots of a shard are at least a quarter, so that every probe ends; a shard that grew far beyond
//! its size makes the table crowded, and the snapshot then makes it anew.

use std::sync::Arc;

/// Entries of one shard when a table is built. A guess between the cost of copying a shard (its entries) and that of
/// copying the list of shards (one for each 512 entries).
const SHARD_ENTRIES: usize = 512;
/// Entries of a shard, on average, from which on a table is made anew.
const CROWDED: usize = 4 * SHARD_ENTRIES;

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
    fragments: Box<[u16]>,
    values: Box<[Option<Arc<T>>]>,
    used: usize,
}

/// One key of a table in the making: the hash, and which value has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) hash: u64,
    pub(crate) value: u32,
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

    /// A table of these keys, which are sorted and all different, in its best size.
    pub(crate) fn of_sorted<'a>(keys: &[Key], value: impl Fn(u32) -> &'a Arc<T>) -> Table<T>
    where
        T: 'a,
    {
        let count = keys.len() / SHARD_ENTRIES + 1;
        let mut rest = keys;
        let shards = (0..count).map(|index| {
            // Shards follow one another as hashes do.
            let (own, behind) = rest.split_at(rest.partition_point(|key| shard_of(key.hash, count) <= index));
            rest = behind;
            let mut shard = Shard::with_slots(slots_for(own.len()));
            // Counting references one by one would wait for memory at each; reading all before lets the waits overlap.
            let counts = own.iter().map(|key| Arc::strong_count(value(key.value)));
            std::hint::black_box(counts.fold(0, usize::wrapping_add));
            for key in own {
                shard.place(fragment(key.hash), Arc::clone(value(key.value)));
            }
            Arc::new(shard)
        });
        Table {
            shards: shards.collect(),
            len: keys.len(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds far more than it was made for: changing it is dear then, and so are lookups.
    pub(crate) fn is_crowded(&self) -> bool {
        self.len / CROWDED > self.shards.len()
    }

    /// Bytes of memory of the table itself, without what the allocator adds.
    pub(crate) fn memory_bytes(&self) -> usize {
        let of_shard = |shard: &Arc<Shard<T>>| {
            size_of::<Shard<T>>() + shard.fragments.len() * (size_of::<u16>() + size_of::<Option<Arc<T>>>())
        };
        self.shards.iter().map(of_shard).sum()
    }

    fn shard_index(&self, hash: u64) -> usize {
        shard_of(hash, self.shards.len())
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

/// The high half of the hash chooses the shard, the low half the slot, so that they are independent.
fn shard_of(hash: u64, shards: usize) -> usize {
    let scaled = (hash >> 32).wrapping_mul(shards as u64) >> 32;
    usize::try_from(scaled).expect("less than the number of shards")
}

/// The part of a hash that is stored: never 0, which marks an empty slot.
#[expect(clippy::cast_possible_truncation, reason = "the low part is what is wanted")]
fn fragment(hash: u64) -> u16 {
    (hash as u16).max(1)
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
    fn start(&self, fragment: u16) -> usize {
        let scaled = u64::from(fragment).wrapping_mul(self.fragments.len() as u64) >> 16;
        usize::try_from(scaled).expect("less than the number of slots")
    }

    #[inline]
    fn slot_of(&self, fragment: u16, is_it: impl Fn(&T) -> bool) -> Option<usize> {
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

    fn insert(&mut self, fragment: u16, value: Arc<T>) {
        if slots_for(self.used + 1) > self.fragments.len() {
            self.resize(slots_for(self.used + 1 + self.used / 2));
        }
        self.place(fragment, value);
    }

    fn place(&mut self, fragment: u16, value: Arc<T>) {
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

    proptest! {
        #[test]
        fn a_table_of_all_at_once_is_the_same_map(count in 0..5000_u32) {
            let spread = |key: u32| u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let values: Vec<_> = (0..count).map(|key| Arc::new(Pair(key, key))).collect();
            let mut keys: Vec<_> = (0..count).map(|key| Key { hash: spread(key), value: key }).collect();
            keys.sort_unstable();
            let mut table = Table::of_sorted(&keys, |place| &values[place as usize]);
            prop_assert_eq!(table.len(), values.len());
            prop_assert_eq!(table.iter().count(), values.len());
            prop_assert!(!table.is_crowded());
            for key in 0..count {
                prop_assert!(table.find(spread(key), |pair| pair.0 == key).is_some());
            }
            table.insert(spread(count), Arc::new(Pair(count, 0)));
            for key in 0..=count {
                prop_assert!(table.remove(spread(key), |pair| pair.0 == key).is_some());
            }
            prop_assert_eq!(table.len(), 0);
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
