//! Sessions over the real store on its simulated disk.

use super::*;
use crate::imap::{EndReason, SessionEnd};
use bytes::Bytes;
use pigeon_engine::testing::{MemoryPeer, memory_stream, same_for_all_cuts};
use pigeon_proto::sasl::Mechanisms;
use pigeon_store::disk::Disk;
use pigeon_store::sim::{Executor, SimDisk};
use pigeon_store::{Account, AccountId, Flags, NewMessage, Uid, Volume, VolumeId, VolumeOptions};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const LIMITS: Pop3Limits = Pop3Limits {
    idle_timeout: Duration::from_secs(600),
    send_timeout: Duration::from_secs(60),
    bad_commands_max: 5,
    mechanisms: Mechanisms {
        passwords: true,
        plain_of_nodes: false,
        scram_sha_256: false,
    },
};

/// A volume in memory with one account.
struct Scene {
    tasks: Executor,
    disk: Rc<SimDisk>,
    volume: Volume,
    account: Account,
}

/// A client's end of a session.
struct Client {
    peer: MemoryPeer,
    end: Rc<SessionEnd>,
    ended: Rc<Cell<bool>>,
}

impl Client {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.peer.take_output()).into_owned()
    }
}

impl Scene {
    fn new(messages: &[&[u8]]) -> Scene {
        let tasks = Executor::new(1);
        let disk = Rc::new(SimDisk::new(1));
        let (spawner, on) = (tasks.clone(), disk.clone());
        let opened = tasks.run(async move {
            let options = VolumeOptions {
                segment_bytes: 1 << 20,
                batch_bytes_max: 256 << 10,
                // Bodies are read from the disk soon after they came.
                body_cache_bytes: 16 << 10,
                ..VolumeOptions::default()
            };
            let (disk, id): (Rc<dyn Disk>, _) = (on, VolumeId([9; 16]));
            Volume::create(disk.clone(), id, &options).await.unwrap();
            let volume = Volume::open(disk, id, options).await.unwrap();
            spawner.spawn(volume.drive());
            spawner.spawn(volume.maintain());
            let account = volume.account(AccountId([7; 16])).await.unwrap();
            (volume, account)
        });
        let (volume, account) = opened.expect("opening ends");
        let scene = Scene {
            tasks,
            disk,
            volume,
            account,
        };
        messages.iter().for_each(|message| scene.append(message));
        scene
    }

    fn append(&self, message: &[u8]) {
        let (volume, account) = (self.volume.clone(), self.account.clone());
        let message = Bytes::copy_from_slice(message);
        let appended = self.tasks.run(async move {
            let mut writer = volume.begin_body(&[account.id()]).await.unwrap();
            writer.write(message).await.unwrap();
            let body = writer.finish().await.unwrap();
            let message = NewMessage {
                body,
                flags: Flags::NONE,
                keywords: Vec::new(),
                internal_date: 0,
            };
            account.mailbox("INBOX").unwrap().append(vec![message]).await.unwrap();
        });
        appended.expect("appending ends");
    }

    fn expunge(&self, uid: u32) {
        let inbox = self.account.mailbox("INBOX").unwrap();
        let expunged = self.tasks.run(async move { inbox.expunge(&[Uid(uid)]).await.unwrap() });
        assert_eq!(expunged.expect("expunging ends"), [Uid(uid)]);
    }

    fn uids(&self) -> Vec<u32> {
        self.account
            .mailbox("INBOX")
            .unwrap()
            .with_messages(|messages| messages.iter().map(|m| m.uid.0).collect())
    }

    fn uid_validity(&self) -> u32 {
        self.account.mailbox("INBOX").unwrap().uid_validity().0
    }

    fn login(&self) -> Client {
        let (stream, peer) = memory_stream();
        let client = Client {
            peer,
            end: Rc::new(SessionEnd::new()),
            ended: Rc::default(),
        };
        let login = Pop3Login {
            account: self.account.clone(),
            volume: self.volume.clone(),
            session_id: 1,
            end: client.end.clone(),
            limits: LIMITS,
        };
        let ended = client.ended.clone();
        self.tasks.spawn(async move {
            run(stream, login).await;
            ended.set(true);
        });
        self.tasks.run_until_stalled();
        client
    }

    fn say(&self, client: &Client, text: &str) -> String {
        client.peer.send(text.as_bytes());
        self.tasks.run_until_stalled();
        client.text()
    }
}

