//! What the fields of a MIME part say of it: Content-Type, Content-Disposition and the others that BODYSTRUCTURE shows.
//!
//! Mail is often wrong here, so that reading is lenient: a value that is no media type counts as absent (RFC 2045 5.2:
//! text/plain), parameters may hold what should have been quoted. Continuations of RFC 2231 (`name*0`, `name*1*`) are joined
//! into one parameter, `name` or `name*`, still percent-encoded, since that is what clients of IMAP decode; pieces that do
//! not make a whole stay as they stand.

use super::Text;
use super::lexer::{Lexer, is_blank, is_token, trim};

/// Most parameters kept of one field.
pub const PARAMETERS_MAX: usize = 128;
/// Most languages kept of Content-Language.
pub const LANGUAGES_MAX: usize = 64;

/// `attribute=value`; the value is unquoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As it stands; names are compared without case.
    pub name: Text,
    /// Without quotes, still encoded when the name ends with `*`.
    pub value: Text,
}

/// Content-Type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// `text`, `multipart`, ..., as it stands; compare without case.
    pub kind: Text,
    /// `plain`, `mixed`, ..., as it stands.
    pub subtype: Text,
    /// In their order.
    pub parameters: Vec<Parameter>,
}

impl ContentType {
    /// Reads an unfolded value; none when it is no media type.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut lexer = Lexer::new(value);
        let kind = token(&mut lexer)?;
        lexer.skip_cfws();
        if !lexer.eat(b'/') {
            return None;
        }
        let subtype = token(&mut lexer)?;
        lexer.skip_cfws();
        if lexer.peek() == Some(b'/') {
            return None;
        }
        Some(Self {
            kind: kind.into(),
            subtype: subtype.into(),
            parameters: parameters(lexer),
        })
    }

    /// Compares type and subtype without case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.is_kind(kind) && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    /// Compares the type without case.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
    }

    /// The first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .parameters
            .iter()
            .find(|parameter| parameter.name.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|parameter| &*parameter.value)
    }
}

/// Content-Disposition (RFC 2183).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition {
    /// `inline`, `attachment`, ..., as it stands.
    pub kind: Text,
    /// In their order.
    pub parameters: Vec<Parameter>,
}

impl Disposition {
    /// Reads an unfolded value. Parameters without a kind are those of an attachment (RFC 2183 2.8: unrecognised kinds);
    /// none when there is neither.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut lexer = Lexer::new(value);
        let kind = token_or_quoted(&mut lexer);
        let parameters = parameters(lexer);
        if kind.is_empty() && parameters.is_empty() {
            return None;
        }
        let kind: Text = if kind.is_empty() {
            b"attachment".as_slice().into()
        } else {
            kind.into()
        };
        Some(Self { kind, parameters })
    }
}

/// All that is kept of a part's header, beside its envelope. Absent fields are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// None: text/plain, or message/rfc822 in a digest.
    pub content_type: Option<ContentType>,
    /// Content-Transfer-Encoding, as it stands. None: 7bit.
    pub encoding: Option<Text>,
    /// Content-ID with its angle brackets.
    pub id: Option<Text>,
    /// Content-Description, unfolded, its encoded words kept.
    pub description: Option<Text>,
    /// Content-MD5.
    pub md5: Option<Text>,
    /// Content-Disposition.
    pub disposition: Option<Disposition>,
    /// Content-Language (RFC 3282), in its order.
    pub languages: Vec<Text>,
    /// Content-Location (RFC 2557).
    pub location: Option<Text>,
}

impl Content {
    /// How many bytes of text this holds, for the bounds of a structure.
    pub(crate) fn text_bytes(&self) -> usize {
        let parameters = |list: &[Parameter]| -> usize { list.iter().map(|p| p.name.len() + p.value.len() + 32).sum() };
        let option = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
        self.content_type
            .as_ref()
            .map_or(0, |t| t.kind.len() + t.subtype.len() + parameters(&t.parameters))
            + self
                .disposition
                .as_ref()
                .map_or(0, |d| d.kind.len() + parameters(&d.parameters))
            + [&self.encoding, &self.id, &self.description, &self.md5, &self.location]
                .into_iter()
                .map(option)
                .sum::<usize>()
            + self.languages.iter().map(|language| language.len() + 16).sum::<usize>()
    }
}

/// The first token of Content-Transfer-Encoding, quoted or not.
pub(crate) fn parse_encoding(value: &[u8]) -> Option<Text> {
    let token = token_or_quoted(&mut Lexer::new(value));
    (!token.is_empty()).then(|| token.into())
}

