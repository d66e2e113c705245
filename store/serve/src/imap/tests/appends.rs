//! APPEND: what is taken, what is refused and when.

use super::{Scene, check, check_steps};

#[test]
fn messages_are_taken() {
    check(
        Scene::new(),
        r#"
C: a APPEND INBOX (\Seen $Work) "17-Jul-1996 02:44:25 -0700" {5}
S: + OK
C: ab
C: c
S: a OK [APPENDUID 1 1] APPEND completed
C: b APPEND INBOX {3+}
C: xyz
S: b OK [APPENDUID 1 2] APPEND completed
C: c SELECT INBOX
S: ...
C: d APPEND INBOX {3+}
C: one (\Draft) {3}
S: + OK
C: two
S: * 4 EXISTS
S: * 4 RECENT
S: d OK [APPENDUID 1 3:4] APPEND completed
C: e FETCH 1:4 (FLAGS INTERNALDATE BODY.PEEK[])
S: * 1 FETCH (FLAGS (\Seen \Recent $Work) INTERNALDATE "17-Jul-1996 09:44:25 +0000" BODY[] {5}
S: ab
S: c)
S: * 2 FETCH (FLAGS (\Recent) INTERNALDATE " 9-Sep-2001 01:46:40 +0000" BODY[] {3}
S: xyz)
S: * 3 FETCH (FLAGS (\Recent) INTERNALDATE " 9-Sep-2001 01:46:40 +0000" BODY[] {3}
S: one)
S: * 4 FETCH (FLAGS (\Draft \Recent) INTERNALDATE " 9-Sep-2001 01:46:40 +0000" BODY[] {3}
S: two)
S: e OK FETCH completed
"#,
    );
}

#[test]
fn refused_before_the_message_is_sent() {
    check_steps(
        Scene::new().messages(1).quota(Some(200), Some(3)),
        r#"
C: a APPEND Nowhere {5}
S: a NO [TRYCREATE] No such mailbox
C: b APPEND INBOX {100001}
S: b NO [TOOBIG] A message may have 100000 bytes
C: c APPEND INBOX {152}
S: c NO [OVERQUOTA] Quota exceeded
C: d APPEND INBOX {0}
S: d NO [CANNOT] A message cannot be empty
C: e APPEND INBOX (\Foo) {5}
S: e BAD Invalid system flag
C: f NOOP
S: f OK NOOP completed
"#,
    );
}

#[test]
fn refused_while_it_comes_anyway() {
    check(
        Scene::new().quota(None, Some(1)),
        r#"
C: a APPEND Nowhere {13+}
C: x DELETE INBOX {5+}
C: hello
S: a NO [TRYCREATE] No such mailbox
C: b APPEND INBOX {3+}
C: one {3+}
C: two
S: b NO [OVERQUOTA] Quota exceeded
C: c STATUS INBOX (MESSAGES)
S: * STATUS INBOX (MESSAGES 0)
S: c OK STATUS completed
C: d APPEND INBOX {3+}
C: one x
S: d BAD Unexpected argument
C: e STATUS INBOX (MESSAGES)
S: * STATUS INBOX (MESSAGES 0)
S: e OK STATUS completed
"#,
    );
}

#[test]
fn too_much_behind_a_refusal_ends_the_session() {
    check(
        Scene::new(),
        r#"
C: a APPEND INBOX {99999999+}
S: a NO [TOOBIG] A message may have 100000 bytes
S: * BYE Too much input behind an error
"#,
    );
}
