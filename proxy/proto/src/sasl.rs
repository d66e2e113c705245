//! SASL (RFC 4422) on the server's side: PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), as values.
//!
//! An `Exchange` takes the client's base64 lines and gives challenges or `Credentials`; SMTP, POP3 and IMAP put their own
//! framing around them. Everything is bounded, and a name or password with a NUL, or an empty one, is refused here. It
//! does not know whether the credentials are right, and does no Unicode preparation beyond that.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;

/// Most bytes of an authentication or authorization identity; a guess, well above any mail address (RFC 5321: 256).
pub const NAME_BYTES_MAX: usize = 512;
/// Most bytes of a password; bounds what is handed to the hash functions. A guess.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Most bytes of a client's base64 line without its line end (RFC 4954 section 4.4 gives 12288).
pub const LINE_BYTES_MAX: usize = 12_288;

/// Some clients leave out the padding; it carries nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The mechanisms that this server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The obsolete one that old clients still want: name and password in two steps.
    Login,
}

impl Mechanism {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

    /// By its name, in any case.
    pub fn parse(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// As it is announced.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }
}

/// A password on its way to be verified; its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

impl Password {
    /// For protocols that carry it outside of SASL (IMAP LOGIN, POP3 PASS). The same rules: 1 to 1024 bytes, no NUL.
    pub fn new(bytes: &[u8]) -> Result<Password, SaslError> {
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(SaslError::Malformed);
        }
        if bytes.len() > PASSWORD_BYTES_MAX {
            return Err(SaslError::TooLong);
        }
        Ok(Password(bytes.into()))
    }

    /// The bytes as the client sent them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What a client claims to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// How it was said.
    pub mechanism: Option<Mechanism>,
    /// Whom to act as, when it is named and differs from `name`.
    pub authorization: Option<String>,
    /// Whose password it is. 1 to 512 bytes, no NUL.
    pub name: String,
    /// Not checked yet.
    pub password: Password,
}

impl Credentials {
    /// From a protocol's own login command (IMAP LOGIN, POP3 USER and PASS).
    pub fn from_login_command(name: &[u8], password: &[u8]) -> Result<Credentials, SaslError> {
        Ok(Credentials {
            mechanism: None,
            authorization: None,
            name: name_of(name)?,
            password: Password::new(password)?,
        })
    }
}

/// Why an exchange ended without credentials. All of them are the client's doing; none says whether an account exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslError {
    /// The client sent `*` (RFC 4954, RFC 9051, RFC 5034).
    Cancelled,
    /// Not base64.
    BadBase64,
    /// Not what the mechanism expects: fields missing, an empty name or password, a NUL, a name that is not UTF-8.
    Malformed,
    /// Over one of the bounds of this module.
    TooLong,
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SaslError::Cancelled => "authentication cancelled",
            SaslError::BadBase64 => "not valid base64",
            SaslError::Malformed => "malformed credentials",
            SaslError::TooLong => "credentials too long",
        })
    }
}

impl std::error::Error for SaslError {}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send this base64 text as a challenge (it may be empty), then give the client's line to `respond`.
    Challenge(&'static str),
    /// The exchange is over; verify them.
    Complete(Credentials),
}

/// One exchange. Dropped when it gave `Complete` or an error.
#[derive(Debug)]
pub struct Exchange {
    step: Step,
}

#[derive(Debug)]
enum Step {
    Plain,
    LoginName,
    LoginPassword(String),
}

/// base64 of `Username:` and `Password:`, as the draft and every server have them.
const LOGIN_NAME_CHALLENGE: &str = "VXNlcm5hbWU6";
const LOGIN_PASSWORD_CHALLENGE: &str = "UGFzc3dvcmQ6";

impl Exchange {
    /// Starts with the initial response, still in base64, when the client sent one (`=` is an empty one, RFC 4954).
    pub fn start(mechanism: Mechanism, initial_response: Option<&[u8]>) -> Result<(Exchange, Progress), SaslError> {
        let (step, challenge) = match mechanism {
            Mechanism::Plain => (Step::Plain, ""),
            Mechanism::Login => (Step::LoginName, LOGIN_NAME_CHALLENGE),
        };
        let mut exchange = Exchange { step };
        let progress = match initial_response {
            None => Progress::Challenge(challenge),
            Some(b"=") => exchange.respond(b"")?,
            Some(response) => exchange.respond(response)?,
        };
        Ok((exchange, progress))
    }

    /// Takes one line of the client, without its line end.
    pub fn respond(&mut self, line: &[u8]) -> Result<Progress, SaslError> {
        if line == b"*" {
            return Err(SaslError::Cancelled);
        }
        let data = decode(line)?;
        match std::mem::replace(&mut self.step, Step::Plain) {
            Step::Plain => plain(&data).map(Progress::Complete),
            Step::LoginName => {
                self.step = Step::LoginPassword(name_of(&data)?);
                Ok(Progress::Challenge(LOGIN_PASSWORD_CHALLENGE))
            }
            Step::LoginPassword(name) => Ok(Progress::Complete(Credentials {
                mechanism: Some(Mechanism::Login),
                authorization: None,
                name,
                password: Password::new(&data)?,
            })),
        }
    }
}

/// Decodes a base64 line of at most `LINE_BYTES_MAX` bytes.
fn decode(line: &[u8]) -> Result<Vec<u8>, SaslError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    BASE64.decode(line).map_err(|_| SaslError::BadBase64)
}

