//! Looking up recipients and logins in the core's copy of control data, for a thousand and for a million accounts.
//!
//! Prints how long the LDIF takes to load and what memory an account takes, then the time of a lookup: `hot` asks for
//! a few hundred accounts again and again, `any` for all of them in no order, so that a million do not fit the caches.

use criterion::{Criterion, criterion_group, criterion_main};
use pigeon_datatree_cache::{AttributeMap, Copy, Recipient, Snapshot, ldif};
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

const NAMES: usize = 1 << 16;

/// Accounts as a provider has them: two addresses, a login name, a salted hash, a quota, in a hundred domains.
fn tree(accounts: usize) -> String {
    let mut text = String::from("version: 1\n\n");
    for domain in 0..100 {
        writeln!(
            text,
            "dn: dc=d{domain},dc=example\nobjectClass: pigeonDomain\nassociatedDomain: d{domain}.example\n"
        )
        .expect("writing to a String cannot fail");
    }
    for account in 0..accounts {
        let domain = account % 100;
        writeln!(
            text,
            "dn: uid=user{account},ou=users,dc=d{domain},dc=example\nuid: user{account}\nmail: user{account}@d{domain}.example\n\
             mailAlternateAddress: first.last{account}@d{domain}.example\nmailQuotaSize: 1000000000\n\
             userPassword: {{SSHA}}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh\n"
        )
        .expect("writing to a String cannot fail");
    }
    text
}

/// Resident memory of the process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .unwrap_or(0)
        * 4096
}

/// A generator that is the same on every run (xorshift).
fn numbers() -> impl Iterator<Item = usize> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 1).expect("64 bits")
    })
}

fn lookups(criterion: &mut Criterion) {
    for accounts in [1_000, 1_000_000] {
        let snapshot = load(accounts);
        let copy = Copy::new(snapshot);
        let core = copy.for_core();
        let name = |make: &dyn Fn(usize) -> String| -> Vec<(String, String)> {
            numbers()
                .take(NAMES)
                .map(|number| (make(number % accounts), format!("d{}.example", number % accounts % 100)))
                .collect()
        };
        let cases = [
            ("any", name(&|number| format!("user{number}"))),
            ("any, second address", name(&|number| format!("First.Last{number}"))),
            ("any, with detail", name(&|number| format!("user{number}+list"))),
            ("unknown user", name(&|number| format!("nobody{number}"))),
        ];
        let mut group = criterion.benchmark_group(format!("recipient of {accounts}"));
        let hot = &cases[0].1[..256];
        for (case, names) in [("hot", hot)]
            .into_iter()
            .chain(cases.iter().map(|(case, names)| (*case, &names[..])))
        {
            let mut next = names.iter().cycle();
            group.bench_function(case, |bencher| {
                bencher.iter(|| {
                    let (local, domain) = next.next().expect("it goes round");
                    black_box(matches!(
                        core.snapshot().recipient(black_box(local), black_box(domain)),
                        Recipient::Account { .. }
                    ))
                });
            });
        }
        group.bench_function("unknown domain", |bencher| {
            bencher.iter(|| {
                black_box(matches!(
                    core.snapshot().recipient("user", black_box("elsewhere.example")),
                    Recipient::UnknownDomain
                ))
            });
        });
        let logins: Vec<_> = cases[0]
            .1
            .iter()
            .map(|(local, domain)| format!("{local}@{domain}"))
            .collect();
        let mut next = logins.iter().cycle();
        group.bench_function("login, any", |bencher| {
            bencher.iter(|| black_box(core.snapshot().login(next.next().expect("it goes round")).is_some()));
        });
        group.bench_function("the snapshot alone", |bencher| {
            bencher.iter(|| black_box(core.snapshot()))
        });
        group.finish();
    }
}

fn load(accounts: usize) -> Snapshot {
    let text = tree(accounts);
    let (before, start) = (resident(), Instant::now());
    let loaded = ldif::snapshot(text.as_bytes(), &AttributeMap::default(), &Snapshot::empty());
    let snapshot = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).snapshot;
    let (first, after) = (start.elapsed(), resident());
    let start = Instant::now();
    let again = ldif::snapshot(text.as_bytes(), &AttributeMap::default(), &snapshot)
        .expect("as before")
        .snapshot;
    let reload = start.elapsed();
    assert!(again.difference(&snapshot).changed.is_empty());
    let changed = text.lines().rev().take(7).collect::<Vec<_>>();
    let changed: String = changed
        .into_iter()
        .rev()
        .fold(String::new(), |text, line| text + line + "\n");
    let entries = ldif::parse(changed.as_bytes()).expect("one entry");
    let start = Instant::now();
    drop(snapshot.with_changes(&entries, &[], &AttributeMap::default(), snapshot.state()));
    println!(
        "{accounts} accounts: loaded in {first:.2?}, reloaded in {reload:.2?}, one changed in {:.2?}, {} bytes of memory an account",
        start.elapsed(),
        after.saturating_sub(before) / accounts
    );
    snapshot
}

criterion_group!(benches, lookups);
criterion_main!(benches);
