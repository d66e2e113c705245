//! SASL (RFC 4422) on the server's side: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and SCRAM-SHA-256 (RFC 7677,
//! in [`scram`]), as values.
//!
//! An `Exchange` takes the client's base64 lines and gives challenges or a `Claim`; SMTP, POP3 and IMAP put their own
//! framing around them. Everything is bounded, and a name or password with a NUL, or an empty one, is refused here. It
//! does not know whether the credentials are right, and does no Unicode preparation beyond that.

pub mod scram;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use scram::{ClientFirst, Proof, ServerFirst};
use std::borrow::Cow;
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
    /// RFC 7677, without channel binding.
    ScramSha256,
}

impl Mechanism {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Mechanism; 3] = [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

    /// As it is announced.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// Which mechanisms are on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// PLAIN and LOGIN, and the protocols' own commands for a name and a password. For clients always, because accounts
    /// without a verifier have nothing else.
    pub passwords: bool,
    /// PLAIN alone of these: for nodes that speak nothing better, where TLS is on, to say their key and for whom they come.
    pub plain_of_nodes: bool,
    /// SCRAM-SHA-256. Clients prefer it where it is announced, and fail with it where an account has no verifier.
    pub scram_sha_256: bool,
}

impl Default for Mechanisms {
    fn default() -> Mechanisms {
        Mechanisms {
            passwords: true,
            plain_of_nodes: false,
            scram_sha_256: false,
        }
    }
}

impl Mechanisms {
    /// Those on offer, in the order in which they are announced.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        let is_on = move |mechanism: &Mechanism| match mechanism {
            Mechanism::Plain => self.passwords || self.plain_of_nodes,
            Mechanism::Login => self.passwords,
            Mechanism::ScramSha256 => self.scram_sha_256,
        };
        Mechanism::ALL.into_iter().filter(is_on)
    }

    /// The names of those on offer.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Mechanism::name)
    }

    /// By its name, in any case, if it is on offer.
    pub fn parse(self, name: &[u8]) -> Option<Mechanism> {
        self.iter()
            .find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
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

/// What a client says to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A name and a password: verify them.
    Password(Credentials),
    /// SCRAM has begun: find the verifier of that name, make a challenge of both with [`ClientFirst::answer`], and go on
    /// with the exchange that this gives.
    ScramFirst(ClientFirst),
    /// SCRAM is over: it says for whom, and whether the client knows the password.
    Scram(Proof),
}

impl Claim {
    /// Whom to act as, when it is named and differs from the name.
    pub fn authorization(&self) -> Option<&str> {
        match self {
            Claim::Password(credentials) => credentials.authorization.as_deref(),
            Claim::ScramFirst(first) => first.authorization(),
            Claim::Scram(proof) => proof.authorization.as_deref(),
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send this base64 text as a challenge (it may be empty), then give the client's line to `respond`.
    Challenge(Cow<'static, str>),
    /// This exchange is over; see the claim.
    Complete(Claim),
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
    ScramFirst,
    /// Boxed: a silent session must stay small.
    ScramFinal(Box<ServerFirst>),
    /// The server's proof is sent; the client has nothing to add.
    ScramEnd(Box<Proof>),
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
            Mechanism::ScramSha256 => (Step::ScramFirst, ""),
        };
        let mut exchange = Exchange { step };
        let progress = match initial_response {
            None => Progress::Challenge(Cow::Borrowed(challenge)),
            Some(b"=") => exchange.respond(b"")?,
            Some(response) => exchange.respond(response)?,
        };
        Ok((exchange, progress))
    }

    /// Waits for the client's proof.
    fn scram(server_first: ServerFirst) -> Exchange {
        Exchange {
            step: Step::ScramFinal(Box::new(server_first)),
        }
    }

    /// Takes one line of the client, without its line end.
    pub fn respond(&mut self, line: &[u8]) -> Result<Progress, SaslError> {
        if line == b"*" {
            return Err(SaslError::Cancelled);
        }
        let data = decode(line)?;
        match std::mem::replace(&mut self.step, Step::Plain) {
            Step::Plain => plain(&data).map(Claim::Password).map(Progress::Complete),
            Step::LoginName => {
                self.step = Step::LoginPassword(name_of(&data)?);
                Ok(Progress::Challenge(Cow::Borrowed(LOGIN_PASSWORD_CHALLENGE)))
            }
            Step::LoginPassword(name) => Ok(Progress::Complete(Claim::Password(Credentials {
                mechanism: Some(Mechanism::Login),
                authorization: None,
                name,
                password: Password::new(&data)?,
            }))),
            Step::ScramFirst => ClientFirst::parse(&data).map(Claim::ScramFirst).map(Progress::Complete),
            Step::ScramFinal(server_first) => {
                let (proof, server_final) = server_first.take(&data)?;
                Ok(match server_final {
                    Some(server_final) => {
                        self.step = Step::ScramEnd(Box::new(proof));
                        Progress::Challenge(Cow::Owned(BASE64.encode(server_final)))
                    }
                    None => Progress::Complete(Claim::Scram(proof)),
                })
            }
            Step::ScramEnd(proof) if data.is_empty() => Ok(Progress::Complete(Claim::Scram(*proof))),
            Step::ScramEnd(_) => Err(SaslError::Malformed),
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
mod tests;
