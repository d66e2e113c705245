//! Dates: the Date field (RFC 5322 3.3 and 4.3), IMAP's date and date-time (RFC 3501 9), and the arithmetic between calendar
//! and Unix time. Proleptic Gregorian calendar, no leap seconds (a second 60 counts as 59), no time zone database. The only
//! calendar there is: commands, headers and trace lines all come here.

use super::lexer::Lexer;
use std::fmt;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const SECONDS_A_DAY: i64 = 86_400;
/// First and last second that the calendar here can write: the years 0 to 9999.
const UNIX_RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// A day of the calendar; compares in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilDate {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl CivilDate {
    /// None when there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(is_leap),
            _ => return None,
        };
        (year <= 9999 && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    /// Days since 1 January 1970.
    pub fn days(self) -> i64 {
        // Years are counted from March, so that the leap day is the last of its year.
        let (year, month) = match self.month {
            month @ 3.. => (i64::from(self.year), i64::from(month) - 3),
            month => (i64::from(self.year) - 1, i64::from(month) + 9),
        };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// The day that many days after 1 January 1970; the nearest one of the years 0 to 9999.
    pub fn from_days(days: i64) -> Self {
        let first = UNIX_RANGE.start().div_euclid(SECONDS_A_DAY);
        let last = UNIX_RANGE.end().div_euclid(SECONDS_A_DAY);
        let days = days.clamp(first, last) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
        Self {
            year: (year + year_of_era + era * 400) as u16,
            month: month as u8,
            day: day as u8,
        }
    }

    /// Reads IMAP's `date`: `1-Feb-1994`, quoted or not.
    pub fn parse_imap(text: &[u8]) -> Option<Self> {
        let text = text
            .strip_prefix(b"\"")
            .and_then(|text| text.strip_suffix(b"\""))
            .unwrap_or(text);
        let mut parts = text.split(|byte| *byte == b'-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && (1..=2).contains(&day.len()) && month.len() == 3 && year.len() == 4;
        if !is_whole {
            return None;
        }
        Self::new(number(year)?, month_of(month)?, number(day)?.try_into().ok()?)
    }

    /// The English name of its weekday, three letters.
    pub fn weekday(self) -> &'static str {
        // 1 January 1970 was a Thursday.
        DAYS[(self.days() + 3).rem_euclid(7) as usize]
    }
}

/// A moment as it was written somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// The day there.
    pub date: CivilDate,
    /// Seconds since midnight there, 0 to 86,399.
    pub second_of_day: u32,
    /// East of Greenwich, in minutes, -1439 to 1439.
    pub zone_minutes: i16,
}

impl DateTime {
    /// The moment in a zone; moments outside of the years 0 to 9999 become the nearest inside.
    pub fn from_unix(unix: i64, zone_minutes: i16) -> Self {
        let zone_minutes = zone_minutes.clamp(-1439, 1439);
        let local = unix
            .saturating_add(i64::from(zone_minutes) * 60)
            .clamp(*UNIX_RANGE.start(), *UNIX_RANGE.end());
        Self {
            date: CivilDate::from_days(local.div_euclid(SECONDS_A_DAY)),
            second_of_day: local.rem_euclid(SECONDS_A_DAY) as u32,
            zone_minutes,
        }
    }

    /// Seconds since 1 January 1970, 00:00 UTC.
    pub fn unix(self) -> i64 {
        self.date.days() * SECONDS_A_DAY + i64::from(self.second_of_day) - i64::from(self.zone_minutes) * 60
    }

