use super::*;
use crate::change::Step;
use crate::entry::{empty, push};
use proptest::prelude::*;

const FILE: &str = "# Everybody.\nversion: 1\n\n# The domain\ndn: dc=example\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\n\
dn: uid=a,dc=example\n# first\nuid: a\nmail: a@example.org\n# between\nMail: b@ex\n ample.org\ncn:: w6Q=\n# last\n\n\n# The end\n";

fn modified(dn: &str, attribute: &str, values: &[&str]) -> Change {
    Change::Modify {
        dn: dn.into(),
        steps: vec![Step::new(attribute, values.iter().copied())],
        version: None,
    }
}

fn after(text: &str, change: Change) -> String {
    let text = edited(text.as_bytes(), &[change]).expect("good LDIF");
    String::from_utf8(text).expect("it was text")
}

#[test]
fn a_line_that_says_it_already_stays() {
    let dn = "UID=A, dc=example";
    for (values, old, new) in [
        (&["a@example.org", "b@example.org"][..], "", ""),
        (
            &["a@example.org", "c@example.org"],
            "Mail: b@ex\n ample.org\n",
            "Mail: c@example.org\n",
        ),
        (
            &["c@example.org", "b@example.org"],
            "mail: a@example.org\n",
            "mail: c@example.org\n",
        ),
        (&["b@example.org"], "mail: a@example.org\n", ""),
        (&["a@example.org"], "Mail: b@ex\n ample.org\n", ""),
        (
            &["a@example.org", "b@example.org", "c@example.org"],
            "Mail: b@ex\n ample.org\n",
            "Mail: b@ex\n ample.org\nmail: c@example.org\n",
        ),
        (
            &["c@example.org", "a@example.org", "b@example.org"],
            "mail: a@example.org\n",
            "mail: c@example.org\nmail: a@example.org\n",
        ),
    ] {
        assert_eq!(
            after(FILE, modified(dn, "mail", values)),
            FILE.replace(old, new),
            "{values:?}"
        );
    }
    assert_eq!(
        after(FILE, modified(dn, "mailQuotaSize", &["5"])),
        FILE.replace("cn:: w6Q=\n", "cn:: w6Q=\nmailQuotaSize: 5\n")
    );
}

#[test]
fn entries_come_and_go() {
    let mut entry = empty("uid=#x\\, y,dc=example");
    push(&mut entry, "description", " ä");
    let added = after(FILE, Change::Add(entry));
    assert_eq!(
        added,
        format!("{FILE}\ndn: uid=#x\\, y,dc=example\ndescription:: IMOk\n")
    );
    let delete = |dn: &str| Change::Delete {
        dn: dn.into(),
        version: None,
    };
    let start = FILE.find("dn: uid").expect("it is there");
    assert_eq!(
        after(FILE, delete("uid=a,dc=example")),
        format!("{}\n# The end\n", &FILE[..start])
    );
    assert!(edited(FILE.as_bytes(), &[delete("uid=b,dc=example")]).is_err());
    let renamed = Change::Rename {
        dn: "uid=a,dc=example".into(),
        rdn: "uid=b\\2cc".into(),
        uuid: None,
    };
    assert_eq!(
        after(FILE, renamed),
        FILE.replace("dn: uid=a,", "dn: uid=b\\2cc,")
            .replace("uid: a\n", "uid: b,c\n")
    );
}

#[test]
fn line_ends_stay_what_they_are() {
    let file = FILE.replace('\n', "\r\n");
    let long = "x".repeat(100);
    let changed = after(&file, modified("uid=a,dc=example", "mail", &[&long]));
    assert_eq!(changed.matches('\n').count(), changed.matches("\r\n").count());
    let cut = "dn: uid=a,dc=example\nuid: a";
    assert_eq!(
        after(cut, modified("uid=a,dc=example", "cn", &["b"])),
        format!("{cut}\ncn: b\n")
    );
    let added = after(cut, Change::Add(empty("uid=b,dc=example")));
    assert_eq!(added, format!("{cut}\n\ndn: uid=b,dc=example\n"));
    assert!(edited(b"dn: uid=a\nno colon\n", &[]).is_err());
}

/// A file of entries with comments, folded lines and empty lines anywhere that LDIF lets them be; the texts between them.
fn files() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let comment = prop_oneof!["", "# [ -~]{0,20}\n", "#\n folded\n"];
    let value = prop_oneof![
        "(uid|mail|Mail|cn|x-y): [a-z]{1,9}\n",
        "mail: [a-z]{1,4}\n [a-z ]{1,4}[a-z]\n",
        "cn:: dw==\n"
    ];
    let body = prop::collection::vec((comment.clone(), value), 0..6).prop_map(|lines| {
        lines
            .into_iter()
            .map(|(comment, value)| comment + &value)
            .collect::<String>()
    });
    let gap = ("\n{1,3}", prop_oneof!["", "# [ -~]{0,20}\n", "#\n\n"]).prop_map(|(lines, comment)| lines + &comment);
    (1_usize..5).prop_flat_map(move |count| {
        (
            prop::collection::vec(body.clone(), count),
            prop::collection::vec(gap.clone(), count),
        )
    })
}

proptest! {
    #[test]
    fn editing_one_entry_leaves_every_other_byte(
        (bodies, gaps) in files(),
        chosen in any::<prop::sample::Index>(),
        attribute in "(uid|MAIL|cn|other)",
        values in prop::collection::vec(prop_oneof!["[a-z]{1,9}", ".{1,5}", "dw"], 0..4),
        carriage_returns: bool,
    ) {
        let end = |text: String| if carriage_returns { text.replace('\n', "\r\n") } else { text };
        let texts: Vec<String> = bodies.iter().enumerate().map(|(at, body)| end(format!("dn: uid={at},dc=x\n{body}"))).collect();
        let gaps: Vec<String> = gaps.into_iter().map(end).collect();
        let chosen = chosen.index(texts.len());
        let mut front = end("version: 1\n\n".into());
        for at in 0..chosen {
            front += &texts[at];
            front += &gaps[at];
        }
        let mut back = gaps[chosen].clone();
        for at in chosen + 1..texts.len() {
            back += &texts[at];
            back += &gaps[at];
        }
        let file = format!("{front}{}{back}", texts[chosen]);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let changed = after(&file, modified(&format!("uid={chosen},dc=x"), &attribute, &values));
        prop_assert!(changed.starts_with(&front), "{changed}");
        prop_assert!(changed.ends_with(&back), "{changed}");
        prop_assert!(changed.len() >= front.len() + back.len());
    }
}
