//! What is damaged in a journal, in words for the person who has to decide.

use std::fmt;

use pigeon_store_format::{AccountId, LogPosition};

/// A stretch of the journal that cannot be read as it was written, found at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub from: LogPosition,
    /// Where the journal is good again.
    pub to: LogPosition,
    /// The file and the offset in it, where it begins.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// Records within the stretch that are whole, and were used.
    pub salvaged: u64,
    /// Accounts that lost changes, as far as later records tell. Others may have.
    pub accounts: Vec<AccountId>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.to.0.saturating_sub(self.from.0);
        write!(
            f,
            "{}: {bytes} bytes of the journal from position {} ({}), {} records salvaged",
            self.what, self.from, self.place, self.salvaged
        )?;
        for (index, account) in self.accounts.iter().enumerate() {
            f.write_str(if index == 0 {
                ", accounts with lost changes: "
            } else {
                ", "
            })?;
            write!(f, "{account}")?;
        }
        Ok(())
    }
}