/// RFC 4616 section 2: `[authzid] NUL authcid NUL passwd`.
fn plain(data: &[u8]) -> Result<Credentials, SaslError> {
    let mut fields = data.split(|byte| *byte == 0);
    let (Some(authorization), Some(name), Some(password), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(SaslError::Malformed);
    };
    let name = name_of(name)?;
    let authorization = if authorization.is_empty() {
        None
    } else {
        Some(name_of(authorization)?)
    };
    Ok(Credentials {
        mechanism: Some(Mechanism::Plain),
        authorization: authorization.filter(|authorization| *authorization != name),
        name,
        password: Password::new(password)?,
    })
}

fn name_of(bytes: &[u8]) -> Result<String, SaslError> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    let name = std::str::from_utf8(bytes).map_err(|_| SaslError::Malformed)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(SaslError::Malformed);
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn complete(authorization: Option<&str>, name: &str, password: &str, mechanism: Mechanism) -> Progress {
        Progress::Complete(Credentials {
            mechanism: Some(mechanism),
            authorization: authorization.map(str::to_owned),
            name: name.to_owned(),
            password: Password::new(password.as_bytes()).unwrap(),
        })
    }

    #[test]
    fn plain_takes_what_rfc_4616_allows() {
        let long_name = "n".repeat(NAME_BYTES_MAX + 1);
        let long_password = "p".repeat(PASSWORD_BYTES_MAX + 1);
        let cases: &[(&str, Result<Progress, SaslError>)] = &[
            (
                "\0tim\0tanstaafltanstaafl",
                Ok(complete(None, "tim", "tanstaafltanstaafl", Mechanism::Plain)),
            ),
            (
                "Ursel\0Kurt\0xipj3plmq",
                Ok(complete(Some("Ursel"), "Kurt", "xipj3plmq", Mechanism::Plain)),
            ),
            (
                "Kurt\0Kurt\0xipj3plmq",
                Ok(complete(None, "Kurt", "xipj3plmq", Mechanism::Plain)),
            ),
            (
                "\0jürgen@example.org\0pässword",
                Ok(complete(None, "jürgen@example.org", "pässword", Mechanism::Plain)),
            ),
            ("", Err(SaslError::Malformed)),
            ("\0\0", Err(SaslError::Malformed)),
            ("\0tim\0", Err(SaslError::Malformed)),
            ("\0\0secret", Err(SaslError::Malformed)),
            ("tim\0secret", Err(SaslError::Malformed)),
            ("\0tim\0secret\0more", Err(SaslError::Malformed)),
            ("\0tim\ntom\0secret", Err(SaslError::Malformed)),
            (&format!("\0{long_name}\0p"), Err(SaslError::TooLong)),
            (&format!("\0n\0{long_password}"), Err(SaslError::TooLong)),
        ];
        for (message, expected) in cases {
            let line = STANDARD.encode(message);
            let direct = Exchange::start(Mechanism::Plain, Some(line.as_bytes())).map(|(_, progress)| progress);
            // An empty message is "=" as an initial response and an empty line as an answer to the challenge.
            assert_eq!(&direct, expected, "{message:?}");
            let (mut exchange, challenge) = Exchange::start(Mechanism::Plain, None).unwrap();
            assert_eq!(challenge, Progress::Challenge(""));
            assert_eq!(&exchange.respond(line.as_bytes()), expected, "{message:?}");
        }
    }

    #[test]
    fn login_asks_twice_and_takes_an_initial_name() {
        let (mut exchange, first) = Exchange::start(Mechanism::Login, None).unwrap();
        assert_eq!(first, Progress::Challenge("VXNlcm5hbWU6"));
        assert_eq!(
            exchange.respond(STANDARD.encode("tim").as_bytes()),
            Ok(Progress::Challenge("UGFzc3dvcmQ6"))
        );
        let last = exchange.respond(STANDARD.encode("secret").as_bytes());
        assert_eq!(last, Ok(complete(None, "tim", "secret", Mechanism::Login)));

        let (mut exchange, second) = Exchange::start(Mechanism::Login, Some(b"dGlt")).unwrap();
        assert_eq!(second, Progress::Challenge("UGFzc3dvcmQ6"));
        assert_eq!(exchange.respond(b""), Err(SaslError::Malformed));
        assert!(matches!(
            Exchange::start(Mechanism::Login, Some(b"=")),
            Err(SaslError::Malformed)
        ));
    }

    #[test]
    fn lines_that_are_no_response() {
        let cases: &[(&[u8], SaslError)] = &[
            (b"*", SaslError::Cancelled),
            (b"**", SaslError::BadBase64),
            (b"AHRpbQB0 YW5z", SaslError::BadBase64),
            (b"\xff", SaslError::BadBase64),
            (b"A", SaslError::BadBase64),
            (&[b'A'; LINE_BYTES_MAX + 1], SaslError::TooLong),
        ];
        for (line, expected) in cases {
            for mechanism in Mechanism::ALL {
                let (mut exchange, _) = Exchange::start(mechanism, None).unwrap();
                assert_eq!(exchange.respond(line), Err(*expected));
            }
        }
    }

    #[test]
    fn padding_may_be_missing_and_names_have_any_case() {
        assert_eq!(decode(b"dGk"), Ok(b"ti".to_vec()));
        assert_eq!(Mechanism::parse(b"plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::parse(b"Login"), Some(Mechanism::Login));
        assert_eq!(Mechanism::parse(b"XOAUTH2"), None);
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials::from_login_command(b"tim", b"secret").unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
        assert!(Credentials::from_login_command(b"", b"secret").is_err());
        assert!(Credentials::from_login_command(b"tim", b"").is_err());
        assert!(Credentials::from_login_command(b"t\0im", b"x").is_err());
    }
}
