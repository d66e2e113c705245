//! A node beside a real slapd: the full refresh, the memory of an account, the start from the copy on disk, and how long a
//! change takes to be visible on a core. A plain program.
//!
//! `cargo bench -p pigeon-benches --bench directory [-- ACCOUNTS [SECONDS]]`: 100,000 accounts, and 10 seconds of 1,000
//! changes a second, if nothing is said. slapd itself takes about 1.6 GB of memory for a million.

#[path = "../../datatree-cache/tests/directory/slapd.rs"]
mod slapd;

use hdrhistogram::Histogram;
use ldap3::{LdapConnAsync, Mod};
use pigeon_datatree_cache::ldap::{Bind, Directory, LdapOptions};
use pigeon_datatree_cache::source::{DataTree, Follower, Notice};
use pigeon_datatree_cache::{CopyState, Recipient, Snapshot};
use slapd::{ADMIN, ENGINE, SECRET, SUFFIX, Slapd};
use std::collections::HashSet;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    if let Some(copy) = std::env::args().skip_while(|argument| argument != FROM_COPY).nth(1) {
        return start_from(Path::new(&copy));
    }
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse::<u64>().ok());
    let accounts = numbers.next().unwrap_or(100_000);
    let seconds = numbers.next().unwrap_or(10);
    let mut slapd = Slapd::with("", "dbnosync\n");
    let file = slapd.directory().join("users.ldif");
    write_users(&file, accounts).expect("the server's directory takes it");
    let begin = Instant::now();
    slapd.load(&file);
    println!(
        "{accounts} accounts; slapadd took {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    let copy = slapd.directory().join("copy");
    let options = options(&slapd, &copy);

    let before = Resident::now();
    let begin = Instant::now();
    let mut source = Directory::new(options.clone()).expect("a runtime");
    let loaded = source.load(&Snapshot::empty()).expect("slapd runs");
    assert_eq!(loaded.snapshot.state(), CopyState::Live, "{:?}", loaded.warnings);
    assert_eq!(loaded.snapshot.account_count() as u64, accounts);
    println!("full refresh: {:.2} s", begin.elapsed().as_secs_f64());
    memory(&loaded.snapshot, &before);
    lookups(&loaded.snapshot, accounts);
    drop((source, loaded));

    // In a process of its own, whose memory nothing else has used.
    let program = std::env::current_exe().expect("Linux has it");
    let status = std::process::Command::new(program).arg(FROM_COPY).arg(&copy).status();
    assert!(status.expect("this program again").success());

    let source = Directory::new(options).expect("a runtime");
    let (follower, _) = Follower::start(Box::new(source)).expect("the copy is there");
    let (shared, handle) = (follower.copy(), follower.handle());
    let thread = std::thread::spawn(move || {
        follower.run(|notice| {
            if let Notice::Refused(error) = notice {
                println!("refused: {error}");
            }
        });
    });
    let core = shared.for_core();
    let begin = Instant::now();
    while core.snapshot().state() != CopyState::Live {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("from there to the live state: {:.2} s", begin.elapsed().as_secs_f64());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(changes(&slapd, accounts, seconds, &|quota| {
        core.snapshot()
            .login("user0")
            .is_some_and(|account| account.quota().bytes == Some(quota))
    }));
    // The copy is what the directory holds.
    let last = seconds * RATE - 1;
    let until = Instant::now() + Duration::from_secs(5);
    let wanted = 1_000_000 + last;
    let name = format!("user{}", 1 + last % (accounts - 1));
    let seen = || {
        core.snapshot()
            .login(&name)
            .is_some_and(|account| account.quota().bytes == Some(wanted))
    };
    while !seen() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    compare(&slapd, &core.snapshot());
    handle.stop();
    thread.join().expect("the follower ends");
}

const RATE: u64 = 1000;
/// Says that only the start from a copy is to be measured.
const FROM_COPY: &str = "--from-copy";

/// A start with no server in reach.
fn start_from(copy: &Path) {
    let nowhere = "ldap://127.0.0.1:9".parse().expect("a good URI");
    let options = LdapOptions {
        copy: Some(copy.to_owned()),
        ..LdapOptions::new(vec![nowhere], SUFFIX)
    };
    let before = Resident::now();
    let begin = Instant::now();
    let mut source = Directory::new(options).expect("a runtime");
    let loaded = source.load(&Snapshot::empty()).expect("the copy is there");
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(loaded.snapshot.state(), CopyState::Boot, "{:?}", loaded.warnings);
    println!(
        "start from the copy on disk ({} MB): {took:.2} s, {:.2} s of processor time",
        std::fs::metadata(copy.join("directory.copy")).map_or(0, |file| file.len() / 1_000_000),
        processor_seconds()
    );
    memory(&loaded.snapshot, &before);
}

/// What the accounts take: of the process, and of that what can be named.
fn memory(snapshot: &Snapshot, before: &Resident) {
    let accounts = snapshot.account_count() as u64;
    let now = Resident::now();
    let each = |bytes: u64| bytes / accounts;
    let known = snapshot.memory_bytes();
    println!(
        "resident memory: {} bytes an account (at the peak {}), of which records {}, tables {}",
        each(now.bytes.saturating_sub(before.bytes)),
        each(now.peak.saturating_sub(before.bytes)),
        each(known.records as u64),
        each(known.tables as u64)
    );
}

/// One modification at a time, each waited for on this core; then many a second.
async fn changes(slapd: &Slapd, accounts: u64, seconds: u64, is_seen: &dyn Fn(u64) -> bool) {
    let (connection, mut ldap) = LdapConnAsync::new(&slapd.uri()).await.expect("slapd runs");
    tokio::spawn(connection.drive());
    ldap.simple_bind(ADMIN, SECRET).await.expect("slapd answers");
    let dn = |number: u64| format!("uid=user{number},{SUFFIX}");
    let set = |quota: u64| {
        vec![Mod::Replace(
            "mailQuotaSize".to_owned(),
            HashSet::from([quota.to_string()]),
        )]
    };
    let mut times = Histogram::<u64>::new(3).expect("three digits");
    for round in 0..500 {
        let begin = Instant::now();
        ldap.modify(&dn(0), set(round + 1)).await.expect("slapd answers");
        while !is_seen(round + 1) {
            std::hint::spin_loop();
        }
        times
            .record(begin.elapsed().as_micros() as u64)
            .expect("it resizes itself");
    }
    println!(
        "ldapmodify to visible: p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms",
        times.value_at_quantile(0.5) as f64 / 1000.0,
        times.value_at_quantile(0.99) as f64 / 1000.0,
        times.max() as f64 / 1000.0
    );
    let begin = Instant::now();
    let mut late = Duration::ZERO;
    for number in 0..seconds * RATE {
        let due = begin + Duration::from_micros(number * 1_000_000 / RATE);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            tokio::time::sleep(wait).await;
        } else {
            late = late.max(due.elapsed());
        }
        let user = 1 + number % (accounts - 1);
        ldap.modify(&dn(user), set(1_000_000 + number))
            .await
            .expect("slapd answers");
    }
    println!(
        "{} changes in {:.1} s, at most {} ms behind the rate",
        seconds * RATE,
        begin.elapsed().as_secs_f64(),
        late.as_millis()
    );
}

