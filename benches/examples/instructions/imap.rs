//! The IMAP core: commands parsed, and a session from the login's answer to LOGOUT over a volume in memory.

use crate::Round;
use crate::store;
use pigeon_engine::testing::memory_stream;
use pigeon_proto::imap::{CommandReader, Event, ReaderLimits, Tag};
use pigeon_serve::imap::{ImapConfig, ImapLogin, SessionEnd, run};
use pigeon_store::{AccountId, Limits};
use std::hint::black_box;
use std::rc::Rc;

static LIMITS: ReaderLimits = ReaderLimits::AFTER_LOGIN;

const COMMANDS: &[u8] = b"a1 CAPABILITY\r\na2 LIST \"\" \"*\"\r\na3 SELECT INBOX\r\na4 UID FETCH 1:* (FLAGS)\r\n\
    a5 UID FETCH 17,19:23 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])\r\n\
    a6 UID SEARCH UNSEEN SINCE 1-Feb-2026 NOT DELETED FROM \"carol\"\r\na7 UID STORE 17 +FLAGS.SILENT (\\Seen $Forwarded)\r\n\
    a8 STATUS Archive (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)\r\na9 NOOP\r\na10 LOGOUT\r\n";

const COUNT: usize = 10;

/// Ten commands of a mail program, read and parsed.
pub(crate) fn commands() -> Round {
    let mut reader = CommandReader::new(&LIMITS);
    Box::new(move || {
        let (mut input, mut count) = (COMMANDS, 0);
        loop {
            match reader.read(&mut input) {
                Event::NeedMore => break,
                Event::Command(tag, command) => {
                    black_box((tag, command));
                    count += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(count, COUNT);
    })
}

/// A session: the answer to the login, SELECT, FETCH of the last message, LOGOUT. The mailbox has 20 messages of 4 KiB.
pub(crate) fn session() -> Round {
    let (tasks, volume) = store::volume();
    let id = AccountId([1; 16]);
    for _ in 0..20 {
        let done = tasks.run(store::deliver(volume.clone(), id, store::message()));
        done.expect("it ends");
    }
    let account = {
        let volume = volume.clone();
        tasks.run(async move { volume.account(id).await.expect("an account") })
    };
    let account = account.expect("loading ends");
    let config = Rc::new(ImapConfig {
        now: || 1_700_000_000,
        ..ImapConfig::default()
    });
    Box::new(move || {
        let (stream, peer) = memory_stream();
        let login = ImapLogin {
            account: account.clone(),
            volume: volume.clone(),
            user: "alice@example.org".to_owned(),
            session_id: 1,
            tag: Tag::parse("a1").expect("a tag"),
            limits: Limits {
                bytes: None,
                messages: None,
            },
            message_bytes_max: None,
            end: Rc::new(SessionEnd::new()),
        };
        let config = config.clone();
        tasks.spawn(async move {
            run(stream, login, config).await;
        });
        for command in [
            "a2 SELECT INBOX\r\n",
            "a3 FETCH * (FLAGS BODY.PEEK[])\r\n",
            "a4 LOGOUT\r\n",
        ] {
            tasks.run_until_stalled();
            peer.send(command.as_bytes());
        }
        tasks.run_until_stalled();
        let output = peer.take_output();
        assert!(
            output.len() > 4096 && output.ends_with(b"\r\n"),
            "the message was fetched"
        );
    })
}
