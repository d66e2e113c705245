//! Accounts from what the command line says: names, or many at once.

/// The most accounts, so that a slip of the finger does not take all memory.
const USERS_MAX: usize = 10_000_000;

/// All accounts that the patterns stand for, in their order. `{1..1000}` counts, with the zeros of its first number:
/// `{001..100}`.
pub(crate) fn expand(patterns: &[String]) -> Result<Vec<String>, String> {
    let mut users = Vec::new();
    for pattern in patterns {
        let Some((front, rest)) = pattern.split_once('{') else {
            users.push(pattern.clone());
            continue;
        };
        let form = || format!("{pattern:?}: expected as in user{{1..1000}}@example.org");
        let (range, back) = rest.split_once('}').ok_or_else(form)?;
        let (first, last) = range.split_once("..").ok_or_else(form)?;
        let width = first.len();
        let first: usize = first.parse().map_err(|_| form())?;
        let last: usize = last.parse().map_err(|_| form())?;
        let count = last.checked_sub(first).ok_or_else(form)?;
        if users.len().saturating_add(count) >= USERS_MAX {
            return Err(format!("{pattern:?}: more than {USERS_MAX} accounts"));
        }
        users.extend((first..=last).map(|number| format!("{front}{number:0width$}{back}")));
    }
    match users
        .iter()
        .find(|user| user.is_empty() || user.contains(|c: char| c.is_control() || "<>\"\\".contains(c)))
    {
        Some(user) => Err(format!("{user:?} is no name of an account")),
        None => Ok(users),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn patterns() {
        let expanded = |patterns: &[&str]| expand(&patterns.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            expanded(&["a@x", "u{9..11}@x"]).as_deref(),
            Ok(&["a@x", "u9@x", "u10@x", "u11@x"].map(str::to_owned)[..])
        );
        assert_eq!(
            expanded(&["u{08..09}"]).as_deref(),
            Ok(&["u08", "u09"].map(str::to_owned)[..])
        );
        for wrong in ["u{1..}", "u{2..1}", "u{1..99999999}", "u{a..b}", "u{1..2", "", "a\r\nb"] {
            assert!(expanded(&[wrong]).is_err(), "{wrong}");
        }
    }
}
