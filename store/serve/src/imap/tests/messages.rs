//! FETCH, STORE, EXPUNGE, COPY and MOVE.

use super::{Scene, check, check_steps};

const SELECTED: &str = "C: s SELECT INBOX\nS: ...\n";

fn selected(transcript: &str) -> String {
    format!("{SELECTED}{}", transcript.trim_start())
}

#[test]
fn fetching_what_the_index_knows() {
    check(
        Scene::new().messages(3),
        &selected(
            r#"
C: a FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE)
S: * 2 FETCH (UID 2 FLAGS (\Recent) INTERNALDATE " 2-Jan-1970 00:00:00 +0000" RFC822.SIZE 50)
S: a OK FETCH completed
C: b UID FETCH 2:* FLAGS
S: * 2 FETCH (UID 2 FLAGS (\Recent))
S: * 3 FETCH (UID 3 FLAGS (\Recent))
S: b OK FETCH completed
C: c FETCH 1,3 FAST
S: * 1 FETCH (FLAGS (\Recent) INTERNALDATE " 1-Jan-1970 00:00:00 +0000" RFC822.SIZE 50)
S: * 3 FETCH (FLAGS (\Recent) INTERNALDATE " 3-Jan-1970 00:00:00 +0000" RFC822.SIZE 50)
S: c OK FETCH completed
C: d FETCH 4 FLAGS
S: d BAD Message number out of range
C: e UID FETCH 4 FLAGS
S: e OK FETCH completed
C: f UID FETCH 9:* UID
S: * 3 FETCH (UID 3)
S: f OK FETCH completed
C: g FETCH 3:2,2,* UID
S: * 2 FETCH (UID 2)
S: * 3 FETCH (UID 3)
S: g OK FETCH completed
"#,
        ),
    );
}

#[test]
fn fetching_text_marks_it_seen() {
    check(
        Scene::new().messages(2),
        &selected(
            r#"
C: a FETCH 1 BODY.PEEK[]
S: * 1 FETCH (BODY[] {50}
S: Subject: message 1
S: From: alice@example.org
S: 
S: 1
S: )
S: a OK FETCH completed
C: b FETCH 1 (BODY[TEXT] UID)
S: * 1 FETCH (BODY[TEXT] {3}
S: 1
S:  UID 1 FLAGS (\Seen \Recent))
S: b OK FETCH completed
C: c FETCH 1:2 RFC822.TEXT
S: * 1 FETCH (RFC822.TEXT {3}
S: 1
S: )
S: * 2 FETCH (RFC822.TEXT {3}
S: 2
S:  FLAGS (\Seen \Recent))
S: c OK FETCH completed
C: d FETCH 1:2 FLAGS
S: * 1 FETCH (FLAGS (\Seen \Recent))
S: * 2 FETCH (FLAGS (\Seen \Recent))
S: d OK FETCH completed
C: e FETCH 1 (RFC822.HEADER)
S: * 1 FETCH (RFC822.HEADER {47}
S: Subject: message 1
S: From: alice@example.org
S: 
S: )
S: e OK FETCH completed
C: f FETCH 1 (BODY.PEEK[HEADER.FIELDS (from "x-none")] BODY.PEEK[HEADER.FIELDS.NOT (FROM)]<0.7>)
S: * 1 FETCH (BODY[HEADER.FIELDS (from x-none)] {27}
S: From: alice@example.org
S: 
S:  BODY[HEADER.FIELDS.NOT (FROM)]<0> {7}
S: Subject)
S: f OK FETCH completed
C: g FETCH 1 (BODY.PEEK[]<47.100> BODY.PEEK[]<50.1> BODY.PEEK[2] BODY.PEEK[1] BODY.PEEK[1.MIME]<0.1>)
S: * 1 FETCH (BODY[]<47> {3}
S: 1
S:  BODY[]<50> "" BODY[2] NIL BODY[1] {3}
S: 1
S:  BODY[1.MIME]<0> {1}
S: S)
S: g OK FETCH completed
"#,
        ),
    );
}

