//! SEARCH with keys of every cost, and its answers.

use super::{Scene, check};

fn scene() -> Scene {
    Scene::new()
        .messages(3)
        .message("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Fri, 2 Jan 1970 23:00:00 -0500\r\nTo: bob@example.org\r\n\r\nneedle in the text\r\n")
        .message(
            "Subject: five\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: \
             base64\r\n\r\naGlkZGVuIHRyZWFzdXJl\r\n--x--\r\n",
        )
}

#[test]
fn keys_and_answers() {
    check(
        scene(),
        r#"
C: s SELECT INBOX
S: ...
C: a STORE 2 +FLAGS.SILENT (\Seen $Work)
S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft $Work)
S: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft $Work \*)] Flags that can be changed
S: a OK STORE completed
C: b SEARCH ALL
S: * SEARCH 1 2 3 4 5
S: b OK SEARCH completed
C: c UID SEARCH UNSEEN 1:3
S: * SEARCH 1 3
S: c OK SEARCH completed
C: d SEARCH KEYWORD $work
S: * SEARCH 2
S: d OK SEARCH completed
C: e SEARCH KEYWORD $none
S: * SEARCH
S: e OK SEARCH completed
C: f SEARCH SINCE 2-Jan-1970 BEFORE 4-Jan-1970
S: * SEARCH 2 3
S: f OK SEARCH completed
C: g SEARCH SUBJECT "MESSAGE 2"
S: * SEARCH 2
S: g OK SEARCH completed
C: h SEARCH CHARSET UTF-8 SUBJECT {7+}
C: grÜße
S: * SEARCH 4
S: h OK SEARCH completed
C: i SEARCH BODY needle
S: * SEARCH 4
S: i OK SEARCH completed
C: j SEARCH TEXT treasure
S: * SEARCH 5
S: j OK SEARCH completed
C: k SEARCH OR BODY treasure SENTON 2-Jan-1970
S: * SEARCH 4 5
S: k OK SEARCH completed
C: l SEARCH NOT FROM alice
S: * SEARCH 4 5
S: l OK SEARCH completed
C: m SEARCH CHARSET KLINGON ALL
S: m NO [BADCHARSET (US-ASCII UTF-8)] Charset not supported
C: n SEARCH 9
S: * SEARCH
S: n OK SEARCH completed
C: o SEARCH UID 9 NOT 1
S: * SEARCH
S: o OK SEARCH completed
C: p SEARCH LARGER 50
S: * SEARCH 4 5
S: p OK SEARCH completed
C: q SEARCH RECENT SEEN
S: * SEARCH 2
S: q OK SEARCH completed
"#,
    );
}

#[test]
fn an_empty_mailbox_has_nothing_to_find() {
    check(
        Scene::new(),
        r#"
C: s SELECT INBOX
S: ...
C: a SEARCH 1:* UNSEEN
S: * SEARCH
S: a OK SEARCH completed
C: b UID SEARCH RETURN (COUNT) NOT *
S: * ESEARCH (TAG "b") UID COUNT 0
S: b OK SEARCH completed
"#,
    );
}

#[test]
fn extended_answers() {
    check(
        scene(),
        r#"
C: s SELECT INBOX
S: ...
C: a SEARCH RETURN () NOT 3
S: * ESEARCH (TAG "a") ALL 1:2,4:5
S: a OK SEARCH completed
C: b UID SEARCH RETURN (MIN MAX COUNT) ALL
S: * ESEARCH (TAG "b") UID MIN 1 MAX 5 COUNT 5
S: b OK SEARCH completed
C: c SEARCH RETURN (MIN) NOT 1
S: * ESEARCH (TAG "c") MIN 2
S: c OK SEARCH completed
C: d SEARCH RETURN (ALL COUNT) SEEN
S: * ESEARCH (TAG "d") COUNT 0
S: d OK SEARCH completed
"#,
    );
}
