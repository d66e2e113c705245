//! Transcripts of whole sessions over the real store on a simulated disk.
//!
//! A transcript has lines `C:` and `S:`, or `C1:`, `S2:` and so on for several sessions of the account. `S: ...` is any
//! output; `... text ...` is output that holds the text; `M` and `M1` stand for numbers, `M1` for the same one each time.
//! `check` runs it step by step and then all at once, at every cut, and byte by byte; `check_steps` is for those whose
//! outcome depends on the steps.

mod appends;
mod basics;
mod failures;
mod mailboxes;
mod messages;
mod random;
mod searches;
mod sessions;

use super::{ImapConfig, ImapLogin, ImapOutcome, SessionEnd, run};
use bytes::Bytes;
use pigeon_engine::testing::{MemoryPeer, memory_stream};
use pigeon_proto::imap::Tag;
use pigeon_store::disk::Disk;
use pigeon_store::sim::{Executor, SimDisk};
use pigeon_store::{Account, AccountId, Flags, Limits, NewMessage, Volume, VolumeId, VolumeOptions};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Small, because every run of a transcript makes a volume.
const SEGMENT_BYTES: u64 = 256 << 10;

/// What a test starts with.
#[derive(Clone, Default)]
struct Scene {
    messages: Vec<Vec<u8>>,
    limits: Limits,
}

impl Scene {
    fn new() -> Self {
        Self::default()
    }

    /// Adds short messages to INBOX, each a day after the one before.
    fn messages(mut self, count: usize) -> Self {
        for _ in 0..count {
            let number = self.messages.len() + 1;
            self = self.message(&format!(
                "Subject: message {number}\r\nFrom: alice@example.org\r\n\r\n{number}\r\n"
            ));
        }
        self
    }

    fn message(mut self, text: &str) -> Self {
        self.messages.push(text.as_bytes().to_vec());
        self
    }

    fn quota(mut self, bytes: Option<u64>, messages: Option<u64>) -> Self {
        self.limits = Limits { bytes, messages };
        self
    }

    fn open(&self) -> OpenScene {
        let tasks = Executor::new(1);
        let disk = SimDisk::new(1);
        let volume = open_volume(&tasks, &disk);
        let account = {
            let volume = volume.clone();
            tasks
                .run(async move { volume.account(AccountId([7; 16])).await.expect("an account") })
                .expect("loading ends")
        };
        for (index, message) in self.messages.iter().enumerate() {
            let (volume, account, message) = (volume.clone(), account.clone(), message.clone());
            let appended = tasks.run(async move {
                let mut writer = volume.begin_body(&[account.id()]).await.expect("a writer");
                for piece in message.chunks(100_000) {
                    writer.write(Bytes::copy_from_slice(piece)).await.expect("room");
                }
                let message = NewMessage {
                    body: writer.finish().await.expect("a body"),
                    flags: Flags::NONE,
                    keywords: Vec::new(),
                    internal_date: index as i64 * 86_400,
                };
                let inbox = account.mailbox("INBOX").expect("an INBOX");
                inbox.append(vec![message]).await.expect("appended");
            });
            appended.expect("appending ends");
        }
        let config = ImapConfig {
            now: || 1_000_000_000,
            message_bytes_max: 100_000,
            ..ImapConfig::default()
        };
        OpenScene {
            tasks,
            disk,
            volume,
            account,
            limits: self.limits,
            config: Rc::new(config),
        }
    }
}

/// A node with one account.
struct OpenScene {
    tasks: Executor,
    disk: SimDisk,
    volume: Volume,
    account: Account,
    limits: Limits,
    config: Rc<ImapConfig>,
}

/// A client's end of a session.
struct Client {
    peer: MemoryPeer,
    end: Rc<SessionEnd>,
    outcome: Rc<RefCell<Option<ImapOutcome>>>,
}

impl Client {
    fn take_output(&mut self) -> Vec<u8> {
        self.peer.take_output()
    }

    fn take_text(&mut self) -> String {
        String::from_utf8_lossy(&self.take_output()).into_owned()
    }

    fn outcome(&self) -> ImapOutcome {
        self.outcome.borrow().clone().expect("the session has ended")
    }
}

impl OpenScene {
    fn run(&mut self) {
        self.tasks.run_until_stalled();
    }

    fn login(&mut self) -> Client {
        let (stream, peer) = memory_stream();
        let client = Client {
            peer,
            end: Rc::new(SessionEnd::new()),
            outcome: Rc::default(),
        };
        let login = ImapLogin {
            account: self.account.clone(),
            volume: self.volume.clone(),
            user: "alice@example.org".to_owned(),
            session_id: 1,
            tag: Tag::parse("login").expect("a tag"),
            limits: self.limits,
            message_bytes_max: None,
            end: client.end.clone(),
        };
        let (config, outcome) = (self.config.clone(), client.outcome.clone());
        self.tasks
            .spawn(async move { *outcome.borrow_mut() = Some(run(stream, login, config).await) });
        self.run();
        client
    }
}

/// One group of lines.
struct Step<'t> {
    /// From 1.
    session: usize,
    client: bool,
    lines: Vec<&'t str>,
}

