//! The life of a session: login, selecting, the small commands, what is refused, and the end.

use super::{Scene, check, check_steps};

#[test]
fn the_small_commands() {
    check(
        Scene::new(),
        r#"
S: login OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN MOVE ESEARCH SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE MULTIAPPEND QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE CONDSTORE APPENDLIMIT=100000] Logged in
C: a NOOP
S: a OK NOOP completed
C: b namespace
S: * NAMESPACE (("" "/")) NIL NIL
S: b OK NAMESPACE completed
C: c LOGIN alice pigeon
S: c BAD Logged in already
C: d FETCH 1 FLAGS
S: d BAD No mailbox selected
C: e CHECK
S: e BAD No mailbox selected
C: f EXPUNGE
S: f BAD No mailbox selected
C: g XYZZY
S: g BAD Unknown command
C: h
S: h BAD Command expected
C: i ENABLE FOO
S: * ENABLED
S: i OK ENABLE completed
C: j UNSELECT
S: j BAD No mailbox selected
C: k ID ("name" "test")
S: * ID ("name" "PigeonAir" "version" "VERSION")
S: k OK ID completed
C: l LOGOUT
S: * BYE Logging out
S: l OK LOGOUT completed
"#,
    );
}

#[test]
fn selecting() {
    check(
        Scene::new().messages(3),
        r#"
C: a SELECT INBOX
S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft)
S: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft \*)] Flags that can be changed
S: * 3 EXISTS
S: * 3 RECENT
S: * OK [UNSEEN 1] First unseen
S: * OK [UIDVALIDITY 1] UIDs valid
S: * OK [UIDNEXT 4] Predicted next UID
S: * OK [HIGHESTMODSEQ M] Highest
S: a OK [READ-WRITE] SELECT completed
C: b EXAMINE inbox
S: * OK [CLOSED] Previous mailbox closed
S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft)
S: * OK [PERMANENTFLAGS ()] No flag can be changed
S: * 3 EXISTS
S: * 0 RECENT
S: * OK [UNSEEN 1] First unseen
S: * OK [UIDVALIDITY 1] UIDs valid
S: * OK [UIDNEXT 4] Predicted next UID
S: * OK [HIGHESTMODSEQ M] Highest
S: b OK [READ-ONLY] EXAMINE completed
C: c STORE 1 +FLAGS (\Seen)
S: c NO [READ-ONLY] Mailbox is open for reading only
C: d EXPUNGE
S: d NO [READ-ONLY] Mailbox is open for reading only
C: e SELECT Nowhere
S: * OK [CLOSED] Previous mailbox closed
S: e NO [NONEXISTENT] No such mailbox
C: f FETCH 1 FLAGS
S: f BAD No mailbox selected
C: g SELECT INBOX (CONDSTORE)
S: * FLAGS (\Seen \Answered \Flagged \Deleted \Draft)
S: * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft \*)] Flags that can be changed
S: * 3 EXISTS
S: * 0 RECENT
S: * OK [UNSEEN 1] First unseen
S: * OK [UIDVALIDITY 1] UIDs valid
S: * OK [UIDNEXT 4] Predicted next UID
S: * OK [HIGHESTMODSEQ M] Highest
S: g OK [READ-WRITE] SELECT completed
C: h UNSELECT
S: h OK UNSELECT completed
"#,
    );
}

#[test]
fn examining_leaves_messages_recent() {
    check_steps(
        Scene::new().messages(2),
        r#"
C: a EXAMINE INBOX
S: ... * 2 RECENT ...
C: b FETCH 1 FLAGS
S: * 1 FETCH (FLAGS (\Recent))
S: b OK FETCH completed
C: c SELECT INBOX
S: ... * 2 RECENT ...
C: d SELECT INBOX
S: ... * 0 RECENT ...
"#,
    );
}

#[test]
fn too_many_bad_commands_end_the_session() {
    let mut transcript = String::new();
    for _ in 0..19 {
        transcript += "C: x FOO\nS: x BAD Unknown command\n";
    }
    transcript += "C: a NOOP\nS: a OK NOOP completed\n";
    for _ in 0..20 {
        transcript += "C: x FOO\nS: x BAD Unknown command\n";
    }
    check(Scene::new(), &(transcript + "S: * BYE Too many bad commands\n"));
}

#[test]
fn a_silent_client_is_sent_away() {
    let mut scene = Scene::new().open();
    let mut session = scene.login();
    session.take_output();
    session.peer.time_out();
    scene.run();
    assert_eq!(session.take_text(), "* BYE Idle for too long\r\n");
    assert!(session.peer.is_closed());
    assert_eq!(session.outcome().reason, "Idle for too long");
}

#[test]
fn a_client_that_goes_ends_the_session() {
    let mut scene = Scene::new().open();
    let mut session = scene.login();
    session.take_output();
    session.peer.send(b"a NO");
    session.peer.end();
    scene.run();
    assert_eq!(session.take_text(), "");
    assert!(session.peer.is_closed());
    let outcome = session.outcome();
    assert_eq!(
        (outcome.received, outcome.reason.as_str()),
        (4, "unexpected end of file")
    );
}

#[test]
fn a_node_can_end_a_session() {
    use crate::imap::EndReason;
    for (reason, text) in [
        (
            EndReason::Draining,
            "* BYE [UNAVAILABLE] Server shutting down, come again soon\r\n",
        ),
        (
            EndReason::AccessEnded,
            "* BYE [UNAVAILABLE] Account changed, log in again\r\n",
        ),
    ] {
        let mut scene = Scene::new().messages(1).open();
        let (mut waiting, mut idling) = (scene.login(), scene.login());
        idling.peer.send(b"a SELECT INBOX\r\nb IDLE\r\n");
        scene.run();
        waiting.take_output();
        idling.take_output();
        waiting.end.end(reason);
        idling.end.end(reason);
        scene.run();
        for session in [&mut waiting, &mut idling] {
            assert_eq!(session.take_text(), text);
            assert!(session.peer.is_closed());
        }
    }
}
