//! The keys of messages that an account got under one: what makes a delivery that comes twice be stored once.
//!
//! Invariants:
//! - What is kept follows from the records alone: `keep` is called when a record is applied, live and at loading, and forgets by
//!   the times in the records, not by a clock.
//! - A key is known from the moment its record is on its way: of two deliveries at once with one key, one is stored.

use std::collections::VecDeque;

use pigeon_store_format::{KEY_BYTES, KEY_LIFE_SECONDS, KEYS_MAX, KeyUse, MessageKey};

/// Whether an account has a message under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// It has not.
    New,
    /// Its record is on its way to the disk.
    UnderWay,
    /// It has it, durably.
    Durable,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Keys {
    /// Oldest first.
    kept: VecDeque<KeyUse>,
    pushed: Vec<MessageKey>,
}

impl Keys {
    pub(crate) fn from_image(keys: Vec<KeyUse>) -> Self {
        Self {
            kept: keys.into(),
            pushed: Vec::new(),
        }
    }

    pub(crate) fn to_image(&self) -> Vec<KeyUse> {
        self.kept.iter().copied().collect()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.kept.capacity() * KEY_BYTES
    }

    pub(crate) fn state_of(&self, key: MessageKey) -> KeyState {
        if self.pushed.contains(&key) {
            KeyState::UnderWay
        } else if self.kept.iter().rev().any(|kept| kept.key == key) {
            // The newest first: what comes twice mostly comes soon.
            KeyState::Durable
        } else {
            KeyState::New
        }
    }

    /// A record with the key is on its way to the disk.
    pub(crate) fn note_pushed(&mut self, key: MessageKey) {
        self.pushed.push(key);
    }

    /// It arrived there.
    pub(crate) fn note_durable(&mut self, key: MessageKey) {
        self.pushed.retain(|pushed| *pushed != key);
    }

    /// Of a record: keeps its key, and forgets those that are too old by its time, and the oldest above the bound.
    pub(crate) fn keep(&mut self, new: KeyUse) {
        let oldest = new.at.saturating_sub(KEY_LIFE_SECONDS);
        while self.kept.front().is_some_and(|kept| kept.at < oldest) || self.kept.len() >= KEYS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(new);
    }

    /// Whether the next `keep` forgets a key before its time.
    pub(crate) fn is_full_at(&self, at: i64) -> bool {
        let oldest = at.saturating_sub(KEY_LIFE_SECONDS);
        self.kept.len() >= KEYS_MAX && self.kept.front().is_some_and(|kept| kept.at >= oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> MessageKey {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        MessageKey(bytes)
    }

    fn used(number: u32, at: i64) -> KeyUse {
        KeyUse { key: key(number), at }
    }

    #[test]
    fn keys_are_kept_for_a_day_by_their_own_times() {
        let mut keys = Keys::default();
        keys.keep(used(1, 1000));
        keys.keep(used(2, 1001));
        keys.keep(used(3, 1000 + KEY_LIFE_SECONDS));
        assert_eq!(keys.state_of(key(1)), KeyState::Durable);
        keys.keep(used(4, 1001 + KEY_LIFE_SECONDS));
        assert_eq!(keys.state_of(key(1)), KeyState::New);
        assert_eq!(keys.state_of(key(2)), KeyState::Durable);
        let again = Keys::from_image(keys.to_image());
        assert_eq!(again.to_image(), keys.to_image());
    }

    #[test]
    fn the_oldest_go_above_the_bound() {
        let mut keys = Keys::default();
        for number in 0..4096 {
            assert!(!keys.is_full_at(5), "{number}");
            keys.keep(used(number, 5));
        }
        assert!(keys.is_full_at(5) && !keys.is_full_at(6 + KEY_LIFE_SECONDS));
        keys.keep(used(9999, 5));
        assert_eq!(keys.to_image().len(), KEYS_MAX);
        assert_eq!(keys.state_of(key(0)), KeyState::New);
        assert_eq!(keys.state_of(key(1)), KeyState::Durable);
    }

    #[test]
    fn a_key_under_way_is_known() {
        let mut keys = Keys::default();
        assert_eq!(keys.state_of(key(1)), KeyState::New);
        keys.note_pushed(key(1));
        assert_eq!(keys.state_of(key(1)), KeyState::UnderWay);
        keys.note_durable(key(1));
        keys.keep(used(1, 5));
        assert_eq!(keys.state_of(key(1)), KeyState::Durable);
    }
}
