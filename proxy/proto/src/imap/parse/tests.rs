//! Commands of every kind, right and wrong, and a second opinion on the right ones.

use super::*;

fn parse(text: &str) -> Result<Command, &'static str> {
    command(&mut Cursor::new(text.as_bytes())).map_err(|syntax| syntax.0)
}

fn name(text: &str) -> MailboxName {
    MailboxName::from_utf8(text).expect(text)
}

/// What RFC 3501 and the extensions allow, one line a form.
const VALID: &[&str] = &[
    "CAPABILITY",
    "NOOP",
    "LOGOUT",
    "STARTTLS",
    "NAMESPACE",
    "IDLE",
    "CHECK",
    "CLOSE",
    "UNSELECT",
    "EXPUNGE",
    "UID EXPUNGE 1:5,7",
    "ID NIL",
    "ID (\"name\" \"sodr\" \"os\" NIL)",
    "AUTHENTICATE PLAIN",
    "AUTHENTICATE PLAIN AGFsaWNlAHBpZ2Vvbg==",
    "AUTHENTICATE EXTERNAL =",
    "LOGIN alice \"pass word\"",
    "LOGIN {5+}\r\nalice {6}\r\npigeon",
    "ENABLE CONDSTORE",
    "SELECT INBOX",
    "SELECT \"Sent Items\"",
    "EXAMINE &U,BTFw-",
    "SELECT INBOX (CONDSTORE)",
    "CREATE a/b",
    "CREATE Drafts (USE (\\Drafts))",
    "DELETE a",
    "RENAME a b",
    "SUBSCRIBE a",
    "UNSUBSCRIBE a",
    "LIST \"\" *",
    "LIST (SUBSCRIBED) \"\" (% \"a/*\") RETURN (CHILDREN STATUS (MESSAGES UNSEEN))",
    "LSUB \"\" \"%\"",
    "STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)",
    "GETQUOTA \"\"",
    "GETQUOTAROOT INBOX",
    "SEARCH ALL",
    "SEARCH CHARSET UTF-8 SUBJECT {3+}\r\n\u{e9}x OR SEEN NOT (DRAFT 1:*)",
    "UID SEARCH UID 1:* SINCE 1-Jan-2024",
    "FETCH 1:* FULL",
    "FETCH 1,3:5,* (FLAGS UID RFC822.SIZE INTERNALDATE ENVELOPE BODY BODYSTRUCTURE)",
    "UID FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject From)]<0.100>",
    "UID FETCH 1 (BODY[1.2.MIME] RFC822.HEADER RFC822.TEXT RFC822)",
    "STORE 1 FLAGS (\\Seen \\Deleted)",
    "UID STORE 1:3 +FLAGS.SILENT ($Forwarded)",
    "STORE 1 -FLAGS \\Seen",
    "COPY 1:2 Sent",
    "UID COPY 1:2 \"Sent Items\"",
    "MOVE 1 Trash",
    "UID MOVE 1 Trash",
];

#[test]
fn valid_commands() {
    for text in VALID {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        let lower = text.to_ascii_lowercase();
        if !text.contains(['{', '=']) {
            assert!(parse(&lower).is_ok(), "{lower}: {:?}", parse(&lower));
        }
        // No prefix makes it panic.
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let _ = parse(&text[..end]);
        }
    }
}

#[test]
fn a_second_opinion_on_valid_commands() {
    use imap_codec::CommandCodec;
    use imap_codec::decode::Decoder;
    // What the other implementation does not know, or only with a feature.
    const UNKNOWN_THERE: &[&str] = &[
        "LIST (SUBSCRIBED)",
        "SELECT INBOX (CONDSTORE)",
        "CREATE Drafts (USE",
        "STARTTLS",
        "NAMESPACE",
        "ID ",
    ];
    let mut agreed = 0;
    for text in VALID {
        if UNKNOWN_THERE.iter().any(|known| text.starts_with(known)) {
            continue;
        }
        let line = format!("a {text}\r\n");
        match CommandCodec::default().decode(line.as_bytes()) {
            Ok(_) => agreed += 1,
            // It stops at a literal that is to be asked for.
            Err(imap_codec::decode::CommandDecodeError::LiteralFound { .. }) => {}
            Err(error) => panic!("{text}: {error:?}"),
        }
    }
    assert!(agreed > 35, "{agreed}");
}

