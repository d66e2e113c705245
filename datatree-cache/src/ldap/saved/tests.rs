use super::*;
use crate::entry::Attribute;
use crate::schema::AttributeMap;
use crate::snapshot::{CopyState, Snapshot};
use std::borrow::Cow;
use std::collections::BTreeMap;

const OURS: u64 = 77;

/// A directory of its own, which goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let directory = std::env::temp_dir().join(format!("pigeon-copy-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        Place(directory)
    }

    fn file(&self) -> PathBuf {
        path_in(&self.0)
    }

    fn scan(&self) -> Found {
        scan(&self.file(), OURS, None).expect("a copy")
    }

    /// What a node that starts from it has: login names and quotas; and what was refused.
    fn held(&self) -> (BTreeMap<String, u64>, Vec<String>) {
        let found = self.scan();
        let map = AttributeMap::default();
        let held = load(&self.file(), &found, &map, &Snapshot::empty()).expect("a copy");
        let snapshot = Snapshot::empty()
            .changed_by(held.changes, &map, CopyState::Boot)
            .snapshot;
        let accounts = snapshot.accounts().map(|account| {
            let name = account.login_names().next().expect("each has one").to_owned();
            (name, account.quota().bytes.unwrap_or(0))
        });
        let refused = held.refused.iter().map(|(_, entry)| entry.dn.to_string());
        (accounts.collect(), refused.collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn id(number: u32) -> AccountUuid {
    let mut bytes = [9; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    AccountUuid(bytes)
}

fn user(number: u32, quota: &str) -> Entry<'static> {
    let name = format!("user{number}");
    let attribute = |name: &'static str, value: String| Attribute {
        name: Cow::Borrowed(name),
        value: Cow::Owned(value.into_bytes()),
        position: None,
    };
    Entry {
        dn: Cow::Owned(format!("uid={name},dc=example")),
        dn_position: None,
        attributes: vec![
            attribute("entryUUID", id(number).to_string()),
            attribute("mail", format!("{name}@example.org")),
            attribute("uid", name),
            attribute("mailQuotaSize", quota.to_owned()),
        ],
    }
}

impl Saved {
    fn put_user(&mut self, number: u32, quota: &str) {
        self.put(id(number), &user(number, quota)).expect("it writes");
    }

    fn commit_as(&mut self, cookie: &str) {
        self.commit(Cookie::new(cookie.as_bytes()).as_ref()).expect("it writes");
    }
}

fn cookie(text: &str) -> Option<Cookie> {
    Cookie::new(text.as_bytes())
}

fn users(list: &[(u32, u64)]) -> BTreeMap<String, u64> {
    list.iter()
        .map(|(number, quota)| (format!("user{number}"), *quota))
        .collect()
}

#[test]
fn what_is_not_committed_is_not_there() {
    let place = Place::new("torn");
    let mut saved = Saved::open(&place.0, OURS, None).expect("an empty one");
    saved.put_user(1, "10");
    saved.put_user(2, "20");
    saved.commit_as("c1");
    saved.put_user(1, "11");
    saved.remove(id(2)).expect("it writes");
    saved.writer.flush().expect("it writes");
    drop(saved);
    let whole = std::fs::read(place.file()).expect("it is there");
    let committed = place.scan().committed;
    for end in committed..=whole.len() as u64 {
        std::fs::write(place.file(), &whole[..end as usize]).expect("it writes");
        assert_eq!(place.held(), (users(&[(1, 10), (2, 20)]), vec![]), "cut at {end}");
        assert_eq!(place.scan().cookie, cookie("c1"));
    }
    // What is written next stands behind the commit.
    let mut saved = Saved::open(&place.0, OURS, Some(&place.scan())).expect("it opens");
    saved.put_user(3, "30");
    saved.commit_as("c2");
    assert_eq!(place.held().0, users(&[(1, 10), (2, 20), (3, 30)]));
    assert_eq!(place.scan().cookie, cookie("c2"));
}

#[test]
fn damage_ends_the_copy_at_the_commit_before() {
    let place = Place::new("damage");
    let mut saved = Saved::open(&place.0, OURS, None).expect("an empty one");
    saved.put_user(1, "10");
    saved.commit_as("c1");
    let first = saved.length();
    saved.put_user(1, "11");
    saved.put_user(2, "20");
    saved.commit_as("c2");
    drop(saved);
    let whole = std::fs::read(place.file()).expect("it is there");
    for at in HEADER_BYTES as usize..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(place.file(), &bytes).expect("it writes");
        let (expected, with) = if (at as u64) < first {
            (users(&[]), None)
        } else {
            (users(&[(1, 10)]), cookie("c1"))
        };
        assert_eq!((place.held().0, place.scan().cookie), (expected, with), "byte {at}");
    }
}

