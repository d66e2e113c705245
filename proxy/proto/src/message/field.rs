//! Header fields (RFC 5322 2.2): going through them, unfolding them, and the filter of `BODY[HEADER.FIELDS (...)]`.
//!
//! Lines end with LF, with or without CR before it. A line without a colon is no field: the filter of HEADER.FIELDS leaves
//! it out, and that of HEADER.FIELDS.NOT keeps it. White space between name and colon is tolerated (RFC 5322 4.5).

use memchr::memchr;

use super::lexer::trim;

/// One field as it stands in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Without colon and blanks; empty when the line has no colon.
    pub name: &'a [u8],
    /// After the colon, folded as it stands, without the last line end.
    pub value: &'a [u8],
    /// The whole field, with name, folds and line end.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// The value on one line: line ends taken out (RFC 5322 2.2.3) and blanks at both ends.
    pub fn unfolded(&self) -> Vec<u8> {
        unfold(self.value)
    }
}

/// Takes the line ends out of a folded value, and blanks off both ends. A CR that ends no line stays.
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(end) = memchr(b'\n', rest) {
        line.extend_from_slice(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]));
        rest = &rest[end + 1..];
    }
    line.extend_from_slice(rest);
    let trimmed = trim(&line);
    if trimmed.len() == line.len() {
        line
    } else {
        trimmed.to_vec()
    }
}

/// Like [`unfold`], but a line end with all blanks around it becomes one blank: whoever searches for two words does not know
/// whether they were folded with a tab or eight spaces between them.
pub(crate) fn unfold_to_blanks(value: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(value.len());
    for piece in value
        .split(|byte| *byte == b'\n')
        .map(trim)
        .filter(|piece| !piece.is_empty())
    {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(piece);
    }
    line
}

/// The fields of a header, up to its blank line or the end of the bytes.
pub fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            return None;
        }
        let mut end = 0;
        loop {
            end = memchr(b'\n', &rest[end..]).map_or(rest.len(), |line_end| end + line_end + 1);
            if !rest.get(end).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                break;
            }
        }
        let (raw, after) = rest.split_at(end);
        rest = after;
        let line = raw.strip_suffix(b"\n").unwrap_or(raw);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first_line_end = memchr(b'\n', line).unwrap_or(line.len());
        Some(match memchr(b':', &line[..first_line_end]) {
            Some(colon) => Field {
                name: trim(&line[..colon]),
                value: &line[colon + 1..],
                raw,
            },
            None => Field {
                name: b"",
                value: line,
                raw,
            },
        })
    })
}

/// What `BODY[HEADER.FIELDS (names)]` gives of a whole header: the fields with these names, case ignored, as they stand
/// and in their order, then a blank line (RFC 3501 6.4.5). With `not`, all other fields.
pub fn filter_fields<N: AsRef<[u8]>>(header: &[u8], names: &[N], not: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut filter = FieldFilter::new(names, not);
    filter.push(header, &mut out);
    filter.finish(&mut out);
    out
}

/// Longest field name that is compared, in bytes. A longer one cannot be asked for: it is none of the names.
const NAME_BYTES_MAX: usize = 256;

/// [`filter_fields`] for a header that comes in chunks; holds nothing but the name of the field it is in.
#[derive(Debug, Clone)]
pub struct FieldFilter {
    names: Vec<Box<[u8]>>,
    not: bool,
    state: FilterState,
    /// The bytes of a line before its colon, as they stand.
    held: Vec<u8>,
    /// Whether the field that the bytes belong to is let through.
    keep: bool,
    /// Whether what was let through ends with a line end.
    ends_line: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterState {
    /// At the first byte of a line.
    LineStart,
    /// Before the colon.
    Name,
    /// After it, up to the line end.
    Value,
    /// The blank line was seen.
    End,
}

impl FieldFilter {
    /// A filter for the fields named, or with `not` for all others.
    pub fn new<N: AsRef<[u8]>>(names: &[N], not: bool) -> Self {
        Self {
            names: names
                .iter()
                .map(|name| name.as_ref().to_ascii_lowercase().into())
                .collect(),
            not,
            state: FilterState::LineStart,
            held: Vec::new(),
            keep: not,
            ends_line: true,
        }
    }

