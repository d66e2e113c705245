//! Several sessions of one account do random things. Each client keeps the list of messages that the protocol lets it keep
//! (EXISTS lengthens it, EXPUNGE shortens it), and every FETCH response must fit it: a message keeps its number until the
//! client was told otherwise. Each command is answered once, in order.

use super::{Client, OpenScene, Scene};
use std::collections::VecDeque;

/// Xorshift; the seed is in the failure's text.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.next(choices.len())]
    }
}

/// What a client knows.
struct Model {
    client: Client,
    /// UIDs by message number, where they are known.
    messages: Vec<Option<u32>>,
    /// Tags that wait for their answer, and what was asked.
    waiting: VecDeque<(String, String)>,
    next_tag: u32,
    idling: bool,
}

impl Model {
    fn new(scene: &mut OpenScene) -> Self {
        let mut client = scene.login();
        client.take_output();
        Self {
            client,
            messages: Vec::new(),
            waiting: VecDeque::new(),
            next_tag: 0,
            idling: false,
        }
    }

    fn send(&mut self, command: String) {
        if self.idling {
            self.client.peer.send(b"DONE\r\n");
            self.idling = false;
        }
        let tag = format!("t{}", self.next_tag);
        self.next_tag += 1;
        self.client.peer.send(format!("{tag} {command}\r\n").as_bytes());
        self.idling = command == "IDLE";
        self.waiting.push_back((tag, command));
    }

    /// Takes in what the server said.
    fn read(&mut self) {
        let output = self.client.take_output();
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            let mut response = Vec::new();
            loop {
                let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a whole line");
                let line = &rest[..end];
                rest = &rest[end + 2..];
                response.extend_from_slice(line);
                let size = line.strip_suffix(b"}").and_then(|line| {
                    let brace = line.iter().rposition(|byte| *byte == b'{')?;
                    std::str::from_utf8(&line[brace + 1..]).ok()?.parse::<usize>().ok()
                });
                match size {
                    Some(size) => rest = &rest[size..],
                    None => break,
                }
            }
            let text = String::from_utf8_lossy(&response).into_owned();
            self.response(&text);
        }
    }

    fn response(&mut self, text: &str) {
        if text.starts_with("+ ") {
            return;
        }
        let words: Vec<&str> = text.split(' ').collect();
        if words[0] != "*" {
            let (tag, command) = self
                .waiting
                .pop_front()
                .unwrap_or_else(|| panic!("nobody asked for {text}"));
            assert_eq!(words[0], tag, "{text} answers {command}");
            if matches!(command.as_str(), "CLOSE" | "UNSELECT") {
                self.messages.clear();
            }
            assert!(matches!(words[1], "OK" | "NO" | "BAD"), "{text}");
            assert!(
                words[1] != "BAD" || text.contains("No mailbox") || text.contains("out of range"),
                "{command}: {text}"
            );
            return;
        }
        let Ok(number) = words[1].parse::<usize>() else {
            assert_ne!(words[1], "BYE", "{text}");
            if text.starts_with("* OK [CLOSED]") {
                self.messages.clear();
            }
            return;
        };
        let context = format!(
            "{text} within {:?} with {} messages",
            self.waiting.front(),
            self.messages.len()
        );
        match words[2] {
            "EXISTS" => {
                assert!(number >= self.messages.len(), "{}", context);
                self.messages.resize(number, None);
            }
            "RECENT" => assert!(number <= self.messages.len(), "{}", context),
            "EXPUNGE" => {
                assert!((1..=self.messages.len()).contains(&number), "{}", context);
                let command = self.waiting.front().map_or("", |(_, command)| command.as_str());
                let forbidden = ["FETCH", "STORE", "SEARCH"]
                    .iter()
                    .any(|name| command.starts_with(name));
                assert!(!forbidden, "{}", context);
                self.messages.remove(number - 1);
            }
            "FETCH" => {
                assert!((1..=self.messages.len()).contains(&number), "{}", context);
                if let Some(at) = words.iter().position(|word| *word == "(UID" || *word == "UID") {
                    let uid: u32 = words[at + 1].trim_end_matches(')').parse().expect("a UID");
                    let known = self.messages[number - 1];
                    assert!(
                        known.is_none_or(|known| known == uid),
                        "{} but it was {known:?}",
                        context
                    );
                    self.messages[number - 1] = Some(uid);
                    let ascending: Vec<u32> = self.messages.iter().flatten().copied().collect();
                    assert!(ascending.is_sorted(), "{}: {ascending:?}", context);
                }
            }
            _ => panic!("{text}"),
        }
    }
}

