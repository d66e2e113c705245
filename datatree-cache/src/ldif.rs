//! LDIF (RFC 2849): content records as a source of control data.
//!
//! A file is taken whole or not at all: every mistake of syntax and of meaning is collected with its line and column,
//! and one is enough to refuse the file. Change records and values by URL are refused with a sentence. Two liberties
//! that people take are allowed: a missing `version: 1`, and UTF-8 in values that are not base64.

mod file;
mod lines;
mod load;
mod parse;
mod watch;
mod write;

pub use file::{LdifFile, LdifOptions};
pub use load::snapshot;
pub use parse::{Parser, parse};
pub use write::{write_entry, write_value};

#[cfg(test)]
mod documentation_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch_tests;
