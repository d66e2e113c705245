//! Generated messages: the scanner against the model that they were written from, against mail-parser as a second opinion,
//! at random cuts, and on bytes that are no message at all.

use std::ops::Range;

use mail_parser::{Message, MessageParser, PartType};
use pigeon_proto::message::{
    Envelope, HeaderMatcher, PartKind, SearchKey, SearchKeys, SearchScope, SectionPath, SectionText, Structure,
    StructureScanner, TextMatcher, filter_fields, write_body_structure, write_envelope,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A message as it is meant.
#[derive(Debug, Clone)]
enum Node {
    Leaf {
        header: &'static str,
        body: String,
    },
    Multipart {
        subtype: &'static str,
        preamble: bool,
        epilogue: bool,
        children: Vec<Node>,
    },
    Message {
        node: Box<Node>,
    },
}

/// A part as it was written.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    kind: PartKind,
    header: Range<u64>,
    body: Range<u64>,
}

fn nodes() -> impl Strategy<Value = Node> {
    let header = prop::sample::select(vec![
        "",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Type: TEXT/html;\r\n\tcharset=\"us-ascii\"\r\nContent-Transfer-Encoding: 7bit\r\n",
        "X-Other: --b0\r\nContent-Type: application/octet-stream; name=\"a;b\"\r\nContent-Disposition: attachment\r\n",
    ]);
    let line = prop::sample::select(vec![
        "",
        "a line",
        "-",
        "--",
        "-- ",
        "--c0",
        " --b0",
        "From me",
        "Subject: no header",
        "x: y",
    ]);
    let leaf = (header, vec(line, 1..5)).prop_map(|(header, lines)| Node::Leaf {
        header,
        body: lines.join("\r\n"),
    });
    leaf.prop_recursive(5, 40, 5, |inner| {
        let subtype = prop::sample::select(vec!["mixed", "alternative", "related"]);
        prop_oneof![
            (subtype, any::<bool>(), any::<bool>(), vec(inner.clone(), 1..5)).prop_map(
                |(subtype, preamble, epilogue, children)| Node::Multipart {
                    subtype,
                    preamble,
                    epilogue,
                    children
                }
            ),
            inner.prop_map(|node| Node::Message { node: Box::new(node) }),
        ]
    })
}

