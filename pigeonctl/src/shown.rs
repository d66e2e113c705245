//! What `show` and `list` print: an entry by purposes, for people or, with `--json`, for programs.

use crate::entry::{Owned, texts};
use pigeon_datatree_cache::{AttributeMap, Kind, Purpose, kind};
use serde_json::{Map, Value, json};

/// Purposes that hold secrets: of those, how they are stored is all that is shown.
const SECRET: [Purpose; 3] = [Purpose::Password, Purpose::AuthPassword, Purpose::NodeKey];

/// What an entry is, in a word.
fn word(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Account) => "account",
        Some(Kind::Group) => "group",
        Some(Kind::Domain) => "domain",
        Some(Kind::Server) => "node",
        Some(Kind::ModuleService) => "service",
        Some(Kind::Volume) => "volume",
        None => "other",
    }
}

/// Purposes and values that an entry has.
fn settings(entry: &Owned, map: &AttributeMap) -> Vec<(&'static str, Vec<String>)> {
    let is_component = matches!(
        kind(entry, map),
        Some(Kind::Server | Kind::ModuleService | Kind::Volume)
    );
    let shown =
        |purpose: &Purpose| *purpose != Purpose::ObjectClass && (is_component || *purpose != Purpose::ComponentName);
    let values = |purpose: Purpose| {
        let mut values = texts(entry, map, purpose);
        if SECRET.contains(&purpose) {
            values = values.iter().map(|value| scheme(value)).collect();
        }
        (purpose.name(), values)
    };
    let all = Purpose::all().filter(shown).map(values);
    all.filter(|(_, values)| !values.is_empty()).collect()
}

/// `ARGON2ID` of `{ARGON2ID}...`; nothing of what stands behind. A clear text may hold a `$` as well.
fn scheme(secret: &str) -> String {
    if secret.starts_with('$') {
        return "CRYPT".to_owned();
    }
    let in_braces = secret.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let in_front = || {
        secret
            .split_once('$')
            .filter(|(scheme, _)| scheme.starts_with("SCRAM-"))
    };
    match in_braces.or_else(in_front) {
        Some((scheme, _)) if scheme.len() < 20 && !scheme.is_empty() => scheme.to_owned(),
        _ => "clear text".to_owned(),
    }
}

/// For programs: dn, kind, and a list of values by purpose.
pub(crate) fn json(entry: &Owned, map: &AttributeMap) -> Value {
    let mut object = Map::new();
    object.insert("dn".to_owned(), json!(entry.dn));
    object.insert("kind".to_owned(), json!(word(kind(entry, map))));
    for (name, values) in settings(entry, map) {
        object.insert(name.to_owned(), json!(values));
    }
    Value::Object(object)
}

/// For people: a line for each value.
pub(crate) fn text(entry: &Owned, map: &AttributeMap) -> String {
    let mut lines = vec![format!("{}: {}", word(kind(entry, map)), plain(&entry.dn))];
    for (name, values) in settings(entry, map) {
        lines.extend(values.iter().map(|value| format!("{name}: {}", plain(value))));
    }
    lines.join("\n")
}

/// For people: one line for an entry, its name and its status.
pub(crate) fn line(entry: &Owned, map: &AttributeMap) -> String {
    let (name, status) = match kind(entry, map) {
        Some(Kind::Domain) => (Purpose::DomainName, Purpose::DomainStatus),
        Some(Kind::Account | Kind::Group) => (Purpose::Address, Purpose::Status),
        _ => (Purpose::ComponentName, Purpose::Status),
    };
    let name = texts(entry, map, name)
        .into_iter()
        .next()
        .unwrap_or_else(|| entry.dn.to_string());
    match texts(entry, map, status).first() {
        Some(status) => format!("{} {}", plain(&name), plain(status)),
        None => plain(&name),
    }
}

/// What cannot move a terminal's cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{empty, push};

    #[test]
    fn secrets_are_not_shown() {
        let mut entry = empty("uid=a,dc=x");
        for (name, value) in [
            ("objectClass", "inetOrgPerson"),
            ("mail", "a@example.org"),
            ("userPassword", "{SSHA512}c2VjcmV0"),
            ("userPassword", "hunter2"),
            ("userPassword", "hunter2$3"),
            ("userPassword", "$6$c2VjcmV0$x"),
            ("authPassword", "SCRAM-SHA-256$4096:c2VjcmV0$x:y"),
        ] {
            push(&mut entry, name, value);
        }
        let map = AttributeMap::default();
        assert_eq!(
            json(&entry, &map),
            json!({"dn": "uid=a,dc=x", "kind": "account", "address": ["a@example.org"],
                   "password": ["SSHA512", "clear text", "clear text", "CRYPT"], "auth_password": ["SCRAM-SHA-256"]})
        );
        assert!(!text(&entry, &map).contains("hunter2"));
        assert_eq!(line(&entry, &map), "a@example.org");
    }
}
