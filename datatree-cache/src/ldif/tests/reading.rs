//! What the parser allows, the golden tree, and what the map decides.

use super::*;
use crate::record::{NodeState, Role};

#[test]
fn liberties() {
    for text in [
        &b"\xef\xbb\xbfversion: 1\ndn: cn=a\ncn: a"[..],
        b"dn:cn=a\nCN:a\n\n\n\n",
        b"\n\n# c\nVERSION:1\n\n\nDN:   cn=a\nsn;lang-de: M\xc3\xbcller\n",
        b"dn: cn=a\n#com\n ment\ncn: a\n# and\n",
        b"dn: cn=a\ncn:\ncn: \n",
    ] {
        assert_eq!(mistakes(text), Vec::<String>::new());
    }
    let entries = parse(b"dn: cn=a\ndescription: on\n e\n  two\ncn:: IGEg\n").expect("it is LDIF");
    let values: Vec<_> = entries[0]
        .attributes
        .iter()
        .map(|a| String::from_utf8_lossy(&a.value).into_owned())
        .collect();
    assert_eq!(values, ["one two", " a "]);
    assert_eq!(entries[0].attributes[1].position, Some(Position { line: 5, column: 6 }));
}

#[test]
fn the_whole_schema_is_read() {
    let text = include_bytes!("../golden/whole-schema.ldif");
    let loaded =
        snapshot(text, &AttributeMap::default(), &Snapshot::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let tree = loaded.snapshot;
    assert_eq!(
        loaded.warnings.count(),
        1,
        "alice's address elsewhere: {}",
        loaded.warnings
    );

    let domain = tree.domain("example.org").expect("it is there");
    assert_eq!(domain.name(), "example.org");
    assert_eq!(domain.status(), AccountStatus::Active);
    assert_eq!(domain.catch_all(), Some("staff@example.org"));
    assert_eq!(domain.postmaster(), Some("alice@example.org"));
    assert_eq!(domain.plus_delimiter(), Some('-'));
    assert_eq!(
        (domain.default_quota().bytes, domain.default_quota().messages),
        (Some(5_000_000), Some(500))
    );
    assert_eq!(domain.default_message_size_max(), Some(1_000_000));
    assert_eq!(format!("{:?}", domain.default_services()), "{\"smtp\", \"imap\"}");
    assert_eq!(
        (domain.default_node(), domain.default_volume()),
        (Some("node1"), Some("fast"))
    );
    assert_eq!(domain.accounts_max(), Some(100));
    assert_eq!(domain.features().collect::<Vec<_>>(), ["sieve"]);
    let alias = tree.domain("B\u{dc}CHER.example").expect("it is there");
    assert_eq!((alias.alias_of(), alias.plus_delimiter()), (Some("example.org"), None));
    assert_eq!(alias.id().to_string(), "597ae2f6-16a6-1027-98f4-d28b5365dc14");

    let server = tree.server("node1").expect("it is there");
    assert_eq!(
        server.public_addresses().collect::<Vec<_>>(),
        ["mail.example.org", "192.0.2.10"]
    );
    let private: Vec<String> = server.private_addresses().map(ToString::to_string).collect();
    assert_eq!(private, ["2001:db8::10", "status://[2001:db8::10]:2081"]);
    assert!(server.keys().all(|key| key.ends_with("l2dU=")) && server.weight() == 3);
    assert_eq!(format!("{:?}", server.roles()), "{\"mx\", \"store\"}");
    assert!(server.has_role(Role::Store) && !server.has_role(Role::Proxy));
    assert_eq!(server.state(), NodeState::Draining);
    let volume = tree.volume("fast").expect("it is there");
    assert_eq!((volume.node(), volume.path()), (Some("node1"), Some("/srv/mail/fast")));
    assert_eq!(tree.volumes().count(), 2);
    let module = tree.module_service("mailAntivirus").expect("it is there");
    assert_eq!(
        module.locations().collect::<Vec<_>>(),
        ["here", "scanner.example.org:3310"]
    );

    let alice = tree.login("alice").expect("she is there");
    assert_eq!(alice.id().to_string(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_eq!(alice.dn(), "uid=alice,ou=people,dc=example,dc=org");
    assert_eq!(
        alice.addresses().collect::<Vec<_>>(),
        [
            "alice@example.org",
            "alice liddell@example.org",
            "alice@elsewhere.example"
        ]
    );
    assert_eq!(alice.login_names().collect::<Vec<_>>(), ["alice"]);
    assert_eq!(
        (alice.node(), alice.volume(), alice.home_directory()),
        (Some("node1"), Some("slow"), Some("/home/alice"))
    );
    let previous: Vec<_> = alice
        .previous()
        .map(|previous| (previous.node, previous.volume))
        .collect();
    assert_eq!(previous, [("node0", Some("old"))]);
    assert_eq!(alice.sessions_since(), Some(1_795_342_500_500));
    assert_eq!((alice.uid_number(), alice.gid_number()), (Some(1001), Some(100)));
    assert_eq!(
        alice.forward_addresses().collect::<Vec<_>>(),
        ["alice@outside.example", "second@outside.example"]
    );
    assert_eq!(alice.routing_address(), Some("alice@inside.example"));
    assert_eq!(
        (alice.quota().bytes, alice.quota().messages),
        (None, Some(1000)),
        "0 is no limit, whatever the domain says"
    );
    assert_eq!(alice.message_size_max(), Some(50_000_000));
    assert_eq!(alice.status(), AccountStatus::NoAccess);
    assert_eq!(format!("{:?}", alice.services()), "{\"pop3\", \"imap\"}");
    let mode = alice.delivery_mode();
    assert!(mode.no_forward && mode.reply && !mode.no_local && !mode.no_program);
    assert_eq!(alice.reply_text(), Some("Ich bin im Urlaub.\r\nBis bald!"));
    assert_eq!(alice.secrets().count(), 3);
    assert_eq!(
        crate::password::verify(alice, b"Tr0ub4dor&3"),
        crate::password::Verdict::Match
    );
    assert!(crate::password::scram_sha_256(alice).is_some_and(|verifier| verifier.iterations == 4096));
    assert_eq!(alice.other("SpamThreshold").collect::<Vec<_>>(), [Value::Text("5")]);
    assert!(matches!(
        alice.other("jpegPhoto").next(),
        Some(Value::Bytes([0xff, 0xd8, ..]))
    ));
    let names: Vec<_> = alice.others().map(|(name, _)| name).collect();
    assert_eq!(names, ["cn", "jpegphoto", "sn", "spamthreshold"]);
    assert_eq!(alice.domain().map(|domain| domain.name()), Some("example.org"));

    let bob = tree.login("bob@example.org").expect("he is there");
    assert_eq!((bob.quota().bytes, bob.quota().messages), (Some(5_000_000), Some(7)));
    assert_eq!(
        (bob.node(), bob.volume(), bob.message_size_max()),
        (Some("node1"), Some("fast"), Some(1_000_000))
    );
    assert_eq!(
        (bob.was_elsewhere(), bob.sessions_since()),
        (false, Some(1_795_342_500_000))
    );
    // Python: uuid.uuid5(uuid.NAMESPACE_X500, 'uid=bob,ou=people,dc=example,dc=org')
    assert_eq!(bob.id().to_string(), "af9c017a-4621-5163-a6e8-f6988e07c5e9");

    let staff = tree.groups().next().expect("it is there");
    assert_eq!(
        staff.members().collect::<Vec<_>>(),
        [
            Member::Address("alice@example.org"),
            Member::Address("someone@elsewhere.example"),
            Member::Dn("uid=bob,ou=people,dc=example,dc=org")
        ]
    );
    assert_eq!(tree.account_count(), 2);
}

#[test]
fn the_map_decides_what_is_read() {
    let map = AttributeMap::default()
        .with("address", ["maildrop"])
        .expect("good")
        .with("uuid", ["nsUniqueId"])
        .expect("good");
    let text = b"dn: uid=a\nuid: a\nmaildrop: a@x.example\nmail: other@x.example\nnsUniqueId: 00000000-0000-4000-8000-00000000000a\n";
    let tree = snapshot(text, &map, &Snapshot::empty()).expect("good").snapshot;
    let account = tree.login("a").expect("it is there");
    assert_eq!(account.addresses().collect::<Vec<_>>(), ["a@x.example"]);
    assert_eq!(
        account.other("mail").collect::<Vec<_>>(),
        [Value::Text("other@x.example")]
    );
    assert!(account.id().to_string().ends_with("0a"));
}
