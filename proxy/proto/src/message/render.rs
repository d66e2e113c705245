//! ENVELOPE, BODY and BODYSTRUCTURE as IMAP sends them (RFC 3501 7.4.2 and its grammar in 9).
//!
//! A string is quoted when it is short printable ASCII, else a literal; bytes outside of ASCII make a literal. NUL may stand
//! in no string: it becomes U+FFFD, as does nothing else; a lone CR or LF becomes a blank.

use super::Text;
use super::addresses::Address;
use super::content::{Content, Disposition, Parameter};
use super::envelope::Envelope;
use super::structure::{Part, PartKind, Structure};

/// Longest quoted string, in bytes; longer ones become literals, which clients read without a line limit.
const QUOTED_BYTES_MAX: usize = 1024;

/// Writes a `string`.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let is_plain = text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if is_plain && text.len() <= QUOTED_BYTES_MAX {
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
        return;
    }
    let mut clean = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            0 => clean.extend_from_slice("\u{fffd}".as_bytes()),
            b'\r' | b'\n' => clean.push(b' '),
            _ => clean.push(*byte),
        }
    }
    if is_plain || clean.iter().any(|byte| !matches!(byte, b' '..=b'~' | b'\t')) || clean.len() > QUOTED_BYTES_MAX {
        out.extend_from_slice(format!("{{{}}}\r\n", clean.len()).as_bytes());
        out.extend_from_slice(&clean);
    } else {
        write_string(&clean, out);
    }
}

