//! Replies: a code (RFC 5321 section 4.2), an enhanced status code (RFC 3463) and one bounded line of text.

use std::borrow::Cow;
use std::fmt;

/// Bytes of a reply line with its CRLF (RFC 5321 section 4.5.3.1.5).
const LINE_BYTES_MAX: usize = 512;

/// An enhanced status code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Debug for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One reply, as the client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<Enhanced>,
    text: Cow<'static, str>,
}

impl Reply {
    /// With an enhanced status code. The text may be anything: what is not printable ASCII is sent as `?`, and what does
    /// not fit into the line is cut.
    pub fn new(code: u16, enhanced: Enhanced, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            enhanced: Some(enhanced),
            text: text.into(),
        }
    }

    pub(super) const fn fixed(code: u16, enhanced: Enhanced, text: &'static str) -> Reply {
        Reply {
            code,
            enhanced: Some(enhanced),
            text: Cow::Borrowed(text),
        }
    }

    /// As a server sent it to us.
    pub(crate) fn received(code: u16, enhanced: Option<Enhanced>, text: String) -> Reply {
        Reply {
            code,
            enhanced,
            text: Cow::Owned(text),
        }
    }

    /// Without one: greetings and intermediate replies (RFC 2034 section 4).
    pub(super) fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            enhanced: None,
            text: text.into(),
        }
    }

    /// As in 250.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// As in 2.0.0.
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// What stands behind the codes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx: the client may come again.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Bytes of the line with its CRLF.
    fn line_bytes(&self) -> usize {
        let enhanced = self.enhanced.map_or(0, |Enhanced(class, subject, detail)| {
            digits(u16::from(class)) + digits(subject) + digits(detail) + 3
        });
        let text = self.text.chars().count();
        (digits(self.code) + 1 + enhanced + text + 2).min(LINE_BYTES_MAX)
    }

    /// Appends the line to `output`.
    pub(super) fn write(&self, output: &mut Vec<u8>) {
        let start = output.len();
        // As much as the line takes: an output of one reply is then handed on without another allocation.
        output.reserve(self.line_bytes());
        push_number(output, self.code);
        output.push(b' ');
        if let Some(Enhanced(class, subject, detail)) = self.enhanced {
            push_number(output, u16::from(class));
            output.push(b'.');
            push_number(output, subject);
            output.push(b'.');
            push_number(output, detail);
            output.push(b' ');
        }
        let room = (LINE_BYTES_MAX - 2).saturating_sub(output.len() - start);
        output.extend(self.text.chars().take(room).map(|character| match character {
            ' '..='~' => character as u8,
            _ => b'?',
        }));
        output.extend_from_slice(b"\r\n");
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text)
    }
}

