//! Mailbox names: what is allowed, and how they nest.
//!
//! Names are UTF-8 (modified UTF-7 is the protocol's matter), `/` separates levels, and INBOX is without regard to case
//! (RFC 9051 section 5.1), also as the first level of a longer name.

use std::borrow::Cow;

use crate::StoreError;
use crate::options::{MAILBOX_DEPTH_MAX, MAILBOX_NAME_BYTES_MAX};

/// The mailbox that every account has.
pub(crate) const INBOX: &str = "INBOX";

/// The separator of levels.
pub(crate) const SEPARATOR: char = '/';

/// The spelling under which a name is kept.
pub(crate) fn canonical(name: &str) -> Cow<'_, str> {
    let first = name.split(SEPARATOR).next().unwrap_or_default();
    if first != INBOX && first.eq_ignore_ascii_case(INBOX) {
        return Cow::Owned(format!("{INBOX}{}", &name[first.len()..]));
    }
    Cow::Borrowed(name)
}

/// The spelling under which a new mailbox is kept, if it may have that name.
pub(crate) fn checked(name: &str) -> Result<String, StoreError> {
    // CREATE with a trailing separator says that children are to come (RFC 9051 section 6.3.4): the same mailbox here.
    let name = name.strip_suffix(SEPARATOR).unwrap_or(name);
    if name.is_empty() {
        return Err(StoreError::BadName("a mailbox name must not be empty"));
    }
    if name.len() > MAILBOX_NAME_BYTES_MAX {
        return Err(StoreError::BadName("the mailbox name is too long"));
    }
    if name.chars().any(char::is_control) {
        return Err(StoreError::BadName(
            "a mailbox name must not contain control characters",
        ));
    }
    if name.split(SEPARATOR).any(str::is_empty) {
        return Err(StoreError::BadName("a level of a mailbox name must not be empty"));
    }
    if name.split(SEPARATOR).count() > MAILBOX_DEPTH_MAX {
        return Err(StoreError::BadName("the mailbox name has too many levels"));
    }
    Ok(canonical(name).into_owned())
}

/// The names above a name, outermost first.
pub(crate) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(SEPARATOR).map(|(index, _)| &name[..index])
}

/// Whether `name` is somewhere below `above`.
pub(crate) fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling() {
        for (name, kept) in [
            ("inbox", Some("INBOX")),
            ("InBoX/Sub", Some("INBOX/Sub")),
            ("inboxes", Some("inboxes")),
            ("a/inbox", Some("a/inbox")),
            ("a/", Some("a")),
            ("Entwürfe", Some("Entwürfe")),
            ("", None),
            ("/", None),
            ("/a", None),
            ("a//b", None),
            ("a\nb", None),
            ("a\0", None),
        ] {
            assert_eq!(checked(name).ok().as_deref(), kept, "{name:?}");
        }
        assert!(checked(&"x".repeat(MAILBOX_NAME_BYTES_MAX + 1)).is_err());
        assert!(checked(&vec!["x"; MAILBOX_DEPTH_MAX + 1].join("/")).is_err());
        assert!(checked(&vec!["x"; MAILBOX_DEPTH_MAX].join("/")).is_ok());
    }

    #[test]
    fn nesting() {
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(parents("a").count(), 0);
        assert!(is_below("a/b", "a"));
        assert!(!is_below("ab", "a"));
        assert!(!is_below("a", "a"));
    }
}
