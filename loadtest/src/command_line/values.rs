//! Values of options, from what was written.

use super::Fault;
use clap::ValueEnum;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Octets of a message: between two bounds, where small ones are more frequent.
pub(crate) type Sizes = RangeInclusive<u32>;

/// The biggest message that is made.
const SIZE_MAX: u32 = 1 << 30;

/// The smallest message: its header needs so much.
const SIZE_MIN: u32 = 300;

pub(crate) fn sizes(text: &str) -> Result<Sizes, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let number: u32 = text
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is no number of octets"))?;
        match (SIZE_MIN..=SIZE_MAX).contains(&number) {
            true => Ok(number),
            false => Err(format!("expected {SIZE_MIN} to {SIZE_MAX} octets")),
        }
    };
    let (least, most) = (number(least)?, number(most)?);
    match least <= most {
        true => Ok(least..=most),
        false => Err("expected the smaller size first".to_owned()),
    }
}

pub(crate) fn fault(text: &str) -> Result<(Fault, u32), String> {
    let form = || "expected KIND=COUNT, with slow-reader, abort, half-open or garbage".to_owned();
    let (kind, count) = text.split_once('=').ok_or_else(form)?;
    let kind = Fault::from_str(kind, false).map_err(|_| form())?;
    match count.parse() {
        Ok(count @ 1..=100_000) => Ok((kind, count)),
        _ => Err("expected a count of 1 to 100000".to_owned()),
    }
}

/// Units a second. The least is less than one in the longest run.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    match (0.000_001..=10_000_000.0).contains(&number) {
        true => Ok(number),
        false => Err("expected 0.000001 to 10000000 units a second".to_owned()),
    }
}

/// `500ms`, `30s`, `5m`, `1h`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a time as in 30s or 5m".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("{unit:?} is none of ms, s, m, h")),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(7 * 24 * 3600))
        .ok_or_else(|| "expected at most a week".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for text in ["", "s", "5x", "-1s", "8000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(sizes("4096"), Ok(4096..=4096));
        assert_eq!(sizes("1000-100000"), Ok(1000..=100_000));
        for text in ["", "1", "5000-1000", "2000000000", "x"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("0.000001"), Ok(0.000_001));
        assert_eq!(rate("1e7"), Ok(10_000_000.0));
        for text in ["", "x", "0", "-1", "1e-20", "1e-300", "1e8", "inf", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults() {
        assert_eq!(fault("half-open=7"), Ok((Fault::HalfOpen, 7)));
        for text in ["", "abort", "abort=0", "abort=x", "sleep=1"] {
            assert!(fault(text).is_err(), "{text}");
        }
    }
}
