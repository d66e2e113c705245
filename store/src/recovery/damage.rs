//! What is damaged in a volume, in words for the person who has to decide.

use std::fmt;

use pigeon_store_format::{AccountId, LogPosition};

/// Accounts named in the text of one damage; all are in its lists.
const NAMED_MAX: usize = 50;

/// Something that is not as it was written, found at opening: mostly a stretch of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub from: LogPosition,
    /// Where the journal is good again; as `from` when it is not about a stretch of the journal.
    pub to: LogPosition,
    /// The file and the offset in it, where it begins.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// Records within the stretch that are whole, and were used.
    pub salvaged: u64,
    /// Accounts that lost changes, as far as what can be read tells. Others may have.
    pub accounts: Vec<AccountId>,
    /// Accounts with messages whose bytes are in the stretch, as far as what opening reads tells. Others may have; each such
    /// message is an error when it is read.
    pub mail_of: Vec<AccountId>,
}

impl Damage {
    /// Whether a position lies in the stretch.
    pub(crate) fn covers(&self, position: LogPosition) -> bool {
        (self.from..self.to).contains(&position)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        let bytes = self.to.0.saturating_sub(self.from.0);
        if bytes > 0 {
            write!(
                f,
                ": {bytes} bytes of the journal from position {}, {} records salvaged",
                self.from, self.salvaged
            )?;
        }
        write_accounts(f, "accounts with lost changes", &self.accounts)?;
        write_accounts(f, "accounts with lost mail", &self.mail_of)
    }
}

fn write_accounts(f: &mut fmt::Formatter<'_>, what: &str, accounts: &[AccountId]) -> fmt::Result {
    for (index, account) in accounts.iter().take(NAMED_MAX).enumerate() {
        if index == 0 {
            write!(f, ", {what}: {account}")?;
        } else {
            write!(f, ", {account}")?;
        }
    }
    match accounts.len().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