#[test]
fn fetching_structure() {
    let multipart = "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: \"Bob B\" <bob@example.org>\r\nSubject: parts\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: \
        text/html\r\n\r\n<p>two\r\n--b--\r\n";
    check(
        Scene::new().message(multipart),
        &selected(
            r#"
C: a FETCH 1 ENVELOPE
S: * 1 FETCH (ENVELOPE ("Mon, 7 Feb 1994 21:52:25 -0800" "parts" (("Bob B" NIL "bob" "example.org")) (("Bob B" NIL "bob" "example.org")) (("Bob B" NIL "bob" "example.org")) NIL NIL NIL NIL NIL))
S: a OK FETCH completed
C: b FETCH 1 (BODY)
S: * 1 FETCH (BODY (("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0)("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 6 0) "mixed"))
S: b OK FETCH completed
C: c FETCH 1 (BODY.PEEK[2.MIME] BODY.PEEK[2])
S: * 1 FETCH (BODY[2.MIME] {27}
S: Content-Type: text/html
S: 
S:  BODY[2] {6}
S: <p>two)
S: c OK FETCH completed
"#,
        ),
    );
}

#[test]
fn storing_flags() {
    check(
        Scene::new().messages(3),
        &selected(
            r#"
C: a STORE 1:2 +FLAGS (\Seen \Flagged)
S: * 1 FETCH (FLAGS (\Seen \Flagged \Recent))
S: * 2 FETCH (FLAGS (\Seen \Flagged \Recent))
S: a OK STORE completed
C: b STORE 1 -FLAGS.SILENT \Seen
S: b OK STORE completed
C: c UID STORE 3 FLAGS ($Forwarded)
S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft $Forwarded)
S: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft $Forwarded \*)] Flags that can be changed
S: * 3 FETCH (UID 3 FLAGS (\Recent $Forwarded))
S: c OK STORE completed
C: d FETCH 1:* FLAGS
S: * 1 FETCH (FLAGS (\Flagged \Recent))
S: * 2 FETCH (FLAGS (\Seen \Flagged \Recent))
S: * 3 FETCH (FLAGS (\Recent $Forwarded))
S: d OK FETCH completed
C: e STORE 3 FLAGS ()
S: * 3 FETCH (FLAGS (\Recent))
S: e OK STORE completed
C: f STORE 4 FLAGS ()
S: f BAD Message number out of range
C: g UID STORE 9 FLAGS ()
S: g OK STORE completed
C: h STORE 1 FLAGS (\Recent)
S: h BAD Invalid system flag
"#,
        ),
    );
}

#[test]
fn expunging() {
    check(
        Scene::new().messages(5),
        &selected(
            r#"
C: a STORE 1:2,4 +FLAGS.SILENT (\Deleted)
S: a OK STORE completed
C: b UID EXPUNGE 2:3
S: * 2 EXPUNGE
S: b OK EXPUNGE completed
C: c EXPUNGE
S: * 1 EXPUNGE
S: * 2 EXPUNGE
S: c OK EXPUNGE completed
C: d FETCH 1:* UID
S: * 1 FETCH (UID 3)
S: * 2 FETCH (UID 5)
S: d OK FETCH completed
C: e STORE 2 +FLAGS.SILENT \Deleted
S: e OK STORE completed
C: f CLOSE
S: f OK CLOSE completed
C: g STATUS INBOX (MESSAGES UIDNEXT)
S: * STATUS INBOX (MESSAGES 1 UIDNEXT 6)
S: g OK STATUS completed
"#,
        ),
    );
}

#[test]
fn copying_and_moving() {
    check(
        Scene::new().messages(4),
        &selected(
            r#"
C: a COPY 1 Archive
S: a NO [TRYCREATE] No such mailbox
C: b CREATE Archive
S: b OK CREATE completed
C: c COPY 1,3 Archive
S: c OK [COPYUID 2 1,3 1:2] COPY completed
C: d MOVE 2:3 Archive
S: * OK [COPYUID 2 2:3 3:4] Moved
S: * 2 EXPUNGE
S: * 2 EXPUNGE
S: d OK MOVE completed
C: e UID MOVE 4 Archive
S: * OK [COPYUID 2 4 5] Moved
S: * 2 EXPUNGE
S: e OK MOVE completed
C: f UID COPY 77 Archive
S: f OK No matching messages, nothing copied
C: g STATUS Archive (MESSAGES)
S: * STATUS Archive (MESSAGES 5)
S: g OK STATUS completed
C: h COPY 1 INBOX
S: * 2 EXISTS
S: * 2 RECENT
S: h OK [COPYUID 1 1 5] COPY completed
"#,
        ),
    );
}