fn digits(number: u16) -> usize {
    number.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

pub(super) fn push_number(output: &mut Vec<u8>, number: u16) {
    let mut digits = [0; 5];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

/// Why a recipient is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecipientRefusal {
    /// Nobody of that name in a domain of ours, and control data is current.
    UnknownUser,
    /// Known, but receives nothing.
    Disabled,
    /// Not a domain of ours.
    Relaying,
    /// Not a domain of ours, for a user who may send mail elsewhere once there is a queue.
    RelayingNotAvailable,
    /// Not found, but control data is not current.
    Uncertain,
    /// SIZE says more than the account takes.
    TooLarge,
    /// A group with more members than are expanded, or nested too deep.
    GroupTooLarge,
    /// A group without anybody who can receive.
    GroupEmpty,
    /// Members of a group are outside: sending there needs the queue.
    GroupOutside,
    /// The transaction would go to more accounts than are taken at once; the client may send the rest in another.
    TooManyRecipients,
    /// Control data does not say which node keeps the mailbox, or names one that is not there.
    NoOwner,
    /// The node that keeps the mailbox did not answer a moment ago.
    OwnerAway,
    /// It did not, and as much mail waits for other nodes as may.
    QueueFull,
    /// Another node brought it here, and this one thinks that it belongs elsewhere: to be asked again in a moment, since a change
    /// may be on its way to one of them. "Unable to route" (RFC 3463, 3.5); a circle is another thing: [`NODE_CIRCLE`].
    Astray,
    /// What another node said of the account is not understood.
    BadRecord,
}

impl RecipientRefusal {
    /// What the client is told.
    pub fn reply(self) -> Reply {
        match self {
            RecipientRefusal::UnknownUser => Reply::fixed(550, Enhanced(5, 1, 1), "no such user here"),
            RecipientRefusal::Disabled => Reply::fixed(550, Enhanced(5, 2, 1), "mailbox disabled"),
            RecipientRefusal::Relaying => Reply::fixed(550, Enhanced(5, 7, 1), "relaying denied"),
            RecipientRefusal::RelayingNotAvailable => Reply::fixed(
                550,
                Enhanced(5, 7, 1),
                "this server delivers to its own domains only; relaying is not available",
            ),
            RecipientRefusal::Uncertain => {
                Reply::fixed(451, Enhanced(4, 3, 0), "cannot tell now whether this address exists")
            }
            RecipientRefusal::TooLarge => {
                Reply::fixed(552, Enhanced(5, 3, 4), "message larger than this recipient takes")
            }
            RecipientRefusal::GroupTooLarge => Reply::fixed(550, Enhanced(5, 2, 4), "group too large"),
            RecipientRefusal::GroupEmpty => Reply::fixed(550, Enhanced(5, 2, 4), "group without recipients"),
            RecipientRefusal::GroupOutside => Reply::fixed(
                550,
                Enhanced(5, 7, 1),
                "group with members elsewhere; relaying is not available",
            ),
            RecipientRefusal::TooManyRecipients => TOO_MANY_RECIPIENTS,
            RecipientRefusal::NoOwner => {
                Reply::fixed(451, Enhanced(4, 3, 5), "this mailbox has no place now, try again later")
            }
            RecipientRefusal::OwnerAway => OWNER_AWAY,
            RecipientRefusal::QueueFull => Reply::fixed(
                452,
                Enhanced(4, 3, 1),
                "too much mail waits for the server of this mailbox, try again later",
            ),
            RecipientRefusal::Astray => Reply::fixed(451, Enhanced(4, 4, 4), "this mailbox is not on this node"),
            RecipientRefusal::BadRecord => {
                Reply::fixed(451, Enhanced(4, 3, 5), "the record of this mailbox is not understood")
            }
        }
    }
}

/// Also after a message: its owner did not take it.
const OWNER_AWAY: Reply = Reply::fixed(
    451,
    Enhanced(4, 4, 1),
    "the server of this mailbox is out of reach, try again later",
);

/// To a message that nodes pass to each other in circles, each taking another for the one that keeps the mailbox. "Routing loop
/// detected" (RFC 3463, 3.5): nobody asks again at once, for each time it would go around.
pub const NODE_CIRCLE: Reply = Reply::fixed(451, Enhanced(4, 4, 6), "too many hops between nodes, try again later");

pub(super) const TOO_MANY_RECIPIENTS: Reply = Reply::fixed(
    452,
    Enhanced(4, 5, 3),
    "too many recipients, send the rest in another transaction",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut output = Vec::new();
        reply.write(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_reply_is_one_bounded_line_of_ascii() {
        assert_eq!(written(&Reply::new(250, Enhanced(2, 1, 5), "ok")), "250 2.1.5 ok\r\n");
        assert_eq!(written(&Reply::plain(354, "go on")), "354 go on\r\n");
        let hostile = Reply::new(550, Enhanced(5, 1, 1), "a\r\n250 ok\u{fc}".to_owned());
        assert_eq!(written(&hostile), "550 5.1.1 a??250 ok?\r\n");
        let long = written(&Reply::new(550, Enhanced(5, 1, 1), "x".repeat(2000)));
        assert_eq!(long.len(), LINE_BYTES_MAX);
        assert!(long.ends_with("x\r\n"));
    }

    #[test]
    fn a_line_takes_what_it_says() {
        for reply in [
            Reply::new(250, Enhanced(2, 1, 5), "ok"),
            Reply::new(550, Enhanced(5, 6, 11), "\u{fc}".to_owned()),
            Reply::plain(354, "go on"),
            Reply::new(550, Enhanced(5, 1, 1), "x".repeat(2000)),
        ] {
            assert_eq!(written(&reply).len(), reply.line_bytes());
        }
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 250, 999, u16::MAX] {
            let mut output = Vec::new();
            push_number(&mut output, number);
            assert_eq!(output.len(), digits(number));
            assert_eq!(output, number.to_string().as_bytes());
        }
    }
}
