//! The ESMTP parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), AUTH (RFC 4954)
//! and those of delivery status notifications (RFC 3461), which are parsed and kept for whoever sends notifications.

use super::record;
use std::fmt;

/// BODY: what the client promises about the bytes of the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// `7BIT`, or nothing said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`: any bytes, no lines; only with BDAT.
    BinaryMime,
}

/// RET: how much of the message a notification returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `FULL`.
    Full,
    /// `HDRS`.
    Headers,
}

/// What came with MAIL beside the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE in bytes, as the client estimates it.
    pub size: Option<u64>,
    /// BODY.
    pub body: BodyType,
    /// SMTPUTF8 was given: addresses and headers may be UTF-8.
    pub smtp_utf8: bool,
    /// RET.
    pub returned: Option<Return>,
    /// ENVID, decoded; at most 100 bytes before decoding.
    pub envelope_id: Option<Box<str>>,
    /// AUTH: who the client says submitted the message; `<>` is `None`. Nothing trusts it yet.
    pub submitter: Option<Box<str>>,
}

/// NOTIFY: when the sender wants to be told. `NEVER` is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

/// ORCPT: the recipient as the first sender knew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// As in `rfc822`.
    pub address_type: Box<str>,
    /// Decoded; at most 500 bytes before decoding.
    pub address: Box<str>,
}

/// What came with RCPT beside the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientParameters {
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub original_recipient: Option<Box<OriginalRecipient>>,
    /// XPIGEON: the account's record, as a node of ours forwards it.
    pub record: Option<Box<[(String, String)]>>,
}

/// What is wrong with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// A parameter that was not announced (555 5.5.4).
    Unknown,
    /// Not the grammar of its RFC, out of bounds, or given twice (501 5.5.4).
    Malformed,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParameterError::Unknown => "unknown parameter",
            ParameterError::Malformed => "malformed parameter",
        })
    }
}

impl std::error::Error for ParameterError {}

/// ENVID before decoding (RFC 3461 section 4.4).
const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// ORCPT before decoding (RFC 3461 section 4.2).
const ORIGINAL_RECIPIENT_BYTES_MAX: usize = 500;
/// RFC 1870 section 6: up to 20 digits.
const SIZE_DIGITS_MAX: usize = 20;

impl MailParameters {
    /// From what follows the path. AUTH is known only where authentication is offered (`with_auth`).
    pub fn parse(text: &[u8], with_auth: bool) -> Result<MailParameters, ParameterError> {
        let mut parameters = MailParameters::default();
        let (mut body_given, mut auth_given) = (false, false);
        for parameter in split(text)? {
            let (keyword, value) = parameter?;
            if keyword.eq_ignore_ascii_case("SIZE") {
                set(&mut parameters.size, number(value)?)?;
            } else if keyword.eq_ignore_ascii_case("BODY") {
                parameters.body = body_type(value)?;
                once(&mut body_given)?;
            } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
                none(value)?;
                once(&mut parameters.smtp_utf8)?;
            } else if keyword.eq_ignore_ascii_case("RET") {
                let returned = match some(value)? {
                    value if value.eq_ignore_ascii_case("FULL") => Return::Full,
                    value if value.eq_ignore_ascii_case("HDRS") => Return::Headers,
                    _ => return Err(ParameterError::Malformed),
                };
                set(&mut parameters.returned, returned)?;
            } else if keyword.eq_ignore_ascii_case("ENVID") {
                set(&mut parameters.envelope_id, xtext(some(value)?, ENVELOPE_ID_BYTES_MAX)?)?;
            } else if with_auth && keyword.eq_ignore_ascii_case("AUTH") {
                once(&mut auth_given)?;
                parameters.submitter =
                    Some(xtext(some(value)?, ORIGINAL_RECIPIENT_BYTES_MAX)?).filter(|who| **who != *"<>");
            } else {
                return Err(ParameterError::Unknown);
            }
        }
        Ok(parameters)
    }
}

impl RecipientParameters {
    /// From what follows the path. XPIGEON is known only where nodes of ours come (`with_record`).
    pub fn parse(text: &[u8], with_record: bool) -> Result<RecipientParameters, ParameterError> {
        let mut parameters = RecipientParameters::default();
        for parameter in split(text)? {
            let (keyword, value) = parameter?;
            if keyword.eq_ignore_ascii_case("NOTIFY") {
                set(&mut parameters.notify, notify(some(value)?)?)?;
            } else if keyword.eq_ignore_ascii_case("ORCPT") {
                let original = original_recipient(some(value)?)?;
                set(&mut parameters.original_recipient, Box::new(original))?;
            } else if with_record && keyword.eq_ignore_ascii_case("XPIGEON") {
                set(&mut parameters.record, record::decode(some(value)?)?)?;
            } else {
                return Err(ParameterError::Unknown);
            }
        }
        Ok(parameters)
    }
}

