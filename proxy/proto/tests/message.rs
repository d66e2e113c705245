//! Messages in `messages/`, against what Dovecot says of them (`messages/refresh` asked it).
//!
//! Compared are the values of ENVELOPE, BODY and BODYSTRUCTURE as trees (a literal and a quoted string with the same text
//! are the same), and every section of a fixed list by size and hash. Where this project answers otherwise on purpose,
//! `NAME.differs` (and `searches.differs` for SEARCH) holds our answers, after a line with the reason; a line that is not needed any more fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use pigeon_proto::imap::{Command, CommandReader, Event, ReaderLimits};
use pigeon_proto::message::{
    MessageFacts, Outcome, SearchPlan, SectionPath, SectionText, Structure, StructureScanner, filter_fields,
    write_body, write_body_structure, write_envelope,
};

/// A value of IMAP's grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Atom(String),
    Text(Vec<u8>),
    List(Vec<Value>),
}

fn parse(input: &[u8], at: &mut usize) -> Vec<Value> {
    let mut values = Vec::new();
    while let Some(&byte) = input.get(*at) {
        *at += 1;
        match byte {
            b' ' => {}
            b'(' => values.push(Value::List(parse(input, at))),
            b')' => break,
            b'"' => {
                let mut text = Vec::new();
                while input[*at] != b'"' {
                    *at += usize::from(input[*at] == b'\\');
                    text.push(input[*at]);
                    *at += 1;
                }
                *at += 1;
                values.push(Value::Text(text));
            }
            b'{' => {
                let digits = input[*at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let length: usize = std::str::from_utf8(&input[*at..*at + digits]).unwrap().parse().unwrap();
                *at += digits + 3;
                values.push(Value::Text(input[*at..*at + length].to_vec()));
                *at += length;
            }
            _ => {
                let start = *at - 1;
                *at += input[*at..].iter().take_while(|byte| !b" ()".contains(byte)).count();
                values.push(Value::Atom(String::from_utf8_lossy(&input[start..*at]).into_owned()));
            }
        }
    }
    values
}

/// One text of IMAP's answer with strings in one form, and runs of blanks as one: Dovecot shortens them in what people
/// read, which is not asked for.
fn canonical(answer: &[u8]) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Atom(atom) => out.push_str(atom),
            Value::Text(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                let text = text
                    .split([' ', '\t'])
                    .filter(|word| !word.is_empty())
                    .collect::<Vec<_>>()
                    .join(" ");
                out.push_str(&format!("{text:?}"));
            }
            Value::List(list) => {
                out.push('(');
                for (index, item) in list.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    write(item, out);
                }
                out.push(')');
            }
        }
    }
    let mut out = String::new();
    parse(answer, &mut 0).iter().for_each(|value| write(value, &mut out));
    out
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().expect("an escape is whole") {
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b'x' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            other => out.push(other),
        }
    }
    out
}

fn hash(bytes: &[u8]) -> String {
    let value = bytes.iter().fold(0x811c_9dc5u32, |value, byte| {
        (value ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    format!("{} {value:08x}", bytes.len())
}

fn sections() -> Vec<Vec<u32>> {
    let mut paths = vec![vec![]];
    paths.extend((1..7).map(|a| vec![a]));
    paths.extend((1..4).flat_map(|a| (1..4).map(move |b| vec![a, b])));
    paths.extend((1..3).flat_map(|a| (1..4).flat_map(move |b| (1..3).map(move |c| vec![a, b, c]))));
    paths
}

fn answers(message: &[u8]) -> BTreeMap<String, String> {
    let structure = Structure::of(message);
    let mut answers = BTreeMap::new();
    let mut out = Vec::new();
    write_envelope(structure.envelope().expect("the root has one"), &mut out);
    answers.insert("ENVELOPE".to_owned(), canonical(&std::mem::take(&mut out)));
    write_body(&structure, &mut out);
    answers.insert("BODY".to_owned(), canonical(&std::mem::take(&mut out)));
    write_body_structure(&structure, &mut out);
    answers.insert("BODYSTRUCTURE".to_owned(), canonical(&out));
    let bytes_of = |parts: &[u32], text: SectionText| {
        let range = structure.section(&SectionPath {
            parts: parts.to_vec(),
            text,
        })?;
        Some(&message[range.start as usize..range.end as usize])
    };
    for parts in sections() {
        let number = parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        for (keyword, text) in [
            ("", SectionText::Whole),
            ("HEADER", SectionText::Header),
            ("TEXT", SectionText::Text),
            ("MIME", SectionText::Mime),
        ] {
            let separator = if number.is_empty() || keyword.is_empty() {
                ""
            } else {
                "."
            };
            if let Some(bytes) = bytes_of(&parts, text).filter(|bytes| !bytes.is_empty()) {
                answers.insert(format!("[{number}{separator}{keyword}]"), hash(bytes));
            }
        }
    }
    for (section, parts, names, not) in [
        (
            "HEADER.FIELDS (Subject FROM x-ok)",
            vec![],
            vec!["Subject", "FROM", "x-ok"],
            false,
        ),
        (
            "HEADER.FIELDS.NOT (subject Date)",
            vec![],
            vec!["subject", "Date"],
            true,
        ),
        ("1.HEADER.FIELDS (subject)", vec![1], vec!["subject"], false),
        ("2.HEADER.FIELDS.NOT (subject)", vec![2], vec!["subject"], true),
    ] {
        if let Some(header) = bytes_of(&parts, SectionText::Header) {
            answers.insert(format!("[{section}]"), hash(&filter_fields(header, &names, not)));
        }
    }
    answers
}

fn messages() -> Vec<(String, Vec<u8>, PathBuf)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder is part of the source") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            found.push((name, fs::read(&path).expect("it can be read"), path));
        }
    }
    found.sort();
    found
}

