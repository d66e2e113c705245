//! The whole configuration: read, refused, and printed.

use super::*;

const SMALLEST: &str = r#"
hostname = "mail.example.org"
[control_data]
ldif = "users.ldif"
[[listener]]
address = "127.0.0.1:2025"
service = "smtp"
[[volume]]
id = "main"
path = "volumes/main"
"#;

const FULL: &str = r#"
hostname = "MAIL.example.org"
cores = "0-3,8"
control_cpus = "4"
password_threads = 4

[control_data]
ldif = "/etc/pigeon/users.ldif"

[[listener]]
address = "0.0.0.0:25"
service = "smtp"
proxy_protocol_from = ["10.0.0.0/8", "2001:db8::/32"]

[[listener]]
address = "[::]:143"
service = "imap"
trusted_networks = ["127.0.0.0/8", "::1"]

[[listener]]
address = "[::]:993"
service = "imaps"

[[certificate]]
chain = "one.pem"
key = "one-key.pem"

[[certificate]]
chain = "two.pem"
key = "two-key.pem"

[[volume]]
id = "main"
path = "volumes/main"
core = 1
segment_bytes = "64 MiB"
bytes_max = "10 GiB"
reserve_bytes = 0

[[volume]]
id = "67e55044-10b1-426f-9247-bb680e5fe0c8"
path = "/srv/two"

[limits]
message_size_max = "20 MiB"
recipients_max = 100
accounts_per_message_max = 500
hops_max = 100
refused_recipients_max = 20
idle_commands_max = 30
receive_buffers = 4_096

[timeouts]
smtp_message = "20m"
imap_idle = "1h30m"

[policy]
bare_newline = "normalise"
over_quota = "defer"
greeting_delay = "2s"
sender_must_match = true
delivered_to = false

[status]
address = "127.0.0.1:2080"

[log]
format = "json"
level = "info,pigeon_store=debug"
"#;

fn parse(content: &str) -> Result<Config, Mistakes> {
    Config::parse(content, Path::new("pigeon.toml"), Path::new("/etc/pigeon"))
}

fn mistakes(content: &str) -> Vec<String> {
    let mistakes = parse(content).expect_err("the table holds mistakes");
    mistakes.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_smallest_one_has_the_defaults() {
    let config = parse(SMALLEST).expect("it is valid");
    assert_eq!(config.hostname, "mail.example.org");
    assert_eq!(
        (&config.cores, &config.control_cpus, config.password_threads),
        (&None, &None, 2)
    );
    assert_eq!(config.control_data.ldif, Path::new("/etc/pigeon/users.ldif"));
    assert_eq!(config.listeners[0].service, Service::Smtp);
    assert!(config.listeners[0].trusted_networks.is_empty());
    assert_eq!(config.volumes[0].path, Path::new("/etc/pigeon/volumes/main"));
    assert_eq!(
        (config.volumes[0].segment_bytes, config.volumes[0].reserve_bytes),
        (Size::mib(256), Size::gib(1))
    );
    assert_eq!(
        (config.limits.clone(), config.timeouts),
        (Limits::default(), Timeouts::default())
    );
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.status, None);
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Text,
            level: "info".to_owned()
        }
    );
}

