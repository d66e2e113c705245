//! Where control data comes from.

use crate::{Mistakes, Snapshot};
use std::fmt;

/// A tree that was loaded.
pub struct Loaded {
    /// The whole of it, of a larger generation than the snapshot before.
    pub snapshot: Snapshot,
    /// What a person should look at though it does no harm.
    pub warnings: Mistakes,
}

/// Why nothing was loaded; the data before stays in force.
#[derive(Debug)]
pub enum LoadError {
    /// The source could not be read: operation, object and error in one sentence.
    Unreadable(String),
    /// It was read, and is wrong.
    Wrong(Mistakes),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable(why) => f.write_str(why),
            LoadError::Wrong(mistakes) => mistakes.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// What was loaded last is what the source holds.
    Good,
    /// The source holds something that could not be taken; the text says why.
    Bad(String),
}