    /// Reads a Date field, in the forms of now and of old: day names are not checked, years may have two or three digits,
    /// seconds and zone may be missing, zones may be names. Unknown zones are UTC (RFC 5322 4.3).
    pub fn parse_rfc5322(value: &[u8]) -> Option<Self> {
        let mut lexer = Lexer::new(value);
        skip_separators(&mut lexer);
        lexer.take_while(|byte| byte.is_ascii_alphabetic());
        skip_separators(&mut lexer);
        let day = number(lexer.take_while(|byte| byte.is_ascii_digit()))?;
        skip_separators(&mut lexer);
        let month = month_of(lexer.take_while(|byte| byte.is_ascii_alphabetic()))?;
        skip_separators(&mut lexer);
        let digits = lexer.take_while(|byte| byte.is_ascii_digit());
        let year = match (digits.len(), number(digits)?) {
            (0 | 1, _) => return None,
            (2, year @ ..50) => year + 2000,
            (2 | 3, year) => year + 1900,
            (_, year) => year,
        };
        let date = CivilDate::new(year, month, day.try_into().ok()?)?;
        lexer.skip_cfws();
        let mut second_of_day = 0;
        if lexer.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            let mut fields = [0u16; 3];
            for (index, field) in fields.iter_mut().enumerate() {
                *field = number(lexer.take_while(|byte| byte.is_ascii_digit()))?;
                lexer.skip_cfws();
                if index == 2 || !(lexer.eat(b':') || lexer.eat(b'.')) {
                    break;
                }
                lexer.skip_cfws();
            }
            second_of_day = time(fields)?;
        }
        lexer.skip_cfws();
        Some(Self {
            date,
            second_of_day,
            zone_minutes: zone(lexer.rest()),
        })
    }

    /// Reads IMAP's `date-time`: `dd-Mon-yyyy hh:mm:ss +zzzz`, quoted or not, the day with a blank or zero before it.
    pub fn parse_imap(text: &[u8]) -> Option<Self> {
        let text = text
            .strip_prefix(b"\"")
            .and_then(|text| text.strip_suffix(b"\""))
            .unwrap_or(text);
        let text = text.strip_prefix(b" ").unwrap_or(text);
        let mut parts = text.split(|byte| *byte == b' ');
        let (date, clock, offset) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && clock.len() == 8 && offset.len() == 5;
        if !is_whole || !matches!(offset.first(), Some(b'+' | b'-')) {
            return None;
        }
        let two_digits = |field: &[u8]| number(field).filter(|_| field.len() == 2);
        let mut fields = clock.split(|byte| *byte == b':').map(two_digits);
        let fields = [fields.next()??, fields.next()??, fields.next()??];
        number(&offset[1..])?;
        Some(Self {
            date: CivilDate::parse_imap(date)?,
            second_of_day: time(fields)?,
            zone_minutes: numeric_zone(offset)?,
        })
    }

    /// Writes IMAP's `date-time`, without quotes, always 26 characters: ` 1-Feb-1994 10:11:12 +0100`.
    pub fn to_imap(self) -> String {
        let CivilDate { year, month, day } = self.date;
        let month = MONTHS[usize::from(month) - 1];
        format!("{day:2}-{month}-{year:04} {}", Clock(self))
    }

    /// Writes the form of Date and Received fields: `Tue, 1 Feb 1994 10:11:12 +0100`.
    pub fn write_rfc5322(self, out: &mut impl fmt::Write) -> fmt::Result {
        let CivilDate { year, month, day } = self.date;
        let (weekday, month) = (self.date.weekday(), MONTHS[usize::from(month) - 1]);
        write!(out, "{weekday}, {day} {month} {year:04} {}", Clock(self))
    }
}

/// `10:11:12 +0100`.
struct Clock(DateTime);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (second, zone) = (self.0.second_of_day, self.0.zone_minutes.unsigned_abs());
        let sign = if self.0.zone_minutes < 0 { '-' } else { '+' };
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let (zone_hour, zone_minute) = (zone / 60, zone % 60);
        write!(
            f,
            "{hour:02}:{minute:02}:{second:02} {sign}{zone_hour:02}{zone_minute:02}"
        )
    }
}

/// At most five digits, and nothing else.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u16, |number, digit| {
        number.checked_mul(10)?.checked_add(u16::from(digit - b'0'))
    })
}

