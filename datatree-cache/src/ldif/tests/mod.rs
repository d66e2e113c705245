//! LDIF texts: what is refused and where (`mistakes`), what is read (`reading`), and arbitrary bytes (`random`).

mod mistakes;
mod random;
mod reading;

use super::*;
use crate::mistake::{Mistakes, Position};
use crate::record::{AccountStatus, Member, Value};
use crate::schema::AttributeMap;
use crate::snapshot::Snapshot;
use proptest::prelude::*;
use std::fmt::Write;

/// `line:column message` of each mistake.
fn mistakes(text: &[u8]) -> Vec<String> {
    match snapshot(text, &AttributeMap::default(), &Snapshot::empty()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes
            .list
            .iter()
            .map(|mistake| format!("{} {}", mistake.position.expect("a file has places"), mistake.message))
            .collect(),
    }
}

/// Each expectation is `line:column` and a part of the message.
fn check(text: &str, expect: &[(&str, &str)]) {
    // The same with CR LF: columns do not change.
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        let found = mistakes(text.as_bytes());
        let same = found.len() == expect.len()
            && found.iter().zip(expect).all(|(found, (place, part))| {
                found
                    .split_once(' ')
                    .is_some_and(|(at, message)| at == *place && message.contains(part))
            });
        assert!(same, "{text}\nfound:\n{}\nexpected:\n{expect:#?}", found.join("\n"));
    }
}
