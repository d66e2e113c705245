//! What checking passwords cost, for the whole node.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $help:literal;)*) => {
        /// Something that is counted from the start of the process on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count {
            $(#[doc = $help] $variant,)*
        }

        impl Count {
            /// All of them: `count as usize` is the index.
            pub const ALL: &[Count] = &[$(Count::$variant,)*];

            /// As the metrics spell it, without the prefix `pigeon_` and the suffix `_total`.
            pub const fn name(self) -> &'static str {
                match self { $(Count::$variant => $name,)* }
            }

            /// What it counts.
            pub const fn help(self) -> &'static str {
                match self { $(Count::$variant => $help,)* }
            }
        }
    };
}

counts! {
    HitsCore = "credentials_known_to_core", "Logins with a password that the core remembered as right";
    HitsNode = "credentials_known_to_node", "Logins with a password that another core had found right";
    HitsWrong = "credentials_known_wrong", "Logins with a password that was remembered as wrong";
    Joined = "logins_joined", "Logins that waited for another one with the same credentials";
    Hashes = "password_hashes", "Passwords checked against hashes, those of names without an account included";
    PoolFull = "logins_pool_full", "Logins told to come later because too many passwords were waiting for a thread";
    NoSecret = "logins_without_secret", "Logins to accounts without a password that the node can read, though it is to check hashes";
    Binds = "binds", "Passwords checked by a bind to the directory";
    BindsWrong = "binds_wrong", "Binds that the directory refused because of the password";
    BindsUnwilling = "binds_unwilling", "Binds that the directory refused for another reason";
    BindsAway = "binds_away", "Binds that no server of the directory answered";
    Rereads = "rereads", "Entries read once more before a password was refused";
    RereadsHelped = "rereads_helped", "Passwords that were right for what was read once more";
    RereadsAway = "rereads_away", "Entries that no server of the directory gave once more";
    RereadsLimited = "rereads_limited", "Passwords refused without reading the entry once more: it was asked for too often";
    DirectoryFull = "logins_directory_full", "Questions to the directory that were not asked because too many were waiting";
}

/// The counters. Shared by all cores; a login costs far more than they do.
#[derive(Debug)]
pub struct AuthenticationCounts {
    counts: [AtomicU64; Count::ALL.len()],
}

impl Default for AuthenticationCounts {
    fn default() -> Self {
        AuthenticationCounts {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl AuthenticationCounts {
    /// How many there were.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    /// One more.
    pub(super) fn count(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }
}