/// What a session answers to all of `input`, however it is cut; the scene is made anew for each.
fn answers(messages: &[&[u8]], input: &str) -> String {
    let output = same_for_all_cuts(input.as_bytes(), |pieces| {
        let scene = Scene::new(messages);
        let client = scene.login();
        for piece in pieces {
            client.peer.send(piece);
            scene.tasks.run_until_stalled();
        }
        let mut output = client.peer.take_output();
        if client.ended.get() {
            output.extend_from_slice(b"(closed)");
        }
        output.extend_from_slice(format!("{:?}", scene.uids()).as_bytes());
        output
    });
    String::from_utf8(output).unwrap()
}

const FIRST: &[u8] = b"Subject: one\r\n\r\n.dot\r\n..two\r\nthe end\r\n";
const SECOND: &[u8] = b"Subject: two\r\n\r\nno line end";

#[test]
fn a_session_from_login_to_quit() {
    let text = answers(
        &[FIRST, SECOND],
        "STAT\r\nLIST\r\nRETR 1\r\nTOP 1 1\r\nTOP 2 0\r\nRETR 2\r\nRETR 3\r\nDELE 1\r\nNOOP\r\nQUIT\r\n",
    );
    assert_eq!(
        text,
        "+OK 2 messages (65 octets)\r\n\
         +OK 2 65\r\n\
         +OK 2 messages (65 octets)\r\n1 38\r\n2 27\r\n.\r\n\
         +OK 38 octets\r\nSubject: one\r\n\r\n..dot\r\n...two\r\nthe end\r\n.\r\n\
         +OK 38 octets\r\nSubject: one\r\n\r\n..dot\r\n.\r\n\
         +OK 27 octets\r\nSubject: two\r\n\r\n.\r\n\
         +OK 27 octets\r\nSubject: two\r\n\r\nno line end\r\n.\r\n\
         -ERR No such message\r\n\
         +OK Marked to be deleted\r\n\
         +OK\r\n\
         +OK Bye\r\n(closed)[2]"
    );
}

#[test]
fn only_quit_deletes() {
    for input in [
        "DELE 1\r\n",
        "DELE 1\r\nRSET\r\nQUIT\r\n",
        "DELE 1\r\nA\r\nB\r\nC\r\nD\r\nE\r\n",
    ] {
        assert!(answers(&[FIRST, SECOND], input).ends_with("[1, 2]"), "{input}");
    }
    let scene = Scene::new(&[FIRST, SECOND]);
    let client = scene.login();
    scene.say(&client, "DELE 1\r\n");
    client.peer.end();
    scene.tasks.run_until_stalled();
    assert!(client.ended.get());
    assert_eq!(scene.uids(), [1, 2]);
    let client = scene.login();
    scene.say(&client, "DELE 1\r\n");
    client.peer.time_out();
    scene.tasks.run_until_stalled();
    assert!(client.ended.get());
    assert_eq!(client.text(), "", "a session that timed out is closed without a word");
    assert_eq!(scene.uids(), [1, 2]);
}

#[test]
fn unique_ids_stay() {
    let scene = Scene::new(&[FIRST, SECOND, FIRST]);
    let validity = scene.uid_validity();
    let client = scene.login();
    client.text();
    let all = format!("+OK\r\n1 {validity}.1\r\n2 {validity}.2\r\n3 {validity}.3\r\n.\r\n");
    assert_eq!(scene.say(&client, "UIDL\r\n"), all);
    scene.say(&client, "DELE 2\r\nQUIT\r\n");
    let client = scene.login();
    client.text();
    assert_eq!(
        scene.say(&client, "UIDL\r\n"),
        format!("+OK\r\n1 {validity}.1\r\n2 {validity}.3\r\n.\r\n")
    );
}

#[test]
fn one_session_at_a_time() {
    let scene = Scene::new(&[FIRST]);
    let first = scene.login();
    assert_eq!(first.text(), "+OK 1 messages (38 octets)\r\n");
    let second = scene.login();
    assert_eq!(
        second.text(),
        "-ERR [IN-USE] Another POP3 session is using this maildrop\r\n"
    );
    assert!(second.ended.get());
    assert_eq!(scene.say(&first, "QUIT\r\n"), "+OK Bye\r\n");
    assert_eq!(scene.login().text(), "+OK 1 messages (38 octets)\r\n");
}