fn set(random: &mut Random, count: usize) -> String {
    let number = |random: &mut Random| match random.next(5) {
        0 => "*".to_owned(),
        _ => (random.next(count.max(1)) + 1).to_string(),
    };
    match random.next(3) {
        0 => number(random),
        1 => format!("{}:{}", number(random), number(random)),
        _ => format!("{},{}", number(random), number(random)),
    }
}

fn command(random: &mut Random, known: usize) -> String {
    let uid = random.of(&["", "UID "]);
    let set = set(random, if uid.is_empty() { known } else { known + 20 });
    let mailbox = random.of(&["INBOX", "Other"]);
    let flag = random.of(&["\\Seen", "\\Deleted", "\\Flagged", "$One", "two"]);
    match random.next(20) {
        0 => format!("SELECT {mailbox}"),
        1 => format!("EXAMINE {mailbox}"),
        2 => "NOOP".to_owned(),
        3 => "EXPUNGE".to_owned(),
        4 => format!("UID EXPUNGE {set}"),
        5 | 6 => format!("{uid}FETCH {set} (UID FLAGS)"),
        7 => format!("{uid}FETCH {set} (BODY[] UID)"),
        8 => format!("{uid}FETCH {set} (UID ENVELOPE BODYSTRUCTURE BODY.PEEK[1])"),
        9 | 10 => format!(
            "{uid}STORE {set} {}FLAGS{} ({flag})",
            random.of(&["", "+", "-"]),
            random.of(&["", ".SILENT"])
        ),
        11 => format!("{uid}STORE {set} +FLAGS (\\Deleted)"),
        12 => format!("{uid}COPY {set} {mailbox}"),
        13 => format!("{uid}MOVE {set} {mailbox}"),
        14 => format!(
            "{uid}SEARCH {}",
            random.of(&[
                "ALL",
                "DELETED",
                "NOT SEEN",
                "SUBJECT 1",
                "BODY 2",
                "RETURN (MIN MAX) ALL"
            ])
        ),
        15 => format!("STATUS {mailbox} (MESSAGES UIDNEXT UNSEEN SIZE DELETED RECENT)"),
        16 => "IDLE".to_owned(),
        17 => format!("APPEND {mailbox} ({flag}) {{4+}}\r\nx\r\ny"),
        18 => random
            .of(&["CLOSE", "UNSELECT", "CHECK", "ENABLE CONDSTORE"])
            .to_owned(),
        _ => "LIST \"\" * RETURN (STATUS (MESSAGES HIGHESTMODSEQ))".to_owned(),
    }
}

#[test]
fn clients_are_told_what_they_need_to_know() {
    for seed in 1..40u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut scene = Scene::new().messages(8).open();
        {
            let account = scene.account.clone();
            scene
                .tasks
                .run(async move { account.create_mailbox("Other", None).await.map(drop) })
                .expect("creating ends")
                .expect("created");
        }
        let mut models: Vec<Model> = (0..3).map(|_| Model::new(&mut scene)).collect();
        for _ in 0..120 {
            let model = random.next(models.len());
            let model = &mut models[model];
            let known = model.messages.len();
            let command = command(&mut random, known);
            // A mailbox that is closed without a word leaves no list.
            let closes = ["SELECT", "EXAMINE", "CLOSE", "UNSELECT"]
                .iter()
                .any(|name| command.starts_with(name));
            model.send(command);
            // Often others act before this one is served.
            if random.next(3) > 0 || closes {
                scene.run();
            }
            for model in &mut models {
                model.read();
            }
            if closes {
                for model in &mut models {
                    if model.waiting.is_empty() && model.client.peer.is_closed() {
                        panic!("seed {seed}: the session has ended");
                    }
                }
            }
        }
        for model in &mut models {
            if model.idling {
                model.client.peer.send(b"DONE\r\n");
            }
        }
        scene.run();
        for model in &mut models {
            model.read();
            assert!(
                model.waiting.is_empty(),
                "seed {seed}: not answered: {:?}",
                model.waiting
            );
        }
    }
}
