//! Mistakes and warnings with their places.

use super::*;

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
        (
            "dn: uid=a\nmail: a@x.example\npigeonSessionsSince: yesterday\n",
            &[("7:22", "a time since 1970 like 20261122101500Z, found \"yesterday\"")],
        ),
        (
            "dn: uid=a\nmail: a@x.example\npigeonPreviousHost: n1/a/b\n",
            &[("7:25", "the id of a volume")],
        ),
        (
            "dn: cn=n\nobjectClass: pigeonServer\ncn: n\npigeonRole: mx\npigeonRole: smtp\n",
            &[("9:13", "mx, submission, proxy or store, found \"smtp\"")],
        ),
        (
            "dn: cn=n\nobjectClass: pigeonServer\ncn: n\npigeonNodeState: off\n",
            &[("8:18", "up, draining or down, found \"off\"")],
        ),
        (
            "dn: cn=n\nobjectClass: pigeonServer\ncn: n\npigeonNodeState: up\npigeonNodeState: down\n",
            &[("9:18", "expected one value")],
        ),
        (
            "dn: cn=n\nobjectClass: pigeonServer\ncn: n\npigeonPrivateAddress: http://10.0.0.1\n",
            &[("8:23", "lmtp:// or status://")],
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