/// The tags of Content-Language.
pub(crate) fn parse_languages(value: &[u8]) -> Vec<Text> {
    let mut lexer = Lexer::new(value);
    let mut languages = Vec::new();
    while lexer.peek().is_some() && languages.len() < LANGUAGES_MAX {
        let language = token_or_quoted(&mut lexer);
        if language.is_empty() {
            lexer.bump();
        } else {
            languages.push(language.into());
        }
    }
    languages
}

fn token(lexer: &mut Lexer<'_>) -> Option<Vec<u8>> {
    lexer.skip_cfws();
    let token = lexer.take_while(is_token);
    (!token.is_empty()).then(|| token.to_vec())
}

fn token_or_quoted(lexer: &mut Lexer<'_>) -> Vec<u8> {
    lexer.skip_cfws();
    let token = if lexer.peek() == Some(b'"') {
        lexer.quoted_string()
    } else {
        lexer.take_while(is_token).to_vec()
    };
    lexer.skip_cfws();
    token
}

/// `; name=value` until the end. What stands before the first semicolon is left out.
fn parameters(mut lexer: Lexer<'_>) -> Vec<Parameter> {
    let mut found = Vec::new();
    while found.len() < PARAMETERS_MAX {
        skip_to_semicolon(&mut lexer);
        if !lexer.eat(b';') {
            break;
        }
        lexer.skip_cfws();
        let name = lexer.take_while(is_token);
        lexer.skip_cfws();
        if name.is_empty() || !lexer.eat(b'=') {
            continue;
        }
        lexer.skip_cfws();
        let value = if lexer.peek() == Some(b'"') {
            lexer.quoted_string()
        } else {
            unquoted_value(&mut lexer)
        };
        found.push(Parameter {
            name: name.into(),
            value: value.into(),
        });
    }
    join_continuations(found)
}

fn skip_to_semicolon(lexer: &mut Lexer<'_>) {
    loop {
        match lexer.peek() {
            None | Some(b';') => return,
            Some(b'"') => drop(lexer.quoted_string()),
            Some(b'(') => drop(lexer.comment()),
            Some(_) => lexer.bump(),
        }
    }
}

/// All up to the semicolon, since blanks and specials in file names are often left unquoted; a comment at the end is
/// taken off when a blank stands before it.
fn unquoted_value(lexer: &mut Lexer<'_>) -> Vec<u8> {
    let value = trim(lexer.take_while(|byte| byte != b';'));
    if value.last() == Some(&b')') {
        let comment = value.windows(2).position(|pair| is_blank(pair[0]) && pair[1] == b'(');
        if let Some(blank) = comment {
            return trim(&value[..blank]).to_vec();
        }
    }
    value.to_vec()
}

/// `name*N` or `name*N*` (RFC 2231 3): the base name, the number, and whether the piece is percent-encoded.
fn continuation(name: &[u8]) -> Option<(&[u8], usize, bool)> {
    let (name, is_encoded) = match name.strip_suffix(b"*") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let star = name.iter().rposition(|byte| *byte == b'*')?;
    let digits = name.get(star + 1..)?;
    let has_zero_before = digits.len() > 1 && digits.first() == Some(&b'0');
    if star == 0 || digits.is_empty() || digits.len() > 3 || has_zero_before || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    Some((&name[..star], number, is_encoded))
}

/// The number of a piece, whether it is percent-encoded, and the parameter that it is.
type Piece<'a> = (usize, bool, &'a Parameter);

