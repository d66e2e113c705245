//! The parser's mistakes with their places, the golden tree, meaning, and arbitrary bytes.

use super::*;
use crate::mistake::{Mistakes, Position};
use crate::record::{AccountStatus, Member, Value};
use crate::schema::AttributeMap;
use crate::snapshot::Snapshot;
use proptest::prelude::*;
use std::fmt::Write;

/// `line:column message` of each mistake.
fn mistakes(text: &[u8]) -> Vec<String> {
    match snapshot(text, &AttributeMap::default(), &Snapshot::empty()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes
            .list
            .iter()
            .map(|mistake| format!("{} {}", mistake.position.expect("a file has places"), mistake.message))
            .collect(),
    }
}

/// Each expectation is `line:column` and a part of the message.
fn check(text: &str, expect: &[(&str, &str)]) {
    // The same with CR LF: columns do not change.
    for text in [text.to_owned(), text.replace('\n', "\r\n")] {
        let found = mistakes(text.as_bytes());
        let same = found.len() == expect.len()
            && found.iter().zip(expect).all(|(found, (place, part))| {
                found
                    .split_once(' ')
                    .is_some_and(|(at, message)| at == *place && message.contains(part))
            });
        assert!(same, "{text}\nfound:\n{}\nexpected:\n{expect:#?}", found.join("\n"));
    }
}