#[test]
fn pieces_of_a_large_message() {
    let line = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    let body = line.repeat(10_000);
    let message = format!("Subject: large\r\n\r\n{body}");
    let mut scene = Scene::new().message(&message).open();
    let mut session = scene.login();
    session.peer.send(b"a SELECT INBOX\r\n");
    scene.run();
    session.take_output();
    session.peer.send(b"b FETCH 1 BODY.PEEK[]\r\n");
    scene.run();
    assert!(
        session.take_text()
            == format!(
                "* 1 FETCH (BODY[] {{{}}}\r\n{message})\r\nb OK FETCH completed\r\n",
                message.len()
            )
    );
    session.peer.send(b"c FETCH 1 BODY.PEEK[TEXT]<360000.360001>\r\n");
    scene.run();
    let piece = &body[360_000..720_000];
    assert!(
        session.take_text()
            == format!("* 1 FETCH (BODY[TEXT]<360000> {{360000}}\r\n{piece})\r\nc OK FETCH completed\r\n")
    );
}

#[test]
fn a_mailbox_is_read_through_by_few_reads() {
    // Too large for the cache.
    let texts: Vec<String> = (1..=40)
        .map(|number| {
            format!(
                "Subject: {number}\r\n\r\n{}word{number}\r\n",
                "0123456789\r\n".repeat(500)
            )
        })
        .collect();
    let mut scene = texts
        .iter()
        .fold(Scene::new(), |scene, text| scene.message(text))
        .open();
    let mut session = scene.login();
    session.peer.send(b"a SELECT INBOX\r\n");
    scene.run();
    session.take_output();
    let mut ask = |command: &str, expected: &str| {
        let before = scene.volume.stats();
        session.peer.send(command.as_bytes());
        scene.run();
        assert!(session.take_text() == expected, "{command}");
        let after = scene.volume.stats();
        (after.reads - before.reads, after.read_ahead - before.read_ahead)
    };
    let fetched: String = texts
        .iter()
        .enumerate()
        .map(|(index, text)| format!("* {} FETCH (BODY[] {{{}}}\r\n{text})\r\n", index + 1, text.len()))
        .collect();
    let (reads, ahead) = ask(
        "b FETCH 1:* BODY.PEEK[]\r\n",
        &format!("{fetched}b OK FETCH completed\r\n"),
    );
    assert_eq!(reads + ahead, 40);
    assert!(reads <= 5, "{reads} reads");
    let (reads, ahead) = ask("c SEARCH TEXT word17\r\n", "* SEARCH 17\r\nc OK SEARCH completed\r\n");
    assert_eq!(reads + ahead, 40);
    assert!(reads <= 5, "{reads} reads");
    let two = ask(
        "d FETCH 3,33 BODY.PEEK[HEADER]\r\n",
        "* 3 FETCH (BODY[HEADER] {14}\r\nSubject: 3\r\n\r\n)\r\n* 33 FETCH (BODY[HEADER] {15}\r\nSubject: 33\r\n\r\n)\r\nd OK \
         FETCH completed\r\n",
    );
    assert_eq!(two, (2, 0), "they are far from each other");
}

#[test]
fn many_header_fields_are_filtered_twice() {
    let fields: String = (0..20_000)
        .map(|number| format!("X-{}: {number}\r\n", number % 2))
        .collect();
    let message = format!("{fields}\r\nbody\r\n");
    let expected: String = fields
        .split_inclusive("\r\n")
        .filter(|line| line.starts_with("X-1"))
        .collect::<String>()
        + "\r\n";
    let mut scene = Scene::new().message(&message).open();
    let mut session = scene.login();
    session.peer.send(b"a SELECT INBOX\r\n");
    scene.run();
    session.take_output();
    session
        .peer
        .send(b"b FETCH 1 (BODY.PEEK[HEADER.FIELDS (X-1)] BODY.PEEK[HEADER.FIELDS.NOT (x-0)]<70000.11>)\r\n");
    scene.run();
    let piece = &expected[70_000..70_011];
    assert_eq!(
        session.take_text(),
        format!(
            "* 1 FETCH (BODY[HEADER.FIELDS (X-1)] {{{}}}\r\n{expected} BODY[HEADER.FIELDS.NOT (x-0)]<70000> {{11}}\r\n{piece})\r\nb OK \
             FETCH completed\r\n",
            expected.len()
        )
    );
}

#[test]
fn an_empty_mailbox() {
    check_steps(
        Scene::new(),
        &selected(
            r#"
C: a FETCH 1:* FLAGS
S: a BAD Message number out of range
C: b UID FETCH 1:* FLAGS
S: b OK FETCH completed
C: c SEARCH ALL
S: * SEARCH
S: c OK SEARCH completed
C: d EXPUNGE
S: d OK EXPUNGE completed
C: e UID STORE 1:* +FLAGS (\Seen)
S: e OK STORE completed
"#,
        ),
    );
}
