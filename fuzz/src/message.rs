//! The structure of messages: the same however they are cut, parts within parts, written and read back; and what IMAP is
//! told of it has balanced parentheses.

use pigeon_proto::message::{
    DateTime, Envelope, EnvelopeScanner, PartKind, SectionPath, SectionText, Structure, StructureScanner,
    filter_fields, write_body, write_body_structure, write_envelope,
};

use crate::steer;

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let structure = Structure::of(data);
    let mut scanner = StructureScanner::new();
    let mut envelope = EnvelopeScanner::new();
    for piece in steer.pieces(data) {
        scanner.push(piece);
        envelope.push(piece);
    }
    assert_eq!(scanner.finish(), structure);
    let envelope = envelope.finish();
    assert_eq!(structure.envelope(), Some(&envelope));
    assert_eq!(Envelope::parse(data), envelope);
    check_parts(&structure, data);
    assert_eq!(Structure::from_bytes(&structure.to_bytes()).as_ref(), Some(&structure));
    check_rendering(&structure, &envelope);
    let header = &data[..structure.root().body_start as usize];
    let kept = filter_fields(header, &["subject", "to"], false);
    let others = filter_fields(header, &["subject", "to"], true);
    assert!(kept.ends_with(b"\r\n") && others.ends_with(b"\r\n"));
    assert!(kept.len() + others.len() <= header.len() + 6);
    if let Some(date) = DateTime::parse_rfc5322(data) {
        assert_eq!(DateTime::parse_imap(date.to_imap().as_bytes()), Some(date));
    }
    // The compact form of any bytes.
    if let Some(structure) = Structure::from_bytes(data) {
        assert_eq!(Structure::from_bytes(&structure.to_bytes()).as_ref(), Some(&structure));
        check_rendering(&structure, &envelope);
    }
}

fn check_parts(structure: &Structure, data: &[u8]) {
    assert_eq!(structure.size(), data.len() as u64);
    for (index, part) in structure.parts().iter().enumerate() {
        assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
        let body = &data[part.body_start as usize..part.body_end as usize];
        assert_eq!(part.lines, body.iter().filter(|byte| **byte == b'\n').count() as u64);
        let children: Vec<usize> = structure.children(index).collect();
        match part.kind {
            PartKind::Leaf => assert!(children.is_empty()),
            PartKind::Message => assert_eq!(children.len(), 1),
            PartKind::Multipart => {}
        }
        let mut end = part.body_start;
        for child in children {
            let child = structure.part(child);
            assert!(child.header_start >= end && child.body_end <= part.body_end);
            end = child.body_end;
        }
    }
    for parts in [vec![], vec![1], vec![2, 1], vec![1, 1, 1]] {
        for text in [
            SectionText::Whole,
            SectionText::Header,
            SectionText::Text,
            SectionText::Mime,
        ] {
            let range = structure.section(&SectionPath {
                parts: parts.clone(),
                text,
            });
            assert!(range.is_none_or(|range| range.start <= range.end && range.end <= structure.size()));
        }
    }
}

fn check_rendering(structure: &Structure, envelope: &Envelope) {
    let mut out = Vec::new();
    write_body(structure, &mut out);
    check_balance(&out);
    out.clear();
    write_body_structure(structure, &mut out);
    check_balance(&out);
    out.clear();
    write_envelope(envelope, &mut out);
    check_balance(&out);
}

/// Goes over strings and literals and counts the parentheses between them.
fn check_balance(text: &[u8]) {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'"' => loop {
                at += 1;
                match text[at] {
                    b'"' => break,
                    b'\\' => at += 1,
                    byte => assert!(byte.is_ascii() && !matches!(byte, 0 | b'\r' | b'\n')),
                }
            },
            b'{' => {
                let digits: String = text[at + 1..]
                    .iter()
                    .take_while(|byte| **byte != b'}')
                    .map(|byte| *byte as char)
                    .collect();
                let length: usize = digits.parse().expect("a literal has a length");
                assert_eq!(&text[at + digits.len() + 2..][..2], b"\r\n");
                at += digits.len() + 3 + length;
                assert!(at < text.len());
            }
            byte => assert!(matches!(byte, b' ' | b'0'..=b'9' | b'N' | b'I' | b'L')),
        }
        assert!(depth >= 0);
        at += 1;
    }
    assert_eq!(depth, 0);
}