type Parameter<'a> = (&'a str, Option<&'a str>);

/// `*(SP keyword ["=" value])` of RFC 5321 section 4.1.2, with spaces at the end allowed.
fn split(text: &[u8]) -> Result<impl Iterator<Item = Result<Parameter<'_>, ParameterError>>, ParameterError> {
    let text = std::str::from_utf8(text).map_err(|_| ParameterError::Malformed)?;
    if !(text.is_empty() || text.starts_with(' ')) {
        return Err(ParameterError::Malformed);
    }
    Ok(text.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let is_keyword = keyword.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !keyword.is_empty()
            && !keyword.starts_with('-');
        let is_value = value.is_none_or(|value| {
            !value.is_empty()
                && value
                    .chars()
                    .all(|character| !character.is_control() && character != '=')
        });
        if is_keyword && is_value {
            Ok((keyword, value))
        } else {
            Err(ParameterError::Malformed)
        }
    }))
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ParameterError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParameterError::Malformed),
    }
}

fn once(given: &mut bool) -> Result<(), ParameterError> {
    if std::mem::replace(given, true) {
        Err(ParameterError::Malformed)
    } else {
        Ok(())
    }
}

fn some(value: Option<&str>) -> Result<&str, ParameterError> {
    value.ok_or(ParameterError::Malformed)
}

fn none(value: Option<&str>) -> Result<(), ParameterError> {
    if value.is_none() {
        Ok(())
    } else {
        Err(ParameterError::Malformed)
    }
}

fn number(value: Option<&str>) -> Result<u64, ParameterError> {
    let digits = some(value)?;
    if digits.len() > SIZE_DIGITS_MAX || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ParameterError::Malformed);
    }
    // Twenty digits can exceed what 64 bits hold: whatever that is, it is too big.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn body_type(value: Option<&str>) -> Result<BodyType, ParameterError> {
    match some(value)? {
        value if value.eq_ignore_ascii_case("7BIT") => Ok(BodyType::SevenBit),
        value if value.eq_ignore_ascii_case("8BITMIME") => Ok(BodyType::EightBitMime),
        value if value.eq_ignore_ascii_case("BINARYMIME") => Ok(BodyType::BinaryMime),
        _ => Err(ParameterError::Malformed),
    }
}

/// RFC 3461 section 4.1: `NEVER` alone, or a list of the others.
fn notify(value: &str) -> Result<Notify, ParameterError> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        let place = match word {
            word if word.eq_ignore_ascii_case("SUCCESS") => &mut notify.success,
            word if word.eq_ignore_ascii_case("FAILURE") => &mut notify.failure,
            word if word.eq_ignore_ascii_case("DELAY") => &mut notify.delay,
            _ => return Err(ParameterError::Malformed),
        };
        *place = true;
    }
    Ok(notify)
}

/// RFC 3461 section 4.2: `atom ";" xtext`; RFC 6533 adds the type `utf-8`, kept here as it is written.
fn original_recipient(value: &str) -> Result<OriginalRecipient, ParameterError> {
    let (address_type, address) = value.split_once(';').ok_or(ParameterError::Malformed)?;
    let is_type = !address_type.is_empty()
        && address_type
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_type || address.is_empty() {
        return Err(ParameterError::Malformed);
    }
    Ok(OriginalRecipient {
        address_type: address_type.into(),
        address: xtext(address, ORIGINAL_RECIPIENT_BYTES_MAX)?,
    })
}

