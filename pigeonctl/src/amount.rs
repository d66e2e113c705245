//! Amounts as people write them: `5 GB`, `+1 GiB`, `0`.

use pigeond::config::Size;

/// The value to write for an amount of bytes or messages, where `now` is in force. `+` and `-` in front of an amount
/// change what is there. What is no amount comes back as it is: the schema's own words refuse it.
pub(crate) fn written(text: &str, now: Option<&str>) -> Result<String, String> {
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (Some(true), &text[1..]),
        Some(b'-') => (Some(false), &text[1..]),
        _ => (None, text),
    };
    let Ok(amount) = rest.parse::<Size>().map(Size::bytes) else {
        return Ok(text.to_owned());
    };
    let Some(more) = sign else {
        return Ok(amount.to_string());
    };
    let now = now.unwrap_or("0");
    let before: u64 = now
        .parse()
        .map_err(|_| format!("{text}: {now:?} is there, which is no number"))?;
    let changed = if more {
        before.checked_add(amount)
    } else {
        before.checked_sub(amount)
    };
    let changed = changed.ok_or_else(|| format!("{text}: {before} is there, so this would be no amount"))?;
    Ok(changed.to_string())
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn amounts() {
        for (text, now, expected) in [
            ("5 GB", None, "5000000000"),
            ("1GiB", Some("7"), "1073741824"),
            ("0", None, "0"),
            ("+1", Some("41"), "42"),
            ("+1kB", None, "1000"),
            ("-2", Some("42"), "40"),
            ("nonsense", None, "nonsense"),
        ] {
            assert_eq!(written(text, now).as_deref(), Ok(expected), "{text}");
        }
        assert!(written("-1", None).is_err());
        assert!(written("+1", Some("18446744073709551615")).is_err());
    }
}
