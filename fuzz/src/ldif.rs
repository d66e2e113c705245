//! LDIF: entries that were read and written are read as the same again; a tree that was loaded and is loaded again has not
//! changed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pigeon_datatree_cache::{AttributeMap, Snapshot, ldif};

use crate::steer;

pub(crate) fn run(input: &[u8]) {
    let (data, _) = steer::split(input);
    if let Ok(entries) = ldif::parse(data) {
        let mut written = String::from("version: 1\n");
        for entry in &entries {
            written += &format!("\ndn:: {}\n", STANDARD.encode(entry.dn.as_bytes()));
            for attribute in &entry.attributes {
                written += &format!("{}:: {}\n", attribute.name, STANDARD.encode(&attribute.value));
            }
        }
        let again = ldif::parse(written.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes:?} in {written}"));
        assert_eq!(again.len(), entries.len());
        for (again, entry) in again.iter().zip(&entries) {
            assert_eq!(again.dn, entry.dn);
            let values = |entry: &pigeon_datatree_cache::Entry<'_>| -> Vec<(String, Vec<u8>)> {
                entry
                    .attributes
                    .iter()
                    .map(|value| (value.name.to_string(), value.value.to_vec()))
                    .collect()
            };
            assert_eq!(values(again), values(entry));
        }
    }
    let map = AttributeMap::default();
    if let Ok(loaded) = ldif::snapshot(data, &map, &Snapshot::empty()) {
        let again = ldif::snapshot(data, &map, &loaded.snapshot).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let difference = again.snapshot.difference(&loaded.snapshot);
        assert!(difference.changed.is_empty() && difference.removed.is_empty());
        assert!(again.snapshot.generation() > loaded.snapshot.generation());
    }
}