fn compare(slapd: &Slapd, snapshot: &Snapshot) {
    let text = slapd.search(SUFFIX, "sub", &["*", "entryUUID"]);
    let held = Snapshot::from_ldif(&text).expect("slapd's own LDIF");
    let said = |account: &pigeon_datatree_cache::Account| {
        (
            account.dn().to_owned(),
            account.quota(),
            account.addresses().map(str::to_owned).collect::<Vec<_>>(),
        )
    };
    let mut different = 0_u64;
    let mut count = 0_u64;
    for account in held.accounts().filter(|account| account.dn() != ENGINE) {
        count += 1;
        let here = snapshot.account(account.id()).map(|account| said(account));
        different += u64::from(here != Some(said(account)));
    }
    println!("compared with the directory: {count} accounts, {different} differ");
    assert_eq!(different, 0);
}

fn lookups(snapshot: &Snapshot, accounts: u64) {
    let names: Vec<String> = (0..65_536_u64)
        .map(|number| format!("user{}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % accounts))
        .collect();
    for (what, names) in [("the same 256", &names[..256]), ("65,536 at random", &names[..])] {
        let begin = Instant::now();
        let mut count = 0_u32;
        while begin.elapsed() < Duration::from_secs(1) {
            for name in names {
                assert!(matches!(
                    black_box(snapshot.recipient(name, "example.org")),
                    Recipient::Account { .. }
                ));
                count += 1;
            }
        }
        let each = begin.elapsed().as_nanos() / u128::from(count);
        println!("lookup of {what}: {each} ns");
    }
}

fn options(slapd: &Slapd, copy: &Path) -> LdapOptions {
    LdapOptions {
        bind: Bind::Simple {
            dn: ENGINE.to_owned(),
            password: SECRET.to_owned(),
        },
        copy: Some(copy.to_owned()),
        ..LdapOptions::new(vec![slapd.uri().parse().expect("a good URI")], SUFFIX)
    }
}

/// Accounts as a provider has them: two addresses, a login name, a salted hash, a quota.
fn write_users(file: &Path, accounts: u64) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(file)?);
    writeln!(
        file,
        "dn: dc=mail,{SUFFIX}\nobjectClass: domain\nobjectClass: pigeonDomain\ndc: mail\nassociatedDomain: example.org\n"
    )?;
    for number in 0..accounts {
        writeln!(
            file,
            "dn: uid=user{number},{SUFFIX}\nobjectClass: inetOrgPerson\nobjectClass: pigeonAccount\nuid: user{number}\ncn: user{number}\n\
             sn: user{number}\nmail: user{number}@example.org\nmailAlternateAddress: first.last{number}@example.org\n\
             mailQuotaSize: 1000000000\nuserPassword: {{SSHA}}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh\n"
        )?;
    }
    file.flush()
}

/// Resident memory of this process, bytes.
struct Resident {
    bytes: u64,
    peak: u64,
}

impl Resident {
    fn now() -> Resident {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        Resident {
            bytes: kilobytes("VmRSS:"),
            peak: kilobytes("VmHWM:"),
        }
    }
}

/// What this process has used of the processors, all threads together.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    // Behind the name in brackets; user and system time are the 14th and 15th field, in hundredths.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
