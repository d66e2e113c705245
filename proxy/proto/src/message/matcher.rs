//! SEARCH in the text of messages: HEADER, SUBJECT, FROM, TO, CC, BCC, BODY and TEXT (RFC 3501 6.4.4).
//!
//! What is searched, exactly:
//! - header fields one by one: unfolded (a fold and the blanks around it are one blank), encoded words decoded. HEADER looks
//!   at the value, TEXT at `Name: value`;
//! - bodies of text/* and message/* and of the usual textual application types, after transfer decoding and in their charset;
//! - bodies of other types as they stand, unless they are base64: that would find short keys anywhere by chance;
//! - BODY sees the bodies, and the headers of embedded messages; TEXT sees the headers of the message and of all parts too.
//!   Preambles, epilogues and boundary lines are seen by neither (RFC 9051 6.4.4 leaves such choices to the server).
//!
//! Comparison is that of [`super::fold`]; nothing is found across the border of two fields or parts. Memory is bounded by
//! the keys and 256 KiB, whatever the message; a field beyond 64 KiB is searched in pieces of that size, each for itself.

use std::ops::Range;

use super::charset::CharsetDecoder;
use super::haystack::Haystack;
use super::header_search::{HeaderOf, HeaderSearch, sees};
use super::structure::{Part, PartKind, Structure};
use super::transfer::TransferDecoder;

pub use super::haystack::{SearchKey, SearchKeys, SearchScope};

/// Bytes of a body that are decoded at a time.
const PIECE_BYTES: usize = 8 * 1024;

/// Looks for HEADER keys in a message's own header, without a structure.
pub struct HeaderMatcher<'k> {
    haystack: Haystack<'k>,
    header: HeaderSearch,
}

impl<'k> HeaderMatcher<'k> {
    /// At the first byte of a message.
    pub fn new(keys: &'k SearchKeys) -> Self {
        Self {
            haystack: Haystack::new(keys),
            header: HeaderSearch::new(HeaderOf::Message),
        }
    }

    /// Takes the next bytes; true once no more are needed: the header has ended, or all keys were found.
    pub fn push(&mut self, chunk: &[u8]) -> bool {
        self.header.push(chunk, &mut self.haystack);
        self.header.is_done() || !self.haystack.is_open(|scope| matches!(scope, SearchScope::Header(_)))
    }

    /// Of each key, in the order given, whether it was found; those that look beyond the header were not looked for.
    pub fn finish(mut self) -> Vec<bool> {
        self.header.finish(&mut self.haystack);
        self.haystack.into_found()
    }
}

/// A stretch of the message that is searched.
struct Stretch {
    range: Range<u64>,
    content: Stretched,
}

enum Stretched {
    Header(HeaderOf),
    Body {
        encoding: TransferDecoder,
        charset: Option<Vec<u8>>,
    },
}

/// What is being read.
enum Reading {
    Nothing,
    Header(HeaderSearch),
    Body(TransferDecoder, Box<CharsetDecoder>),
}

/// Looks for keys of all kinds in a message whose structure is known, reading only the bytes that can hold them.
///
/// Ask [`wanted`](Self::wanted) which bytes come next, give them with [`push`](Self::push) in chunks of any size, until none
/// are wanted.
pub struct TextMatcher<'k> {
    haystack: Haystack<'k>,
    stretches: std::vec::IntoIter<Stretch>,
    /// Of the stretch being read, what is left of it.
    left: Range<u64>,
    reading: Reading,
    decoded: Vec<u8>,
}

impl<'k> TextMatcher<'k> {
    /// At the first byte of a message.
    pub fn new(keys: &'k SearchKeys, structure: &Structure) -> Self {
        let haystack = Haystack::new(keys);
        let sees_text = haystack.is_open(|scope| *scope == SearchScope::Text);
        let sees_bodies = sees_text || haystack.is_open(|scope| *scope == SearchScope::Body);
        let mut stretches = Vec::new();
        for (index, part) in structure.parts().iter().enumerate() {
            let of = match (index, &part.envelope) {
                (0, _) => HeaderOf::Message,
                (_, Some(_)) => HeaderOf::Embedded,
                (_, None) => HeaderOf::Part,
            };
            let sees_header = match of {
                HeaderOf::Message => true,
                HeaderOf::Embedded => sees_bodies,
                HeaderOf::Part => sees_text,
            };
            if sees_header && !part.header().is_empty() {
                stretches.push(Stretch {
                    range: part.header(),
                    content: Stretched::Header(of),
                });
            }
            if sees_bodies
                && part.kind == PartKind::Leaf
                && part.size() > 0
                && let Some(content) = body_of(part)
            {
                stretches.push(Stretch {
                    range: part.body(),
                    content,
                });
            }
        }
        let mut matcher = Self {
            haystack,
            stretches: stretches.into_iter(),
            left: 0..0,
            reading: Reading::Nothing,
            decoded: Vec::new(),
        };
        matcher.begin_stretch();
        matcher
    }

    /// The bytes of the message to give next; none when all keys were found or nothing is left to be searched.
    pub fn wanted(&self) -> Option<Range<u64>> {
        (!self.left.is_empty()).then(|| self.left.clone())
    }