    /// Takes the next bytes of the header; true when its blank line was seen and nothing more is needed.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> bool {
        let mut rest = chunk;
        while let Some(&byte) = rest.first() {
            match self.state {
                FilterState::End => break,
                FilterState::LineStart if matches!(byte, b' ' | b'\t') => self.state = FilterState::Value,
                FilterState::LineStart => self.state = FilterState::Name,
                FilterState::Name => {
                    rest = &rest[1..];
                    self.held.push(byte);
                    match byte {
                        b'\n' if matches!(self.held.as_slice(), b"\n" | b"\r\n") => self.state = FilterState::End,
                        b'\n' => {
                            self.decide(false, out);
                            self.state = FilterState::LineStart;
                        }
                        b':' => self.decide(true, out),
                        _ if self.held.len() > NAME_BYTES_MAX => self.decide(false, out),
                        _ => {}
                    }
                }
                FilterState::Value => {
                    let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    let (line, after) = rest.split_at(end);
                    rest = after;
                    if line.ends_with(b"\n") {
                        self.state = FilterState::LineStart;
                    }
                    self.write(line, out);
                }
            }
        }
        self.state == FilterState::End
    }

    /// Adds the blank line, which a filtered header always has.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.state == FilterState::Name {
            self.decide(false, out);
        }
        if !self.ends_line {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What is held begins a field, or a line without a colon.
    fn decide(&mut self, has_colon: bool, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let name = trim(held.strip_suffix(b":").unwrap_or(&held));
        self.keep = (has_colon && self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))) != self.not;
        self.state = FilterState::Value;
        self.write(&held, out);
    }

    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.keep {
            out.extend_from_slice(bytes);
            self.ends_line = bytes.ends_with(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Subject: one\r\n two\r\nno colon here\r\n more of it\r\nFROM : a@b\nX-Empty:\r\nsubject:three\r\n\r\nbody: x\r\n";

    #[test]
    fn fields_are_found_and_unfolded() {
        let found: Vec<(String, String)> = fields(HEADER.as_bytes())
            .map(|field| {
                (
                    String::from_utf8_lossy(field.name).into(),
                    String::from_utf8_lossy(&field.unfolded()).into(),
                )
            })
            .collect();
        let expected = [
            ("Subject", "one two"),
            ("", "no colon here more of it"),
            ("FROM", "a@b"),
            ("X-Empty", ""),
            ("subject", "three"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn filters_keep_order_and_end_with_a_blank_line() {
        for (header, names, not, expected) in [
            (
                HEADER,
                vec!["SUBJECT", "from"],
                false,
                "Subject: one\r\n two\r\nFROM : a@b\nsubject:three\r\n\r\n",
            ),
            (
                HEADER,
                vec!["SUBJECT", "from"],
                true,
                "no colon here\r\n more of it\r\nX-Empty:\r\n\r\n",
            ),
            (HEADER, vec!["nothing"], false, "\r\n"),
            ("A: b", vec!["a"], false, "A: b\r\n\r\n"),
            ("A: b\r\n", vec!["a"], false, "A: b\r\n\r\n"),
            ("A", vec!["a"], false, "\r\n"),
            ("A", vec!["a"], true, "A\r\n\r\n"),
            (" lone fold\r\nA: b\r\n\r\n", vec!["a"], true, " lone fold\r\n\r\n"),
            ("", vec!["a"], true, "\r\n"),
            ("\rA: b\r\n\r\n", vec!["a"], false, "\rA: b\r\n\r\n"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&filter_fields(header.as_bytes(), &names, not)),
                expected,
                "{header:?} {names:?} {not}"
            );
            for cut in 0..=header.len() {
                let (mut out, mut filter) = (Vec::new(), FieldFilter::new(&names, not));
                filter.push(&header.as_bytes()[..cut], &mut out);
                filter.push(&header.as_bytes()[cut..], &mut out);
                filter.finish(&mut out);
                assert_eq!(String::from_utf8_lossy(&out), expected, "{header:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn unfolding_keeps_what_is_no_line_end() {
        for (value, line) in [
            (" a\r\n\tb ", "a\tb"),
            ("a\rb", "a\rb"),
            ("\r\n a", "a"),
            ("a\n\n b", "a b"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&unfold(value.as_bytes())), line, "{value:?}");
        }
        for (value, line) in [
            (" a \r\n\t b  c ", "a b  c"),
            ("\r\n a\r\n \r\n b", "a b"),
            ("a\rb\n", "a\rb"),
            ("", ""),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&unfold_to_blanks(value.as_bytes())),
                line,
                "{value:?}"
            );
        }
    }
}
