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
fn a_private_address_makes_the_backends() {
    let with = |cluster: &str, rest: &str| format!("{SMALLEST}{CLUSTER}{cluster}{rest}");
    let private = "private_address = \"10.0.0.1\"\nredirectors = [\"10.0.0.0/24\"]\n";
    let config = parse(&with(private, "[status]\n")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let backends: Vec<String> = config
        .all_listeners()
        .iter()
        .filter(|listener| listener.service.is_backend())
        .map(|listener| format!("{} {}", listener.service, listener.address))
        .collect();
    let expected = [
        "backend-imap 10.0.0.1:2143",
        "backend-pop3 10.0.0.1:2110",
        "backend-lmtp 10.0.0.1:2024",
    ];
    assert_eq!(backends, expected);
    let status = config.status.map(|status| status.address.to_string());
    assert_eq!(status.as_deref(), Some("10.0.0.1:2080"));
    let again = parse(&config.to_toml()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(again.all_listeners(), config.all_listeners());
    assert_eq!(again.cluster, config.cluster);
    let elsewhere = parse(&with(private, "[status]\naddress = \"127.0.0.1:2081\"\n"));
    assert_eq!(
        elsewhere
            .map(|config| config.status.map(|status| status.address.port()))
            .ok(),
        Some(Some(2081))
    );

    let listener = |service: &str, address: &str| {
        format!("[[listener]]\nservice = \"{service}\"\naddress = \"{address}\"\nredirectors = [\"10.0.0.0/24\"]\n")
    };
    for (cluster, rest, expected) in [
        (
            private,
            listener("backend-pop3", "10.0.0.1:3110"),
            "backend-pop3 is at private_address of [cluster] already: expected one of the two",
        ),
        (
            private,
            "[[listener]]\nservice = \"smtp\"\naddress = \"10.0.0.1:2024\"\n".to_owned(),
            "address: 10.0.0.1:2024 is taken by the listener for smtp above",
        ),
        (
            private,
            "[status]\naddress = \"10.0.0.1:2143\"\n".to_owned(),
            "address: 10.0.0.1:2143 is taken by the listener for backend-imap at 10.0.0.1:2143",
        ),
        (
            "private_address = \"10.0.0.1\"\n",
            String::new(),
            "private_address: expected redirectors beside it, the networks of the other nodes",
        ),
        (
            "redirectors = [\"10.0.0.0/24\"]\n",
            String::new(),
            "redirectors: expected private_address beside it, the address of the backends",
        ),
        (
            "private_address = \"192.0.2.1\"\nredirectors = [\"10.0.0.0/24\"]\n",
            String::new(),
            "private_address: expected an address of the private network, found 192.0.2.1, which anybody may reach",
        ),
        (
            "private_address = \"::\"\nredirectors = [\"10.0.0.0/24\"]\n",
            String::new(),
            "private_address: expected an address of the private network, found ::, which is every one",
        ),
        (
            "private_address = \"10.0.0.1:2143\"\nredirectors = [\"10.0.0.0/24\"]\n",
            String::new(),
            "private_address: expected an IP address such as \"10.0.0.1\", found \"10.0.0.1:2143\"",
        ),
    ] {
        let found = mistakes(&with(cluster, &rest));
        assert!(
            found.len() == 1 && found[0].ends_with(expected),
            "{expected}\n{found:#?}"
        );
        // Each with line and column.
        assert!(
            found[0]
                .split(':')
                .nth(2)
                .is_some_and(|column| column.parse::<u32>().is_ok()),
            "{found:#?}"
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