/// The first three letters count, so that full names pass.
fn month_of(name: &[u8]) -> Option<u8> {
    let start = name.get(..3)?;
    MONTHS
        .iter()
        .position(|month| start.eq_ignore_ascii_case(month.as_bytes()))
        .map(|index| index as u8 + 1)
}

fn time([hour, minute, second]: [u16; 3]) -> Option<u32> {
    let is_time = hour < 24 && minute < 60 && second <= 60;
    is_time.then(|| u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second.min(59)))
}

fn skip_separators(lexer: &mut Lexer<'_>) {
    while lexer.skip_cfws() || lexer.eat(b',') || lexer.eat(b'-') || lexer.eat(b'.') {}
}

/// `+hhmm` or `-hhmm`.
fn numeric_zone(text: &[u8]) -> Option<i16> {
    let (sign, digits) = text.split_first()?;
    let number = i16::try_from(number(digits.get(..4)?)?).ok()?;
    let minutes = number / 100 * 60 + number % 100;
    let is_zone = number % 100 < 60 && minutes < 24 * 60;
    match sign {
        b'+' if is_zone => Some(minutes),
        b'-' if is_zone => Some(-minutes),
        _ => None,
    }
}

fn zone(text: &[u8]) -> i16 {
    let letters = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let hours = match text[..letters].to_ascii_uppercase().as_slice() {
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        b"" => return numeric_zone(text).unwrap_or(0),
        _ => 0,
    };
    hours * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        for (days, year, month, day, weekday) in [
            (0, 1970, 1, 1, "Thu"),
            (-1, 1969, 12, 31, "Wed"),
            (11_016, 2000, 2, 29, "Tue"),
            (11_017, 2000, 3, 1, "Wed"),
            (20_759, 2026, 11, 2, "Mon"),
            (-719_528, 0, 1, 1, "Sat"),
            (2_932_896, 9999, 12, 31, "Fri"),
        ] {
            let date = CivilDate::new(year, month, day).expect("a day");
            assert_eq!((date.days(), date.weekday()), (days, weekday));
            assert_eq!(CivilDate::from_days(days), date);
        }
        let mut date = CivilDate::from_days(-719_528);
        for days in -719_527..=2_932_896 {
            let next = CivilDate::from_days(days);
            assert!(next > date && next.days() == days, "{days}");
            date = next;
        }
        assert_eq!(CivilDate::from_days(i64::MAX).year, 9999);
        assert_eq!(CivilDate::from_days(i64::MIN).year, 0);
        for (year, month, day) in [
            (2025, 2, 29),
            (1900, 2, 29),
            (2026, 13, 1),
            (2026, 0, 1),
            (2026, 4, 31),
            (2026, 1, 0),
            (10_000, 1, 1),
        ] {
            assert_eq!(CivilDate::new(year, month, day), None);
        }
    }

    #[test]
    fn the_date_field() {
        for (value, expected) in [
            ("Mon, 2 Nov 2026 10:11:12 +0100", " 2-Nov-2026 10:11:12 +0100"),
            ("2 Nov 2026 10:11 GMT", " 2-Nov-2026 10:11:00 +0000"),
            (
                "Thu,\t13\r\n Feb (why) 1969 23:32 -0330 (Newfoundland Time)",
                "13-Feb-1969 23:32:00 -0330",
            ),
            (
                "Fri, 21 Nov 97 09(comment):   55  :  06 -0600",
                "21-Nov-1997 09:55:06 -0600",
            ),
            ("21 Nov 49 1:2:3 EST", "21-Nov-2049 01:02:03 -0500"),
            ("21 Nov 103 1:2:3 pdt", "21-Nov-2003 01:02:03 -0700"),
            ("Sat, 31 Dec 2016 23:59:60 Z", "31-Dec-2016 23:59:59 +0000"),
            ("Monday, 02-November-2026 10.11.12 +0000", " 2-Nov-2026 10:11:12 +0000"),
            ("2 Nov 2026", " 2-Nov-2026 00:00:00 +0000"),
            ("2 Nov 2026 10:11:12", " 2-Nov-2026 10:11:12 +0000"),
            ("2 Nov 2026 10:11:12 +9999", " 2-Nov-2026 10:11:12 +0000"),
            ("2 Nov 2026 10:11:12 Europe/Berlin", " 2-Nov-2026 10:11:12 +0000"),
            ("31 Nov 2026 10:11:12 +0000", "none"),
            ("2 Nov 2026 24:00:00 +0000", "none"),
            ("2 Nov 2026 10:61 +0000", "none"),
            ("2 Foo 2026", "none"),
            ("2 Nov 6", "none"),
            ("99999 Nov 2026", "none"),
            ("2 Nov 99999", "none"),
            ("now", "none"),
            ("", "none"),
            ("Mon", "none"),
        ] {
            let read = DateTime::parse_rfc5322(value.as_bytes());
            assert_eq!(read.map_or("none".to_owned(), DateTime::to_imap), expected, "{value:?}");
        }
    }

    fn rfc5322(moment: DateTime) -> String {
        let mut text = String::new();
        moment.write_rfc5322(&mut text).unwrap();
        text
    }

    #[test]
    fn imap_date_times() {
        for (text, unix) in [
            (" 1-Jan-1970 00:00:00 +0000", Some(0)),
            ("\"01-Jan-1970 01:00:00 +0100\"", Some(0)),
            ("31-Dec-1969 20:29:59 -0330", Some(-1)),
            ("1-Jan-1970 00:00:00 +0000", Some(0)),
            ("01-Jan-1970 00:00:00 0000", None),
            ("01-Jan-1970 0:00:00 +0000", None),
            ("01-Jan-1970 00:00:00 +000", None),
            ("01-Jan-1970 00:00:00", None),
            ("32-Jan-1970 00:00:00 +0000", None),
            ("01-Jan-70 00:00:00 +0000", None),
            ("01-Jan-1970 1:002:03 +0000", None),
            ("01-January-1970 00:00:00 +0000", None),
            ("17-Jul-1996 02:44:25 -0700", Some(837_596_665)),
            ("29-Feb-2024 23:59:60 +0000", Some(1_709_251_199)),
            ("29-Feb-2023 00:00:00 +0000", None),
            ("01-Jan-1970 00:00:00 +0000 ", None),
            ("", None),
        ] {
            assert_eq!(
                DateTime::parse_imap(text.as_bytes()).map(DateTime::unix),
                unix,
                "{text:?}"
            );
        }
        for unix in [0, 1, -1, 1_793_527_872, *UNIX_RANGE.start(), *UNIX_RANGE.end()] {
            for zone in [0, 60, -210, 1439] {
                let moment = DateTime::from_unix(unix, zone);
                assert_eq!(moment.to_imap().len(), 26);
                assert_eq!(DateTime::parse_imap(moment.to_imap().as_bytes()), Some(moment));
                assert_eq!(
                    DateTime::parse_rfc5322(rfc5322(moment).as_bytes()).map(DateTime::unix),
                    Some(moment.unix())
                );
            }
            assert_eq!(DateTime::from_unix(unix, 0).unix(), unix);
        }
        assert_eq!(
            rfc5322(DateTime::from_unix(1_793_527_872, 60)),
            "Sun, 1 Nov 2026 11:11:12 +0100"
        );
        assert_eq!(DateTime::from_unix(i64::MAX, 0).date.year, 9999);
        assert_eq!(DateTime::from_unix(i64::MIN, -1439).date.year, 0);
    }

    #[test]
    fn imap_dates() {
        let date = CivilDate::new(1994, 2, 1);
        for (text, expected) in [
            ("1-Feb-1994", date),
            ("\"01-fEB-1994\"", date),
            ("1-Feb-94", None),
            ("1 Feb 1994", None),
            ("001-Feb-1994", None),
            ("1-February-1994", None),
            ("30-Feb-1994", None),
            ("-", None),
        ] {
            assert_eq!(CivilDate::parse_imap(text.as_bytes()), expected, "{text:?}");
        }
    }
}