fn steps(transcript: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in transcript.lines().filter(|line| !line.is_empty()) {
        let (side, text) = line.split_once(':').unwrap_or_else(|| panic!("no side: {line}"));
        let text = text.strip_prefix(' ').unwrap_or(text);
        let client = side.starts_with('C');
        let session = side[1..].parse().unwrap_or(1);
        match steps.last_mut() {
            Some(step) if (step.session, step.client) == (session, client) => step.lines.push(text),
            _ => steps.push(Step {
                session,
                client,
                lines: vec![text],
            }),
        }
    }
    steps
}

/// Runs a transcript step by step. Gives all that the first client sent and got.
fn check_steps(scene: Scene, transcript: &str) -> (Vec<u8>, Vec<u8>) {
    let mut scene = scene.open();
    let mut clients: Vec<Client> = Vec::new();
    let mut numbers = HashMap::new();
    let (mut input, mut output) = (Vec::new(), Vec::new());
    for step in steps(transcript) {
        while clients.len() < step.session {
            let mut client = scene.login();
            // The answer to the login is of interest once.
            if !step.lines[0].starts_with("login OK") {
                let greeting = client.take_output();
                if clients.is_empty() {
                    output.extend_from_slice(&greeting);
                }
            }
            clients.push(client);
        }
        let client = &mut clients[step.session - 1];
        let joined: String = step.lines.iter().flat_map(|line| [line, "\r\n"]).collect();
        if step.client {
            let bytes = fill_in(&joined, &numbers);
            if step.session == 1 {
                input.extend_from_slice(bytes.as_bytes());
            }
            client.peer.send(bytes.as_bytes());
            scene.run();
            continue;
        }
        let got = client.take_text();
        if step.session == 1 {
            output.extend_from_slice(got.as_bytes());
        }
        assert!(matches(&joined, &got, &mut numbers), "expected\n{joined}\ngot\n{got}");
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.take_text(), "", "session {} said more", index + 1);
    }
    (input, output)
}

/// Runs a transcript of one session step by step, then however the client's bytes are cut.
fn check(scene: Scene, transcript: &str) {
    let (input, expected) = check_steps(scene.clone(), transcript);
    let output = |pieces: &[&[u8]]| {
        let mut scene = scene.open();
        let mut client = scene.login();
        for piece in pieces {
            client.peer.send(piece);
            scene.run();
        }
        client.take_output()
    };
    let compare = |output: Vec<u8>, how: &str| {
        assert!(
            output == expected,
            "{how}\n--- expected\n{}\n--- got\n{}",
            String::from_utf8_lossy(&expected),
            String::from_utf8_lossy(&output)
        );
    };
    compare(output(&[&input]), "all at once");
    compare(output(&input.chunks(1).collect::<Vec<_>>()), "byte by byte");
    for cut in 1..input.len() {
        let (front, back) = input.split_at(cut);
        compare(output(&[front, back]), &format!("cut at {cut}"));
    }
}

/// `M1` and the like as the numbers they stand for.
fn fill_in(text: &str, numbers: &HashMap<String, u64>) -> String {
    let mut text = text.to_owned();
    for (name, number) in numbers {
        for end in [" ", ")", "\r"] {
            text = text.replace(&format!(" {name}{end}"), &format!(" {number}{end}"));
        }
    }
    text
}

/// Whether output is as expected; binds names of numbers.
fn matches(expected: &str, got: &str, numbers: &mut HashMap<String, u64>) -> bool {
    let inner = expected
        .trim_end()
        .strip_prefix("...")
        .map(|rest| rest.trim_end_matches("...").trim());
    if let Some(inner) = inner {
        return !got.is_empty() && got.contains(inner);
    }
    let expected = expected.replace("VERSION", env!("CARGO_PKG_VERSION"));
    let (mut expected, mut got) = (expected.as_str(), got);
    let mut before = '\n';
    loop {
        let Some(next) = expected.chars().next() else {
            return got.is_empty();
        };
        let name_length = expected.find([' ', ')', ']', '\r']).unwrap_or(expected.len());
        let name = &expected[..name_length];
        let is_name = name.starts_with('M') && name[1..].chars().all(|digit| digit.is_ascii_digit());
        if is_name && matches!(before, ' ' | '(') {
            let digits = got.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(got.len());
            let Ok(number) = got[..digits].parse() else {
                return false;
            };
            if name.len() > 1 && *numbers.entry(name.to_owned()).or_insert(number) != number {
                return false;
            }
            expected = &expected[name_length..];
            got = &got[digits..];
            before = ')';
            continue;
        }
        let Some(rest) = got.strip_prefix(next) else {
            return false;
        };
        got = rest;
        expected = &expected[next.len_utf8()..];
        before = next;
    }
}

/// A new volume on a disk in memory, with its tasks running.
fn open_volume(executor: &Executor, disk: &SimDisk) -> Volume {
    let disk: Rc<dyn Disk> = Rc::new(disk.clone());
    let tasks = executor.clone();
    let opened = executor.run(async move {
        let options = VolumeOptions {
            segment_bytes: SEGMENT_BYTES,
            batch_bytes_max: SEGMENT_BYTES as usize / 4,
            // Bodies are read from the disk soon after they came.
            body_cache_bytes: 16 << 10,
            ..VolumeOptions::default()
        };
        let id = VolumeId([9; 16]);
        Volume::create(disk.clone(), id, &options).await.expect("a new volume");
        let volume = Volume::open(disk, id, options).await.expect("the volume");
        tasks.spawn(volume.drive());
        tasks.spawn(volume.maintain());
        volume
    });
    opened.expect("opening ends")
}
