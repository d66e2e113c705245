//! How sessions begin and end.

use super::*;
use crate::drain::Drain;
use pigeon_engine::byte_stream::ByteStream;
use std::time::Duration;

#[test]
fn who_speaks_before_the_greeting_is_sent_away() {
    let (mut dialogue, _, context) = Node::new(Mode::Smtp).start_over(|mut stream| {
        stream.put_back(b"EHLO x\r\n");
        stream
    });
    assert_eq!(dialogue.take_text(), "554 5.5.1 you spoke before the greeting\r\n");
    assert!(dialogue.has_ended());
    assert_eq!(context.counters.early_talkers.get(), 1);
}

#[test]
fn the_greeting_can_wait() {
    let mut node = Node::new(Mode::Smtp);
    node.context.policy.greeting_delay = Duration::from_secs(2);
    let (mut dialogue, ..) = node.start();
    assert_eq!(dialogue.peer.timeout(), Some(Duration::from_secs(2)));
    assert_eq!(dialogue.take_text(), "");
    dialogue.send(b"EHLO x\r\n");
    assert!(dialogue.take_text().starts_with("554 5.5.1 "));

    let mut node = Node::new(Mode::Smtp);
    node.context.policy.greeting_delay = Duration::from_secs(2);
    let (mut dialogue, ..) = node.start();
    dialogue.time_out();
    // The stream in memory stays timed out, so that the session ends behind its greeting.
    assert_eq!(
        dialogue.take_text(),
        "220 mx.example.org ESMTP PigeonAir\r\n421 4.4.2 time-out\r\n"
    );
}

#[test]
fn a_silent_client_is_timed_out() {
    let (mut dialogue, _, context) = Node::new(Mode::Lmtp).start();
    assert_eq!(dialogue.take_text(), "220 mx.example.org LMTP PigeonAir\r\n");
    let timeout = dialogue.peer.timeout().unwrap();
    assert!(timeout > Duration::from_secs(299) && timeout <= Duration::from_secs(300));
    dialogue.time_out();
    assert_eq!(dialogue.take_text(), "421 4.4.2 time-out\r\n");
    assert!(dialogue.peer.is_closed());
    assert_eq!(context.counters.time_outs.get(), 1);
}

#[test]
fn a_drain_ends_idle_sessions_and_lets_the_others_finish() {
    let drain = Drain::new();
    let node = |drain: &Drain| {
        let mut node = Node::new(Mode::Smtp);
        node.context.drain = drain.clone();
        node.start()
    };
    let (mut idle, ..) = node(&drain);
    let (mut greeted, ..) = node(&drain);
    talk(&mut greeted, &["EHLO x"]);
    let (mut busy, store, _) = node(&drain);
    talk(&mut busy, &["EHLO x", "MAIL FROM:<>", "RCPT TO:<alice@example.org>"]);
    assert_eq!(drain.session_count(), 3);
    idle.take_output();
    drain.begin();
    for dialogue in [&mut idle, &mut greeted] {
        dialogue.run();
        assert_eq!(dialogue.take_text(), "421 4.3.2 shutting down, try again later\r\n");
        assert!(dialogue.has_ended());
    }
    busy.run();
    assert_eq!(drain.session_count(), 1);
    let text = {
        busy.send(b"DATA\r\nx\r\n.\r\n");
        busy.take_text()
    };
    assert!(
        text.ends_with("stored as 0000000000000abc.1\r\n421 4.3.2 shutting down, try again later\r\n"),
        "{text}"
    );
    assert_eq!(store.stored().len(), 1);
    assert_eq!(drain.session_count(), 0);
}

#[test]
fn a_flood_of_commands_is_answered_in_bounded_pieces() {
    let (mut dialogue, ..) = Node::new(Mode::Smtp).start();
    dialogue.take_output();
    dialogue.send("NOOP\r\n".repeat(1000).as_bytes());
    let text = dialogue.take_text();
    assert!(text.ends_with("421 4.7.0 too many commands without mail\r\n"), "{text}");
    assert!(dialogue.has_ended());
}

#[test]
fn quit_ends_the_session_whatever_follows() {
    let (mut dialogue, ..) = Node::new(Mode::Smtp).start();
    dialogue.take_output();
    dialogue.send(b"QUIT\r\nMAIL FROM:<>\r\n");
    assert_eq!(dialogue.take_text(), "221 2.0.0 bye\r\n");
    assert!(dialogue.has_ended() && dialogue.peer.is_closed());
}
