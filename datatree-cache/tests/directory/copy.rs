//! The copy on disk when it cannot be written, or not by everybody who would.

use crate::slapd::SUFFIX;
use crate::{Following, options, person, provider};
use pigeon_datatree_cache::CopyState;
use pigeon_datatree_cache::ldap::LdapOptions;
use pigeon_datatree_cache::source::{DataTree, Health};
use std::path::Path;
use std::time::Duration;

/// Tried again with every look.
fn eager(uri: &str, copy: &Path) -> LdapOptions {
    LdapOptions {
        copy_sync_every: Duration::ZERO,
        ..options(&[uri.to_owned()], Some(copy))
    }
}

fn trouble(node: &Following) -> Option<String> {
    node.source.report().and_then(|report| report.read().trouble)
}

#[test]
fn a_copy_has_one_writer_and_is_taken_up_by_the_next_one() {
    if !crate::slapd::is_there() {
        return;
    }
    let mut slapd = provider(&["alice", "bob", "carol"]);
    let place = slapd.directory().join("copy");
    let settings = || eager(&slapd.uri(), &place);
    let (first_settings, second_settings, third_settings) = (settings(), settings(), settings());
    let mut first = Following::start(first_settings);
    first.until_live();
    let file = place.join("directory.copy");
    let before = std::fs::read(&file).expect("the copy is there");

    // The second one knows everybody from it, says why it keeps none, and writes nothing.
    let mut second = Following::start(second_settings);
    assert_eq!(
        (second.current.state(), second.current.account_count()),
        (CopyState::Boot, 3)
    );
    second.until_live();
    let said = trouble(&second).expect("it is told");
    assert!(said.contains("another process writes there"), "{said}");
    assert!(matches!(second.source.health(), Health::Bad(_)));
    assert!(
        second.told.iter().any(|told| told.contains("another process")),
        "{:?}",
        second.told
    );
    assert_eq!(std::fs::read(&file).expect("the copy is there"), before);

    // The first one ends. What the directory drops after that, and the copy still has, is not there again later: named
    // as gone or not named at all.
    drop(first);
    slapd.change(&format!("dn: uid=bob,{SUFFIX}\nchangetype: delete\n\n"));
    second.until("the deletion", |now| now.login("bob").is_none());
    slapd.stop();
    slapd.resume();
    slapd.change(&format!(
        "dn: uid=carol,{SUFFIX}\nchangetype: delete\n\n{}",
        person("dave", "")
    ));
    second.until("what came behind it", |now| {
        now.login("carol").is_none() && now.login("dave").is_some()
    });
    for _ in 0..60 {
        if trouble(&second).is_none() {
            break;
        }
        second.step(Duration::from_millis(100));
    }
    assert_eq!(trouble(&second), None);
    second.until_live();
    // Whatever it asked for again is there.
    slapd.change(&person("erin", ""));
    second.until("one more", |now| now.login("erin").is_some());
    drop(second);
    slapd.stop();
    let third = Following::start(third_settings);
    let mut names: Vec<_> = third
        .current
        .accounts()
        .flat_map(|account| account.login_names())
        .collect();
    names.sort_unstable();
    assert_eq!(
        (third.current.state(), names),
        (CopyState::Boot, vec!["alice", "dave", "erin"])
    );
}

#[test]
fn a_copy_that_could_not_be_written_is_written_later() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice", "bob"]);
    let place = slapd.directory().join("copy");
    // Nothing can be written below what is no directory.
    std::fs::write(&place, "").expect("its own directory");
    let mut node = Following::start(eager(&slapd.uri(), &place));
    node.until_live();
    assert!(node.has("alice"));
    let said = trouble(&node).expect("it is told");
    assert!(said.contains("the copy on disk is not kept: "), "{said}");
    // While there is none, one who was refused cannot be kept, and nobody is unknown.
    slapd.change(&person("carol", "mailQuotaSize: -1"));
    node.step(Duration::from_secs(5));

    std::fs::remove_file(&place).expect("it is ours");
    for _ in 0..60 {
        if trouble(&node).is_none() {
            break;
        }
        node.step(Duration::from_millis(100));
    }
    assert_eq!(trouble(&node), None);
    node.until_live();
    slapd.change(&person("dave", ""));
    node.until("one more", |now| now.login("dave").is_some());
    drop(node);
    let other = Following::start(eager("ldapi://%2Fnowhere", &place));
    assert_eq!(
        (other.current.state(), other.current.account_count()),
        (CopyState::Boot, 3)
    );
}

#[test]
fn damage_in_the_copy_is_said() {
    if !crate::slapd::is_there() {
        return;
    }
    let slapd = provider(&["alice", "bob"]);
    let place = slapd.directory().join("copy");
    let settings = || options(&[slapd.uri()], Some(&place));
    let mut node = Following::start(settings());
    slapd.change(&person("carol", ""));
    node.until("an added account", |now| now.login("carol").is_some());
    drop(node);
    let file = place.join("directory.copy");
    let mut bytes = std::fs::read(&file).expect("the copy is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).expect("the copy's directory");
    let mut node = Following::start(settings());
    assert!(
        node.told.iter().any(|told| told.contains("cut off or damaged")),
        "{:?}",
        node.told
    );
    assert!(!node.has("carol"));
    node.until("what was lost", |now| now.login("carol").is_some());
}
