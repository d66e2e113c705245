//! Messages of known content: made again from their number when they are read back.

use crate::command_line::Sizes;
use std::sync::OnceLock;

/// Of a text line without its CRLF.
const LINE_BYTES: usize = 76;

/// What lines are pieces of.
const TEXT_BYTES: usize = 64 * 1024;

/// The field that names a message stands within so many octets.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What the messages of a run are made of.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// The whole run's.
    pub(crate) seed: u64,
    /// The sender in From.
    pub(crate) from: String,
    /// Octets, the header included, with their shares; at least one.
    pub(crate) sizes: Vec<(f64, Sizes)>,
}

/// splitmix64: a different sequence from each start.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed(*state)
}

/// Its last step: another number for each, without a pattern.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// So many octets of any kind, with a line end behind them.
pub(crate) fn noise(state: &mut u64, count: usize) -> Vec<u8> {
    let mut noise: Vec<u8> = (0..count).map(|_| next(state) as u8).collect();
    noise.extend_from_slice(b"\r\n");
    noise
}

/// Letters in no order, the same in every run: a message is lines from anywhere in it, which costs less than making each letter.
fn text() -> &'static [u8] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut state = 1;
        (0..TEXT_BYTES)
            .map(|_| LETTERS[next(&mut state) as usize & 63])
            .collect()
    })
}

/// From 0 to below 1.
fn part(state: &mut u64) -> f64 {
    // 53 bits are what an f64 holds.
    (next(state) >> 11) as f64 / (1u64 << 53) as f64
}

/// One of several, each as often as its share says.
pub(crate) fn chosen(shares: impl Iterator<Item = f64> + Clone, state: &mut u64) -> usize {
    let mut left = part(state) * shares.clone().sum::<f64>();
    let mut last = 0;
    for (place, share) in shares.enumerate() {
        last = place;
        left -= share;
        if left < 0.0 {
            break;
        }
    }
    last
}

impl Content {
    fn random(&self, number: u64) -> u64 {
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number
    }

    fn size(&self, state: &mut u64) -> usize {
        let shares = self.sizes.iter().map(|(share, _)| *share);
        let sizes = match self.sizes.len() {
            // Whoever has one range has the same messages as ever.
            1 => 0,
            _ => chosen(shares, state),
        };
        let sizes = &self.sizes[sizes].1;
        let (least, most) = (f64::from(*sizes.start()), f64::from(*sizes.end()));
        (least * (most / least).powf(part(state))).round() as usize
    }

    /// What no message is longer than.
    pub(crate) fn longest(&self) -> usize {
        let most = self.sizes.iter().map(|(_, sizes)| *sizes.end()).max().unwrap_or(0);
        // A long name makes a long header, and a line has an end.
        (most as usize).max(HEADER_BYTES_MAX) + LINE_BYTES
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
        let text = text();
        while message.len() < size {
            let room = (size - message.len()).saturating_sub(2).clamp(1, LINE_BYTES);
            let start = next(&mut state) as usize % (TEXT_BYTES - LINE_BYTES);
            message.extend_from_slice(&text[start..start + room]);
            message.extend_from_slice(b"\r\n");
        }
        message
    }

    /// The number of a message of this run, from its header.
    pub(crate) fn number_of(&self, message: &[u8]) -> Option<u64> {
        let field = b"\r\nMessage-ID: <";
        // Servers put a few lines in front.
        let header = &message[..message.len().min(HEADER_BYTES_MAX)];
        let at = header
            .windows(field.len())
            .position(|window| window.eq_ignore_ascii_case(field))?;
        let rest = &header[at + field.len()..];
        let end = rest.iter().position(|&byte| byte == b'@')?;
        let (number, seed) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
        (seed.parse() == Ok(self.seed)).then(|| number.parse().ok()).flatten()
    }
}

/// With its leading dots doubled, as DATA wants it (RFC 5321 section 4.5.2), and its end.
pub(crate) fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + message.len() / 32 + 8);
    if message.first() == Some(&b'.') {
        stuffed.push(b'.');
    }
    let mut taken = 0;
    for end in memchr::memmem::find_iter(message, b"\n.") {
        stuffed.extend_from_slice(&message[taken..=end]);
        stuffed.push(b'.');
        taken = end + 1;
    }
    stuffed.extend_from_slice(&message[taken..]);
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
            sizes: vec![(1.0, sizes)],
        }
    }

    #[test]
    fn shares_are_kept() {
        let mut state = 5;
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[chosen([6.0, 3.0, 1.0].into_iter(), &mut state)] += 1;
        }
        for (count, expected) in counts.into_iter().zip([6_000_i32, 3_000, 1_000]) {
            assert!((count - expected).abs() < 200, "{counts:?}");
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
