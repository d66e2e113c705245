//! Dates of INTERNALDATE, APPEND and SEARCH (RFC 3501 `date-time`, `date`) as they stand in a command; the calendar is that
//! of `message`.
//!
//! An internal date is kept as seconds since the Unix epoch and always shown in UTC: the zone that an APPEND gave is
//! applied and not kept.

use super::cursor::{Cursor, Parsed, Syntax};
use crate::message::{CivilDate, DateTime};

/// `date` of SEARCH, quoted or not: days since 1 January 1970.
pub(super) fn parse_date(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    const INVALID: &str = "Invalid date";
    let quoted = cursor.take(b'"');
    let text = cursor.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if quoted {
        cursor.expect(b'"', INVALID)?;
    }
    CivilDate::parse_imap(text).map(CivilDate::days).ok_or(Syntax(INVALID))
}

/// `date-time` of APPEND: seconds since the Unix epoch.
pub(super) fn parse_date_time(cursor: &mut Cursor<'_>) -> Parsed<i64> {
    const INVALID: &str = "Invalid date-time";
    cursor.expect(b'"', INVALID)?;
    let text = cursor.take_while(|byte| byte != b'"');
    cursor.expect(b'"', INVALID)?;
    DateTime::parse_imap(text).map(DateTime::unix).ok_or(Syntax(INVALID))
}

/// Writes `date-time` with its quotes, in UTC. Years outside of 0..=9999 cannot be written and become the nearest that
/// can.
pub fn write_date_time(out: &mut Vec<u8>, unix_seconds: i64) {
    out.push(b'"');
    out.extend_from_slice(DateTime::from_unix(unix_seconds, 0).to_imap().as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_end_where_they_end() {
        for (text, expected, rest) in [
            ("1-Jan-1970 ALL", Ok(0), " ALL"),
            ("\"01-jan-1970\")", Ok(0), ")"),
            ("2-Jan-1970", Ok(1), ""),
            ("\"2-Jan-1970", Err(Syntax("Invalid date")), ""),
            ("31-Feb-2020", Err(Syntax("Invalid date")), ""),
            ("2020-01-01", Err(Syntax("Invalid date")), ""),
        ] {
            let mut cursor = Cursor::new(text.as_bytes());
            assert_eq!(parse_date(&mut cursor), expected, "{text}");
            assert_eq!(cursor.rest(), rest.as_bytes(), "{text}");
        }
    }

    #[test]
    fn date_times() {
        for (text, expected, written) in [
            (
                "\"17-Jul-1996 02:44:25 -0700\"",
                Some(837_596_665),
                "\"17-Jul-1996 09:44:25 +0000\"",
            ),
            (
                "\" 1-Jan-1970 00:00:00 +0000\" {1}",
                Some(0),
                "\" 1-Jan-1970 00:00:00 +0000\"",
            ),
            ("\"29-Feb-2023 00:00:00 +0000\"", None, ""),
            ("\"1-Jan-1970 00:00:00 +0000", None, ""),
            ("1-Jan-1970 00:00:00 +0000", None, ""),
        ] {
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
