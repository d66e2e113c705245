//! From a line to a command: the verb in any case, the arguments still as bytes of the line.

use super::event::Event;
use super::parameters::{MailParameters, ParameterError, RecipientParameters};
use super::record::RECORD_BYTES_MAX;
use super::reply::{Enhanced, Reply};
use crate::address::{self, AddressError, ForwardPath};

/// Bytes of a command line with its CRLF (RFC 5321 section 4.5.3.1.4).
const COMMAND_BYTES_MAX: usize = 512;
/// What extensions add to MAIL: SIZE 26 (RFC 1870), BODY 17 and 16 (RFC 6152, RFC 3030), SMTPUTF8 10 and a longer path 256
/// (RFC 6531), RET and ENVID 107 (RFC 3461), AUTH 500 (RFC 4954).
const MAIL_BYTES_MAX: usize = COMMAND_BYTES_MAX + 26 + 17 + 16 + 10 + 256 + 107 + 500;
/// What extensions add to RCPT: NOTIFY and ORCPT 500 (RFC 3461), a longer path 256.
const RCPT_BYTES_MAX: usize = COMMAND_BYTES_MAX + 500 + 256;
/// AUTH, and the client's lines in an exchange (RFC 4954 section 4.4 and 4).
pub(super) const AUTH_BYTES_MAX: usize = 12_288 + 2;

/// The bound of the line that begins with `line`, its line end included. As soon as five bytes are there it is final.
pub(super) fn line_bytes_max(line: &[u8], with_record: bool) -> usize {
    let begins_with = |verb: &[u8; 5]| {
        line.iter()
            .zip(verb)
            .all(|(byte, verb)| byte.eq_ignore_ascii_case(verb))
    };
    if begins_with(b"MAIL ") {
        MAIL_BYTES_MAX
    } else if begins_with(b"RCPT ") {
        RCPT_BYTES_MAX + if with_record { RECORD_BYTES_MAX } else { 0 }
    } else if begins_with(b"AUTH ") {
        AUTH_BYTES_MAX
    } else {
        COMMAND_BYTES_MAX
    }
}

/// A command as the line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Helo,
    Ehlo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    StartTls,
    Auth,
}

/// What HELP says; the verbs of this table and no others are understood.
pub(super) const VERBS: [(&str, Verb); 15] = [
    ("HELO", Verb::Helo),
    ("EHLO", Verb::Ehlo),
    ("LHLO", Verb::Lhlo),
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("QUIT", Verb::Quit),
    ("VRFY", Verb::Vrfy),
    ("EXPN", Verb::Expn),
    ("HELP", Verb::Help),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
];

/// Splits a line (without its line end) at the first space. The arguments have no white space around them.
pub(super) fn parse(line: &[u8]) -> Option<(Verb, &[u8])> {
    let verb_bytes = memchr::memchr2(b' ', b'\t', line).unwrap_or(line.len());
    let (name, arguments) = line.split_at(verb_bytes);
    let (_, verb) = VERBS
        .iter()
        .find(|(verb, _)| verb.as_bytes().eq_ignore_ascii_case(name))?;
    Some((*verb, arguments.trim_ascii()))
}

/// Whether the line is the first of an HTTP request.
pub(super) fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 7] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"OPTIONS ",
        b"CONNECT ",
        b"PATCH ",
    ];
    METHODS.iter().any(|method| line.starts_with(method))
}

/// `FROM:<path> parameters`; a space behind the colon is let through, as clients send it.
pub(super) fn mail(arguments: &[u8], with_auth: bool) -> Result<Event, Reply> {
    let text = after_keyword(arguments, b"FROM:").ok_or(MAIL_SYNTAX)?;
    let (reverse_path, rest) = address::reverse_path(text).map_err(|error| bad_address(error, Enhanced(5, 1, 7)))?;
    let parameters = MailParameters::parse(rest, with_auth).map_err(bad_parameter)?;
    if !parameters.smtp_utf8 && reverse_path.as_ref().is_some_and(|address| !address.is_ascii()) {
        return Err(UTF8_NOT_ALLOWED);
    }
    Ok(Event::Mail {
        reverse_path,
        parameters,
    })
}