#[test]
fn answers_as_dovecot() {
    let mut failures = Vec::new();
    for (name, message, path) in messages() {
        let mut ours = answers(&message);
        let expected = fs::read_to_string(path.with_extension("expected")).expect("messages/refresh was run");
        let mut theirs: BTreeMap<String, String> = BTreeMap::new();
        for line in expected.lines() {
            let (key, value) = line.split_once('\t').expect("KEY<TAB>VALUE");
            let value = if key.starts_with('[') {
                value.to_owned()
            } else {
                canonical(&unescape(value))
            };
            theirs.insert(key.to_owned(), value);
        }
        let differs = fs::read_to_string(path.with_extension("differs")).unwrap_or_default();
        for line in differs.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once('\t').expect("KEY<TAB>VALUE");
            if theirs.get(key).map_or("", String::as_str) == value {
                failures.push(format!("{name} {key}: does not differ, take it off the list"));
            }
            theirs.insert(key.to_owned(), value.to_owned());
        }
        let keys: BTreeSet<String> = ours.keys().chain(theirs.keys()).cloned().collect();
        for key in keys {
            let (own, other) = (
                ours.remove(&key).unwrap_or_default(),
                theirs.remove(&key).unwrap_or_default(),
            );
            if own != other {
                failures.push(format!("{name}: expected\n{key}\t{other}\n  but got\n{key}\t{own}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_cut_gives_the_same_structure() {
    for (name, message, _) in messages() {
        let whole = Structure::of(&message);
        for cut in 0..=message.len() {
            let mut scanner = StructureScanner::new();
            scanner.push(&message[..cut]);
            scanner.push(&message[cut..]);
            assert_eq!(scanner.finish(), whole, "{name} cut at {cut}");
        }
        for size in [1, 2, 3, 7] {
            let mut scanner = StructureScanner::new();
            message.chunks(size).for_each(|chunk| scanner.push(chunk));
            assert_eq!(scanner.finish(), whole, "{name} in pieces of {size}");
        }
        assert_eq!(Structure::from_bytes(&whole.to_bytes()), Some(whole), "{name}");
    }
}

/// A message of which nothing is known but its size.
struct Facts {
    size: u64,
}

impl MessageFacts for Facts {
    fn sequence(&self) -> u32 {
        1
    }
    fn uid(&self) -> u32 {
        1
    }
    fn has_flag(&self, _: u8) -> bool {
        true
    }
    fn is_recent(&self) -> bool {
        false
    }
    fn has_keyword(&self, _: &str) -> bool {
        false
    }
    fn internal_date(&self) -> i64 {
        0
    }
    fn size(&self) -> u64 {
        self.size
    }
    fn mod_seq(&self) -> u64 {
        1
    }
}

fn matches(plan: &SearchPlan, message: &[u8]) -> bool {
    let facts = Facts {
        size: message.len() as u64,
    };
    let structure = Structure::of(message);
    let mut reading = match plan.by_facts(&facts) {
        Outcome::Known(value) => return value,
        Outcome::NeedsBody => plan.read_body(&structure),
        Outcome::NeedsHeader => {
            let mut header = plan.read_header();
            header.push(message);
            let header = header.finish();
            match header.outcome(&facts) {
                Outcome::Known(value) => return value,
                _ => header.read_body(&structure),
            }
        }
    };
    reading.push(0, message);
    reading.finish(&facts)
}

#[test]
fn finds_as_dovecot() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("messages/refresh was run");
    let messages = messages();
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for (line, keys_and_names) in read("searches").lines().zip(read("searches.expected").lines()) {
        let (keys, names) = keys_and_names.split_once('\t').expect("KEYS<TAB>NAMES");
        assert_eq!(keys, line, "messages/refresh was run");
        expected.insert(keys.to_owned(), names.to_owned());
    }
    let mut failures = Vec::new();
    for line in read("searches.differs").lines().filter(|line| !line.starts_with('#')) {
        let (keys, names) = line.split_once('\t').expect("KEYS<TAB>NAMES");
        if expected.insert(keys.to_owned(), names.to_owned()).as_deref() == Some(names) {
            failures.push(format!("{keys}: does not differ, take it off the list"));
        }
    }
    for (keys, names) in &expected {
        let command = format!("a SEARCH CHARSET UTF-8 {keys}\r\n");
        let search = match CommandReader::new(&ReaderLimits::AFTER_LOGIN).read(&mut command.as_bytes()) {
            Event::Command(_, Command::Search { search, .. }) => search,
            other => panic!("{keys}: {other:?}"),
        };
        let plan = SearchPlan::new(&search.keys.expect("UTF-8"), 1, 1);
        let found: Vec<&str> = messages
            .iter()
            .filter(|(_, message, _)| matches(&plan, message))
            .map(|(name, ..)| name.as_str())
            .collect();
        if found.join(" ") != *names {
            failures.push(format!(
                "expected\n{keys}\t{names}\n  but got\n{keys}\t{}",
                found.join(" ")
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