#[test]
fn refused_versions_outlast_starts_and_compaction() {
    let place = Place::new("refused");
    let mut saved = Saved::open(&place.0, OURS, None).expect("an empty one");
    saved.put_user(1, "10");
    saved.commit_as("c1");
    saved.put_user(1, "-1");
    saved.put_user(2, "-2");
    saved.put_user(3, "30");
    saved.refuse(id(1)).expect("it writes");
    saved.refuse(id(2)).expect("it writes");
    saved.commit_as("c2");
    let refused = |held: (BTreeMap<String, u64>, Vec<String>)| {
        let mut list = held.1;
        list.sort();
        (held.0, list)
    };
    let expected = (
        users(&[(1, 10), (3, 30)]),
        vec!["uid=user1,dc=example".to_owned(), "uid=user2,dc=example".to_owned()],
    );
    assert_eq!(refused(place.held()), expected);
    compact(&mut saved);
    assert_eq!(refused(place.held()), expected);
    // A good version, or none, ends it.
    saved.put_user(1, "12");
    saved.remove(id(2)).expect("it writes");
    saved.commit_as("c3");
    assert_eq!(place.held(), (users(&[(1, 12), (3, 30)]), vec![]));
}

fn compact(saved: &mut Saved) {
    saved.begin_compaction().expect("a thread");
    while !saved.adopt().expect("a good copy") {
        std::thread::yield_now();
    }
}

#[test]
fn a_copy_of_another_search_is_good_for_its_entries_only() {
    let place = Place::new("foreign");
    let mut saved = Saved::open(&place.0, 1, None).expect("an empty one");
    saved.put_user(1, "10");
    saved.commit_as("theirs");
    drop(saved);
    let found = place.scan();
    assert!(found.foreign && found.cookie.is_none());
    assert_eq!(place.held().0, users(&[(1, 10)]));
    let saved = Saved::open(&place.0, OURS, Some(&found)).expect("it opens");
    drop(saved);
    // From now on it is ours, and still without a cookie; what ours is from here on is no other's.
    let found = place.scan();
    assert!(!found.foreign && found.cookie.is_none());
    assert_eq!(place.held().0, users(&[(1, 10)]));
    let mut saved = Saved::open(&place.0, OURS, Some(&found)).expect("it opens");
    saved.commit_as("ours");
    assert_eq!(place.scan().cookie, cookie("ours"));
    let theirs = scan(&place.file(), 1, None).expect("a copy");
    assert!(theirs.foreign && theirs.cookie.is_none());
}

#[test]
fn another_version_and_another_file_are_said() {
    let place = Place::new("version");
    drop(Saved::open(&place.0, OURS, None).expect("an empty one"));
    let mut bytes = std::fs::read(place.file()).expect("it is there");
    bytes[8] = 1;
    std::fs::write(place.file(), &bytes).expect("it writes");
    let said = |place: &Place| match scan(&place.file(), OURS, None) {
        Err(error) => (error.kind(), error.to_string()),
        Ok(_) => panic!("it was read"),
    };
    let (kind, text) = said(&place);
    assert_eq!(kind, io::ErrorKind::InvalidData);
    assert!(text.contains("format version 1, this program reads 2"), "{text}");
    std::fs::write(place.file(), b"PIGEON").expect("it writes");
    assert_eq!(said(&place).0, io::ErrorKind::InvalidData);
    std::fs::remove_file(place.file()).expect("it is there");
    assert_eq!(said(&place).0, io::ErrorKind::NotFound);
}

