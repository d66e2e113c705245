//! Sequence sets (RFC 3501 `sequence-set`): parsed, bounded by the command's length, and resolved against a mailbox.

use super::cursor::{Cursor, Parsed, Syntax};

/// Stands for `*` inside a range; zero is no valid number.
const LAST: u32 = 0;

/// Message sequence numbers or UIDs as a client wrote them, `*` included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSet {
    ranges: Vec<(u32, u32)>,
}

/// A resolved set: ascending, disjoint, not touching ranges, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: Vec<(u32, u32)>,
}

impl SequenceSet {
    /// The set of one number, which must not be zero.
    pub fn single(number: u32) -> Self {
        assert_ne!(number, 0, "zero is no sequence number");
        Self {
            ranges: vec![(number, number)],
        }
    }

    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut ranges = Vec::new();
        loop {
            let first = Self::parse_number(cursor)?;
            let second = if cursor.take(b':') {
                Self::parse_number(cursor)?
            } else {
                first
            };
            ranges.push((first, second));
            if !cursor.take(b',') {
                break;
            }
        }
        ranges.shrink_to_fit();
        Ok(Self { ranges })
    }

    fn parse_number(cursor: &mut Cursor<'_>) -> Parsed<u32> {
        if cursor.take(b'*') {
            return Ok(LAST);
        }
        match cursor.peek() {
            Some(byte) if byte.is_ascii_digit() => cursor.non_zero(),
            Some(b'$') => Err(Syntax("SEARCHRES is not supported")),
            None => Err(Syntax("Missing argument")),
            Some(_) => Err(Syntax("Invalid sequence set")),
        }
    }

    /// Whether the next byte may start a sequence set.
    pub(super) fn starts(cursor: &Cursor<'_>) -> bool {
        cursor
            .peek()
            .is_some_and(|byte| byte.is_ascii_digit() || byte == b'*' || byte == b'$')
    }

    /// The set with `*` standing for `last` (the highest number or UID in the mailbox, 0 when it is empty), sorted and
    /// merged. Ranges may be written either way round: `4:2` is `2:4`. In an empty mailbox `*` stands for nothing, and a
    /// range with it is empty.
    pub fn resolve(&self, last: u32) -> Ranges {
        let mut ranges: Vec<(u32, u32)> = self
            .ranges
            .iter()
            .map(|&(first, second)| {
                let (first, second) = (
                    if first == LAST { last } else { first },
                    if second == LAST { last } else { second },
                );
                (first.min(second), first.max(second))
            })
            .filter(|&(first, _)| first != 0)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, second) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(second),
                _ => merged.push((first, second)),
            }
        }
        Ranges { ranges: merged }
    }

    /// Whether it names a number above `last`, or `*` with no message at all: BAD for message sequence numbers.
    pub fn exceeds(&self, last: u32) -> bool {
        self.ranges
            .iter()
            .any(|&(first, second)| last == 0 || first > last || second > last)
    }
}

impl Ranges {
    /// Ascending, disjoint `(first, last)` pairs.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().copied()
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// By binary search.
    pub fn contains(&self, number: u32) -> bool {
        let index = self.ranges.partition_point(|&(_, last)| last < number);
        self.ranges.get(index).is_some_and(|&(first, _)| first <= number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<SequenceSet> {
        let mut cursor = Cursor::new(text.as_bytes());
        let set = SequenceSet::parse(&mut cursor).ok()?;
        cursor.is_at_end().then_some(set)
    }

    #[test]
    fn resolved() {
        type Row = (&'static str, u32, &'static [(u32, u32)]);
        let table: &[Row] = &[
            ("1", 10, &[(1, 1)]),
            ("1,2,3", 10, &[(1, 3)]),
            ("5:3", 10, &[(3, 5)]),
            ("*", 10, &[(10, 10)]),
            ("*", 0, &[]),
            ("1:*", 0, &[]),
            ("7:*", 5, &[(5, 7)]),
            ("*:4", 10, &[(4, 10)]),
            ("3,1:2,9,8:*", 10, &[(1, 3), (8, 10)]),
            ("4294967295,4294967294", 10, &[(4294967294, 4294967295)]),
            ("1:4294967295,3", 10, &[(1, 4294967295)]),
        ];
        for (text, last, expected) in table {
            let ranges = parse(text).expect(text).resolve(*last);
            assert_eq!(ranges.iter().collect::<Vec<_>>(), *expected, "{text} of {last}");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "0",
            "1,",
            ",1",
            "1:",
            ":1",
            "a",
            "1:0",
            "4294967296",
            "$",
            "1;2",
            "1:2:3",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn membership() {
        let ranges = parse("2:4,8,10:*").expect("valid").resolve(12);
        let members: Vec<u32> = (0..15).filter(|number| ranges.contains(*number)).collect();
        assert_eq!(members, [2, 3, 4, 8, 10, 11, 12]);
    }

    #[test]
    fn out_of_range() {
        for (text, last, expected) in [
            ("1", 1, false),
            ("2", 1, true),
            ("*", 0, true),
            ("*", 1, false),
            ("1:*", 0, true),
            ("1:5", 4, true),
        ] {
            assert_eq!(parse(text).expect(text).exceeds(last), expected, "{text} of {last}");
        }
    }
}