    /// Takes bytes of the message that start at this offset. Those that are not wanted are passed over, so that a caller
    /// may as well give the whole message in order; bytes that are wanted must come in order and without gaps.
    pub fn push(&mut self, offset: u64, chunk: &[u8]) {
        let mut offset = offset;
        let mut rest = chunk;
        while !self.left.is_empty() && !rest.is_empty() {
            let skipped = usize::try_from(self.left.start.saturating_sub(offset))
                .unwrap_or(usize::MAX)
                .min(rest.len());
            rest = &rest[skipped..];
            let length = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
            let (piece, after) = rest.split_at(length.min(rest.len()).min(PIECE_BYTES));
            rest = after;
            offset += (skipped + piece.len()) as u64;
            self.left.start += piece.len() as u64;
            self.read(piece);
            if self.left.is_empty() {
                self.end_stretch();
                self.begin_stretch();
            }
        }
    }

    /// Of each key, in the order given, whether it was found.
    pub fn finish(mut self) -> Vec<bool> {
        self.end_stretch();
        self.haystack.into_found()
    }

    /// Goes to the next stretch that can hold a key that was not found yet.
    fn begin_stretch(&mut self) {
        self.reading = Reading::Nothing;
        self.left = 0..0;
        for stretch in self.stretches.by_ref() {
            self.reading = match stretch.content {
                Stretched::Header(of) if self.haystack.is_open(|scope| sees(scope, of)) => {
                    Reading::Header(HeaderSearch::new(of))
                }
                Stretched::Body { encoding, charset }
                    if self.haystack.begin(|scope| !matches!(scope, SearchScope::Header(_))) =>
                {
                    Reading::Body(encoding, Box::new(CharsetDecoder::for_label(charset.as_deref())))
                }
                _ => continue,
            };
            self.left = stretch.range;
            return;
        }
    }

    fn read(&mut self, piece: &[u8]) {
        let haystack = &mut self.haystack;
        match &mut self.reading {
            Reading::Nothing => {}
            Reading::Header(header) => header.push(piece, haystack),
            Reading::Body(encoding, charset) => {
                self.decoded.clear();
                encoding.push(piece, &mut self.decoded);
                charset.push(&self.decoded, false, |text| haystack.text(text));
            }
        }
    }

    fn end_stretch(&mut self) {
        let haystack = &mut self.haystack;
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Nothing => {}
            Reading::Header(header) => header.finish(haystack),
            Reading::Body(mut encoding, mut charset) => {
                self.decoded.clear();
                encoding.finish(&mut self.decoded);
                charset.push(&self.decoded, true, |text| haystack.text(text));
                haystack.end();
            }
        }
    }
}

