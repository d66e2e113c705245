//! Collects, of a header that comes line by line in pieces, the values of the few fields that structure and envelope need.
//!
//! At most [`KEPT_BYTES_MAX`] bytes are held, whatever the header's size; what is beyond is cut off. Lines are joined as they
//! come (unfolding). Of a repeated Content-* field the first counts; of other repeated fields the last, except that the
//! addresses of repeated address fields are all kept, as Dovecot does it.

use memchr::memchr;

use super::Text;
use super::addresses::parse_addresses;
use super::content::{Content, ContentType, Disposition, parse_encoding, parse_languages};
use super::envelope::{ADDRESSES_MAX, Envelope};
use super::lexer::trim;

/// Most bytes of field values held of one header.
pub(crate) const KEPT_BYTES_MAX: usize = 256 * 1024;
/// The longest name in the table below fits.
const NAME_BYTES_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentMd5,
    ContentDisposition,
    ContentLanguage,
    ContentLocation,
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
}

const NAMES: [(&[u8], Name); 18] = [
    (b"content-type", Name::ContentType),
    (b"content-transfer-encoding", Name::ContentTransferEncoding),
    (b"content-id", Name::ContentId),
    (b"content-description", Name::ContentDescription),
    (b"content-md5", Name::ContentMd5),
    (b"content-disposition", Name::ContentDisposition),
    (b"content-language", Name::ContentLanguage),
    (b"content-location", Name::ContentLocation),
    (b"date", Name::Date),
    (b"subject", Name::Subject),
    (b"from", Name::From),
    (b"sender", Name::Sender),
    (b"reply-to", Name::ReplyTo),
    (b"to", Name::To),
    (b"cc", Name::Cc),
    (b"bcc", Name::Bcc),
    (b"in-reply-to", Name::InReplyTo),
    (b"message-id", Name::MessageId),
];

/// Which of the fields are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The Content-* fields: those of a MIME part.
    Content,
    /// The fields of ENVELOPE.
    Envelope,
    /// Both: the header of a message.
    All,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Before the colon; what was read of the name is held.
    Name(Vec<u8>),
    /// In the value of `kept[index]`.
    Value(usize),
    /// In a field or line that is of no interest.
    Other,
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct FieldCollector {
    wanted: Wanted,
    kept: Vec<(Name, Vec<u8>)>,
    kept_bytes: usize,
    state: State,
}

impl FieldCollector {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            kept: Vec::new(),
            kept_bytes: 0,
            state: State::Other,
        }
    }

    /// Takes a piece of a line. `starts_line`: it is the first piece, never empty; the last piece ends with LF.
    pub(crate) fn push(&mut self, piece: &[u8], starts_line: bool) {
        let is_fold = matches!(piece.first(), Some(b' ' | b'\t'));
        if starts_line && !is_fold {
            self.state = State::Name(Vec::new());
        }
        let mut value = piece;
        if let State::Name(held) = &mut self.state {
            let colon = memchr(b':', piece);
            let name_end = colon.unwrap_or(piece.len());
            let room = NAME_BYTES_MAX.saturating_sub(held.len());
            held.extend_from_slice(&piece[..name_end.min(room)]);
            if name_end > room {
                // Too long a name to be of interest, whatever follows.
                self.state = State::Other;
                return;
            }
            let Some(colon) = colon else { return };
            let name = trim(held).to_ascii_lowercase();
            self.state = self.begin(&name);
            value = &piece[colon + 1..];
        }
        if let State::Value(index) = self.state {
            self.append(index, value);
        }
    }

    /// A field of this name begins: where its value goes.
    fn begin(&mut self, name: &[u8]) -> State {
        let Some((index, (_, name))) = NAMES.iter().enumerate().find(|(_, (known, _))| *known == name) else {
            return State::Other;
        };
        let is_content = index < 8;
        let is_wanted = match self.wanted {
            Wanted::All => true,
            Wanted::Content => is_content,
            Wanted::Envelope => !is_content,
        };
        let earlier = self.kept.iter().position(|(kept, _)| kept == name);
        match earlier {
            _ if !is_wanted => State::Other,
            Some(_) if is_content => State::Other,
            Some(index) => {
                let is_list = matches!(
                    name,
                    Name::From | Name::Sender | Name::ReplyTo | Name::To | Name::Cc | Name::Bcc
                );
                let value = &mut self.kept[index].1;
                if !is_list {
                    self.kept_bytes -= value.len();
                    value.clear();
                } else if self.kept_bytes < KEPT_BYTES_MAX {
                    value.push(b',');
                    self.kept_bytes += 1;
                }
                State::Value(index)
            }
            None => {
                self.kept.push((*name, Vec::new()));
                State::Value(self.kept.len() - 1)
            }
        }
    }

    fn append(&mut self, index: usize, piece: &[u8]) {
        let value = &mut self.kept[index].1;
        let (text, ends_line) = match piece.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (piece, false),
        };
        let text = &text[..text.len().min(KEPT_BYTES_MAX - self.kept_bytes)];
        value.extend_from_slice(text);
        self.kept_bytes += text.len();
        if ends_line && value.last() == Some(&b'\r') {
            value.pop();
            self.kept_bytes -= 1;
        }
    }

    fn value(&self, name: Name) -> Option<&[u8]> {
        self.kept
            .iter()
            .find(|(kept, _)| *kept == name)
            .map(|(_, value)| trim(value))
    }

    fn text(&self, name: Name) -> Option<Text> {
        self.value(name).map(Text::from)
    }

    /// Memory held, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.kept.iter().map(|(_, value)| value.capacity()).sum::<usize>() + self.kept.capacity() * 32
    }

    /// Whether it was asked for the fields of ENVELOPE.
    pub(crate) fn is_of_message(&self) -> bool {
        self.wanted != Wanted::Content
    }

    /// What the Content-* fields say.
    pub(crate) fn content(&self) -> Content {
        Content {
            content_type: self.value(Name::ContentType).and_then(ContentType::parse),
            encoding: self.value(Name::ContentTransferEncoding).and_then(parse_encoding),
            id: self.text(Name::ContentId),
            description: self.text(Name::ContentDescription),
            md5: self.text(Name::ContentMd5),
            disposition: self.value(Name::ContentDisposition).and_then(Disposition::parse),
            languages: self
                .value(Name::ContentLanguage)
                .map(parse_languages)
                .unwrap_or_default(),
            location: self.text(Name::ContentLocation),
        }
    }

    /// What the fields of ENVELOPE say.
    pub(crate) fn envelope(&self) -> Envelope {
        let mut room = ADDRESSES_MAX;
        let mut addresses = |name: Name| {
            let mut list = Vec::new();
            if let Some(value) = self.value(name) {
                parse_addresses(value, &mut list, room);
            }
            room -= list.len();
            list
        };
        Envelope {
            date: self.text(Name::Date),
            subject: self.text(Name::Subject),
            from: addresses(Name::From),
            sender: addresses(Name::Sender),
            reply_to: addresses(Name::ReplyTo),
            to: addresses(Name::To),
            cc: addresses(Name::Cc),
            bcc: addresses(Name::Bcc),
            in_reply_to: self.text(Name::InReplyTo),
            message_id: self.text(Name::MessageId),
        }
    }
}