/// Writes a node with its header; ends where the body ends, before the line end that a boundary would take.
fn write(node: &Node, before: &str, boundaries: &mut u32, out: &mut Vec<u8>, parts: &mut Vec<Written>) {
    let header_start = out.len() as u64;
    out.extend_from_slice(before.as_bytes());
    let index = parts.len();
    parts.push(Written {
        kind: PartKind::Leaf,
        header: 0..0,
        body: 0..0,
    });
    let body_start;
    match node {
        Node::Leaf { header, body } => {
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(b"\r\n");
            body_start = out.len() as u64;
            out.extend_from_slice(body.as_bytes());
        }
        Node::Multipart {
            subtype,
            preamble,
            epilogue,
            children,
        } => {
            let boundary = format!("b{boundaries}");
            *boundaries += 1;
            out.extend_from_slice(format!("Content-Type: multipart/{subtype}; boundary={boundary}\r\n\r\n").as_bytes());
            body_start = out.len() as u64;
            parts[index].kind = PartKind::Multipart;
            if *preamble {
                out.extend_from_slice(b"For old clients.\r\n");
            }
            for child in children {
                out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
                write(child, "", boundaries, out, parts);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(format!("--{boundary}--").as_bytes());
            if *epilogue {
                out.extend_from_slice(b"\r\nNothing follows.");
            }
        }
        Node::Message { node } => {
            out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
            body_start = out.len() as u64;
            parts[index].kind = PartKind::Message;
            write(
                node,
                "Subject: inside\r\nFrom: in@example.org\r\n",
                boundaries,
                out,
                parts,
            );
        }
    }
    parts[index].header = header_start..body_start;
    parts[index].body = body_start..out.len() as u64;
}

fn written(node: &Node) -> (Vec<u8>, Vec<Written>) {
    let (mut out, mut parts) = (Vec::new(), Vec::new());
    write(
        node,
        "From: a@example.org\r\nMIME-Version: 1.0\r\n",
        &mut 10,
        &mut out,
        &mut parts,
    );
    (out, parts)
}

fn scanned(structure: &Structure) -> Vec<Written> {
    let parts = structure.parts().iter();
    parts
        .map(|part| Written {
            kind: part.kind,
            header: part.header(),
            body: part.body(),
        })
        .collect()
}

fn holds_message_in_message(node: &Node) -> bool {
    match node {
        Node::Leaf { .. } => false,
        Node::Multipart { children, .. } => children.iter().any(holds_message_in_message),
        Node::Message { node } => matches!(**node, Node::Message { .. }) || holds_message_in_message(node),
    }
}

/// Bodies of leaves in order, as mail-parser sees them.
fn second_opinion(message: &Message<'_>, part: usize, leaves: &mut Vec<Vec<u8>>) {
    let part = &message.parts[part];
    match &part.body {
        PartType::Multipart(children) => {
            children
                .iter()
                .for_each(|child| second_opinion(message, *child as usize, leaves));
        }
        PartType::Message(inner) => second_opinion(inner, 0, leaves),
        _ => leaves.push(message.raw_message[part.offset_body as usize..part.offset_end as usize].to_vec()),
    }
}

fn leaves(structure: &Structure, message: &[u8]) -> Vec<Vec<u8>> {
    let leaves = structure.parts().iter().filter(|part| part.kind == PartKind::Leaf);
    leaves
        .map(|part| message[part.body_start as usize..part.body_end as usize].to_vec())
        .collect()
}

fn scan_in_pieces(message: &[u8], sizes: &[usize]) -> Structure {
    let mut scanner = StructureScanner::new();
    let mut rest = message;
    for size in sizes.iter().cycle() {
        if rest.is_empty() || sizes.iter().all(|size| *size == 0) {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        scanner.push(piece);
        rest = after;
    }
    scanner.push(rest);
    scanner.finish()
}

/// What holds for every message, however odd.
fn check_any(message: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    let structure = Structure::of(message);
    prop_assert_eq!(&scan_in_pieces(message, sizes), &structure);
    prop_assert_eq!(structure.size(), message.len() as u64);
    for (index, part) in structure.parts().iter().enumerate() {
        prop_assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
        let body = &message[part.body_start as usize..part.body_end as usize];
        prop_assert_eq!(part.lines, body.iter().filter(|byte| **byte == b'\n').count() as u64);
        let mut end = part.body_start;
        for child in structure.children(index) {
            let child = structure.part(child);
            prop_assert!(child.header_start >= end && child.body_end <= part.body_end);
            prop_assert_eq!(child.parent, Some(index as u32));
            end = child.body_end;
        }
    }
    let read_back = Structure::from_bytes(&structure.to_bytes());
    prop_assert_eq!(read_back.as_ref(), Some(&structure));
    let mut out = Vec::new();
    write_body_structure(&structure, &mut out);
    write_envelope(&Envelope::parse(message), &mut out);
    prop_assert_eq!(structure.envelope(), Some(&Envelope::parse(message)));
    let header = structure
        .section(&SectionPath {
            parts: vec![],
            text: SectionText::Header,
        })
        .expect("always there");
    let header = &message[header.start as usize..header.end as usize];
    let both =
        filter_fields(header, &["subject", "x"], false).len() + filter_fields(header, &["subject", "x"], true).len();
    prop_assert!(both <= header.len() + 8);
    let keys = SearchKeys::new([
        SearchKey {
            scope: SearchScope::Text,
            text: "line".to_owned(),
        },
        SearchKey {
            scope: SearchScope::Body,
            text: "B".to_owned(),
        },
        SearchKey {
            scope: SearchScope::Header("subject".to_owned()),
            text: "i".to_owned(),
        },
    ]);
    let found = |sizes: &[usize]| {
        let mut matcher = TextMatcher::new(&keys, &structure);
        let mut sizes = sizes.iter().cycle();
        while let Some(wanted) = matcher.wanted() {
            let size = *sizes.next().expect("never empty") as u64;
            let end = wanted.start + size.clamp(1, wanted.end - wanted.start);
            matcher.push(wanted.start, &message[wanted.start as usize..end as usize]);
        }
        matcher.finish()
    };
    let whole = found(&[usize::MAX >> 1]);
    prop_assert_eq!(&found(sizes), &whole);
    let mut header_matcher = HeaderMatcher::new(&keys);
    message.chunks(3).any(|chunk| header_matcher.push(chunk));
    prop_assert_eq!(header_matcher.finish()[2], whole[2]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_are_found_as_they_were_written(node in nodes(), sizes in vec(0usize..40, 1..8)) {
        let (message, parts) = written(&node);
        let structure = Structure::of(&message);
        prop_assert_eq!(scanned(&structure), parts);
        check_any(&message, &sizes)?;
    }

    #[test]
    fn mail_parser_finds_the_same_bodies(node in nodes()) {
        let (message, _) = written(&node);
        // Behind a message that holds nothing but a message it loses its way, up to parts that are their own children.
        if holds_message_in_message(&node) {
            return Ok(());
        }
        let parsed = MessageParser::default().parse(&message).expect("it has headers");
        let mut theirs = Vec::new();
        second_opinion(&parsed, 0, &mut theirs);
        prop_assert_eq!(leaves(&Structure::of(&message), &message), theirs);
    }

    #[test]
    fn damaged_messages_stay_whole(node in nodes(), damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6), sizes in vec(0usize..40, 1..8)) {
        let (mut message, _) = written(&node);
        for (index, byte, what) in damage {
            let index = index.index(message.len());
            match what {
                0 => message[index] = byte,
                1 => message.truncate(index + 1),
                _ => drop(message.remove(index)),
            }
            if message.is_empty() {
                break;
            }
        }
        check_any(&message, &sizes)?;
    }

    #[test]
    fn scraps_of_messages(scraps in vec(prop::sample::select(vec![
        "\r\n", "\n", "\r", "--", "--b", "--b--", "--bb", "b", "-", " ", "\t", ":", ";", "\"", "(", ")", "\\", "<", ">", "@", ",", "=", "=?", "?=",
        "Content-Type:", "multipart/mixed", "multipart/digest", "message/rfc822", "text/plain", "boundary=b", "boundary=bb", "boundary*0=b",
        "Content-Transfer-Encoding: base64\r\n", "Content-Transfer-Encoding: quoted-printable\r\n", "Subject: ", "From:", "=41", "QUJD", "=?utf-8?q?x?=", "line", "ü", "\0",
    ]), 0..80), sizes in vec(0usize..9, 1..5)) {
        check_any(scraps.concat().as_bytes(), &sizes)?;
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..600), sizes in vec(0usize..40, 1..5)) {
        check_any(&bytes, &sizes)?;
        Structure::from_bytes(&bytes);
    }
}

/// A body of 64 MiB in one part of a multipart, a header field of 64 MiB, a line of 64 MiB that looks like a boundary, a million
/// parts, a million fields: what is held stays small, counted in bytes.
#[test]
fn what_is_held_is_bounded() {
    const MIB: usize = 1 << 20;
    let start = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".as_slice();
    // What, what starts it, what is repeated, up to which size, and what may be held.
    type Repeated = (&'static str, &'static [u8], Vec<u8>, usize, usize);
    let repeated: [Repeated; 6] = [
        ("a body of lines", b"\r\n", b"some words of text in a line\r\n".repeat(2048), 64 * MIB, 8 * 1024),
        ("a body without lines", b"\r\n", vec![b'x'; 65_536], 64 * MIB, 8 * 1024),
        ("dashes", b"\r\n", vec![b'-'; 65_536], 64 * MIB, 8 * 1024),
        ("a field", b"Subject: ", vec![b's'; 65_536], 64 * MIB, MIB),
        ("fields", b"", b"Content-Type: text/plain\r\nTo: a@b, c@d\r\nX-Y: z\r\n".repeat(1024), 16 * MIB, MIB),
        (
            "parts",
            b"",
            b"Content-Type: text/plain; charset=utf-8; name=\"a long name of a file.txt\"\r\nContent-ID: <an-id@example.org>\r\n\r\nx\r\n--b\r\n".repeat(512),
            64 * MIB,
            16 * MIB,
        ),
    ];
    for (what, before, block, size, held_max) in repeated {
        for header in [start, b"".as_slice()] {
            let mut scanner = StructureScanner::new();
            scanner.push(header);
            scanner.push(before);
            let mut pushed = header.len() + before.len();
            let mut held = 0;
            while pushed < size {
                scanner.push(&block);
                pushed += block.len();
                held = held.max(scanner.held_bytes());
            }
            assert!(held <= held_max, "{what}: {held} bytes held");
            let structure = scanner.finish();
            assert_eq!(structure.size(), pushed as u64);
            assert!(
                structure.memory_bytes() <= held_max,
                "{what}: {} bytes of structure",
                structure.memory_bytes()
            );
        }
    }
}
