//! What is refused: every mistake with its place.

use super::*;

#[test]
fn each_mistake_has_its_place() {
    let table: &[(&str, &str, &str)] = &[
        // What is replaced in the smallest configuration, by what, and what is said.
        (
            "hostname = \"mail.example.org\"",
            "",
            "1:1: expected hostname, as in hostname = \"mail.example.org\"",
        ),
        (
            "\"mail.example.org\"",
            "\"192.0.2.1\"",
            "2:12: hostname: expected a host name such as \"mail.example.org\", found \"192.0.2.1\"",
        ),
        (
            "\"mail.example.org\"",
            "7",
            "2:12: hostname: expected text in quotes, found the number 7",
        ),
        (
            "\"mail.example.org\"",
            "\"a.b\"\ncores = \"0-\"",
            "3:9: cores: expected a CPU number such as 3 or a range such as 0-3, found \"\"",
        ),
        (
            "\"mail.example.org\"",
            "\"a.b\"\npassword_threads = 0",
            "3:20: password_threads: expected a whole number from 1 to 64, found the number 0",
        ),
        (
            "\"mail.example.org\"",
            "\"a.b\"\npassword_threads = \"2\"",
            "3:20: password_threads: expected a whole number from 1 to 64, found \"2\"",
        ),
        (
            "\"users.ldif\"",
            "\"\"",
            "4:8: ldif: expected a path, found nothing between the quotes",
        ),
        (
            "ldif = \"users.ldif\"",
            "",
            "3:1: expected ldif in [control_data], as in ldif = \"users.ldif\", or a section [control_data.ldap]",
        ),
        (
            "[control_data]\nldif = \"users.ldif\"",
            "control_data = 1",
            "3:16: expected a section [control_data], found the number 1",
        ),
        (
            "\"127.0.0.1:2025\"",
            "\"127.0.0.1\"",
            "6:11: address: expected an address and a port, such as \"192.0.2.1:25\", \"0.0.0.0:25\" or \"[::]:25\", found \"127.0.0.1\"",
        ),
        (
            "\"127.0.0.1:2025\"",
            "\"127.0.0.1:0\"",
            "6:11: address: expected a port from 1 to 65535, found \"127.0.0.1:0\"",
        ),
        (
            "\"smtp\"",
            "\"smpt\"",
            "7:11: service: expected one of \"smtp\", \"lmtp\", \"submission\", \"submissions\", \"pop3\", \"pop3s\", \"imap\", \"imaps\", \"backend-imap\", \"backend-pop3\", \"backend-lmtp\", \"backend-imaps\", \"backend-pop3s\", found \"smpt\"",
        ),
        (
            "\"smtp\"",
            "\"imaps\"",
            "6:11: imaps is spoken over TLS: expected a [[certificate]] section",
        ),
        (
            "\"smtp\"",
            "\"imap\"",
            "6:11: nobody could log in to imap here: expected a [[certificate]] section for STARTTLS, or trusted_networks",
        ),
        (
            "\"smtp\"",
            "\"smtp\"\ntrusted_networks = \"10.0.0.0/8\"",
            "8:20: trusted_networks: expected a list in brackets, found \"10.0.0.0/8\"",
        ),
        (
            "\"smtp\"",
            "\"smtp\"\ntrusted_networks = [\"::1\", \"10.0.0.1/8\"]",
            "8:28: trusted_networks: expected the network 10.0.0.0/8: bits behind the prefix are set",
        ),
        (
            "\"smtp\"",
            "\"smtp\"\nTLS = true",
            "8:1: unknown key \"TLS\" in [listener], expected one of: address, service, proxy_protocol_from, redirectors, trusted_networks",
        ),
        (
            "[[listener]]",
            "[listener]",
            "5:1: expected sections [[listener]] in double brackets, found a section",
        ),
        (
            "id = \"main\"",
            "id = \"a b\"",
            "9:6: id: expected a name of 1 to 64 letters, digits, \"-\", \"_\" and \".\", or a UUID, found \"a b\"",
        ),
        (
            "id = \"main\"",
            "id = \"main\"\nsegment_bytes = \"1 MiB\"",
            "10:17: segment_bytes: expected a size from 8 MiB to 4 GiB, found 1 MiB",
        ),
        (
            "id = \"main\"",
            "id = \"main\"\nsegment_bytes = \"9 MB\"",
            "10:17: segment_bytes: expected a multiple of 4096",
        ),
        (
            "id = \"main\"",
            "id = \"main\"\nbytes_max = \"512 MiB\"",
            "10:13: bytes_max: expected room for four segments of 256 MiB, found 512 MiB",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[[volume]]\nid = \"main\"\npath = \"elsewhere\"",
            "12:6: id: the volume \"main\" above is the same",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[[volume]]\nid = \"two\"\npath = \"volumes/main\"",
            "13:8: path: the volume \"main\" above has the same",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[limits]\nmessage_size_max = \"50 M\"",
            "12:20: message_size_max: expected a size such as \"50 MiB\", \"1 GiB\" or \"4096\", found \"50 M\"",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[limits]\nmessage_size_max = 1.5",
            "12:20: message_size_max: expected a size such as \"50 MiB\", found the number 1.5",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[limits]\nreceive_buffers = 1000",
            "12:19: receive_buffers: expected a power of two, found the number 1000",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[timeouts]\nimap_idle = 30",
            "12:13: imap_idle: expected a time with its unit, such as \"30s\" or \"5m\", found the number 30",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[timeouts]\nimap_idle = \"2d\"",
            "12:13: imap_idle: expected a time from 1s to 1d, found 2d",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[policy]\nover_quota = \"drop\"",
            "12:14: over_quota: expected one of \"reject\", \"defer\", found \"drop\"",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[policy]\nsender_must_match = \"yes\"",
            "12:21: sender_must_match: expected true or false, found \"yes\"",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[policy]\ngreeting_delay = \"1m\"",
            "12:18: greeting_delay: expected a time from 0s to 30s, found 1m",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[status]",
            "11:1: expected address in [status], as in address = \"127.0.0.1:2080\"",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[status]\naddress = \"127.0.0.1:2025\"",
            "12:11: address: 127.0.0.1:2025 is taken by the listener for smtp at 127.0.0.1:2025",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[log]\nlevel = \"loud\"",
            "12:9: level: expected error, warn, info, debug or trace, or levels by module as in \"info,pigeon_store=debug\", found \"loud\"",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[logs]\nlevel = \"info\"",
            "11:2: unknown key \"logs\" at the top, expected one of: hostname, cores, control_cpus, password_threads, control_data, cluster, queue, listener, certificate, volume, limits, timeouts, policy, status, log",
        ),
    ];
    for (found, replacement, expected) in table {
        assert!(SMALLEST.contains(found), "{found}");
        let content = SMALLEST.replacen(found, replacement, 1);
        assert_eq!(mistakes(&content), [format!("pigeon.toml:{expected}")], "{content}");
    }
}

