//! What a right configuration reads as, and how it is printed.

use super::*;

#[test]
fn the_smallest_one_has_the_defaults() {
    let config = parse(SMALLEST).expect("it is valid");
    assert_eq!(config.hostname, "mail.example.org");
    assert_eq!(
        (&config.cores, &config.control_cpus, config.password_threads),
        (&None, &None, 2)
    );
    assert_eq!(
        config.control_data.ldif.as_deref(),
        Some(Path::new("/etc/pigeon/users.ldif"))
    );
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
    let cluster = config.cluster.as_ref().expect("there is a section");
    assert_eq!(
        (cluster.node.as_str(), cluster.key_file.as_path()),
        ("n1", Path::new("/etc/pigeon/cluster-key"))
    );
    assert_eq!(config.listeners[3].service, Service::BackendImap);
    assert!(
        config.listeners[3]
            .redirectors
            .contains("10.0.0.7".parse().expect("an address"))
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
            scram_sha_256: true,
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