/// RFC 3461 section 4: `+` and two upper-case hexadecimal digits stand for a byte.
fn xtext(value: &str, bytes_max: usize) -> Result<Box<str>, ParameterError> {
    if value.len() > bytes_max {
        return Err(ParameterError::Malformed);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => {
                let (Some(high), Some(low)) = (bytes.next().and_then(hexadecimal), bytes.next().and_then(hexadecimal))
                else {
                    return Err(ParameterError::Malformed);
                };
                high << 4 | low
            }
            byte => byte,
        };
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| ParameterError::Malformed)?;
    if decoded.chars().any(char::is_control) {
        return Err(ParameterError::Malformed);
    }
    Ok(decoded.into_boxed_str())
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_mail() {
        let parse = |text: &str| MailParameters::parse(text.as_bytes(), true);
        assert_eq!(parse(""), Ok(MailParameters::default()));
        assert_eq!(parse("  "), Ok(MailParameters::default()));
        assert_eq!(
            parse(" SIZE=1000 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+2B314 AUTH=<>"),
            Ok(MailParameters {
                size: Some(1000),
                body: BodyType::EightBitMime,
                smtp_utf8: true,
                returned: Some(Return::Headers),
                envelope_id: Some("QQ+314".into()),
                submitter: None,
            })
        );
        assert_eq!(
            parse(" AUTH=e+3Dmc2@example.com").unwrap().submitter.as_deref(),
            Some("e=mc2@example.com")
        );
        assert_eq!(parse(" SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
        let long_id = format!(" ENVID={}", "x".repeat(101));
        let cases: &[(&str, ParameterError)] = &[
            (" SIZE", ParameterError::Malformed),
            (" SIZE=", ParameterError::Malformed),
            (" SIZE=-1", ParameterError::Malformed),
            (" SIZE=123456789012345678901", ParameterError::Malformed),
            (" SIZE=1 SIZE=1", ParameterError::Malformed),
            (" BODY=9BIT", ParameterError::Malformed),
            (" BODY=7BIT BODY=7BIT", ParameterError::Malformed),
            (" SMTPUTF8=yes", ParameterError::Malformed),
            (" SMTPUTF8 SMTPUTF8", ParameterError::Malformed),
            (" RET=ALL", ParameterError::Malformed),
            (" ENVID=a+2", ParameterError::Malformed),
            (" ENVID=a+2b", ParameterError::Malformed),
            (" ENVID=a+00", ParameterError::Malformed),
            (" ENVID=a+FF", ParameterError::Malformed),
            (" ENVID=a=b", ParameterError::Malformed),
            (" AUTH=<> AUTH=<>", ParameterError::Malformed),
            (&long_id, ParameterError::Malformed),
            ("SIZE=1", ParameterError::Malformed),
            (">", ParameterError::Malformed),
            (" =1", ParameterError::Malformed),
            (" X-Y=1", ParameterError::Unknown),
            (" NOTIFY=NEVER", ParameterError::Unknown),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(*expected), "{text}");
        }
        assert_eq!(MailParameters::parse(b" AUTH=<>", false), Err(ParameterError::Unknown));
        assert_eq!(MailParameters::parse(b" \xff", false), Err(ParameterError::Malformed));
    }

    #[test]
    fn parameters_of_rcpt() {
        let parse = |text: &str| RecipientParameters::parse(text.as_bytes(), false);
        let notify = |success, failure, delay| {
            Some(Notify {
                success,
                failure,
                delay,
            })
        };
        assert_eq!(parse(" NOTIFY=NEVER").unwrap().notify, notify(false, false, false));
        assert_eq!(
            parse(" NOTIFY=success,DELAY").unwrap().notify,
            notify(true, false, true)
        );
        let original = parse(" ORCPT=rfc822;Bob+2Bx@example.com")
            .unwrap()
            .original_recipient
            .unwrap();
        assert_eq!(
            (&*original.address_type, &*original.address),
            ("rfc822", "Bob+x@example.com")
        );
        let original = parse(" ORCPT=utf-8;jürgen@example.com")
            .unwrap()
            .original_recipient
            .unwrap();
        assert_eq!(&*original.address, "jürgen@example.com");
        let long = format!(" ORCPT=rfc822;{}", "x".repeat(501));
        for text in [
            " NOTIFY=",
            " NOTIFY=NEVER,DELAY",
            " NOTIFY=SUCCESS,",
            " NOTIFY=NEVER NOTIFY=NEVER",
            " ORCPT=x",
            " ORCPT=;x",
            " ORCPT=rfc822;",
            " ORCPT=a b;c",
            &long,
        ] {
            assert_eq!(parse(text), Err(ParameterError::Malformed), "{text}");
        }
        assert_eq!(parse(" SIZE=1"), Err(ParameterError::Unknown));
        assert_eq!(parse(" XPIGEON=aWQ9MQ"), Err(ParameterError::Unknown));
        let parse = |text: &str| RecipientParameters::parse(text.as_bytes(), true);
        let pair = ("id".to_owned(), "1".to_owned());
        assert_eq!(parse(" xpigeon=aWQ9MQ").unwrap().record.as_deref(), Some(&[pair][..]));
        for text in [" XPIGEON", " XPIGEON=!", " XPIGEON=aWQ9MQ XPIGEON=aWQ9MQ"] {
            assert_eq!(parse(text), Err(ParameterError::Malformed), "{text}");
        }
    }
}
