//! Mistakes in the sections of a node among others.

use super::*;
use crate::config::read_key;

/// A backend's listener, with these lines, in a cluster or not.
fn backend(cluster: &str, lines: &str) -> String {
    let listener = format!("[[listener]]\n{lines}\n");
    format!("{SMALLEST}{cluster}{listener}")
}

const CLUSTER: &str = "[cluster]\nnode = \"n1\"\nkey_file = \"cluster-key\"\n";

#[test]
fn each_mistake_is_told_with_its_place() {
    let good = "address = \"10.0.0.1:2143\"\nservice = \"backend-imap\"\nredirectors = [\"10.0.0.0/24\"]";
    assert!(parse(&backend(CLUSTER, good)).is_ok());
    for (cluster, from, to, expected) in [
        (
            "",
            "",
            "",
            "backend-imap is for other nodes: expected a [cluster] section",
        ),
        (
            CLUSTER,
            "\nredirectors = [\"10.0.0.0/24\"]",
            "",
            "backend-imap: expected redirectors, the networks of the other nodes",
        ),
        (
            CLUSTER,
            "10.0.0.1",
            "0.0.0.0",
            "backend-imap: expected an address of the private network, found 0.0.0.0:2143, which is every one",
        ),
        (
            CLUSTER,
            "10.0.0.1",
            "192.0.2.1",
            "backend-imap: expected an address of the private network, found 192.0.2.1:2143, which anybody may reach",
        ),
        (
            CLUSTER,
            "backend-imap",
            "lmtp",
            "redirectors are for a backend's listener, not for lmtp",
        ),
        (
            "[cluster]\nkey_file = \"cluster-key\"\n",
            "",
            "",
            "expected node in [cluster], as in node = \"n1\"",
        ),
        (
            "[cluster]\nnode = \"n 1\"\nkey_file = \"k\"\n",
            "",
            "",
            "node: expected the id of a node, of 1 to 64 letters, digits, \"-\", \"_\" and \".\", found \"n 1\"",
        ),
    ] {
        let found = mistakes(&backend(cluster, &good.replace(from, to)));
        assert!(
            found.iter().any(|mistake| mistake.ends_with(expected)),
            "{expected}\n{found:#?}"
        );
    }
}

#[test]
fn a_key_is_one_line_that_nobody_guesses() {
    let file = std::env::temp_dir().join(format!("pigeond-cluster-key-{}", std::process::id()));
    let read = |content: &[u8]| {
        std::fs::write(&file, content).expect("a scratch file");
        read_key(&file).map_err(|why| why.split(": ").skip(1).collect::<Vec<_>>().join(": "))
    };
    let key = b"0123456789abcdef".to_vec();
    assert_eq!(read(b"0123456789abcdef\n"), Ok(key.clone()));
    assert_eq!(read(b"0123456789abcdef\r\nmore"), Ok(key.clone()));
    assert_eq!(read(b"0123456789abcdef"), Ok(key));
    let length = |found: usize| {
        Err(format!(
            "expected a key of 16 to 1024 bytes in one line, found {found} bytes"
        ))
    };
    assert_eq!(read(b""), length(0));
    assert_eq!(read(b"\n0123456789abcdef"), length(0));
    assert_eq!(read(b"0123456789abcde"), length(15));
    let wrong = Err("expected a key of printable ASCII characters without spaces".to_owned());
    assert_eq!(read(b"0123456789 abcdef"), wrong);
    assert_eq!(read("0123456789abcdefü".as_bytes()), wrong);
    std::fs::remove_file(&file).expect("it is ours");
    let named = read_key(&file).expect_err("it is gone");
    assert!(named.starts_with(&file.display().to_string()), "{named}");
    assert!(read_key(&file).is_err());
}
