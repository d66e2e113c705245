//! The file as a source, with the real kernel: the conformance suite, and the ways in which files change.

use super::{LdifFile, LdifOptions};
use crate::snapshot::Snapshot;
use crate::source::conformance::{self, Fixture};
use crate::source::{DataTree, Event, Follower, Health, LoadError, Notice};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "pigeon-ldif-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("users.ldif")
    }

    /// Writes beside and renames, as everybody should.
    fn replace(&self, text: &str) {
        let new = self.0.join("users.ldif.new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, self.file()).expect("renamed");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options() -> LdifOptions {
    LdifOptions {
        debounce: Duration::from_millis(5),
        tick: Duration::from_millis(50),
        ..LdifOptions::default()
    }
}

fn tree(quota: u64) -> String {
    format!(
        "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\ndn: uid=a\nuid: a\nmail: a@x.example\nmailQuotaSize: {quota}\n"
    )
}

fn quota(snapshot: &Snapshot) -> Option<u64> {
    snapshot.login("a").and_then(|account| account.quota().bytes)
}

/// Waits for something other than quiet.
fn next(source: &mut LdifFile, current: &Snapshot) -> Event {
    for _ in 0..100 {
        match source.watch(current, Duration::from_secs(1)) {
            Event::Quiet => {}
            event => return event,
        }
    }
    panic!("nothing was seen");
}

fn changed(source: &mut LdifFile, current: &Snapshot) -> Snapshot {
    match next(source, current) {
        Event::Changed(loaded) => loaded.snapshot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_file_conforms_when_it_is_replaced() {
    struct Replaced(Directory);
    impl Fixture for Replaced {
        fn source(&mut self) -> Box<dyn DataTree> {
            Box::new(LdifFile::new(self.0.file(), options()).expect("a source"))
        }
        fn hold(&mut self, ldif: &str) {
            self.0.replace(ldif);
        }
        fn whole_or_nothing(&self) -> bool {
            true
        }
    }
    conformance::run(&mut Replaced(Directory::new()));
}

#[test]
fn the_file_conforms_when_it_is_written_in_place() {
    struct InPlace(Directory);
    impl Fixture for InPlace {
        fn source(&mut self) -> Box<dyn DataTree> {
            Box::new(LdifFile::new(self.0.file(), options()).expect("a source"))
        }
        fn hold(&mut self, ldif: &str) {
            fs::write(self.0.file(), ldif).expect("written");
        }
        fn whole_or_nothing(&self) -> bool {
            true
        }
    }
    conformance::run(&mut InPlace(Directory::new()));
}

#[test]
fn a_link_is_followed_and_its_change_is_seen() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    elsewhere.replace(&tree(1));
    fs::write(elsewhere.0.join("other.ldif"), tree(3)).expect("written");
    std::os::unix::fs::symlink(elsewhere.file(), directory.file()).expect("linked");
    let mut source = LdifFile::new(directory.file(), options()).expect("a source");
    let first = source.load(&Snapshot::empty()).expect("good").snapshot;
    elsewhere.replace(&tree(2));
    let second = changed(&mut source, &first);
    assert_eq!((quota(&first), quota(&second)), (Some(1), Some(2)));
    // The link itself is replaced.
    std::os::unix::fs::symlink(elsewhere.0.join("other.ldif"), directory.0.join("new")).expect("linked");
    fs::rename(directory.0.join("new"), directory.file()).expect("renamed");
    let third = changed(&mut source, &second);
    assert_eq!(quota(&third), Some(3));
    // And what it leads to now.
    fs::write(elsewhere.0.join("other.ldif"), tree(4)).expect("written");
    assert_eq!(quota(&changed(&mut source, &third)), Some(4));
}

#[test]
fn what_cannot_be_read_keeps_the_old_data() {
    let directory = Directory::new();
    let mut source = LdifFile::new(directory.file(), options()).expect("a source");
    match source.load(&Snapshot::empty()) {
        Err(LoadError::Unreadable(why)) => assert!(why.contains("users.ldif") && why.contains("No such file"), "{why}"),
        other => panic!("{other:?}"),
    }
    directory.replace(&tree(1));
    let first = changed(&mut source, &Snapshot::empty());
    // Gone, told once; a directory in its place; back.
    fs::remove_file(directory.file()).expect("removed");
    assert!(matches!(
        next(&mut source, &first),
        Event::Refused(LoadError::Unreadable(_))
    ));
    assert!(matches!(source.health(), Health::Bad(_)));
    assert!(matches!(source.watch(&first, Duration::from_millis(200)), Event::Quiet));
    fs::create_dir(directory.file()).expect("made");
    match next(&mut source, &first) {
        Event::Refused(LoadError::Unreadable(why)) => assert!(why.contains("regular file"), "{why}"),
        other => panic!("{other:?}"),
    }
    fs::remove_dir(directory.file()).expect("removed");
    directory.replace(&tree(2));
    let mut event = next(&mut source, &first);
    if matches!(event, Event::Refused(_)) {
        event = next(&mut source, &first);
    }
    assert!(matches!(event, Event::Changed(loaded) if quota(&loaded.snapshot) == Some(2)));
    assert_eq!(source.health(), Health::Good);
}

#[test]
fn too_large_a_file_is_not_read() {
    let directory = Directory::new();
    directory.replace(&tree(1));
    let mut source = LdifFile::new(
        directory.file(),
        LdifOptions {
            bytes_max: 50,
            ..options()
        },
    )
    .expect("a source");
    match source.load(&Snapshot::empty()) {
        Err(LoadError::Unreadable(why)) => assert!(why.contains("at most 50"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mistakes_name_the_file() {
    let directory = Directory::new();
    directory.replace(&tree(1).replace("mailQuotaSize: 1", "mailQuotaSize: -1"));
    let mut source = LdifFile::new(directory.file(), options()).expect("a source");
    let error = source.load(&Snapshot::empty()).expect_err("wrong").to_string();
    assert!(
        error.ends_with("users.ldif:8:16: uid=a: mailQuotaSize: expected a number of bytes, found \"-1\""),
        "{error}"
    );
}

#[test]
fn a_follower_publishes_to_the_cores() {
    let directory = Directory::new();
    directory.replace(&tree(1));
    let source = LdifFile::new(directory.file(), options()).expect("a source");
    let (follower, warnings) = Follower::start(Box::new(source)).unwrap_or_else(|error| panic!("{error}"));
    assert!(warnings.is_empty());
    let (copy, handle) = (follower.copy(), follower.handle());
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        follower.run(|notice| {
            let text = match notice {
                Notice::Published {
                    snapshot, difference, ..
                } => {
                    format!(
                        "{} {:?} {}",
                        snapshot.generation(),
                        quota(snapshot),
                        difference.changed.len()
                    )
                }
                Notice::Refused(error) => error.to_string(),
            };
            tell.send(text).expect("the test listens");
        });
    });
    let core = copy.for_core();
    let held = core.snapshot();
    assert_eq!(quota(&held), Some(1));
    directory.replace(&tree(2));
    assert_eq!(told.recv().as_deref(), Ok("2 Some(2) 1"));
    assert_eq!(
        (quota(&held), quota(&core.snapshot())),
        (Some(1), Some(2)),
        "a delivery keeps what it took"
    );
    directory.replace("nonsense\n");
    assert!(told.recv().expect("told").contains("users.ldif:1:1: expected dn:"));
    assert_eq!(quota(&core.snapshot()), Some(2));
    directory.replace(&tree(3));
    assert_eq!(told.recv().as_deref(), Ok("3 Some(3) 1"));
    handle.reload();
    assert_eq!(told.recv().as_deref(), Ok("4 Some(3) 0"));
    handle.stop();
    thread.join().expect("it ended well");
    drop(held);
    core.snapshot();
    assert_eq!(copy.sweep(), 0, "nobody holds an old one");
}