#[test]
fn arguments() {
    assert_eq!(
        parse("select inbox (condstore)"),
        Ok(Command::Select {
            mailbox: name("INBOX"),
            read_only: false,
            condstore: true
        })
    );
    assert_eq!(
        parse("create a/b/ "),
        Ok(Command::Create {
            mailbox: name("a/b"),
            special_uses: vec![]
        })
    );
    assert_eq!(
        parse("create x (use (\\drafts \\Foo))"),
        Ok(Command::Create {
            mailbox: name("x"),
            special_uses: vec!["\\drafts".into(), "\\Foo".into()]
        })
    );
    assert_eq!(
        parse("authenticate plain ="),
        Ok(Command::Authenticate {
            mechanism: "PLAIN".into(),
            initial_response: Some(Secret::new(b"=".to_vec()))
        })
    );
    let Ok(Command::Store(store)) = parse("uid store 4:2 (unchangedsince 12) -flags.silent (\\seen x)") else {
        panic!("STORE")
    };
    assert_eq!((store.uid, store.silent, store.unchanged_since), (true, true, Some(12)));
    assert_eq!(
        (store.operation, store.flags.system, store.flags.keywords),
        (StoreOperation::Remove, 1, vec!["x".to_owned()])
    );
    let Ok(Command::Fetch {
        uid,
        changed_since,
        items,
        ..
    }) = parse("fetch 1:* (flags) (changedsince 7)")
    else {
        panic!("FETCH")
    };
    assert_eq!((uid, changed_since, items), (false, Some(7), vec![FetchItem::Flags]));
    assert_eq!(
        parse("copy 2 &ZeVnLIqe-"),
        Ok(Command::Copy {
            uid: false,
            set: SequenceSet::single(2),
            to: name("日本語")
        })
    );
    assert_eq!(parse("setquota \"\" (storage 5)"), Ok(Command::SetQuota));
}

#[test]
fn refused() {
    let table = [
        ("", "Command expected"),
        ("FOO", "Unknown command"),
        ("UID FOO 1", "Unknown UID command"),
        ("UID", "Missing argument"),
        ("UID FETCH", "Missing argument"),
        ("NOOP x", "Unexpected argument"),
        ("LOGIN alice", "Missing argument"),
        ("LOGIN alice (x)", "String expected"),
        ("SELECT \"\"", "Mailbox name is empty"),
        ("SELECT a&b", "Mailbox name is not valid modified UTF-7"),
        ("SELECT INBOX (QRESYNC (1 2))", "Unknown SELECT parameter"),
        ("FETCH 0 FLAGS", "Number must not be zero"),
        ("FETCH 1", "Missing argument"),
        ("FETCH 1 (FLAGS) (VANISHED)", "QRESYNC is not supported"),
        ("FETCH 1 FLAGS UID", "Opening parenthesis expected"),
        ("STORE 1 FLAGZ ()", "Unknown item to store"),
        ("STORE 1 FLAGS (\\Recent)", "Invalid system flag"),
        ("STORE 1 (FOO 1) FLAGS ()", "Unknown STORE modifier"),
        ("STATUS INBOX ()", "No STATUS items"),
        ("STATUS INBOX (FOO)", "Unknown STATUS item"),
        ("ENABLE", "Missing argument"),
        ("CREATE /", "Mailbox name is empty"),
        ("CREATE x (FOO)", "Unknown CREATE parameter"),
        ("ID (\"a\")", "Space expected"),
        ("EXPUNGE 1", "Unexpected argument"),
        ("AUTHENTICATE PLAIN !", "Unexpected argument"),
        ("APPEND x", "Missing message literal"),
    ];
    for (text, reason) in table {
        assert_eq!(parse(text), Err(reason), "{text}");
    }
}

#[test]
fn tags() {
    for (text, valid) in [
        ("a1", true),
        ("A.-_:/'", true),
        ("]", true),
        ("", false),
        ("a b", false),
        ("a+", false),
        ("é", false),
        ("*", false),
    ] {
        assert_eq!(Tag::parse(text).is_some(), valid, "{text}");
    }
    assert!(Tag::parse(&"a".repeat(128)).is_some() && Tag::parse(&"a".repeat(129)).is_none());
}