/// How the body of a part is read; none when it is not searched.
fn body_of(part: &Part) -> Option<Stretched> {
    let encoding = TransferDecoder::for_encoding(part.encoding().map(|name| &**name));
    let content_type = part.content_type();
    let is_textual = part.is_text()
        || content_type.is_some_and(|content_type| {
            let subtype = content_type.subtype.to_ascii_lowercase();
            content_type.is_kind("message")
                || content_type.is_kind("application")
                    && (matches!(
                        subtype.as_slice(),
                        b"json" | b"xml" | b"javascript" | b"x-javascript" | b"pgp" | b"x-sh" | b"csv" | b"sql"
                    ) || subtype.ends_with(b"+json")
                        || subtype.ends_with(b"+xml"))
        });
    if is_textual {
        let charset = content_type
            .and_then(|content_type| content_type.parameter("charset"))
            .map(<[u8]>::to_vec);
        return Some(Stretched::Body { encoding, charset });
    }
    match encoding {
        TransferDecoder::Base64(_) => None,
        encoding => Some(Stretched::Body {
            encoding,
            charset: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "From: =?utf-8?q?J=C3=BCrgen?= M <juergen@example.org>\r\nSubject: Monthly =?utf-8?q?r=C3=A9?=\r\n =?utf-8?q?sum=C3=A9?= for\r\n you\r\nX-Empty:\r\nno field here\r\nContent-Type: multipart/mixed; boundary=\"outerline\"\r\n\r\nthis is the preamble\r\n--outerline\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6ne Gr=FC=\r\n=DFe\r\n--outerline\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: inline; filename=page.html\r\n\r\nPHA+w4lUw4kgSU4g\r\nUEFSSVM8L3A+\r\n--outerline\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJjIHBpY3R1cmU=\r\n--outerline\r\nContent-Type: image/svg+xml\r\n\r\n<svg>drawing</svg>\r\n--outerline\r\nContent-Type: application/ld+json\r\nContent-Transfer-Encoding: base64\r\n\r\neyJrZXkiOiJzY2hlbWEifQ==\r\n--outerline\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner words\r\nContent-Type: text/plain\r\n\r\ninner body\r\n--outerline--\r\nthis is the epilogue\r\n";

    fn text(scope: SearchScope, key: &str) -> SearchKey {
        SearchKey {
            scope,
            text: key.to_owned(),
        }
    }

    fn header(name: &str, key: &str) -> SearchKey {
        text(SearchScope::Header(name.to_owned()), key)
    }

    fn cases() -> Vec<(SearchKey, bool)> {
        use SearchScope::{Body, Text};
        let mut cases = vec![
            (header("from", "JÜRGEN m"), true),
            (header("From", "example.org"), true),
            (header("from", "from"), false),
            (header("subject", "monthly résumé for you"), true),
            (header(" SUBJECT ", "RÉSUMÉ"), true),
            (header("subject", "inner"), false),
            (header("x-empty", ""), true),
            (header("x-absent", ""), false),
            (header("x-empty", "x"), false),
            (header("content-type", "outerline"), true),
            (header("content-type", "text/plain"), false),
            (header("", "no field"), true),
        ];
        for (key, in_text, in_body) in [
            ("schöne grüße", true, true),
            ("été in paris", true, true),
            ("jürgen", true, false),
            ("subject: monthly résumé", true, false),
            ("no field here", true, false),
            ("page.html", true, false),
            ("quoted-printable", true, false),
            ("drawing", true, true),
            ("schema", true, true),
            ("picture", false, false),
            ("YWJj", false, false),
            ("inner words", true, true),
            ("Subject: inner", true, true),
            ("inner body", true, true),
            ("preamble", false, false),
            ("epilogue", false, false),
            ("absent", false, false),
            ("", true, true),
            ("you\r\nX-Empty", false, false),
        ] {
            cases.push((text(Text, key), in_text));
            cases.push((text(Body, key), in_body));
        }
        cases
    }

    fn search(keys: &SearchKeys, message: &[u8], piece: usize) -> Vec<bool> {
        let mut matcher = TextMatcher::new(keys, &Structure::of(message));
        while let Some(wanted) = matcher.wanted() {
            let end = (wanted.end as usize).min(wanted.start as usize + piece);
            matcher.push(wanted.start, &message[wanted.start as usize..end]);
        }
        matcher.finish()
    }

    #[test]
    fn keys_one_by_one_and_together() {
        let (keys, expected): (Vec<_>, Vec<_>) = cases().into_iter().unzip();
        for (key, expected) in keys.iter().zip(&expected) {
            let found = search(&SearchKeys::new([key.clone()]), MESSAGE.as_bytes(), 1 << 20);
            assert_eq!(found, [*expected], "{key:?}");
        }
        let all = SearchKeys::new(keys);
        for piece in [1, 2, 3, 7, 64, 1 << 20] {
            assert_eq!(
                search(&all, MESSAGE.as_bytes(), piece),
                expected,
                "in pieces of {piece}"
            );
        }
        for cut in 0..MESSAGE.len() {
            let mut matcher = TextMatcher::new(&all, &Structure::of(MESSAGE.as_bytes()));
            matcher.push(0, &MESSAGE.as_bytes()[..cut]);
            matcher.push(cut as u64, &MESSAGE.as_bytes()[cut..]);
            assert_eq!(matcher.wanted(), None);
            assert_eq!(matcher.finish(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn headers_need_no_structure() {
        let (keys, expected): (Vec<_>, Vec<_>) = cases()
            .into_iter()
            .filter(|(key, _)| matches!(key.scope, SearchScope::Header(_)))
            .unzip();
        let keys = SearchKeys::new(keys);
        assert!(!keys.need_body() && keys.len() == expected.len());
        for cut in 0..=MESSAGE.len() {
            let mut matcher = HeaderMatcher::new(&keys);
            let is_done = matcher.push(&MESSAGE.as_bytes()[..cut]) || matcher.push(&MESSAGE.as_bytes()[cut..]);
            assert!(is_done);
            assert_eq!(matcher.finish(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn only_what_can_matter_is_wanted() {
        let message = MESSAGE.as_bytes();
        let structure = Structure::of(message);
        let keys = SearchKeys::new([header("from", "x")]);
        assert_eq!(
            TextMatcher::new(&keys, &structure).wanted(),
            Some(structure.root().header())
        );
        let keys = SearchKeys::new([text(SearchScope::Body, "grüße")]);
        let mut matcher = TextMatcher::new(&keys, &structure);
        assert_eq!(matcher.wanted(), Some(structure.part(1).body()));
        matcher.push(0, message);
        assert_eq!(matcher.wanted(), None);
        let keys = SearchKeys::new([text(SearchScope::Body, "")]);
        assert_eq!(TextMatcher::new(&keys, &structure).wanted(), None);
    }

    #[test]
    fn long_fields_and_bodies_are_searched_in_pieces() {
        let long = "word ".repeat(100_000);
        let message = format!("Subject: {long} needle\r\nContent-Type: text/plain\r\n\r\n{long} pin {long}");
        let keys = SearchKeys::new([
            header("subject", "needle"),
            header("x", "needle"),
            text(SearchScope::Body, "PIN"),
            text(SearchScope::Text, "rd  pin wo"),
        ]);
        assert_eq!(search(&keys, message.as_bytes(), 4096), [true, false, true, true]);
    }
}
