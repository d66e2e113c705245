//! GeneralizedTime as directories write it (RFC 4517, 3.3.13), and times of the program: milliseconds since the Unix epoch.
//!
//! Years from 1970 to 9999. A leap second is the second after it. What is finer than a millisecond is cut off.

/// Milliseconds of a day, an hour, a minute, a second.
const DAY: u64 = 24 * HOUR;
const HOUR: u64 = 60 * MINUTE;
const MINUTE: u64 = 60 * SECOND;
const SECOND: u64 = 1000;

/// Reads `YYYYMMDDHH[MM[SS]]` with a fraction of its last unit and a zone behind it. `Err` is the byte at which it ceases
/// to be a time.
pub fn parse(text: &str) -> Result<u64, usize> {
    let mut rest = Rest {
        bytes: text.as_bytes(),
        at: 0,
    };
    let century = rest.two(19..=99)?;
    let year = century * 100 + rest.two(0..=99)?;
    if year < 1970 {
        return Err(0);
    }
    let month = rest.two(1..=12)?;
    let day = rest.two(1..=days_of_month(year, month))?;
    let mut time = days_before(year, month) + day - 1;
    time = time * DAY + rest.two(0..=23)? * HOUR;
    let mut unit = HOUR;
    if rest.is_digit() {
        time += rest.two(0..=59)? * MINUTE;
        unit = MINUTE;
        if rest.is_digit() {
            time += rest.two(0..=60)? * SECOND;
            unit = SECOND;
        }
    }
    time += rest.fraction(unit)?;
    rest.zone(time)
}

/// Writes `YYYYMMDDHHMMSS.mmmZ`, without the fraction where it is zero. Later than the year 9999 is its end.
pub fn format(time: u64) -> String {
    let time = time.min((days_before(10_000, 1)) * DAY - 1);
    let (days, of_day) = (time / DAY, time % DAY);
    // The months of all years are few thousands, and nobody asks often.
    let (mut year, mut month) = (1970 + days / 366, 1);
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute, second) = (of_day / HOUR, of_day % HOUR / MINUTE, of_day % MINUTE / SECOND);
    let fraction = match of_day % SECOND {
        0 => String::new(),
        fraction => format!(".{fraction:03}"),
    };
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{fraction}Z")
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    let before = year - 1;
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(before) - leap_days(1969);
    years + (1..month).map(|month| days_of_month(year, month)).sum::<u64>()
}

struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn is_digit(&self) -> bool {
        self.byte().is_some_and(|byte| byte.is_ascii_digit())
    }

    fn digit(&mut self) -> Result<u64, usize> {
        match self.byte() {
            Some(byte) if byte.is_ascii_digit() => {
                self.at += 1;
                Ok(u64::from(byte - b'0'))
            }
            _ => Err(self.at),
        }
    }

    fn two(&mut self, range: std::ops::RangeInclusive<u64>) -> Result<u64, usize> {
        let at = self.at;
        let number = self.digit()? * 10 + self.digit()?;
        match range.contains(&number) {
            true => Ok(number),
            false => Err(at),
        }
    }

    /// A fraction of `unit`, if there is one.
    fn fraction(&mut self, unit: u64) -> Result<u64, usize> {
        if !matches!(self.byte(), Some(b'.' | b',')) {
            return Ok(0);
        }
        self.at += 1;
        let (mut number, mut of) = (self.digit()?, 10);
        while self.is_digit() {
            let digit = self.digit()?;
            // Nine places of an hour are finer than a millisecond.
            if of < 1_000_000_000 {
                (number, of) = (number * 10 + digit, of * 10);
            }
        }
        Ok(number * unit / of)
    }

    /// `Z`, or the difference from it, and nothing behind it.
    fn zone(&mut self, time: u64) -> Result<u64, usize> {
        let at = self.at;
        let sign = self.byte().ok_or(at)?;
        self.at += 1;
        let mut difference = 0;
        if sign != b'Z' {
            if !matches!(sign, b'+' | b'-') {
                return Err(at);
            }
            difference = self.two(0..=23)? * HOUR;
            if self.is_digit() {
                difference += self.two(0..=59)? * MINUTE;
            }
        }
        match (self.at == self.bytes.len(), sign) {
            (false, _) => Err(self.at),
            (true, b'+') => time.checked_sub(difference).ok_or(at),
            (true, _) => Ok(time + difference),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (text, seconds, milliseconds) in [
            ("19700101000000Z", 0, 0),
            ("197001010000Z", 0, 0),
            ("1970010100Z", 0, 0),
            // date -u -d '2026-11-22 10:15:00' +%s
            ("20261122101500Z", 1_795_342_500, 0),
            ("20261122101500.25Z", 1_795_342_500, 250),
            ("20261122101500,1239999999999999Z", 1_795_342_500, 123),
            ("2026112210.25Z", 1_795_342_500, 0),
            ("202611221015.5Z", 1_795_342_530, 0),
            ("20261122111500+0100", 1_795_342_500, 0),
            ("20261122051500-05", 1_795_342_500, 0),
            ("20261122101460Z", 1_795_342_500, 0),
            // date -u -d '2000-02-29' +%s, and of the last second.
            ("20000229000000Z", 951_782_400, 0),
            ("99991231235959Z", 253_402_300_799, 0),
        ] {
            assert_eq!(parse(text), Ok(seconds * 1000 + milliseconds), "{text}");
        }
        for (text, at) in [
            ("", 0),
            ("now", 0),
            ("19691231235959Z", 0),
            ("20261322101500Z", 4),
            ("20260229101500Z", 6),
            ("20261122241500Z", 8),
            ("20261122106000Z", 10),
            ("20261122101561Z", 12),
            ("20261122101500", 14),
            ("20261122101500 Z", 14),
            ("20261122101500Zx", 15),
            ("20261122101500.Z", 15),
            ("2026112210150Z", 13),
            ("19700101000000+0100", 14),
            ("20261122101500+2460", 15),
        ] {
            assert_eq!(parse(text), Err(at), "{text}");
        }
        assert_eq!(format(0), "19700101000000Z");
        assert_eq!(format(1_795_342_500_250), "20261122101500.250Z");
        assert_eq!(format(951_782_400_000), "20000229000000Z");
        assert_eq!(format(u64::MAX), "99991231235959.999Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(time in 0..253_402_300_800_000_u64) {
            prop_assert_eq!(parse(&format(time)), Ok(time));
        }

        #[test]
        fn anything_is_answered(text in "[0-9.,Z+-]{0,24}") {
            let _ = parse(&text);
        }
    }
}
