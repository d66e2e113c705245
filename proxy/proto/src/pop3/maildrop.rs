//! The maildrop as it was at the login (RFC 1939 section 5: message numbers do not change during a session): 8 octets and
//! a bit a message. Deletions are marks; nothing happens to mail here.

use super::command::MessageNumber;
use std::io::Write as _;
use std::num::NonZeroU32;

/// A snapshot of the messages and the session's marks on them.
#[derive(Debug, Default)]
pub struct Maildrop {
    uid_validity: u32,
    messages: Vec<Entry>,
    /// A bit a message; empty while nothing is marked.
    deleted: Vec<u64>,
    deleted_count: u32,
    deleted_bytes: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    uid: u32,
    bytes: u32,
}

/// What the session still has of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) uid: u32,
    pub(super) bytes: u32,
}

impl Maildrop {
    /// Of messages given as (UID, octets), in the order in which they are numbered. UIDs are unique, so their count fits
    /// in 32 bits.
    pub fn new(uid_validity: u32, messages: impl Iterator<Item = (u32, u32)>) -> Maildrop {
        let messages: Vec<Entry> = messages.map(|(uid, bytes)| Entry { uid, bytes }).collect();
        let bytes = messages.iter().map(|entry| u64::from(entry.bytes)).sum();
        Maildrop {
            uid_validity,
            messages,
            bytes,
            ..Maildrop::default()
        }
    }

    /// Messages that are not marked, and their octets.
    pub fn status(&self) -> (u32, u64) {
        let all = u32::try_from(self.messages.len()).expect("as many messages as UIDs at most");
        (all - self.deleted_count, self.bytes - self.deleted_bytes)
    }

    /// UIDs of the messages that are marked, ascending as the snapshot was.
    pub fn deleted_uids(&self) -> impl Iterator<Item = u32> {
        self.messages
            .iter()
            .enumerate()
            .filter(|(index, _)| self.is_deleted(*index))
            .map(|(_, entry)| entry.uid)
    }

    /// Takes all marks back.
    pub(super) fn reset(&mut self) {
        self.deleted = Vec::new();
        self.deleted_count = 0;
        self.deleted_bytes = 0;
    }

    /// Marks a message; `None` when there is none of this number any more.
    pub(super) fn delete(&mut self, number: MessageNumber) -> Option<()> {
        let kept = self.message(number)?;
        let index = index(number);
        self.deleted.resize(self.messages.len().div_ceil(64), 0);
        self.deleted[index / 64] |= 1 << (index % 64);
        self.deleted_count += 1;
        self.deleted_bytes += u64::from(kept.bytes);
        Some(())
    }

    /// A message that is not marked.
    pub(super) fn message(&self, number: MessageNumber) -> Option<Kept> {
        let index = index(number);
        let entry = self.messages.get(index)?;
        (!self.is_deleted(index)).then_some(Kept {
            uid: entry.uid,
            bytes: entry.bytes,
        })
    }

    /// The message's line of `LIST` (the number and its octets), without CRLF.
    pub(super) fn write_size(&self, number: MessageNumber, kept: Kept, out: &mut Vec<u8>) {
        write!(out, "{number} {}", kept.bytes).expect("writing to memory");
    }

    /// The message's line of `UIDL`, without CRLF: UIDVALIDITY and UID never come together a second time, and have at
    /// most 21 of the 70 characters allowed (RFC 1939 section 7).
    pub(super) fn write_unique_id(&self, number: MessageNumber, kept: Kept, out: &mut Vec<u8>) {
        write!(out, "{number} {}.{}", self.uid_validity, kept.uid).expect("writing to memory");
    }

    fn is_deleted(&self, index: usize) -> bool {
        self.deleted
            .get(index / 64)
            .is_some_and(|bits| bits & (1 << (index % 64)) != 0)
    }
}

fn index(number: MessageNumber) -> usize {
    number.get() as usize - 1
}

/// The rest of a `LIST` or `UIDL` of all messages, given out in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    unique_ids: bool,
    next: Option<MessageNumber>,
}

impl Listing {
    pub(super) fn new(unique_ids: bool) -> Self {
        Self {
            unique_ids,
            next: Some(NonZeroU32::MIN),
        }
    }

    /// Adds about `bytes_max` octets of lines to `out`, or all that is left, terminator included; returns whether all
    /// is. Looks at a bounded number of messages per call, so that a maildrop full of marks takes no long turn.
    pub fn fill(&mut self, maildrop: &Maildrop, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let mut turns = bytes_max;
        let full = out.len().saturating_add(bytes_max);
        while let Some(number) = self.next {
            if out.len() >= full || turns == 0 {
                return false;
            }
            turns -= 1;
            if index(number) >= maildrop.messages.len() {
                break;
            }
            if let Some(kept) = maildrop.message(number) {
                if self.unique_ids {
                    maildrop.write_unique_id(number, kept, out);
                } else {
                    maildrop.write_size(number, kept, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            self.next = number.checked_add(1);
        }
        out.extend_from_slice(b".\r\n");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn marks_are_counted_and_taken_back() {
        let mut maildrop = Maildrop::new(7, (1..=130).map(|uid| (uid * 2, 10)));
        assert_eq!(maildrop.status(), (130, 1300));
        for marked in [1, 64, 65, 130] {
            assert_eq!(maildrop.delete(number(marked)), Some(()));
            assert_eq!(maildrop.delete(number(marked)), None);
            assert_eq!(maildrop.message(number(marked)), None);
        }
        assert_eq!(maildrop.delete(number(131)), None);
        assert_eq!(maildrop.delete(number(u32::MAX)), None);
        assert_eq!(maildrop.status(), (126, 1260));
        assert_eq!(maildrop.deleted_uids().collect::<Vec<_>>(), [2, 128, 130, 260]);
        maildrop.reset();
        assert_eq!(maildrop.status(), (130, 1300));
        assert_eq!(maildrop.deleted_uids().count(), 0);
    }

    #[test]
    fn a_listing_is_the_same_in_pieces_of_any_size() {
        let mut maildrop = Maildrop::new(7, (1..=20).map(|uid| (uid, uid)));
        maildrop.delete(number(3)).unwrap();
        maildrop.delete(number(20)).unwrap();
        let mut whole = Vec::new();
        assert!(Listing::new(true).fill(&maildrop, &mut whole, 100_000));
        assert!(whole.starts_with(b"1 7.1\r\n2 7.2\r\n4 7.4\r\n"));
        assert!(whole.ends_with(b"19 7.19\r\n.\r\n"));
        for size in 1..40 {
            let mut listing = Listing::new(true);
            let mut all = Vec::new();
            loop {
                let mut piece = Vec::new();
                let done = listing.fill(&maildrop, &mut piece, size);
                all.extend_from_slice(&piece);
                if done {
                    break;
                }
            }
            assert_eq!(all, whole, "pieces of {size}");
        }
    }

    #[test]
    fn an_empty_maildrop() {
        let maildrop = Maildrop::new(1, std::iter::empty());
        let mut out = Vec::new();
        assert!(Listing::new(false).fill(&maildrop, &mut out, 10));
        assert_eq!(out, b".\r\n");
        assert_eq!(maildrop.status(), (0, 0));
    }
}
