//! docs/control-data.md holds what it says: its examples load, its table is the schema.

use super::snapshot;
use crate::schema::{AttributeMap, Purpose};
use crate::snapshot::Snapshot;
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/control-data.md");

/// The blocks of LDIF on the page, the one to begin with first.
fn examples() -> Vec<&'static str> {
    let blocks = PAGE.split("\n```ldif").skip(1);
    blocks
        .filter_map(|block| block.split_once('\n'))
        .filter_map(|(_, text)| text.split("\n```").next())
        .collect()
}

/// Entries by DN, as text.
fn entries(text: &str) -> impl Iterator<Item = (String, String)> {
    let text = text.trim_start_matches("version: 1").trim().to_owned();
    let entries: Vec<String> = text.split("\n\n").map(str::to_owned).collect();
    entries
        .into_iter()
        .map(|entry| (entry.lines().next().unwrap_or_default().to_owned(), entry + "\n\n"))
}

#[test]
fn every_example_loads() {
    let examples = examples();
    assert_eq!(examples.len(), 15);
    let mut tree: BTreeMap<String, String> = entries(examples[0]).collect();
    let mut previous = Snapshot::empty();
    for example in examples {
        tree.extend(entries(example));
        let text: String = tree.values().map(String::as_str).collect();
        let loaded = snapshot(text.as_bytes(), &AttributeMap::default(), &previous)
            .unwrap_or_else(|mistakes| panic!("{example}\n{mistakes}"));
        // A member elsewhere or a domain that is not there yet would be a warning.
        assert!(loaded.warnings.is_empty(), "{example}\n{}", loaded.warnings);
        previous = loaded.snapshot;
    }
    assert_eq!(previous.account_count(), 3);
    assert!(previous.login("robert").is_some());
}

#[test]
fn the_table_is_the_schema() {
    let map = AttributeMap::default();
    for purpose in Purpose::all() {
        let attributes: Vec<_> = map.attributes(purpose).iter().map(|name| format!("`{name}`")).collect();
        let row = format!("\n| {} | `{}` |", attributes.join(", "), purpose.name());
        assert!(PAGE.contains(&row), "expected a row that begins with {row}");
    }
}