#[test]
fn others_may_change_the_mailbox() {
    let scene = Scene::new(&[FIRST, SECOND]);
    let client = scene.login();
    client.text();
    scene.expunge(1);
    scene.append(FIRST);
    assert_eq!(
        scene.say(&client, "STAT\r\n"),
        "+OK 2 65\r\n",
        "the maildrop is as it was at the login"
    );
    assert_eq!(
        scene.say(&client, "RETR 1\r\n"),
        "-ERR The message has been deleted by another session\r\n"
    );
    assert!(scene.say(&client, "RETR 2\r\n").starts_with("+OK 27 octets\r\n"));
    assert_eq!(
        scene.say(&client, "DELE 1\r\nDELE 2\r\nQUIT\r\n"),
        "+OK Marked to be deleted\r\n".repeat(2) + "+OK Bye\r\n"
    );
    assert_eq!(scene.uids(), [3]);
}

#[test]
fn large_messages_pass_in_pieces() {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    let mut expected = message.clone();
    for line in 0..60_000 {
        let (dot, text) = (if line % 7 == 0 { "." } else { "" }, format!("line {line}\r\n"));
        message.extend_from_slice(format!("{dot}{text}").as_bytes());
        expected.extend_from_slice(format!("{dot}{dot}{text}").as_bytes());
    }
    let scene = Scene::new(&[&message]);
    let client = scene.login();
    client.text();
    client.peer.send(b"RETR 1\r\nTOP 1 50000\r\n");
    scene.tasks.run_until_stalled();
    let output = client.peer.take_output();
    let first = format!("+OK {} octets\r\n", message.len());
    let (whole, top) = output.split_at(first.len() + expected.len() + 3);
    assert!(whole.starts_with(first.as_bytes()) && whole.ends_with(b"\r\n.\r\n"));
    assert!(
        whole[first.len()..whole.len() - 3] == expected,
        "RETR gives what was stored"
    );
    let end = expected
        .windows(12)
        .position(|window| window == b"line 50000\r\n")
        .unwrap();
    assert!(
        top[first.len()..top.len() - 3] == expected[..end],
        "TOP gives as many lines as asked"
    );
}

#[test]
fn who_takes_one_message_after_the_other_gets_them_by_few_reads() {
    let texts: Vec<Vec<u8>> = (1..=40)
        .map(|number| format!("Subject: {number}\r\n\r\n{}", "0123456789\r\n".repeat(500)).into_bytes())
        .collect();
    let messages: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let scene = Scene::new(&messages);
    let client = scene.login();
    client.text();
    let all: Vec<usize> = (1..=40).collect();
    for (numbers, command, reads_max) in [
        (vec![40, 20, 18, 16], "RETR", 4),
        (all.clone(), "RETR", 7),
        (all, "TOP and RETR", 7),
    ] {
        let before = scene.volume.stats();
        for number in &numbers {
            let text = String::from_utf8_lossy(messages[number - 1]);
            if command != "RETR" {
                let answer = scene.say(&client, &format!("TOP {number} 0\r\n"));
                assert!(answer.ends_with(&format!("Subject: {number}\r\n\r\n.\r\n")), "{answer}");
            }
            let answer = scene.say(&client, &format!("RETR {number}\r\n"));
            assert!(
                answer == format!("+OK {} octets\r\n{text}.\r\n", text.len()),
                "{number}"
            );
        }
        let after = scene.volume.stats();
        let (reads, bytes) = (after.reads - before.reads, after.read_bytes - before.read_bytes);
        assert!(reads <= reads_max && reads > 1, "{command} {numbers:?}: {reads} reads");
        let bytes_max = 12 * 1024 * (numbers.len() as u64 + 4);
        assert!(bytes <= bytes_max, "{command} {numbers:?}: {bytes} bytes");
    }
}

#[test]
fn the_node_can_end_a_session() {
    for reason in [EndReason::Draining, EndReason::AccessEnded] {
        let scene = Scene::new(&[FIRST]);
        let client = scene.login();
        scene.say(&client, "DELE 1\r\n");
        client.end.end(reason);
        scene.tasks.run_until_stalled();
        assert!(client.ended.get());
        assert_eq!(scene.uids(), [1]);
    }
}

#[test]
fn deletions_that_fail_are_told() {
    let scene = Scene::new(&[FIRST]);
    let client = scene.login();
    client.text();
    scene.disk.fail_write_in(0);
    assert_eq!(
        scene.say(&client, "DELE 1\r\nQUIT\r\n"),
        "+OK Marked to be deleted\r\n-ERR [SYS/TEMP] Some deleted messages were not removed\r\n"
    );
    assert!(client.ended.get());
    assert_eq!(scene.uids(), [1]);
}

#[test]
fn a_waiting_session_is_small() {
    fn future_bytes<F>(_: fn(pigeon_engine::stream::Stream, Pop3Login) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = future_bytes(run);
    assert!(bytes <= 640, "{bytes} bytes");
}