/// Joins pieces 0 to N of a parameter when all are there; they follow those that came whole.
fn join_continuations(found: Vec<Parameter>) -> Vec<Parameter> {
    if !found.iter().any(|parameter| continuation(&parameter.name).is_some()) {
        return found;
    }
    let mut whole = Vec::new();
    let mut pieces: Vec<(&[u8], Vec<Piece<'_>>)> = Vec::new();
    for parameter in &found {
        match continuation(&parameter.name) {
            None => whole.push(parameter.clone()),
            Some((base, number, is_encoded)) => {
                let piece = (number, is_encoded, parameter);
                match pieces.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(base)) {
                    Some((_, list)) => list.push(piece),
                    None => pieces.push((base, vec![piece])),
                }
            }
        }
    }
    for (base, mut list) in pieces {
        list.sort_by_key(|(number, _, _)| *number);
        if list.iter().enumerate().any(|(index, (number, _, _))| index != *number) {
            whole.extend(list.into_iter().map(|(_, _, parameter)| parameter.clone()));
            continue;
        }
        let is_extended = list.iter().any(|(_, is_encoded, _)| *is_encoded);
        let mut value = Vec::new();
        // The first piece names charset and language; when it is plain although others are encoded, both are empty.
        if is_extended && !list[0].1 {
            value.extend_from_slice(b"''");
        }
        for (_, is_encoded, parameter) in &list {
            for byte in &parameter.value {
                match byte {
                    b'%' if is_extended && !is_encoded => value.extend_from_slice(b"%25"),
                    _ => value.push(*byte),
                }
            }
        }
        let mut name = base.to_vec();
        if is_extended {
            name.push(b'*');
        }
        whole.push(Parameter {
            name: name.into(),
            value: value.into(),
        });
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(parameters: &[Parameter]) -> String {
        let one = |p: &Parameter| {
            format!(
                ";{}={}",
                String::from_utf8_lossy(&p.name),
                String::from_utf8_lossy(&p.value)
            )
        };
        parameters.iter().map(one).collect()
    }

    #[test]
    fn content_types() {
        for (value, expected) in [
            ("text/plain", "text/plain"),
            (" Text / HTML ; Charset = \"utf-8\" (c)", "Text/HTML;Charset=utf-8"),
            ("(c) text/(c)plain (c)", "text/plain"),
            ("text", "none"),
            ("", "none"),
            ("/plain", "none"),
            ("text/", "none"),
            ("text/plain/x", "none"),
            ("\"text\"/plain", "none"),
            ("text/plain charset=utf-8", "text/plain"),
            ("text/plain;; charset=utf-8;", "text/plain;charset=utf-8"),
            ("text/plain; charset; a=b", "text/plain;a=b"),
            ("text/plain; a=", "text/plain;a="),
            ("text/plain; name=a b (1).txt ; x=y", "text/plain;name=a b (1).txt;x=y"),
            ("text/plain; charset=utf-8 (why)", "text/plain;charset=utf-8"),
            ("text/plain; name=a=b;c=d", "text/plain;name=a=b;c=d"),
            ("text/plain; name=\"a;b\\\"c\"; d=e", "text/plain;name=a;b\"c;d=e"),
            ("text/plain; name=\"open", "text/plain;name=open"),
            ("text/plain; a=\"b\"junk; c=d", "text/plain;a=b;c=d"),
            ("x/y; n*0=a; n*1=b", "x/y;n=ab"),
            ("x/y; n*1=b; n*0=a; n=c", "x/y;n=c;n=ab"),
            ("x/y; n*0*=utf-8''%41; n*1=50%; n*2*=%42", "x/y;n*=utf-8''%4150%25%42"),
            ("x/y; n*0=a; n*1*=%42", "x/y;n*=''a%42"),
            ("x/y; n*0=a; n*2=c", "x/y;n*0=a;n*2=c"),
            ("x/y; n*0=a; n*0=b", "x/y;n*0=a;n*0=b"),
            ("x/y; n*=utf-8''%41; *0=a; n*01=b", "x/y;n*=utf-8''%41;*0=a;n*01=b"),
        ] {
            let shown = ContentType::parse(value.as_bytes()).map_or("none".to_owned(), |t| {
                format!(
                    "{}/{}{}",
                    String::from_utf8_lossy(&t.kind),
                    String::from_utf8_lossy(&t.subtype),
                    show(&t.parameters)
                )
            });
            assert_eq!(shown, expected, "{value:?}");
        }
    }

    #[test]
    fn dispositions() {
        for (value, expected) in [
            ("inline", "inline"),
            ("\"attachment\"; filename=a[1].txt", "attachment;filename=a[1].txt"),
            ("; filename=x", "attachment;filename=x"),
            ("", "none"),
            ("()", "none"),
        ] {
            let shown = Disposition::parse(value.as_bytes()).map_or("none".to_owned(), |d| {
                format!("{}{}", String::from_utf8_lossy(&d.kind), show(&d.parameters))
            });
            assert_eq!(shown, expected, "{value:?}");
        }
    }

    #[test]
    fn encodings_and_languages() {
        for (value, expected) in [
            ("7bit", "7bit"),
            ("\"base64\" x", "base64"),
            ("(c) 8bit (d)", "8bit"),
            ("", "none"),
            (";", "none"),
        ] {
            let shown = parse_encoding(value.as_bytes())
                .map_or("none".into(), |text| String::from_utf8_lossy(&text).into_owned());
            assert_eq!(shown, expected, "{value:?}");
        }
        let languages = parse_languages(b"en, de-AT (c),, \"fr\"; x");
        assert_eq!(languages, [b"en".as_slice(), b"de-AT", b"fr", b"x"].map(Text::from));
    }

    #[test]
    fn parameters_are_bounded() {
        let value = format!("x/y{}", "; a=b".repeat(1000));
        assert_eq!(
            ContentType::parse(value.as_bytes()).map(|t| t.parameters.len()),
            Some(PARAMETERS_MAX)
        );
    }
}
