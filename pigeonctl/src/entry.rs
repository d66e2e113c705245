//! Entries as the commands see them: values by purpose, through the attribute map.

use pigeon_datatree_cache::{Address, Attribute, AttributeMap, Entry, Kind, Purpose, canonical_dn, kind};

/// An entry with memory of its own.
pub(crate) type Owned = Entry<'static>;

/// An entry that was read, and the version that a change of it has to find again: its entryCSN, in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Owned,
    pub(crate) version: Option<String>,
}

/// The entry with memory of its own.
pub(crate) fn owned(entry: &Entry<'_>) -> Owned {
    let mut copy = empty(&entry.dn);
    for attribute in &entry.attributes {
        push(&mut copy, &attribute.name, attribute.value.to_vec());
    }
    copy
}

/// An entry without attributes.
pub(crate) fn empty(dn: &str) -> Owned {
    Entry {
        dn: dn.to_owned().into(),
        dn_position: None,
        attributes: Vec::new(),
    }
}

/// One more value.
pub(crate) fn push(entry: &mut Owned, name: &str, value: impl Into<Vec<u8>>) {
    entry.attributes.push(Attribute {
        name: name.to_owned().into(),
        value: value.into().into(),
        position: None,
    });
}

/// The values of one attribute, in their order.
pub(crate) fn values_of(entry: &Owned, name: &str) -> Vec<Vec<u8>> {
    let is_it = |attribute: &&Attribute<'_>| attribute.name.eq_ignore_ascii_case(name);
    entry
        .attributes
        .iter()
        .filter(is_it)
        .map(|attribute| attribute.value.to_vec())
        .collect()
}

/// The values of a purpose as text, the most important first.
pub(crate) fn texts(entry: &Owned, map: &AttributeMap, purpose: Purpose) -> Vec<String> {
    map.attributes(purpose)
        .iter()
        .flat_map(|name| values_of(entry, name))
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .collect()
}

/// The attribute that a purpose is written to.
pub(crate) fn attribute(map: &AttributeMap, purpose: Purpose) -> Result<String, String> {
    let first = map.attributes(purpose).first().cloned();
    first.ok_or_else(|| format!("the configuration has no attribute for {}", purpose.name()))
}

/// Whether an entry is of a kind.
pub(crate) fn is(entry: &Owned, map: &AttributeMap, wanted: Kind) -> bool {
    kind(entry, map) == Some(wanted)
}

/// Addresses in the form in which they are compared; what is none is left out.
pub(crate) fn addresses(entry: &Owned, map: &AttributeMap) -> Vec<Address> {
    let texts = texts(entry, map, Purpose::Address);
    texts.iter().filter_map(|text| Address::parse(text).ok()).collect()
}

/// Whether two DNs name one entry.
pub(crate) fn same_dn(one: &str, other: &str) -> bool {
    match (canonical_dn(one), canonical_dn(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The place of the entry of a DN.
pub(crate) fn place_of(entries: &[Owned], dn: &str) -> Option<usize> {
    // Mostly it is spelled just so, and a long file is long.
    let spelled = entries.iter().position(|entry| entry.dn == dn);
    spelled.or_else(|| {
        let wanted = canonical_dn(dn).ok()?;
        entries
            .iter()
            .position(|entry| canonical_dn(&entry.dn).is_ok_and(|found| found == wanted))
    })
}

/// A DN split into its first component and the rest, which is empty for one component.
pub(crate) fn split_dn(dn: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, byte) in dn.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => return (&dn[..at], dn[at + 1..].trim_start_matches(' ')),
            _ => {}
        }
    }
    (dn, "")
}

/// `attribute=value,parent`, the value escaped (RFC 4514, 2.4).
pub(crate) fn child_dn(attribute: &str, value: &str, parent: &str) -> String {
    let rdn = rdn(attribute, value);
    if parent.is_empty() {
        rdn
    } else {
        format!("{rdn},{parent}")
    }
}

/// `attribute=value`, escaped.
pub(crate) fn rdn(attribute: &str, value: &str) -> String {
    format!("{attribute}={}", ldap3::dn_escape(value))
}

/// The attribute and the value of a first component that has one of each.
pub(crate) fn naming(dn: &str) -> Option<(String, String)> {
    let (first, _) = split_dn(dn);
    let (attribute, value) = first.split_once('=')?;
    let mut bytes = Vec::new();
    let mut rest = value.trim().as_bytes();
    while let [byte, behind @ ..] = rest {
        match (byte, behind) {
            (b'+', _) => return None,
            (b'\\', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = behind;
            }
            (b'\\', [escaped, behind @ ..]) => {
                bytes.push(*escaped);
                rest = behind;
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    Some((attribute.trim().to_owned(), String::from_utf8(bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_values_whatever_is_in_them() {
        for value in [
            "alice", "a,b", "a+b", "\"a\"", "a\\b", " a", "a ", "#a", "a=b", "<>;", "nul\0", "*)(uid=*", "bücher",
            "\\2c",
        ] {
            let dn = child_dn("uid", value, "ou=people,dc=example");
            assert!(canonical_dn(&dn).is_ok(), "{dn}");
            assert_eq!(split_dn(&dn).1, "ou=people,dc=example", "{dn}");
            assert_eq!(naming(&dn), Some(("uid".to_owned(), value.to_owned())), "{dn}");
        }
        assert_eq!(naming("cn=a+uid=b,dc=x"), None);
        assert!(same_dn("UID=a, dc=x", "uid=A,dc=X"));
    }
}