/// Writes an `nstring`: NIL for none.
pub fn write_nstring(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes the value of ENVELOPE.
pub fn write_envelope(envelope: &Envelope, out: &mut Vec<u8>) {
    out.push(b'(');
    write_nstring(envelope.date.as_deref(), out);
    out.push(b' ');
    write_nstring(envelope.subject.as_deref(), out);
    let lists: [&[Address]; 6] = [
        &envelope.from,
        envelope.sender_or_from(),
        envelope.reply_to_or_from(),
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ];
    for list in lists {
        out.push(b' ');
        write_addresses(list, out);
    }
    out.push(b' ');
    write_nstring(envelope.in_reply_to.as_deref(), out);
    out.push(b' ');
    write_nstring(envelope.message_id.as_deref(), out);
    out.push(b')');
}

fn write_addresses(list: &[Address], out: &mut Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in list {
        let mut separator = b'(';
        for field in [&address.name, &address.route, &address.mailbox, &address.host] {
            out.push(separator);
            write_nstring(field.as_deref(), out);
            separator = b' ';
        }
        out.push(b')');
    }
    out.push(b')');
}

/// Writes the value of BODY (without a section): the structure without extension data.
pub fn write_body(structure: &Structure, out: &mut Vec<u8>) {
    write_part(structure, 0, false, out);
}

/// Writes the value of BODYSTRUCTURE: with extension data.
pub fn write_body_structure(structure: &Structure, out: &mut Vec<u8>) {
    write_part(structure, 0, true, out);
}

/// Recursion is as deep as the structure nests, which is bounded.
fn write_part(structure: &Structure, index: usize, is_extended: bool, out: &mut Vec<u8>) {
    let part = structure.part(index);
    let none = Content::default();
    let content = part.content.as_deref().unwrap_or(&none);
    out.push(b'(');
    if part.kind == PartKind::Multipart {
        let mut has_parts = false;
        for child in structure.children(index) {
            write_part(structure, child, is_extended, out);
            has_parts = true;
        }
        if !has_parts {
            // The grammar knows no multipart without parts: an empty text stands for them, as with Dovecot.
            out.extend_from_slice(b"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0");
            out.extend_from_slice(if is_extended { b" NIL NIL NIL NIL)" } else { b")" });
        }
        let content_type = content.content_type.as_ref();
        out.push(b' ');
        write_string(content_type.map_or(b"mixed", |content_type| &content_type.subtype), out);
        if is_extended {
            out.push(b' ');
            write_parameters(
                content_type.map_or(&[], |content_type| &content_type.parameters),
                false,
                out,
            );
            write_common_extension(content, out);
        }
    } else {
        write_single(structure, index, part, content, is_extended, out);
        if is_extended {
            out.push(b' ');
            write_nstring(content.md5.as_deref(), out);
            write_common_extension(content, out);
        }
    }
    out.push(b')');
}

/// body-type-basic, body-type-msg and body-type-text, without extension data.
fn write_single(
    structure: &Structure,
    index: usize,
    part: &Part,
    content: &Content,
    is_extended: bool,
    out: &mut Vec<u8>,
) {
    let is_text = part.kind == PartKind::Leaf && part.is_text();
    match (&content.content_type, part.kind) {
        (Some(content_type), PartKind::Leaf)
            if content_type.is("message", "rfc822") || content_type.is_kind("multipart") =>
        {
            // Nested too deep to be looked into: with its own type the grammar would ask for what is in it.
            out.extend_from_slice(b"\"application\" \"octet-stream\" NIL");
        }
        (Some(content_type), _) => {
            write_string(&content_type.kind, out);
            out.push(b' ');
            write_string(&content_type.subtype, out);
            out.push(b' ');
            let has_charset = content_type.parameter("charset").is_some();
            write_parameters(&content_type.parameters, is_text && !has_charset, out);
        }
        (None, PartKind::Message) => out.extend_from_slice(b"\"message\" \"rfc822\" NIL"),
        (None, _) if is_text => out.extend_from_slice(b"\"text\" \"plain\" (\"charset\" \"us-ascii\")"),
        (None, _) => out.extend_from_slice(b"\"application\" \"octet-stream\" NIL"),
    }
    out.push(b' ');
    write_nstring(content.id.as_deref(), out);
    out.push(b' ');
    write_nstring(content.description.as_deref(), out);
    out.push(b' ');
    write_string(content.encoding.as_deref().unwrap_or(b"7bit"), out);
    write_number(part.size(), out);
    if part.kind == PartKind::Message {
        let child = structure.first_child(index);
        let envelope = child.and_then(|child| structure.part(child).envelope.as_deref());
        out.push(b' ');
        write_envelope(envelope.unwrap_or(&Envelope::default()), out);
        out.push(b' ');
        if let Some(child) = child {
            write_part(structure, child, is_extended, out);
        }
    }
    if is_text || part.kind == PartKind::Message {
        write_number(part.lines, out);
    }
}

/// body-fld-dsp, body-fld-lang and body-fld-loc.
fn write_common_extension(content: &Content, out: &mut Vec<u8>) {
    out.push(b' ');
    match &content.disposition {
        None => out.extend_from_slice(b"NIL"),
        Some(Disposition { kind, parameters }) => {
            out.push(b'(');
            write_string(kind, out);
            out.push(b' ');
            write_parameters(parameters, false, out);
            out.push(b')');
        }
    }
    out.push(b' ');
    if content.languages.is_empty() {
        out.extend_from_slice(b"NIL");
    } else {
        write_strings(&content.languages.iter().collect::<Vec<_>>(), out);
    }
    out.push(b' ');
    write_nstring(content.location.as_deref(), out);
}

fn write_parameters(parameters: &[Parameter], add_charset: bool, out: &mut Vec<u8>) {
    let (name, ascii): (Text, Text) = (b"charset".as_slice().into(), b"us-ascii".as_slice().into());
    let mut strings: Vec<&Text> = parameters
        .iter()
        .flat_map(|parameter| [&parameter.name, &parameter.value])
        .collect();
    if add_charset {
        strings.extend([&name, &ascii]);
    }
    if strings.is_empty() {
        out.extend_from_slice(b"NIL");
    } else {
        write_strings(&strings, out);
    }
}

fn write_strings(strings: &[&Text], out: &mut Vec<u8>) {
    let mut separator = b'(';
    for string in strings {
        out.push(separator);
        write_string(string, out);
        separator = b' ';
    }
    out.push(b')');
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(" {number}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        for (text, expected) in [
            (b"".as_slice(), b"\"\"".as_slice()),
            (b"a b", b"\"a b\""),
            (b"a\"b\\c", b"\"a\\\"b\\\\c\""),
            (b"a\tb", b"\"a\tb\""),
            (b"a\rb", b"\"a b\""),
            (b"a\0b", b"{5}\r\na\xef\xbf\xbdb"),
            ("ü".as_bytes(), b"{2}\r\n\xc3\xbc"),
            (b"\x7f", b"{1}\r\n\x7f"),
        ] {
            let mut out = Vec::new();
            write_nstring(Some(text), &mut out);
            assert_eq!(out, expected, "{text:?}");
        }
        let mut out = Vec::new();
        write_nstring(None, &mut out);
        assert_eq!(out, b"NIL");
        out.clear();
        write_string(&[b'x'; 2000], &mut out);
        assert!(out.starts_with(b"{2000}\r\nxxx"));
    }

    #[test]
    fn nesting_beyond_the_bound_is_flat() {
        let mut message = String::new();
        for _ in 0..500 {
            message.push_str("Content-Type: message/rfc822\r\n\r\n");
        }
        let mut out = Vec::new();
        write_body_structure(&Structure::of(message.as_bytes()), &mut out);
        let text = String::from_utf8(out).expect("ASCII by construction");
        assert_eq!(
            text.matches("\"message\" \"rfc822\"").count(),
            super::super::structure::NESTING_MAX - 1
        );
        assert_eq!(text.matches("\"application\" \"octet-stream\"").count(), 1);
        assert_eq!(text.matches('(').count(), text.matches(')').count());
    }
}
