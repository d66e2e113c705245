//! Sizes in bytes as people write them: `50 MiB`.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A number of bytes. Written with a unit of 1024 (KiB, MiB, GiB, TiB) or of 1000 (kB, MB, GB, TB), or bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// That many bytes.
    pub const fn of_bytes(bytes: u64) -> Size {
        Size(bytes)
    }

    /// That many times 1024 bytes.
    pub const fn kib(count: u32) -> Size {
        Size((count as u64) << 10)
    }

    /// That many times 1024 * 1024 bytes.
    pub const fn mib(count: u32) -> Size {
        Size((count as u64) << 20)
    }

    /// That many times 1024 * 1024 * 1024 bytes.
    pub const fn gib(count: u32) -> Size {
        Size((count as u64) << 30)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In bytes, for memory; more than memory can address is all of it.
    pub fn memory_bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    /// In the largest unit of 1024 that divides it: `50 MiB`, `1000 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .take(4)
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match whole {
            Some((unit, bytes)) => write!(f, "{} {unit}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let expected = || format!("expected a size such as \"50 MiB\", \"1 GiB\" or \"4096\", found \"{text}\"");
        let trimmed = text.trim();
        let digits_end = trimmed
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(digits_end);
        let unit = unit.trim_start();
        if digits.is_empty() {
            return Err(expected());
        }
        let unit_bytes = match unit {
            "" => 1,
            unit => match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
                Some((_, bytes)) => *bytes,
                None => return Err(expected()),
            },
        };
        let count: Option<u64> = digits.parse().ok();
        let bytes = count.and_then(|count| count.checked_mul(unit_bytes));
        bytes
            .map(Size)
            .ok_or_else(|| format!("expected a size below 16 EiB, found \"{text}\""))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes, printed) in [
            ("50 MiB", 50 << 20, "50 MiB"),
            ("50MiB", 50 << 20, "50 MiB"),
            ("50 mib", 50 << 20, "50 MiB"),
            ("1 GiB", 1 << 30, "1 GiB"),
            ("2 TiB", 2 << 40, "2 TiB"),
            ("64 KiB", 64 << 10, "64 KiB"),
            ("1536 KiB", 1536 << 10, "1536 KiB"),
            ("4096", 4096, "4 KiB"),
            ("1000 B", 1000, "1000 B"),
            ("10 MB", 10_000_000, "10000000 B"),
            ("1 kB", 1000, "1000 B"),
            (" 7 ", 7, "7 B"),
            ("0", 0, "0 B"),
            ("18446744073709551615", u64::MAX, "18446744073709551615 B"),
        ] {
            let size: Size = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(size), "{text} again");
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for text in [
            "", "MiB", "50 M", "5O MiB", "-1", "1.5 GiB", "50 MiBs", "50 Mi B", "0x10",
        ] {
            let expected = format!("expected a size such as \"50 MiB\", \"1 GiB\" or \"4096\", found \"{text}\"");
            assert_eq!(text.parse::<Size>(), Err(expected));
        }
        for text in ["18446744073709551616", "99999999 TiB"] {
            assert_eq!(
                text.parse::<Size>(),
                Err(format!("expected a size below 16 EiB, found \"{text}\""))
            );
        }
    }
}