/// More than one part of the file, and records behind one another of which the last counts.
fn many(saved: &mut Saved) -> BTreeMap<String, u64> {
    for round in 0..3_u32 {
        for number in 0..10_000 {
            saved.put_user(number, &(number + round).to_string());
        }
        for number in (0..10_000).step_by(7) {
            saved.remove(id(number)).expect("it writes");
        }
        saved.commit_as("many");
    }
    (0..10_000_u32)
        .filter(|number| number % 7 != 0)
        .map(|number| (format!("user{number}"), u64::from(number + 2)))
        .collect()
}

#[test]
fn many_parts_are_read_side_by_side() {
    let place = Place::new("many");
    let mut saved = Saved::open(&place.0, OURS, None).expect("an empty one");
    let expected = many(&mut saved);
    let found = place.scan();
    assert!(found.parts.len() > 2 && found.is_wasteful());
    assert_eq!(place.held().0, expected);
}

#[test]
fn changes_during_a_compaction_are_kept() {
    let place = Place::new("compaction");
    let mut saved = Saved::open(&place.0, OURS, None).expect("an empty one");
    let mut expected = many(&mut saved);
    let before = saved.length();
    saved.begin_compaction().expect("a thread");
    saved.put_user(1, "5");
    saved.remove(id(2)).expect("it writes");
    saved.put_user(20_000, "6");
    saved.put_user(3, "-1");
    saved.refuse(id(3)).expect("it writes");
    saved.commit_as("meanwhile");
    expected.extend([("user1".to_owned(), 5), ("user20000".to_owned(), 6)]);
    expected.remove("user2");
    // Not while something waits for its commit: places in the file are good until then.
    saved.put_user(4, "7");
    for _ in 0..1000 {
        assert!(!saved.adopt().expect("nothing is wrong"));
        std::thread::yield_now();
    }
    saved.commit_as("last");
    expected.insert("user4".to_owned(), 7);
    while !saved.adopt().expect("a good copy") {
        std::thread::yield_now();
    }
    assert!(saved.length() < before / 2, "{} of {before}", saved.length());
    saved.put_user(5, "8");
    saved.commit_as("behind");
    expected.insert("user5".to_owned(), 8);
    assert_eq!(place.held(), (expected, vec!["uid=user3,dc=example".to_owned()]));
    assert_eq!(place.scan().cookie, cookie("behind"));
    assert!(!place.scan().is_wasteful());
    // One that is given up leaves the copy as it is.
    saved.begin_compaction().expect("a thread");
    let files = || std::fs::read_dir(&place.0).expect("it is there").count();
    saved.cancel_compaction();
    assert_eq!(files(), 1);
    assert_eq!(place.scan().cookie, cookie("behind"));
}

#[test]
fn an_export_reads_each_entry_by_itself() {
    let place = Place::new("export");
    let mut saved = Saved::open(&place.0, OURS, None).expect("an empty one");
    let expected = many(&mut saved);
    drop(saved);
    let mut text = Vec::new();
    let count = export(&place.0, &mut text).expect("a good copy");
    assert_eq!(count, expected.len() as u64);
    let entries = crate::ldif::parse(&text).expect("good LDIF");
    let quotas = entries.iter().map(|entry| {
        let value = |name: &str| {
            let found = entry.attributes.iter().find(|attribute| attribute.name == name);
            String::from_utf8(found.expect("each has one").value.to_vec()).expect("text")
        };
        (value("uid"), value("mailQuotaSize").parse().expect("a number"))
    });
    assert_eq!(quotas.collect::<BTreeMap<String, u64>>(), expected);
}
