//! Sets of UIDs as ascending ranges: how records name messages.

use crate::Uid;
use crate::cursor::{Malformed, Put, Reader};

/// Ascending ranges of UIDs, first and last, that neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UidRanges {
    ranges: Vec<(Uid, Uid)>,
}

/// Bytes of one range in a record.
pub const UID_RANGE_BYTES: usize = 8;

impl UidRanges {
    /// From ascending UIDs; a repeated one counts once.
    pub fn from_ascending(uids: impl IntoIterator<Item = Uid>) -> Self {
        let mut set = Self::default();
        for uid in uids {
            set.push(uid);
        }
        set
    }

    /// Adds a UID at the end; one not above the last is an error of the caller, except the last itself.
    pub fn push(&mut self, uid: Uid) {
        match self.ranges.last_mut() {
            Some((_, last)) if uid == *last => {}
            Some((_, last)) if last.0.checked_add(1) == Some(uid.0) => *last = uid,
            Some((_, last)) => {
                assert!(uid > *last, "UIDs are pushed in ascending order");
                self.ranges.push((uid, uid));
            }
            None => self.ranges.push((uid, uid)),
        }
    }

    /// The ranges, first and last.
    pub fn ranges(&self) -> &[(Uid, Uid)] {
        &self.ranges
    }

    /// Every UID, ascending. May be long: a range is as wide as its writer says.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges.iter().flat_map(|(first, last)| (first.0..=last.0).map(Uid))
    }

    /// No UID.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the UID is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        let behind = self.ranges.partition_point(|(first, _)| *first <= uid);
        behind
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .is_some_and(|(_, last)| uid <= *last)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_count(self.ranges.len());
        for (first, last) in &self.ranges {
            out.put_u32(first.0);
            out.put_u32(last.0);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const FIELD: Malformed = Malformed("uid ranges");
        let count = reader.u32("uid ranges")?;
        let mut items = Reader::new(reader.items(count, UID_RANGE_BYTES, "uid ranges")?);
        let mut ranges: Vec<(Uid, Uid)> = Vec::with_capacity(items.remaining() / UID_RANGE_BYTES);
        for _ in 0..count {
            let range = (Uid(items.u32("uid ranges")?), Uid(items.u32("uid ranges")?));
            let above = ranges.last().is_none_or(|(_, last)| range.0 > *last);
            if range.0.0 == 0 || range.1 < range.0 || !above {
                return Err(FIELD);
            }
            ranges.push(range);
        }
        Ok(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(uids: &[u32]) -> UidRanges {
        UidRanges::from_ascending(uids.iter().copied().map(Uid))
    }

    #[test]
    fn joins_neighbours() {
        let set = set(&[1, 2, 3, 3, 7, 9, 10]);
        assert_eq!(set.ranges(), [(Uid(1), Uid(3)), (Uid(7), Uid(7)), (Uid(9), Uid(10))]);
        assert_eq!(set.iter().map(|uid| uid.0).collect::<Vec<_>>(), [1, 2, 3, 7, 9, 10]);
        for uid in 0..12 {
            assert_eq!(set.contains(Uid(uid)), [1, 2, 3, 7, 9, 10].contains(&uid), "{uid}");
        }
        assert!(UidRanges::default().is_empty());
        self::set(&[u32::MAX]).iter().for_each(drop);
    }

    #[test]
    fn only_ascending_ranges_decode() {
        for (ranges, good) in [
            (&[(1u32, 3u32), (5, 5)][..], true),
            (&[], true),
            (&[(0, 3)], false),
            (&[(3, 2)], false),
            (&[(1, 3), (3, 4)], false),
            (&[(5, 6), (1, 2)], false),
        ] {
            let mut bytes = Vec::new();
            bytes.put_count(ranges.len());
            for (first, last) in ranges {
                bytes.put_u32(*first);
                bytes.put_u32(*last);
            }
            let mut reader = Reader::new(&bytes);
            assert_eq!(UidRanges::decode(&mut reader).is_ok(), good, "{ranges:?}");
        }
        assert!(
            UidRanges::decode(&mut Reader::new(&u32::MAX.to_le_bytes())).is_err(),
            "a count without items"
        );
    }
}
