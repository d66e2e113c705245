//! Slowing of failed logins, per address and per account, without locking real users out.
//!
//! Every failure beyond the free ones doubles how long the next answer waits, and attempts that come at once wait one
//! behind the other, so that opening more connections does not help. Nobody is ever refused: the longest wait is
//! bounded, failures fade, and who has logged in from an address before is not slowed there by failures from elsewhere.
//!
//! Pure: the time is passed in. Bounded: of each kind a fixed number is remembered, the least recent forgotten first.

use crate::address::fold_local;
use crate::keyed::HashKey;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How failures are slowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowingOptions {
    /// Failures of one address (of one /64 in IPv6) that cost nothing: people mistype.
    pub address_free: u32,
    /// Failures of one account, from anywhere, that cost nothing.
    pub account_free: u32,
    /// What the first failure beyond costs; each one more doubles it.
    pub delay_first: Duration,
    /// The longest delay for an address.
    pub delay_max: Duration,
    /// The longest delay for an account from an address where it has not logged in before. Shorter, because it meets
    /// the account's owner too.
    pub account_delay_max: Duration,
    /// In this time half of the failures are forgotten.
    pub half_life: Duration,
    /// For so long a successful login keeps its address free of the account's delays.
    pub known_for: Duration,
    /// How many addresses, how many accounts, and how many pairs of both are remembered at most. One costs about 40
    /// bytes.
    pub entries_max: usize,
}

impl Default for SlowingOptions {
    fn default() -> Self {
        SlowingOptions {
            address_free: 3,
            account_free: 10,
            delay_first: Duration::from_millis(500),
            delay_max: Duration::from_secs(15),
            account_delay_max: Duration::from_secs(4),
            half_life: Duration::from_secs(10 * 60),
            known_for: Duration::from_secs(30 * 24 * 3600),
            entries_max: 16_384,
        }
    }
}

/// Remembers failures. One for each core, or one for the node behind a lock.
pub struct FailureSlowing {
    options: SlowingOptions,
    key: HashKey,
    addresses: Recent<Failures>,
    accounts: Recent<Failures>,
    /// Pairs of address and account that logged in, with the time.
    known: Recent<Duration>,
}

/// Failures of one address or account.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// Since when `count` has been fading.
    since: Duration,
    /// When the last attempt that was let through may be answered: the next one waits behind it.
    next: Duration,
}

impl Failures {
    fn fade(&mut self, now: Duration, half_life: Duration) {
        let halves = now.saturating_sub(self.since).as_millis() / half_life.as_millis().max(1);
        if halves > 0 {
            self.count = self
                .count
                .checked_shr(u32::try_from(halves).unwrap_or(u32::MAX))
                .unwrap_or(0);
            self.since = now;
        }
    }

    fn count_one(&mut self, now: Duration, half_life: Duration) {
        self.fade(now, half_life);
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Takes a place behind the attempts before.
    fn wait(&mut self, now: Duration, free: u32, first: Duration, longest: Duration) -> Duration {
        let Some(beyond) = self.count.checked_sub(free).filter(|beyond| *beyond > 0) else {
            return Duration::ZERO;
        };
        let step = first.saturating_mul(2_u32.saturating_pow(beyond - 1)).min(longest);
        let end = self.next.max(now).saturating_add(step).min(now.saturating_add(longest));
        self.next = end;
        end.saturating_sub(now)
    }
}

impl FailureSlowing {
    /// Nothing failed yet.
    pub fn new(options: SlowingOptions) -> Self {
        FailureSlowing {
            options,
            key: HashKey::new(),
            addresses: Recent::new(options.entries_max),
            accounts: Recent::new(options.entries_max),
            known: Recent::new(options.entries_max),
        }
    }

