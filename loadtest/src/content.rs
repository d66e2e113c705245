//! Messages of known content: made again from their number when they are read back.

use crate::command_line::Sizes;

/// Of a text line without its CRLF.
const LINE_BYTES: usize = 76;

/// What the messages of a run are made of.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// The whole run's.
    pub(crate) seed: u64,
    /// The sender in From.
    pub(crate) from: String,
    /// Octets, the header included.
    pub(crate) sizes: Sizes,
}

/// splitmix64: a different sequence from each start.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Content {
    fn random(&self, number: u64) -> u64 {
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number
    }

    fn size(&self, state: &mut u64) -> usize {
        let (least, most) = (f64::from(*self.sizes.start()), f64::from(*self.sizes.end()));
        // 53 bits are what an f64 holds.
        let part = (next(state) >> 11) as f64 / (1u64 << 53) as f64;
        (least * (most / least).powf(part)).round() as usize
    }

    /// Message `number` of the run, to `to`. Ends with CRLF; some lines begin with a dot.
    pub(crate) fn message(&self, number: u64, to: &str) -> Vec<u8> {
        let mut state = self.random(number);
        let size = self.size(&mut state);
        let mut message = format!(
            "From: <{}>\r\nTo: <{to}>\r\nSubject: load {number}\r\nMessage-ID: <{number}.{}@load.invalid>\r\n\
             Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
            self.from, self.seed
        )
        .into_bytes();
        message.reserve(size.saturating_sub(message.len()) + LINE_BYTES);
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
        while message.len() < size {
            let room = (size - message.len()).saturating_sub(2).clamp(1, LINE_BYTES);
            let start = message.len();
            while message.len() < start + room {
                let bits = next(&mut state);
                let letters = (0..8).map(|place| LETTERS[(bits >> (8 * place)) as usize & 63]);
                message.extend(letters.take(start + room - message.len()));
            }
            message.extend_from_slice(b"\r\n");
        }
        message
    }

    /// The number of a message of this run, from its header.
    pub(crate) fn number_of(&self, message: &[u8]) -> Option<u64> {
        let field = b"\r\nMessage-ID: <";
        let at = message
            .windows(field.len())
            .position(|window| window.eq_ignore_ascii_case(field))?;
        let rest = &message[at + field.len()..];
        let end = rest.iter().position(|&byte| byte == b'@')?;
        let (number, seed) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
        (seed.parse() == Ok(self.seed)).then(|| number.parse().ok()).flatten()
    }
}

/// With its leading dots doubled, as DATA wants it (RFC 5321 section 4.5.2), and its end.
pub(crate) fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + message.len() / 32 + 8);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(sizes: Sizes) -> Content {
        Content {
            seed: 7,
            from: "a@example.org".to_owned(),
            sizes,
        }
    }

    #[test]
    fn messages_are_made_again_and_differ() {
        let content = content(300..=20_000);
        for number in 0..200 {
            let message = content.message(number, "b@example.org");
            assert_eq!(message, content.message(number, "b@example.org"));
            assert_ne!(message, content.message(number + 1, "b@example.org"));
            assert_eq!(content.number_of(&message), Some(number));
            assert!((300..=20_003).contains(&message.len()), "{}", message.len());
            assert!(message.ends_with(b"\r\n"));
        }
        let other = Content {
            seed: 8,
            ..content.clone()
        };
        assert_eq!(other.number_of(&content.message(1, "b@example.org")), None);
        assert_eq!(content.number_of(b"no header at all"), None);
    }

    #[test]
    fn dots_are_doubled() {
        assert_eq!(stuffed(b".a\r\nb.\r\n..\r\n"), b"..a\r\nb.\r\n...\r\n.\r\n");
        let long = content(100_000..=100_000).message(1, "b@example.org");
        assert!(stuffed(&long).len() > long.len() + 3, "some lines begin with a dot");
    }
}
