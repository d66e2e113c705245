//! Sessions that nobody would hold: anything in any order, cut anywhere, gives the same and never more than the bounds.

use super::*;

const WORDS: &[&str] = &[
    "EHLO client.example.net\r\n",
    "HELO x\r\n",
    "LHLO x\r\n",
    "MAIL FROM:<carol@example.net>\r\n",
    "MAIL FROM:<> SIZE=10 BODY=BINARYMIME\r\n",
    "MAIL FROM:<j\u{fc}rgen@example.org> SMTPUTF8\r\n",
    "RCPT TO:<alice@example.org>\r\n",
    "RCPT TO:<full@example.org>\r\n",
    "RCPT TO:<nobody@example.org>\r\n",
    "DATA\r\n",
    "BDAT 3\r\n",
    "BDAT 5 LAST\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 2000\r\n",
    "BDAT x\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY a\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==\r\n",
    "AUTH LOGIN\r\n",
    "YWxpY2U=\r\n",
    "*\r\n",
    "\r\n",
    ".\r\n",
    "..x\r\n",
    "Subject: hi\r\n",
    "\r",
    "\n",
    ".",
    "\0",
    "\u{ff}",
    "x",
    "a line that is longer than any of those above, so that something is left of it whatever it is cut into\r\n",
    "QUIT\r\n",
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn run_cut(options: &Options, peer: Peer, input: &[u8], mut next_cut: impl FnMut(usize) -> usize) -> Seen {
    let mut driver = Driver::new(options, peer);
    let mut at = 0;
    while at < input.len() {
        let bytes = next_cut(input.len() - at).clamp(1, input.len() - at);
        driver.feed(&input[at..at + bytes]);
        at += bytes;
    }
    driver.seen
}

#[test]
fn any_session_is_the_same_however_it_is_cut() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..3000 {
        let mode = [Mode::Smtp, Mode::Lmtp, Mode::Submission][round % 3];
        let mut options = Options::new(mode, "mx.example.org");
        options.limits.message_bytes_max = 500;
        options.start_tls = random.below(4) == 0;
        options.limits.errors_max = 5 + random.below(30) as u32;
        options.limits.idle_commands_max = 10 + random.below(50) as u32;
        if random.below(2) == 0 {
            options.bare_line_ends = BareLineEnds::Normalise;
        }
        let peer = Peer {
            tls: false,
            trusted: random.below(2) == 0,
        };
        let mut input = Vec::new();
        // Something of a session first, so that most get somewhere.
        let hello = if mode == Mode::Lmtp { "LHLO x\r\n" } else { "EHLO x\r\n" };
        input.extend_from_slice(hello.as_bytes());
        if mode == Mode::Submission {
            input.extend_from_slice(b"AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==\r\n");
        }
        if random.below(3) > 0 {
            input.extend_from_slice(b"MAIL FROM:<carol@example.net>\r\nRCPT TO:<alice@example.org>\r\n");
        }
        for _ in 0..random.below(40) {
            let word = WORDS[random.below(WORDS.len())];
            // Sometimes only a part of it.
            let bytes = if random.below(8) == 0 {
                random.below(word.len())
            } else {
                word.len()
            };
            input.extend_from_slice(&word.as_bytes()[..bytes]);
        }
        let whole = run_cut(&options, peer, &input, |left| left);
        // Nothing is answered that was not asked, and nothing at length.
        assert!(whole.output.len() <= 200 + 160 * input.len().max(1));
        assert_eq!(
            run_cut(&options, peer, &input, |_| 1),
            whole,
            "{}",
            input.escape_ascii()
        );
        for _ in 0..4 {
            let seen = run_cut(&options, peer, &input, |left| 1 + random.below(left.min(40)));
            assert_eq!(seen, whole, "{}", input.escape_ascii());
        }
    }
}

#[test]
fn bytes_without_any_sense_do_no_harm() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..500 {
        let options = smtp();
        let input: Vec<u8> = (0..random.below(4000)).map(|_| random.below(256) as u8).collect();
        let whole = run_cut(&options, Peer::default(), &input, |left| left);
        assert_eq!(
            run_cut(&options, Peer::default(), &input, |_| 7),
            whole,
            "{}",
            input.escape_ascii()
        );
    }
}
