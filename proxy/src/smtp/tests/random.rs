//! Anything in any order, in any pieces: the driver keeps what it keeps, loses nothing it said it has, and never panics.

use super::*;
use crate::mail_store::TransferError;

const WORDS: &[&str] = &[
    "EHLO client.example.net\r\n",
    "LHLO client.example.net\r\n",
    "MAIL FROM:<carol@example.net>\r\n",
    "MAIL FROM:<> SIZE=400 BODY=BINARYMIME\r\n",
    "RCPT TO:<alice@example.org>\r\n",
    "RCPT TO:<bob@example.org>\r\n",
    "RCPT TO:<staff@example.org>\r\n",
    "RCPT TO:<carol@example.org>\r\n",
    "RCPT TO:<nobody@example.org>\r\n",
    "RCPT TO:<x@elsewhere.example>\r\n",
    "DATA\r\n",
    "BDAT 3\r\nab\n",
    "BDAT 5 LAST\r\na\r\nbc",
    "BDAT 0 LAST\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHBpZ2Vvbg==\r\n",
    "\r\n.\r\n",
    "Subject: hi\r\n",
    "\n",
    "a line of some length, so that a few of them are more than bob takes of a message\r\n",
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

/// What was said, and what is there: with the time of each Received line left out.
fn run(round: usize, input: &[u8], mut next: impl FnMut(usize) -> usize) -> (String, Vec<(String, String)>) {
    let mode = [Mode::Smtp, Mode::Lmtp, Mode::Submission][round % 3];
    let mut node = Node::new(mode);
    node.context.policy.trusted = pigeon_proto::network::NetworkSet::loopback();
    if round.is_multiple_of(2) {
        node.store.fail("carol@example.org", TransferError::NoSpace);
    }
    if round.is_multiple_of(7) {
        node.store.fail_write(0, TransferError::Unavailable("why".to_owned()));
    }
    node.context.authenticate = Some(Rc::new(submission::Passwords(node.context.copy.clone())));
    let (mut dialogue, store, context) = node.start();
    let mut at = 0;
    while at < input.len() {
        let bytes = next(input.len() - at).clamp(1, input.len() - at);
        dialogue.send(&input[at..at + bytes]);
        at += bytes;
    }
    let text = dialogue.take_text();
    assert_eq!(store.open(), i32::from(store.open() > 0), "one transfer at a time");
    dialogue.end();
    assert!(dialogue.has_ended());
    assert_eq!(store.open(), 0);
    assert_eq!(context.counters.sessions_open.get(), 0);
    assert_eq!(context.counters.copies_stored.get(), store.stored().len() as u64);
    // In LMTP one copy answers for every address of an account.
    let said = text.matches(" ok, stored as ").count();
    assert!(mode == Mode::Lmtp || said <= store.stored().len(), "{text}");
    let stored = store
        .stored()
        .into_iter()
        .map(|stored| (stored.account.clone(), stored.body()))
        .collect();
    (text, stored)
}

#[test]
fn any_session_is_the_same_however_it_is_cut() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    for round in 0..600 {
        let mut input = Vec::new();
        let hello = if round % 3 == 1 { WORDS[1] } else { WORDS[0] };
        input.extend_from_slice(hello.as_bytes());
        for _ in 0..random.below(60) {
            let word = WORDS[random.below(WORDS.len())];
            // Sometimes many of it: recipients whose replies fill the output, a message that is streamed.
            let count = match random.below(40) {
                0 => 300,
                1 => 2500,
                _ => 1,
            };
            (0..count).for_each(|_| input.extend_from_slice(word.as_bytes()));
        }
        let whole = run(round, &input, |left| left);
        for _ in 0..3 {
            let bound = [30, 4096, 16 * 1024][random.below(3)];
            // A cut of a long input into single bytes would take long and show no more.
            let bound = bound.max(input.len() / 2000);
            let cut = run(round, &input, |left| 1 + random.below(left.min(bound)));
            assert_eq!(cut, whole);
        }
    }
}
