//! The grammar of POP3's commands (RFC 1939 section 3): a keyword of three or four letters, XCLIENT apart, in any case, then
//! arguments, each after one space. What a command may be used for in which state is not decided here.

use std::num::NonZeroU32;

/// A message of a maildrop as the session counts them, from 1.
pub type MessageNumber = NonZeroU32;

/// A command of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `AUTH` (RFC 5034): without a mechanism it asks for their list (RFC 1734's habit, kept by clients).
    Auth {
        /// As the client spelled it.
        mechanism: Option<&'a [u8]>,
        /// The initial response as it stands in the line: base64, or `=` for an empty one.
        initial_response: Option<&'a [u8]>,
    },
    /// `CAPA` (RFC 2449)
    Capa,
    /// `DELE n`
    Dele(MessageNumber),
    /// `LIST [n]`
    List(Option<MessageNumber>),
    /// `NOOP`
    Noop,
    /// `PASS string`: all that follows the one space, spaces included
    Pass(&'a [u8]),
    /// `QUIT`
    Quit,
    /// `RETR n`
    Retr(MessageNumber),
    /// `RSET`
    Rset,
    /// `STAT`
    Stat,
    /// `STLS` (RFC 2595)
    Stls,
    /// `TOP n lines`
    Top(MessageNumber, u64),
    /// `UIDL [n]`
    Uidl(Option<MessageNumber>),
    /// `USER name`
    User(&'a [u8]),
    /// `UTF8` (RFC 6856)
    Utf8,
    /// `XCLIENT`: what a redirector says of the session; all that follows the one space.
    Xclient(&'a [u8]),
}

/// Why a line is no command. The peer's fault; answered with `-ERR` and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No command of this name.
    Unknown,
    /// The command takes no argument, and got one.
    NoArgument,
    /// The command needs an argument.
    MissingArgument,
    /// The arguments are not numbers of the right kind, or too many.
    BadArgument,
}

impl CommandError {
    /// What the client may read.
    pub fn text(self) -> &'static str {
        match self {
            CommandError::Unknown => "Unknown command",
            CommandError::NoArgument => "This command takes no argument",
            CommandError::MissingArgument => "This command needs an argument",
            CommandError::BadArgument => "Bad argument",
        }
    }
}

impl<'a> Command<'a> {
    /// Parses one line, without its CRLF.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let (keyword, arguments) = match memchr::memchr(b' ', line) {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        // The longest keyword has seven letters; what is longer is unknown, and is not copied.
        let mut upper = [0u8; 7];
        let Some(upper) = upper.get_mut(..keyword.len()) else {
            return Err(CommandError::Unknown);
        };
        upper.copy_from_slice(keyword);
        upper.make_ascii_uppercase();
        match &*upper {
            b"AUTH" => parse_auth(arguments),
            b"CAPA" => alone(arguments, Command::Capa),
            b"DELE" => Ok(Command::Dele(message_number(arguments)?)),
            b"LIST" => Ok(Command::List(optional_message_number(arguments)?)),
            b"NOOP" => alone(arguments, Command::Noop),
            b"PASS" => Ok(Command::Pass(arguments.ok_or(CommandError::MissingArgument)?)),
            b"QUIT" => alone(arguments, Command::Quit),
            b"RETR" => Ok(Command::Retr(message_number(arguments)?)),
            b"RSET" => alone(arguments, Command::Rset),
            b"STAT" => alone(arguments, Command::Stat),
            b"STLS" => alone(arguments, Command::Stls),
            b"TOP" => parse_top(arguments),
            b"UIDL" => Ok(Command::Uidl(optional_message_number(arguments)?)),
            b"USER" => match arguments.map(<[u8]>::trim_ascii) {
                Some(name) if !name.is_empty() => Ok(Command::User(name)),
                _ => Err(CommandError::MissingArgument),
            },
            b"UTF8" => alone(arguments, Command::Utf8),
            b"XCLIENT" => Ok(Command::Xclient(arguments.ok_or(CommandError::MissingArgument)?)),
            _ => Err(CommandError::Unknown),
        }
    }
}

fn alone<'a>(arguments: Option<&[u8]>, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    match arguments {
        Some(arguments) if !arguments.trim_ascii().is_empty() => Err(CommandError::NoArgument),
        _ => Ok(command),
    }
}

fn words(arguments: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    arguments
        .unwrap_or_default()
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
}

fn parse_auth(arguments: Option<&[u8]>) -> Result<Command<'_>, CommandError> {
    let mut words = words(arguments);
    let (mechanism, initial_response) = (words.next(), words.next());
    if words.next().is_some() {
        return Err(CommandError::BadArgument);
    }
    Ok(Command::Auth {
        mechanism,
        initial_response,
    })
}