#[test]
fn a_full_one_is_read() {
    let config = parse(FULL).expect("it is valid");
    assert_eq!(config.hostname, "mail.example.org");
    assert_eq!(
        config.cores.as_ref().map(|cores| cores.cpus().to_vec()),
        Some(vec![0, 1, 2, 3, 8])
    );
    assert!(
        config.listeners[0]
            .proxy_protocol_from
            .contains("10.9.9.9".parse().expect("an address"))
    );
    assert!(
        config.listeners[1]
            .trusted_networks
            .contains("::1".parse().expect("an address"))
    );
    assert_eq!(config.certificates[1].key, Path::new("/etc/pigeon/two-key.pem"));
    assert_eq!((config.volumes[0].core, config.volumes[1].core), (Some(1), None));
    assert_eq!(
        (config.volumes[0].bytes_max, config.volumes[0].reserve_bytes),
        (Some(Size::gib(10)), Size::of_bytes(0))
    );
    assert_eq!(
        (config.limits.recipients_max, config.limits.receive_buffers),
        (100, 4096)
    );
    assert_eq!(config.timeouts.imap_idle, Period::minutes(90));
    assert_eq!(config.timeouts.pop3_idle, Period::minutes(10));
    let limits = &config.limits;
    assert_eq!((limits.accounts_per_message_max, limits.hops_max), (500, 100));
    assert_eq!((limits.refused_recipients_max, limits.idle_commands_max), (20, 30));
    assert_eq!(config.timeouts.smtp_message, Period::minutes(20));
    assert_eq!(
        config.policy,
        Policy {
            bare_newline: BareNewline::Normalise,
            over_quota: OverQuota::Defer,
            greeting_delay: Period::seconds(2),
            sender_must_match: true,
            delivered_to: false,
        }
    );
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn what_is_printed_reads_as_the_same() {
    for content in [SMALLEST, FULL] {
        let config = parse(content).expect("it is valid");
        let printed = config.to_toml();
        let again = parse(&printed).unwrap_or_else(|mistakes| panic!("{mistakes}\n{printed}"));
        assert_eq!(again, config, "{printed}");
    }
    let printed = parse(SMALLEST).expect("it is valid").to_toml();
    for line in [
        "message_size_max = \"50 MiB\"",
        "imap_idle = \"30m\"",
        "bare_newline = \"refuse\"",
        "id = \"main\"",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "no {line} in\n{printed}"
        );
    }
}

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
            "3:1: expected ldif in [control_data], as in ldif = \"users.ldif\"",
        ),
        (
            "[control_data]\nldif = \"users.ldif\"",
            "control_data = 1",
            "3:16: expected a section [control_data], found the number 1",
        ),
        (
            "\"127.0.0.1:2025\"",
            "\"127.0.0.1\"",
            "6:11: address: invalid socket address syntax",
        ),
        (
            "\"smtp\"",
            "\"smpt\"",
            "7:11: service: expected one of \"smtp\", \"lmtp\", \"submission\", \"submissions\", \"pop3\", \"pop3s\", \"imap\", \"imaps\", found \"smpt\"",
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
            "8:1: unknown key \"TLS\" in [listener], expected one of: address, service, proxy_protocol_from, trusted_networks",
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
            "12:20: message_size_max: expected text in quotes, found the number 1.5",
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
            "12:11: address: 127.0.0.1:2025 is taken by the listener for smtp",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[log]\nlevel = \"loud\"",
            "12:9: level: expected error, warn, info, debug or trace, or levels by module as in \"info,pigeon_store=debug\", found \"loud\"",
        ),
        (
            "\"volumes/main\"",
            "\"volumes/main\"\n[logs]\nlevel = \"info\"",
            "11:2: unknown key \"logs\" at the top, expected one of: hostname, cores, control_cpus, password_threads, control_data, listener, certificate, volume, limits, timeouts, policy, status, log",
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
            "pigeon.toml:1:1: expected ldif in [control_data], as in ldif = \"users.ldif\"",
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
    assert_eq!(twice, ["pigeon.toml:2:1: duplicate key"]);
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

#[test]
fn a_file_that_is_not_there_or_is_too_long_is_said() {
    let directory = crate::scratch::Directory::new("config");
    let missing = directory.path().join("pigeon.toml");
    let error = Config::load(&missing).expect_err("it is not there");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            missing.display()
        )
    );
    std::fs::write(&missing, vec![b'#'; 5 << 20]).expect("the directory is writable");
    assert!(
        Config::load(&missing)
            .expect_err("too long")
            .to_string()
            .contains("too many")
    );
    std::fs::write(&missing, [0xff]).expect("the directory is writable");
    assert!(
        Config::load(&missing)
            .expect_err("not UTF-8")
            .to_string()
            .contains("UTF-8")
    );
    std::fs::write(&missing, SMALLEST).expect("the directory is writable");
    let config = Config::load(&missing).expect("it is valid");
    assert_eq!(config.control_data.ldif, directory.path().join("users.ldif"));

    // The files it names are not there: each is named with the place that names it.
    assert_eq!(
        check_files(&config)
            .mistakes
            .iter()
            .map(FileMistake::to_string)
            .collect::<Vec<_>>(),
        [
            format!(
                "{}:4:8: ldif: open {}/users.ldif: No such file or directory (os error 2)",
                missing.display(),
                directory.path().display()
            ),
            format!(
                "{}:10:8: path: {}/volumes/main cannot be opened: No such file or directory (os error 2)",
                missing.display(),
                directory.path().display()
            ),
        ]
    );
}

#[test]
fn mistakes_in_the_files_it_names_have_their_places() {
    let directory = crate::scratch::Directory::new("config");
    let here = |name: &str| directory.path().join(name);
    let write = |name: &str, content: &str| std::fs::write(here(name), content).expect("the directory is writable");
    let certificates = "[[certificate]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n";
    write("pigeon.toml", &format!("{SMALLEST}{certificates}"));
    std::fs::create_dir_all(here("volumes/main")).expect("the directory is writable");
    let (pair, other) = (certificate(), certificate());
    let ldif = "dn: uid=a,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: a\nmail: a@example.org\n\n\
                dn: associatedDomain=example.org,dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n";
    let config_file = here("pigeon.toml");
    let said = |chain: &str, key: &str, ldif: &str| {
        write("chain.pem", chain);
        write("key.pem", key);
        write("users.ldif", ldif);
        let config = Config::load(&config_file).expect("it is valid");
        check_files(&config)
            .mistakes
            .iter()
            .map(FileMistake::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&pair.0, &pair.1, ldif), [] as [&str; 0]);
    assert_eq!(
        said(&pair.0, &other.1, ldif),
        [format!(
            "{}:12:9: {} with {}: the private key does not belong to the first certificate of the chain",
            config_file.display(),
            here("chain.pem").display(),
            here("key.pem").display()
        )]
    );
    let broken = said(
        &pair.0,
        &pair.1,
        &ldif.replace("mail: a@example.org", "mail: a example.org"),
    );
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(
        broken[0].starts_with(&format!("{}:4:", here("users.ldif").display())),
        "{broken:?}"
    );
    std::fs::remove_file(here("key.pem")).expect("it is there");
    let config = Config::load(&config_file).expect("it is valid");
    let gone = check_certificates(&config)
        .iter()
        .map(FileMistake::to_string)
        .collect::<Vec<_>>();
    assert_eq!(
        gone,
        [format!(
            "{}:13:7: key: {} cannot be read: No such file or directory (os error 2)",
            config_file.display(),
            here("key.pem").display()
        )]
    );
}

/// A self-signed certificate and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a host name");
    (made.cert.pem(), made.signing_key.serialize_pem())
}