/// `TO:<path> parameters`.
pub(super) fn recipient(arguments: &[u8], smtp_utf8: bool, with_record: bool) -> Result<Event, Reply> {
    let text = after_keyword(arguments, b"TO:").ok_or(RCPT_SYNTAX)?;
    let (path, rest) = address::forward_path(text).map_err(|error| bad_address(error, Enhanced(5, 1, 3)))?;
    let parameters = RecipientParameters::parse(rest, with_record).map_err(bad_parameter)?;
    if !smtp_utf8 && matches!(&path, ForwardPath::Address(address) if !address.is_ascii()) {
        return Err(UTF8_NOT_ALLOWED);
    }
    Ok(Event::Recipient { path, parameters })
}

/// `size [LAST]` of BDAT (RFC 3030 section 2).
pub(super) fn chunk(arguments: &[u8]) -> Option<(u64, bool)> {
    let (digits, last) = match arguments.iter().position(|byte| *byte == b' ') {
        Some(space) => (&arguments[..space], Some(arguments[space..].trim_ascii())),
        None => (arguments, None),
    };
    let is_last = match last {
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
        None => false,
    };
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let bytes = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((bytes, is_last))
}

fn after_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = arguments.split_at_checked(keyword.len())?;
    front.eq_ignore_ascii_case(keyword).then(|| rest.trim_ascii_start())
}

fn bad_address(error: AddressError, enhanced: Enhanced) -> Reply {
    let text = match error {
        AddressError::Syntax => "expected an address like <local@domain>",
        AddressError::LocalPart => "bad local part",
        AddressError::Domain => "bad domain",
        AddressError::TooLong => "address too long",
        AddressError::NotUtf8 => "address is not UTF-8",
    };
    Reply::fixed(501, enhanced, text)
}

fn bad_parameter(error: ParameterError) -> Reply {
    match error {
        ParameterError::Unknown => Reply::fixed(555, Enhanced(5, 5, 4), "parameter not recognised"),
        ParameterError::Malformed => Reply::fixed(501, Enhanced(5, 5, 4), "bad parameter"),
    }
}

const MAIL_SYNTAX: Reply = Reply::fixed(501, Enhanced(5, 5, 4), "expected MAIL FROM:<address>");
const RCPT_SYNTAX: Reply = Reply::fixed(501, Enhanced(5, 5, 4), "expected RCPT TO:<address>");
/// RFC 6531 section 3.5.
const UTF8_NOT_ALLOWED: Reply = Reply::fixed(
    553,
    Enhanced(5, 6, 7),
    "this address needs the parameter SMTPUTF8 of MAIL",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_in_any_case() {
        assert_eq!(parse(b"ehlo client"), Some((Verb::Ehlo, b"client".as_slice())));
        assert_eq!(parse(b"Quit  "), Some((Verb::Quit, b"".as_slice())));
        assert_eq!(parse(b"NOOP\t x "), Some((Verb::Noop, b"x".as_slice())));
        for line in [b"".as_slice(), b" EHLO x", b"EHLOx", b"\xff", b"GET / HTTP/1.1"] {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn bounds_of_lines() {
        for (line, expected) in [
            (b"mail FROM".as_slice(), MAIL_BYTES_MAX),
            (b"RCPT TO", RCPT_BYTES_MAX),
            (b"AUTH PLAIN", AUTH_BYTES_MAX),
            (b"AUTHX", COMMAND_BYTES_MAX),
            (b"NOOP x", COMMAND_BYTES_MAX),
        ] {
            assert_eq!(line_bytes_max(line, false), expected);
        }
        assert_eq!(line_bytes_max(b"RCPT TO", true), RCPT_BYTES_MAX + RECORD_BYTES_MAX);
        assert_eq!(line_bytes_max(b"mail FROM", true), MAIL_BYTES_MAX);
    }

    #[test]
    fn arguments_of_bdat() {
        let cases: &[(&str, Option<(u64, bool)>)] = &[
            ("0", Some((0, false))),
            ("86 LAST", Some((86, true))),
            ("86  last", Some((86, true))),
            ("18446744073709551615", Some((u64::MAX, false))),
            ("18446744073709551616", None),
            ("", None),
            ("LAST", None),
            ("-1", None),
            ("+1", None),
            ("1 FIRST", None),
            ("1 LAST LAST", None),
            ("0000000000000000000001", None),
        ];
        for (arguments, expected) in cases {
            assert_eq!(chunk(arguments.as_bytes()), *expected, "{arguments}");
        }
    }
}