fn parse_top(arguments: Option<&[u8]>) -> Result<Command<'_>, CommandError> {
    let mut words = words(arguments);
    let number = words.next().ok_or(CommandError::MissingArgument)?;
    let lines = words.next().ok_or(CommandError::MissingArgument)?;
    if words.next().is_some() {
        return Err(CommandError::BadArgument);
    }
    Ok(Command::Top(parse_message_number(number)?, parse_number(lines)?))
}

fn message_number(arguments: Option<&[u8]>) -> Result<MessageNumber, CommandError> {
    optional_message_number(arguments)?.ok_or(CommandError::MissingArgument)
}

fn optional_message_number(arguments: Option<&[u8]>) -> Result<Option<MessageNumber>, CommandError> {
    let mut words = words(arguments);
    let number = words.next().map(parse_message_number).transpose()?;
    if words.next().is_some() {
        return Err(CommandError::BadArgument);
    }
    Ok(number)
}

fn parse_message_number(word: &[u8]) -> Result<MessageNumber, CommandError> {
    let number = u32::try_from(parse_number(word)?).map_err(|_| CommandError::BadArgument)?;
    MessageNumber::new(number).ok_or(CommandError::BadArgument)
}

/// Digits only; beyond the largest number it stays there, so that `TOP 1 99999999999999999999` is all lines.
fn parse_number(word: &[u8]) -> Result<u64, CommandError> {
    word.iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'9' => Ok(number.saturating_mul(10).saturating_add(u64::from(byte - b'0'))),
        _ => Err(CommandError::BadArgument),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn commands() {
        for (line, expected) in [
            ("NOOP", Ok(Command::Noop)),
            ("noop ", Ok(Command::Noop)),
            ("NoOp x", Err(CommandError::NoArgument)),
            ("", Err(CommandError::Unknown)),
            (" ", Err(CommandError::Unknown)),
            ("NOOPS", Err(CommandError::Unknown)),
            (
                "APOP mrose c4c9334bac560ecc979e58001b3e22fb",
                Err(CommandError::Unknown),
            ),
            ("USER alice@example.org", Ok(Command::User(b"alice@example.org"))),
            ("USER ", Err(CommandError::MissingArgument)),
            ("USER", Err(CommandError::MissingArgument)),
            ("PASS pass word ", Ok(Command::Pass(b"pass word "))),
            ("PASS ", Ok(Command::Pass(b""))),
            ("PASS", Err(CommandError::MissingArgument)),
            (
                "AUTH",
                Ok(Command::Auth {
                    mechanism: None,
                    initial_response: None,
                }),
            ),
            (
                "AUTH PLAIN",
                Ok(Command::Auth {
                    mechanism: Some(b"PLAIN"),
                    initial_response: None,
                }),
            ),
            (
                "auth plain =",
                Ok(Command::Auth {
                    mechanism: Some(b"plain"),
                    initial_response: Some(b"="),
                }),
            ),
            ("AUTH PLAIN a b", Err(CommandError::BadArgument)),
            ("LIST", Ok(Command::List(None))),
            ("LIST 3", Ok(Command::List(Some(number(3))))),
            ("LIST 0", Err(CommandError::BadArgument)),
            ("LIST -1", Err(CommandError::BadArgument)),
            ("LIST 1 2", Err(CommandError::BadArgument)),
            ("LIST 4294967295", Ok(Command::List(Some(number(u32::MAX))))),
            ("LIST 4294967296", Err(CommandError::BadArgument)),
            ("LIST 99999999999999999999999999", Err(CommandError::BadArgument)),
            ("UIDL 7", Ok(Command::Uidl(Some(number(7))))),
            ("RETR", Err(CommandError::MissingArgument)),
            ("RETR 1", Ok(Command::Retr(number(1)))),
            ("DELE 1", Ok(Command::Dele(number(1)))),
            ("TOP 1", Err(CommandError::MissingArgument)),
            ("TOP 1 0", Ok(Command::Top(number(1), 0))),
            ("top 2 99999999999999999999", Ok(Command::Top(number(2), u64::MAX))),
            ("TOP 1 2 3", Err(CommandError::BadArgument)),
            ("UTF8", Ok(Command::Utf8)),
            ("STLS", Ok(Command::Stls)),
            ("RSET", Ok(Command::Rset)),
            ("STAT", Ok(Command::Stat)),
            ("CAPA", Ok(Command::Capa)),
            ("QUIT", Ok(Command::Quit)),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), expected, "{line}");
        }
    }
}