    /// How long to wait before an attempt of `peer` to log in as `account` (any name, known or not) is answered,
    /// whatever the answer will be. Zero for nearly everybody. Call it once for each attempt, because it also makes the
    /// next one wait behind this. `now` is a monotonic time.
    pub fn delay(&mut self, peer: IpAddr, account: &str, now: Duration) -> Duration {
        let options = self.options;
        let (address, account, pair) = self.keys(peer, account);
        let mut delay = Duration::ZERO;
        if let Some(failures) = self.addresses.find(address) {
            failures.fade(now, options.half_life);
            delay = failures.wait(now, options.address_free, options.delay_first, options.delay_max);
        }
        let known = self
            .known
            .find(pair)
            .is_some_and(|last| now.saturating_sub(*last) <= options.known_for);
        if let Some(failures) = self.accounts.find(account).filter(|_| !known) {
            failures.fade(now, options.half_life);
            let longest = options.account_delay_max;
            delay = delay.max(failures.wait(now, options.account_free, options.delay_first, longest));
        }
        delay
    }

    /// As `delay` from an address that many people share and that is trusted, such as a webmail server's: what failed with the
    /// account slows it, also where it has logged in before, since everybody has there.
    pub fn delay_of_account(&mut self, account: &str, now: Duration) -> Duration {
        let options = self.options;
        let account = self.key.hash(fold_local(account).as_bytes());
        self.accounts.find(account).map_or(Duration::ZERO, |failures| {
            failures.fade(now, options.half_life);
            failures.wait(
                now,
                options.account_free,
                options.delay_first,
                options.account_delay_max,
            )
        })
    }

    /// As `failed` from such an address.
    pub fn failed_account(&mut self, account: &str, now: Duration) {
        let account = self.key.hash(fold_local(account).as_bytes());
        self.accounts.at(account).count_one(now, self.options.half_life);
    }

    /// The attempt failed: wrong password, unknown account, or one that may not log in. Not for what failed on our
    /// side.
    pub fn failed(&mut self, peer: IpAddr, account: &str, now: Duration) {
        let half_life = self.options.half_life;
        let (address, account, _) = self.keys(peer, account);
        for failures in [self.addresses.at(address), self.accounts.at(account)] {
            failures.count_one(now, half_life);
        }
    }

    /// The attempt succeeded. It takes back no failure: whoever owns one account could else guess at others between.
    pub fn succeeded(&mut self, peer: IpAddr, account: &str, now: Duration) {
        let (_, _, pair) = self.keys(peer, account);
        *self.known.at(pair) = now;
    }

    /// Keys of the address, the account and the pair.
    fn keys(&self, peer: IpAddr, account: &str) -> (u64, u64, u64) {
        let mut octets = [0; 8];
        match peer.to_canonical() {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            // One customer has a /64 at least.
            IpAddr::V6(address) => octets.copy_from_slice(&address.octets()[..8]),
        }
        let address = self.key.hash(&octets);
        let account = self.key.hash(fold_local(account).as_bytes());
        let mut pair = [0; 16];
        pair[..8].copy_from_slice(&address.to_le_bytes());
        pair[8..].copy_from_slice(&account.to_le_bytes());
        (address, account, self.key.hash(&pair))
    }
}

/// A bounded memory: two halves, of which the older is dropped when the younger is full. What is used moves to the
/// younger.
struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    half: usize,
}

impl<V: Default> Recent<V> {
    fn new(entries_max: usize) -> Self {
        Recent {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (entries_max / 2).max(1),
        }
    }

