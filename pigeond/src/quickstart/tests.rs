//! A quickstart on a new directory, on the same one again, and on one that was cut off.

use super::*;
use crate::config::{Findings, check_files};
use crate::scratch::Directory;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

/// Every file below a directory with its content.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("the directory is readable") {
        let path = entry.expect("the directory is readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = std::fs::read(&path).expect("the file is readable");
            found.insert(path, content);
        }
    }
    found
}

fn prepared(directory: &Path, port_offset: u16) -> Start {
    prepare(directory, Some(port_offset)).unwrap_or_else(|message| panic!("{message}"))
}

#[test]
fn a_new_directory_gets_everything_and_a_second_start_changes_nothing() {
    let scratch = Directory::new("quickstart");
    let directory = scratch.path().join("some/where");
    let start = prepared(&directory, PORT_OFFSET_DEFAULT);
    assert!(start.create_volumes);
    let names: Vec<_> = files(&directory).into_keys().collect();
    let expected = [CERTIFICATE_FILE, CONFIG_FILE, KEY_FILE, LDIF_FILE].map(|name| directory.join(name));
    assert_eq!(names, expected);
    assert!(directory.join(VOLUME_DIRECTORY).is_dir());
    assert_eq!(check_files(&start.config), Findings::default());
    for secret in [KEY_FILE, LDIF_FILE] {
        let mode = std::fs::metadata(directory.join(secret))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }

    let before = files(&directory);
    let again = prepared(&directory, PORT_OFFSET_DEFAULT);
    assert_eq!(files(&directory), before);
    assert_eq!(again.config, start.config);

    // Once there is something in the volume it is never made again, and another offset changes nothing.
    std::fs::write(directory.join(VOLUME_DIRECTORY).join("marker"), b"x").expect("the directory is writable");
    let moved = prepared(&directory, 3000);
    assert!(!moved.create_volumes);
    assert_eq!(moved.config, start.config);
}

#[test]
fn the_ports_are_moved_from_the_standard_ones_on_loopback() {
    for (offset, expected) in [
        (2000, [2025, 2024, 2587, 2465, 2110, 2995, 2143, 2993, 2080]),
        (0, [25, 24, 587, 465, 110, 995, 143, 993, 80]),
        (
            PORT_OFFSET_MAX,
            [64565, 64564, 65127, 65005, 64650, 65535, 64683, 65533, 64620],
        ),
    ] {
        let config = Config::parse(&content::config(offset), Path::new("pigeon.toml"), Path::new("/")).expect("valid");
        let status = config.status.expect("there is one").address;
        let addresses: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| listener.address)
            .chain([status])
            .collect();
        assert_eq!(
            addresses.iter().map(|address| address.port()).collect::<Vec<_>>(),
            expected
        );
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(
            config
                .listeners
                .iter()
                .all(|listener| listener.trusted_networks.contains(listener.address.ip()))
        );
        assert_eq!(
            config
                .listeners
                .iter()
                .map(|listener| listener.service)
                .collect::<Vec<_>>(),
            Service::of_clients().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_start_that_was_cut_off_is_taken_up_again() {
    let scratch = Directory::new("quickstart");
    prepared(scratch.path(), PORT_OFFSET_DEFAULT);
    let whole = files(scratch.path());
    // Whatever was written last is missing, and a temporary file may be left.
    for (missing, kept) in [
        (&[CONFIG_FILE][..], &[LDIF_FILE, CERTIFICATE_FILE, KEY_FILE][..]),
        (&[CONFIG_FILE, LDIF_FILE], &[CERTIFICATE_FILE, KEY_FILE]),
        (&[CONFIG_FILE, LDIF_FILE, CERTIFICATE_FILE], &[]),
        (&[CONFIG_FILE, LDIF_FILE, CERTIFICATE_FILE, KEY_FILE], &[]),
    ] {
        let directory = Directory::new("quickstart");
        for (path, content) in &whole {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("the names are text");
            let path = directory.path().join(name);
            if missing.contains(&name) {
                std::fs::write(directory.path().join(format!("{name}.new")), b"half").expect("writable");
            } else {
                std::fs::write(path, content).expect("writable");
            }
        }
        let start = prepared(directory.path(), PORT_OFFSET_DEFAULT);
        assert_eq!(check_files(&start.config), Findings::default());
        let now = files(directory.path());
        assert_eq!(now.len(), 4, "no temporary file is left: {:?}", now.keys());
        for name in kept {
            assert_eq!(
                now[&directory.path().join(name)],
                whole[&scratch.path().join(name)],
                "{name}"
            );
        }
    }
}

#[test]
fn what_cannot_be_made_is_said() {
    let scratch = Directory::new("quickstart");
    let file = scratch.path().join("file");
    std::fs::write(&file, b"x").expect("writable");
    for directory in [file.clone(), file.join("below")] {
        let message = prepare(&directory, Some(PORT_OFFSET_DEFAULT))
            .err()
            .expect("a file is no directory");
        assert!(
            message.starts_with(&format!("{}: cannot be made: ", directory.display())),
            "{message}"
        );
    }
    // A certificate of the user's without its key is not thrown away.
    std::fs::write(scratch.path().join(CERTIFICATE_FILE), b"mine").expect("writable");
    let message = prepare(scratch.path(), Some(PORT_OFFSET_DEFAULT))
        .err()
        .expect("the key is missing");
    assert!(message.contains("without private-key.pem"), "{message}");
    // A configuration that the user broke is said with its place.
    std::fs::write(scratch.path().join(CONFIG_FILE), b"hostname = 1\n").expect("writable");
    let message = prepare(scratch.path(), Some(PORT_OFFSET_DEFAULT))
        .err()
        .expect("it is broken");
    assert!(
        message.contains("pigeon.toml:1:12: hostname: expected text"),
        "{message}"
    );
}

#[test]
fn the_announcement_holds_the_two_commands() {
    let scratch = Directory::new("quickstart");
    let start = prepared(scratch.path(), PORT_OFFSET_DEFAULT);
    let text = start.announcement.expect("a quickstart has one");
    let commands: Vec<&str> = text.lines().filter(|line| line.contains("curl")).collect();
    assert_eq!(
        commands,
        [
            "  printf 'From: bob@example.org\\r\\nTo: alice@example.org\\r\\nSubject: A first mail\\r\\n\\r\\nHello!\\r\\n' | \
             curl -sS smtp://127.0.0.1:2025 --mail-from bob@example.org --mail-rcpt alice@example.org -T -",
            "  curl -sS 'imap://127.0.0.1:2143/INBOX;MAILINDEX=1' -u alice@example.org:pigeon",
        ]
    );
    for line in [
        "Accounts: alice@example.org, bob@example.org, password pigeon".to_owned(),
        "Ports: smtp 2025, lmtp 2024, submission 2587, submissions 2465, pop3 2110, pop3s 2995, imap 2143, imaps 2993"
            .to_owned(),
        format!(
            "Certificate, to be trusted by clients: {}",
            scratch.path().join(CERTIFICATE_FILE).display()
        ),
        "Status: http://127.0.0.1:2080/".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}