#[test]
fn syntax_mistakes() {
    for (text, expect) in [
        ("", &[("1:1", "at least one entry")][..]),
        ("# nothing\n\n", &[("1:1", "at least one entry")]),
        ("version: 1\n", &[("1:1", "at least one entry")]),
        ("version: 2\n\ndn: cn=a\ncn: a\n", &[("1:9", "version: 1")]),
        ("cn: a\n\ndn: cn=a\ncn: a\n", &[("1:1", "expected dn:")]),
        (
            "dn: cn=a\ncn: a\n\nou: x\nmail: -\n\ndn: cn=b\n\nuid: y\n",
            &[("4:1", "expected dn:"), ("9:1", "expected dn:")],
        ),
        ("dn: cn=a\nno colon here\ncn: a\n", &[("2:1", "without a colon")]),
        ("dn: cn=a\n: a\n", &[("2:1", "attribute name")]),
        ("dn: cn=a\nc n: a\n", &[("2:1", "attribute name")]),
        ("dn: cn=a\nm\u{e4}il: a\n", &[("2:1", "attribute name")]),
        ("dn: cn=a\ncn:: YWJj\ncn:: YW\u{24}j\n", &[("3:8", "base64")]),
        ("dn: cn=a\ncn:: YWJ\n", &[("2:9", "base64")]),
        ("dn: cn=a\njpegPhoto:< file:///etc/passwd\n", &[("2:11", "URL")]),
        ("dn: cn=a\ncn: :x\n", &[("2:5", "begin with :")]),
        ("dn: cn=a\ncn: <x\n", &[("2:5", "begin with :")]),
        (
            "dn: cn=a\nchangetype: modify\nreplace: cn\ncn: b\n-\n\ndn: cn=b\ncn: b\n",
            &[("2:1", "change record")],
        ),
        (
            "dn: cn=a\ncontrol: 1.2.3\nchangetype: add\ncn: a\n",
            &[("2:1", "change record")],
        ),
        ("dn: cn=a\ncn: a\n-\n", &[("3:1", "found -")]),
        ("dn: cn=a\ncn: a\ndn: cn=b\ncn: b\n", &[("3:1", "empty line")]),
        (
            " dn: cn=a\ncn: a\n\ndn: cn=b\n",
            &[("1:1", "no space at the beginning")],
        ),
        ("dn: cn=a\n\n cn: a\n", &[("3:1", "no space at the beginning")]),
        ("dn: \n", &[("1:5", "attribute type")]),
        ("dn: nonsense\ncn: a\n", &[("1:13", "expected =")]),
        ("dn:: /w==\ncn: a\n", &[("1:6", "DN in UTF-8")]),
        ("dn: cn=a\ncn: a\0b\n", &[("2:6", "NUL")]),
        // Folded: the place is where the byte stands.
        ("dn: cn=a\nde\n script\n ion:: YW\n \u{24}j\n", &[("5:2", "base64")]),
        ("dn: cn=a\nmail: alice@\n exa mple.org\n", &[("2:7", "domain name")]),
    ] {
        check(text, expect);
    }
    // Not the same with CR LF.
    assert_eq!(mistakes(b"dn: cn=a\ncn: a\rb\n").len(), 1);
    assert!(mistakes(b"dn: cn=a\ncn: a\rb\n")[0].starts_with("2:6 "));
    assert!(mistakes(b"dn: cn=a\ncn: a\xff\n")[0].starts_with("2:6 expected UTF-8"));
}

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
fn mistakes_of_meaning() {
    let domain = "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\n";
    for (text, expect) in [
        (
            "dn: uid=a\nmail: a@x.example\nmail: a@x\u{e4} b\n",
            &[("7:9", "domain name")][..],
        ),
        ("dn: uid=a\nmail: alice\n", &[("6:12", "no @")]),
        (
            "dn: uid=a\nmail: a@x.example\nmailQuotaSize: -1\n",
            &[("7:16", "a number of bytes, found \"-1\"")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nmailQuotaSize: 10M\n",
            &[("7:18", "found \"10M\"")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nmailQuota: 1S,x\n",
            &[("7:15", "100000000S,1000C")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nmailQuotaSize: 1\nmailQuotaSize: 2\n",
            &[("8:16", "expected one value")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\naccountStatus: locked\n",
            &[("7:16", "active, noaccess, disabled or deleted")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nuidNumber: 99999999999\n",
            &[("7:12", "2^32")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nmailHost: a node\n",
            &[("7:12", "the id of a node")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nhomeDirectory: home\n",
            &[("7:16", "absolute path")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\ndeliveryMode: often\n",
            &[("7:15", "noforward")],
        ),
        ("dn: uid=a\nmail: a@x.example\nentryUUID: 1234\n", &[("7:12", "UUID")]),
        (
            "dn: uid=a\nmail: a@x.example\nuserPassword: {SSHA}abc\n",
            &[("7:15", "damaged password hash")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nauthPassword: secret\n",
            &[("7:15", "SCRAM-SHA-256")],
        ),
        (
            "dn: cn=g\nmail: g@x.example\nrfc822member: nobody\n",
            &[("7:21", "no @")],
        ),
        (
            "dn: cn=g\nmail: g@x.example\ndnmember: nobody\n",
            &[("7:17", "expected =")],
        ),
        // Two owners, by whatever spelling; told at the second.
        (
            "dn: uid=a\nmail: a@x.example\n\ndn: uid=b\nmail: b@x.example\nmailAlternateAddress: \"A\"@X.example\n",
            &[("10:23", "belongs to uid=a too")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\n\ndn: cn=g\nmail: A@x.example\nrfc822member: a@x.example\n",
            &[("9:7", "uid=a")],
        ),
        (
            "dn: uid=a\nuid: x\nmail: a@x.example\n\ndn: uid=b\nuid: X\nmail: b@x.example\n",
            &[("10:6", "login name of its own")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\n\ndn: uid=b\nuid: A@x.example\nmail: b@x.example\n",
            &[("9:6", "login name of its own")],
        ),
        (
            "dn: uid=a\nuid: b@x.example\nmail: a@x.example\n\ndn: uid=b\nmail: b@x.example\n",
            &[("10:7", "address of its own")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\n\ndn: UID=A\nmail: b@x.example\n",
            &[("8:5", "second entry with this DN")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\nentryUUID: 00000000-0000-4000-8000-000000000001\n\ndn: uid=b\nmail: b@x.example\nentryUUID: 00000000-0000-4000-8000-000000000001\n",
            &[("11:12", "UUID of its own")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: X.example\n",
            &[("7:19", "domain of its own")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\n",
            &[("5:5", "a value of associatedDomain")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: y.example\npigeonAliasOf: z.example\n",
            &[("8:16", "a domain of this tree")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: y.example\npigeonAliasOf: y.example\n",
            &[("8:16", "itself")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: y.example\npigeonAliasOf: x.example\n\ndn: dc=z\nobjectClass: pigeonDomain\nassociatedDomain: z.example\npigeonAliasOf: y.example\n",
            &[("13:16", "no alias itself")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: y.example\npigeonCatchAll: a@y.example\n",
            &[("8:17", "of an account or group")],
        ),
        (
            "dn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: y.example\npigeonPostmaster: a@y.example\n",
            &[("8:19", "of an account or group")],
        ),
        (
            "dn: cn=n1\nobjectClass: pigeonServer\ncn: n1\n\ndn: uid=a\nmail: a@x.example\nmailHost: n2\n",
            &[("11:11", "node of this tree")],
        ),
        (
            "dn: cn=v\nobjectClass: pigeonVolume\ncn: v\n\ndn: uid=a\nmail: a@x.example\nmailMessageStore: w\n",
            &[("11:19", "volume of this tree")],
        ),
        // All of them, in the order of the file; what only follows from another is not told.
        (
            "dn: uid=a\nmail: a@x.example\nmailQuotaSize: x\naccountStatus: y\n\ndn: dc=y\nobjectClass: pigeonDomain\nassociatedDomain: y y\n\ndn: dc=z\nobjectClass: pigeonDomain\nassociatedDomain: z.example\npigeonAliasOf: y.example\n\ndn: uid=b\nmail: A@x.example\n",
            &[
                ("7:16", "number of bytes"),
                ("8:16", "active"),
                ("12:19", "domain name"),
                ("20:7", "belongs to"),
            ],
        ),
    ] {
        check(&format!("{domain}{text}"), expect);
    }
}

#[test]
fn mistakes_are_bounded_and_counted() {
    let text: String = (0..1000).fold(String::new(), |mut text, number| {
        write!(
            text,
            "dn: uid=u{number}\nmail: u{number}@x.example\nmailQuotaSize: -1\n\n"
        )
        .expect("a String");
        text
    });
    let Err(mistakes) = snapshot(text.as_bytes(), &AttributeMap::default(), &Snapshot::empty()) else {
        panic!("wrong")
    };
    assert_eq!((mistakes.list.len(), mistakes.left_out), (Mistakes::KEPT_MAX, 900));
    assert!(mistakes.to_string().ends_with("and 900 more"));
}

#[test]
fn warnings_do_not_refuse() {
    let text = "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\ndn: uid=a\nmail: a@x.example\nmail: a@elsewhere.example\nuserPassword: secret\nuserPassword: {SASL}a\nenabledService: imap\nenabledService: ftp\nblob:: ";
    let text = format!(
        "{text}{}\n\ndn: cn=g\nmail: g@x.example\nrfc822member: nobody@x.example\ndnmember: uid=nobody\n",
        "QUFB".repeat(2000)
    );
    let loaded = snapshot(text.as_bytes(), &AttributeMap::default(), &Snapshot::empty()).expect("only warnings");
    let found: Vec<_> = loaded
        .warnings
        .list
        .iter()
        .map(|w| format!("{} {}", w.position.expect("a place"), w.message))
        .collect();
    let expect = [
        "7:7 mail for",
        "8:15 this password stands here in clear",
        "9:15 {SASL}",
        "11:17 \"ftp\"",
        "12:8 not kept",
        "16:15 skipped",
        "17:11 skipped",
    ];
    assert!(
        found.len() == expect.len() && found.iter().zip(expect).all(|(f, e)| f.starts_with(e)),
        "{found:#?}"
    );
}

#[test]
fn the_whole_schema_is_read() {
    let text = include_bytes!("golden/whole-schema.ldif");
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
    assert_eq!(server.private_addresses().collect::<Vec<_>>(), ["2001:db8::10"]);
    assert!(server.keys().all(|key| key.ends_with("l2dU=")) && server.weight() == 3);
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

/// Everything that a mistake says about its place must be true of the text.
fn places_are_in(text: &[u8], mistakes: &Mistakes) -> Result<(), TestCaseError> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for mistake in &mistakes.list {
        let position = mistake.position.expect("a file has places");
        let line = lines.get(position.line as usize - 1);
        prop_assert!(line.is_some(), "{mistake} in a text of {} lines", lines.len());
        let length = line.map_or(0, |line| line.len());
        prop_assert!(
            position.column as usize <= length + 1,
            "{mistake} in a line of {length} bytes"
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(mistakes) = snapshot(&bytes, &AttributeMap::default(), &Snapshot::empty()) {
            places_are_in(&bytes, &mistakes)?;
        }
    }

    #[test]
    fn almost_ldif_never_panics(lines in prop::collection::vec("(dn: uid=[ab],dc=x|dn:: [a-zA-Z=]{0,9}|mail: [ab\"@ .+]{0,9}@x.example|mail:: [A-Za-z+/=]{0,12}|uid: [ab]| [a-z:@]{0,5}|#x|mailQuota(Size)?: [-0-9SC,]{0,4}|userPassword: (\\{[A-Z]{0,5}\\})?[$a-z=]{0,9}|objectClass: pigeon(Domain|Volume)|associatedDomain: [ab]\\.example|pigeonAliasOf: [ab]\\.example|rfc822member: [ab]@x|cn: .{0,5}||\r|-|changetype: add|x:< y)", 0..40), cut in 0..2000_usize) {
        let text = lines.join("\n");
        let text = &text.as_bytes()[..cut.min(text.len())];
        match snapshot(text, &AttributeMap::default(), &Snapshot::empty()) {
            Ok(loaded) => places_are_in(text, &loaded.warnings)?,
            Err(mistakes) => places_are_in(text, &mistakes)?,
        }
    }

    #[test]
    fn changed_golden_trees_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut text = include_bytes!("golden/whole-schema.ldif").to_vec();
        let place = at.index(text.len());
        text[place] = byte;
        for text in [&text[..], &text[..cut.index(text.len())]] {
            match snapshot(text, &AttributeMap::default(), &Snapshot::empty()) {
                Ok(loaded) => places_are_in(text, &loaded.warnings)?,
                Err(mistakes) => places_are_in(text, &mistakes)?,
            }
        }
    }

    /// Folding and base64 change the writing, not the content.
    #[test]
    fn writing_does_not_matter(values in prop::collection::vec("[!-9;=-~][ -~]{0,40}", 1..6), width in 2..20_usize, encode in any::<u8>()) {
        use base64::Engine as _;
        let mut plain = String::from("dn: cn=a\n");
        let mut written = String::from("dn: cn=a\r\n");
        for (index, value) in values.iter().enumerate() {
            writeln!(plain, "attribute{index}: {value}").expect("a String");
            let line = if encode >> index & 1 == 1 {
                format!("attribute{index}:: {}", base64::engine::general_purpose::STANDARD.encode(value))
            } else {
                format!("attribute{index}: {value}")
            };
            for (part, bytes) in line.as_bytes().chunks(width).enumerate() {
                written.push_str(if part > 0 { "\r\n " } else { "" });
                written.push_str(std::str::from_utf8(bytes).expect("ASCII"));
            }
            written.push_str("\r\n");
        }
        let content = |text: &str| -> Vec<(String, Vec<u8>)> {
            let entries = parse(text.as_bytes()).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"));
            entries[0].attributes.iter().map(|a| (a.name.to_string(), a.value.to_vec())).collect()
        };
        prop_assert_eq!(content(&plain), content(&written));
    }
}