    fn find(&mut self, key: u64) -> Option<&mut V> {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key)?;
            self.insert(key, value);
        }
        self.young.get_mut(&key)
    }

    fn at(&mut self, key: u64) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_default();
            self.insert(key, value);
        }
        self.young.entry(key).or_default()
    }

    fn insert(&mut self, key: u64, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_is_slowed_more_with_every_failure() {
        let mut slowing = FailureSlowing::new(SlowingOptions::default());
        let mut delays = Vec::new();
        for attempt in 0..12_u64 {
            // Another account each time; long enough apart that attempts do not queue.
            let account = format!("user{attempt}");
            delays.push(slowing.delay(ATTACKER, &account, at(attempt * 20)).as_millis());
            slowing.failed(ATTACKER, &account, at(attempt * 20));
        }
        assert_eq!(delays, [0, 0, 0, 0, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        assert_eq!(
            slowing.delay(HOME, "user1", at(240)),
            Duration::ZERO,
            "others are not slowed"
        );
    }

    #[test]
    fn attempts_at_once_wait_behind_each_other() {
        let mut slowing = FailureSlowing::new(SlowingOptions::default());
        (0..4).for_each(|_| slowing.failed(ATTACKER, "alice", at(1)));
        let waits: Vec<_> = (0..4)
            .map(|_| slowing.delay(ATTACKER, "alice", at(1)).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 1500, 2000]);
        let most = (0..1000).map(|_| slowing.delay(ATTACKER, "alice", at(1))).max();
        assert_eq!(most, Some(SlowingOptions::default().delay_max));
    }

    #[test]
    fn an_account_under_attack_still_lets_its_owner_in() {
        let mut slowing = FailureSlowing::new(SlowingOptions::default());
        slowing.succeeded(HOME, "Alice", at(0));
        for attempt in 0..1000_u32 {
            let bot = IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + attempt));
            slowing.failed(bot, "alice", at(10));
        }
        assert_eq!(slowing.delay(HOME, "alice", at(11)), Duration::ZERO, "known there");
        let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
        assert_eq!(
            slowing.delay(elsewhere, "alice", at(11)),
            SlowingOptions::default().account_delay_max
        );
        assert_eq!(slowing.delay(elsewhere, "bob", at(11)), Duration::ZERO);
    }

    #[test]
    fn where_many_come_from_only_accounts_are_slowed_and_all_alike() {
        let mut slowing = FailureSlowing::new(SlowingOptions::default());
        // A webmail server: everybody has logged in there.
        slowing.succeeded(HOME, "alice", at(0));
        (0..20).for_each(|_| slowing.failed_account("Alice", at(1)));
        assert_eq!(
            slowing.delay_of_account("alice", at(2)),
            SlowingOptions::default().account_delay_max
        );
        assert_eq!(slowing.delay_of_account("bob", at(2)), Duration::ZERO);
        assert_eq!(slowing.delay(HOME, "bob", at(2)), Duration::ZERO);
    }

    #[test]
    fn failures_fade() {
        let mut slowing = FailureSlowing::new(SlowingOptions::default());
        (0..6).for_each(|_| slowing.failed(ATTACKER, "alice", at(0)));
        assert_eq!(slowing.delay(ATTACKER, "alice", at(1)).as_millis(), 2000);
        assert_eq!(slowing.delay(ATTACKER, "alice", at(601)), Duration::ZERO);
        assert_eq!(slowing.delay(ATTACKER, "alice", Duration::MAX), Duration::ZERO);
    }

    #[test]
    fn a_network_of_addresses_counts_as_one_in_ipv6() {
        let mut slowing = FailureSlowing::new(SlowingOptions::default());
        for host in 0..8_u16 {
            slowing.failed(IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, host].into()), "a", at(0));
        }
        assert!(
            !slowing
                .delay(IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, 99].into()), "b", at(0))
                .is_zero()
        );
        assert!(
            slowing
                .delay(IpAddr::V6([0x2001, 0xdb8, 0, 2, 0, 0, 0, 99].into()), "b", at(0))
                .is_zero()
        );
        let mapped: IpAddr = "::ffff:198.51.100.1".parse().expect("an address");
        (0..5).for_each(|_| slowing.failed(mapped, "a", at(0)));
        assert!(!slowing.delay(ATTACKER, "b", at(0)).is_zero());
    }

    #[test]
    fn memory_is_bounded() {
        let options = SlowingOptions {
            entries_max: 100,
            ..SlowingOptions::default()
        };
        let mut slowing = FailureSlowing::new(options);
        (0..20).for_each(|_| slowing.failed(ATTACKER, "alice", at(0)));
        for attempt in 0..10_000_u32 {
            let bot = IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + attempt));
            slowing.failed(bot, &format!("user{attempt}"), at(0));
            slowing.succeeded(bot, &format!("user{attempt}"), at(0));
            if attempt % 20 == 0 {
                assert!(
                    !slowing.delay(ATTACKER, "alice", at(0)).is_zero(),
                    "who goes on is not forgotten"
                );
            }
        }
        for recent in [&slowing.addresses, &slowing.accounts] {
            assert!(recent.young.len() + recent.old.len() <= 100);
        }
        assert!(slowing.known.young.len() + slowing.known.old.len() <= 100);
    }
}