#[test]
fn all_mistakes_come_at_once() {
    let content = r#"
hostname = "not a name"
password_threads = 1000
colour = "blue"

[[listener]]
address = "nowhere"
service = "fax"
trusted_networks = ["10.0.0.0/8", "x", 5]

[[volume]]
path = "volumes/main"

[timeouts]
imap_idle = "soon"
"#;
    let said = mistakes(content);
    let places: Vec<&str> = said
        .iter()
        .map(|line| line.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        places,
        [
            "pigeon.toml:1:1",
            "pigeon.toml:2:12",
            "pigeon.toml:3:20",
            "pigeon.toml:4:1",
            "pigeon.toml:7:11",
            "pigeon.toml:8:11",
            "pigeon.toml:9:35",
            "pigeon.toml:9:40",
            "pigeon.toml:11:1",
            "pigeon.toml:15:13",
        ],
        "{said:#?}"
    );
}

#[test]
fn an_empty_file_lacks_everything() {
    assert_eq!(
        mistakes(""),
        [
            "pigeon.toml:1:1: expected at least one [[listener]] section",
            "pigeon.toml:1:1: expected at least one [[volume]] section",
            "pigeon.toml:1:1: expected hostname, as in hostname = \"mail.example.org\"",
            "pigeon.toml:1:1: expected ldif in [control_data], as in ldif = \"users.ldif\", or a section [control_data.ldap]",
        ]
    );
}

#[test]
fn broken_syntax_has_its_places_and_nothing_on_top() {
    let said = mistakes("hostname = mail.example.org\n[control_data\nldif = \"users.ldif\"\n");
    assert!(
        said.iter().any(|line| line.starts_with("pigeon.toml:1:12: ")),
        "{said:?}"
    );
    assert!(said.iter().any(|line| line.starts_with("pigeon.toml:2:")), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("listener")), "{said:?}");
    let twice = mistakes("hostname = \"a.b\"\nhostname = \"c.d\"\n");
    assert_eq!(
        twice,
        ["pigeon.toml:2:1: expected hostname once, found it a second time"]
    );
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix, and every byte replaced: a file under an editor.
    for end in 0..FULL.len() {
        if FULL.is_char_boundary(end) {
            let _ = parse(&FULL[..end]);
        }
    }
    for position in 0..FULL.len() {
        for byte in [b'"', b'[', b'\n', b'=', b'\\', b'0'] {
            let mut bytes = FULL.as_bytes().to_vec();
            bytes[position] = byte;
            let _ = parse(std::str::from_utf8(&bytes).expect("the configuration is ASCII"));
        }
    }
}
