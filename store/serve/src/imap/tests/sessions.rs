//! Several sessions of one account: what each is told, and when; IDLE; mod-sequences.

use super::{Scene, check_steps};

#[test]
fn news_comes_with_the_next_command() {
    check_steps(
        Scene::new().messages(3),
        r#"
C1: s SELECT INBOX
S1: ...
C2: s SELECT INBOX
S2: ...
C2: a STORE 1:2 +FLAGS (\Deleted)
S2: * 1 FETCH (FLAGS (\Deleted))
S2: * 2 FETCH (FLAGS (\Deleted))
S2: a OK STORE completed
C1: a NOOP
S1: * 1 FETCH (FLAGS (\Deleted \Recent))
S1: * 2 FETCH (FLAGS (\Deleted \Recent))
S1: a OK NOOP completed
C2: b EXPUNGE
S2: * 1 EXPUNGE
S2: * 1 EXPUNGE
S2: b OK EXPUNGE completed
C2: c APPEND INBOX {3+}
C2: new
S2: * 2 EXISTS
S2: * 1 RECENT
S2: c OK [APPENDUID 1 4] APPEND completed
C1: b FETCH 1:3 UID
S1: * 3 FETCH (UID 3)
S1: b NO [EXPUNGEISSUED] Some of the messages are gone
C1: c SEARCH ALL
S1: * SEARCH 3
S1: c OK SEARCH completed
C1: d STORE 1 +FLAGS (\Seen)
S1: d NO [EXPUNGEISSUED] Some of the messages are gone
C1: e COPY 1 INBOX
S1: * 1 EXPUNGE
S1: * 1 EXPUNGE
S1: * 2 EXISTS
S1: * 1 RECENT
S1: e NO [EXPUNGEISSUED] Some of the messages are gone
C1: f FETCH 1:2 (UID FLAGS)
S1: * 1 FETCH (UID 3 FLAGS (\Recent))
S1: * 2 FETCH (UID 4 FLAGS ())
S1: f OK FETCH completed
"#,
    );
}

#[test]
fn uid_commands_tell_expunges() {
    check_steps(
        Scene::new().messages(2),
        r#"
C1: s SELECT INBOX
S1: ...
C2: s SELECT INBOX
S2: ...
C2: a UID STORE 1 +FLAGS.SILENT (\Deleted)
S2: a OK STORE completed
C2: b EXPUNGE
S2: * 1 EXPUNGE
S2: b OK EXPUNGE completed
C1: a UID FETCH 1:2 UID
S1: * 2 FETCH (UID 2)
S1: * 1 EXPUNGE
S1: a OK FETCH completed
"#,
    );
}

#[test]
fn idle_tells_at_once() {
    check_steps(
        Scene::new().messages(1),
        r#"
C1: s SELECT INBOX
S1: ...
C1: a IDLE
S1: + idling
C2: a APPEND INBOX {3+}
C2: new
S2: a OK [APPENDUID 1 2] APPEND completed
S1: * 2 EXISTS
S1: * 2 RECENT
C2: s SELECT INBOX
S2: ...
C2: b STORE 1 +FLAGS (\Flagged $Hot)
S2: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft $Hot)
S2: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft $Hot \*)] Flags that can be changed
S2: * 1 FETCH (FLAGS (\Flagged $Hot))
S2: b OK STORE completed
S1: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft $Hot)
S1: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft $Hot \*)] Flags that can be changed
S1: * 1 FETCH (FLAGS (\Flagged \Recent $Hot))
C1: done
S1: a OK IDLE completed
C1: b IDLE
S1: + idling
C1: FOO
S1: b BAD DONE expected
"#,
    );
}

#[test]
fn mod_sequences() {
    check_steps(
        Scene::new().messages(3),
        r#"
C1: s SELECT INBOX
S1: ...
C1: a ENABLE CONDSTORE
S1: * OK [HIGHESTMODSEQ M1] CONDSTORE enabled
S1: * ENABLED CONDSTORE
S1: a OK ENABLE completed
C1: b STORE 1 +FLAGS.SILENT (\Seen)
S1: * 1 FETCH (MODSEQ (M2))
S1: b OK STORE completed
C1: c FETCH 1:* (FLAGS) (CHANGEDSINCE M1)
S1: * 1 FETCH (FLAGS (\Seen \Recent) MODSEQ (M2))
S1: c OK FETCH completed
C1: d STORE 1:2 (UNCHANGEDSINCE M1) +FLAGS (\Flagged)
S1: * 2 FETCH (FLAGS (\Flagged \Recent) MODSEQ (M3))
S1: d OK [MODIFIED 1] Conditional STORE failed for some
C1: e SEARCH MODSEQ M3
S1: * SEARCH 2 (MODSEQ M3)
S1: e OK SEARCH completed
C1: f UID SEARCH RETURN (COUNT) MODSEQ M2
S1: * ESEARCH (TAG "f") UID COUNT 2 MODSEQ M3
S1: f OK SEARCH completed
C1: g FETCH 3 (BODY[TEXT])
S1: * 3 FETCH (BODY[TEXT] {3}
S1: 3
S1:  FLAGS (\Seen \Recent) MODSEQ (M4))
S1: g OK FETCH completed
C1: h STATUS INBOX (HIGHESTMODSEQ)
S1: * STATUS INBOX (HIGHESTMODSEQ M4)
S1: h OK STATUS completed
C2: s SELECT INBOX
S2: ...
C2: a STORE 3 -FLAGS.SILENT (\Seen)
S2: a OK STORE completed
C1: i NOOP
S1: * 3 FETCH (FLAGS (\Recent) MODSEQ (M5))
S1: i OK NOOP completed
"#,
    );
}

#[test]
fn a_deleted_mailbox_empties() {
    check_steps(
        Scene::new(),
        r#"
C1: a CREATE x
S1: a OK CREATE completed
C1: b APPEND x {3+}
C1: one
S1: b OK [APPENDUID 2 1] APPEND completed
C1: c SELECT x
S1: ...
C2: a DELETE x
S2: a OK DELETE completed
C1: d NOOP
S1: * 1 EXPUNGE
S1: d OK NOOP completed
C1: e UID FETCH 1:* FLAGS
S1: e OK FETCH completed
"#,
    );
}
