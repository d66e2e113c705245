//! Lengths of time as people write them: `5m`, `1h30m`.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in whole milliseconds: numbers each with a unit (d, h, m, s, ms), largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

/// Largest first, as they are written.
const UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Period {
    /// That many seconds.
    pub const fn seconds(count: u32) -> Period {
        Period(Duration::from_secs(count as u64))
    }

    /// That many minutes.
    pub const fn minutes(count: u32) -> Period {
        Period(Duration::from_secs(count as u64 * 60))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, milliseconds) in UNITS {
            if left >= *milliseconds {
                write!(f, "{}{unit}", left / milliseconds)?;
                left %= milliseconds;
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Period, String> {
        let expected = || format!("expected a time such as \"30s\", \"5m\" or \"1h30m\", found \"{text}\"");
        let too_long = || format!("expected a time of at most 1000000 days, found \"{text}\"");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(expected());
        }
        let mut total = 0_u64;
        let mut units_left = UNITS;
        while !rest.is_empty() {
            let (digits, after) = split_while(rest, |character| character.is_ascii_digit());
            let (unit, after) = split_while(after.trim_start(), |character| character.is_ascii_alphabetic());
            let position = units_left
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(expected)?;
            if digits.is_empty() {
                return Err(expected());
            }
            let (_, milliseconds) = units_left[position];
            // Each unit once, and each smaller than the one before.
            units_left = &units_left[position + 1..];
            let count: u64 = digits.parse().map_err(|_| too_long())?;
            let part = count.checked_mul(milliseconds).ok_or_else(too_long)?;
            total = total.checked_add(part).ok_or_else(too_long)?;
            rest = after.trim_start();
        }
        if total > 1_000_000 * 86_400_000 {
            return Err(too_long());
        }
        Ok(Period(Duration::from_millis(total)))
    }
}

/// The longest prefix of such characters, and what follows it.
fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|character| !belongs(character)).unwrap_or(text.len());
    text.split_at(end)
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_back() {
        for (text, milliseconds, printed) in [
            ("5m", 300_000, "5m"),
            ("30s", 30_000, "30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1h 30m", 5_400_000, "1h30m"),
            (" 10 m ", 600_000, "10m"),
            ("90s", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("1s500ms", 1500, "1s500ms"),
            ("1d", 86_400_000, "1d"),
            ("0s", 0, "0s"),
            ("1000000d", 86_400_000_000_000, "1000000d"),
        ] {
            let period: Period = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(period.duration(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(period.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(period), "{text} again");
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for text in [
            "",
            "5",
            "m",
            "5 minutes",
            "5M",
            "30m1h",
            "5m5m",
            "1.5h",
            "-5m",
            "5m30",
            "ümläut",
            "5ü",
        ] {
            let expected = format!("expected a time such as \"30s\", \"5m\" or \"1h30m\", found \"{text}\"");
            assert_eq!(text.parse::<Period>(), Err(expected));
        }
        for text in ["1000001d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(
                text.parse::<Period>(),
                Err(format!("expected a time of at most 1000000 days, found \"{text}\""))
            );
        }
    }
}
