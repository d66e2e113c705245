//! Dates of INTERNALDATE, APPEND and SEARCH (RFC 3501 `date-time`, `date`), over the proleptic Gregorian calendar.
//!
//! An internal date is kept as seconds since the Unix epoch and always shown in UTC: the zone that an APPEND gave is
//! applied and not kept.

use super::cursor::{Cursor, Parsed, Syntax};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Seconds of a day; leap seconds do not exist in Unix time.
pub const DAY_SECONDS: i64 = 86_400;

/// Days since 1 January 1970 of a day of the calendar. `month` is 1..=12.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month (1..=12) and day (1..=31) of a day since 1 January 1970.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `count_min..=count_max` digits as a number.
fn digits(cursor: &mut Cursor<'_>, count_min: usize, count_max: usize) -> Parsed<i64> {
    let digits = cursor.take_while(|byte| byte.is_ascii_digit());
    if digits.len() < count_min || digits.len() > count_max {
        return Err(Syntax("Invalid date"));
    }
    Ok(digits
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

/// `day "-" month "-" year`, as days since 1 January 1970.
fn day(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    const INVALID: Syntax = Syntax("Invalid date");
    let day = digits(cursor, 1, 2)?;
    cursor.expect(b'-', INVALID.0)?;
    let name = cursor.take_while(|byte| byte.is_ascii_alphabetic());
    let month = MONTHS
        .iter()
        .position(|month| month.as_bytes().eq_ignore_ascii_case(name))
        .ok_or(INVALID)? as i64
        + 1;
    cursor.expect(b'-', INVALID.0)?;
    let year = digits(cursor, 4, 4)?;
    if day < 1 || day > month_days(year, month) {
        return Err(INVALID);
    }
    Ok(days_from_civil(year, month, day))
}

/// `date` of SEARCH, quoted or not: days since 1 January 1970.
pub(super) fn parse_date(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    let quoted = cursor.take(b'"');
    let days = day(cursor)?;
    if quoted {
        cursor.expect(b'"', "Invalid date")?;
    }
    Ok(days)
}

/// `date-time` of APPEND: seconds since the Unix epoch.
pub(super) fn parse_date_time(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    const INVALID: Syntax = Syntax("Invalid date-time");
    cursor.expect(b'"', INVALID.0)?;
    // `date-day-fixed`: a space stands for the missing digit of a day below 10.
    cursor.take(b' ');
    let days = day(cursor)?;
    cursor.expect(b' ', INVALID.0)?;
    let hour = digits(cursor, 2, 2)?;
    cursor.expect(b':', INVALID.0)?;
    let minute = digits(cursor, 2, 2)?;
    cursor.expect(b':', INVALID.0)?;
    let second = digits(cursor, 2, 2)?;
    cursor.expect(b' ', INVALID.0)?;
    let west = match cursor.peek() {
        Some(sign @ (b'+' | b'-')) => {
            cursor.take(sign);
            sign == b'-'
        }
        _ => return Err(INVALID),
    };
    let zone = digits(cursor, 4, 4)?;
    cursor.expect(b'"', INVALID.0)?;
    let (zone_hours, zone_minutes) = (zone / 100, zone % 100);
    if hour > 23 || minute > 59 || second > 60 || zone_hours > 23 || zone_minutes > 59 {
        return Err(INVALID);
    }
    let offset = (zone_hours * 60 + zone_minutes) * 60;
    let local = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Ok(if west { local + offset } else { local - offset })
}

/// Writes `date-time` with its quotes, in UTC. Years outside of 0..=9999 cannot be written and become the nearest that
/// can.
pub fn write_date_time(out: &mut Vec<u8>, unix_seconds: i64) {
    let bounded = unix_seconds.clamp(
        days_from_civil(0, 1, 1) * DAY_SECONDS,
        days_from_civil(10_000, 1, 1) * DAY_SECONDS - 1,
    );
    let (year, month, day) = civil_from_days(bounded.div_euclid(DAY_SECONDS));
    let second = bounded.rem_euclid(DAY_SECONDS);
    let text = format!(
        "\"{day:>2}-{}-{year:04} {:02}:{:02}:{:02} +0000\"",
        MONTHS[(month - 1) as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar() {
        for (year, month, day, days) in [
            (1970, 1, 1, 0),
            (1969, 12, 31, -1),
            (2000, 2, 29, 11_016),
            (2026, 11, 22, 20_779),
            (1600, 3, 1, -135_080),
            (0, 1, 1, -719_528),
        ] {
            assert_eq!(days_from_civil(year, month, day), days);
            assert_eq!(civil_from_days(days), (year, month, day));
        }
        for days in (-800_000..3_000_000).step_by(13) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }

    #[test]
    fn date_times() {
        let table = [
            (
                "\"17-Jul-1996 02:44:25 -0700\"",
                Some(837_596_665),
                "\"17-Jul-1996 09:44:25 +0000\"",
            ),
            (
                "\" 1-Jan-1970 00:00:00 +0000\"",
                Some(0),
                "\" 1-Jan-1970 00:00:00 +0000\"",
            ),
            (
                "\"01-jan-1970 01:00:00 +0100\"",
                Some(0),
                "\" 1-Jan-1970 00:00:00 +0000\"",
            ),
            (
                "\"29-Feb-2024 23:59:60 +0000\"",
                Some(1_709_251_200),
                "\" 1-Mar-2024 00:00:00 +0000\"",
            ),
            ("\"29-Feb-2023 00:00:00 +0000\"", None, ""),
            ("\"1-Jan-1970 24:00:00 +0000\"", None, ""),
            ("\"1-Jan-1970 00:00:00 0000\"", None, ""),
            ("\"1-Jan-70 00:00:00 +0000\"", None, ""),
            ("1-Jan-1970 00:00:00 +0000", None, ""),
        ];
        for (text, expected, written) in table {
            let got = parse_date_time(&mut Cursor::new(text.as_bytes())).ok();
            assert_eq!(got, expected, "{text}");
            if let Some(seconds) = got {
                let mut out = Vec::new();
                write_date_time(&mut out, seconds);
                assert_eq!(out, written.as_bytes());
            }
        }
    }

    #[test]
    fn any_number_of_seconds_can_be_written() {
        for seconds in [i64::MIN, i64::MAX, -1] {
            let mut out = Vec::new();
            write_date_time(&mut out, seconds);
            assert_eq!(out.len(), 28);
        }
    }
}
