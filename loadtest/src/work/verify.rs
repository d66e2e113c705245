//! Reading back what was acknowledged: each message there once, byte for byte behind what the server put in front.

use super::imap::Session;
use crate::command_line::VerifyOptions;
use crate::content::Content;
use crate::failure::Failure;
use crate::plan::Plan;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two looks at an account that lacks messages.
const PAUSE: Duration = Duration::from_millis(500);

/// Messages that are asked for at once.
const BATCH: usize = 50;

/// What servers may put in front of a message. One that is longer than the longest that was sent, and this, is another one than
/// was sent, and no more of it is kept.
const FRONT_BYTES_MAX: usize = 64 << 10;

/// The most messages that an account may have.
const MESSAGES_MAX: u64 = 1_000_000;

/// What is wrong, by number of the message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Acknowledged and found, once and whole.
    pub(crate) right: u64,
    /// Acknowledged, and not there.
    pub(crate) lost: BTreeSet<u64>,
    /// There more than once.
    pub(crate) doubled: BTreeSet<u64>,
    /// There, but not as it was sent.
    pub(crate) changed: BTreeSet<u64>,
    /// There without an acknowledgement: allowed, the answer was lost.
    pub(crate) unasked: u64,
    /// Accounts that could not be read, and why.
    pub(crate) unread: BTreeMap<String, Failure>,
}

impl Findings {
    pub(crate) fn merge(&mut self, other: Findings) {
        self.right += other.right;
        self.unasked += other.unasked;
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.changed.extend(other.changed);
        self.unread.extend(other.unread);
    }

    /// Nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.changed.is_empty() && self.unread.is_empty()
    }
}

/// Reads an account until all that was acknowledged to it is there, or the patience is over.
pub(crate) async fn wait_for(
    plan: &Plan,
    options: &VerifyOptions,
    account: usize,
    acknowledged: &BTreeSet<u64>,
    until: Instant,
) {
    if acknowledged.is_empty() {
        return;
    }
    // Another one each time, so that all servers are looked at.
    for number in account as u64.. {
        let found = read(plan, options, number, &plan.users[account]).await;
        let there = found.is_ok_and(|found| acknowledged.iter().all(|number| found.contains_key(number)));
        if there || pigeon_engine::now() >= until {
            return;
        }
        pigeon_engine::sleep(PAUSE).await;
    }
}

/// Reads an account, and says what is wrong with what is there.
pub(crate) async fn judge(
    plan: &Plan,
    options: &VerifyOptions,
    account: usize,
    acknowledged: &BTreeSet<u64>,
    until: Instant,
) -> Findings {
    let user = &plan.users[account];
    let mut number = account as u64;
    loop {
        match read(plan, options, number, user).await {
            Ok(found) => return judged(found, acknowledged),
            Err(failure) if pigeon_engine::now() >= until => {
                let mut findings = Findings::default();
                findings.unread.insert(user.clone(), failure);
                return findings;
            }
            Err(_) => pigeon_engine::sleep(PAUSE).await,
        }
        number += 1;
    }
}

/// For each message of this run: how often it is there, and whether it is whole.
type Found = BTreeMap<u64, (u64, bool)>;

fn judged(found: Found, acknowledged: &BTreeSet<u64>) -> Findings {
    let mut findings = Findings::default();
    for number in acknowledged {
        match found.get(number) {
            None => drop(findings.lost.insert(*number)),
            Some((1, true)) => findings.right += 1,
            Some(_) => {}
        }
    }
    for (number, (count, whole)) in found {
        if count > 1 {
            findings.doubled.insert(number);
        }
        if !whole {
            findings.changed.insert(number);
        }
        if !acknowledged.contains(&number) {
            findings.unasked += 1;
        }
    }
    findings
}

async fn read(plan: &Plan, options: &VerifyOptions, number: u64, user: &str) -> Result<Found, Failure> {
    let timeout = plan.amount().timeout;
    let door = plan.read.as_ref().expect("a plan to verify has one");
    let mut session = Session::open(door, number, user, &options.password, timeout).await?;
    let exists = session.command("SELECT INBOX", |_| {}).await?.exists.unwrap_or(0);
    if exists > MESSAGES_MAX {
        return Err(Failure::Garbage);
    }
    let content = plan.content();
    let mut found = Found::new();
    for first in (1..=exists).step_by(BATCH) {
        session.client.set_deadline(timeout);
        let last = exists.min(first + BATCH as u64 - 1);
        let reading = RefCell::new(Reading {
            content: &content,
            user,
            message: Vec::new(),
            most: content.longest() + FRONT_BYTES_MAX,
            is_longer: false,
            found: &mut found,
        });
        let command = format!("FETCH {first}:{last} (BODY.PEEK[])");
        let answer = session.literals(
            &command,
            |piece| reading.borrow_mut().take(piece),
            |_| reading.borrow_mut().ended(),
        );
        let answer = answer.await?;
        let mut reading = reading.into_inner();
        reading.ended();
        if answer.literals != last - first + 1 {
            return Err(Failure::Garbage);
        }
    }
    session.logout().await?;
    Ok(found)
}

/// Messages as they come, one after the other.
struct Reading<'a> {
    content: &'a Content,
    user: &'a str,
    message: Vec<u8>,
    /// So much of a message is kept.
    most: usize,
    /// There was more of it.
    is_longer: bool,
    found: &'a mut Found,
}

impl Reading<'_> {
    fn take(&mut self, piece: &[u8]) {
        let kept = piece.len().min(self.most - self.message.len());
        self.is_longer |= kept < piece.len();
        self.message.extend_from_slice(&piece[..kept]);
    }

    /// The message is whole, if there was one.
    fn ended(&mut self) {
        if let Some(number) = self.content.number_of(&self.message) {
            let whole = !self.is_longer && is_whole(self.content, number, self.user, &self.message);
            let entry = self.found.entry(number).or_insert((0, true));
            entry.0 += 1;
            entry.1 &= whole;
        }
        self.message.clear();
        self.is_longer = false;
    }
}

/// What was sent, behind header lines that servers put in front.
fn is_whole(content: &Content, number: u64, user: &str, message: &[u8]) -> bool {
    let sent = content.message(number, user);
    message.strip_suffix(&sent[..]).is_some_and(|front| {
        front.is_empty() || (front.ends_with(b"\n") && !front.windows(4).any(|four| four == b"\r\n\r\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_changed_is_found() {
        let acknowledged = BTreeSet::from([1, 2, 3, 4]);
        let found = Found::from([(1, (1, true)), (2, (2, true)), (3, (1, false)), (9, (1, true))]);
        let findings = judged(found, &acknowledged);
        assert_eq!(findings.right, 1);
        assert_eq!(findings.lost, BTreeSet::from([4]));
        assert_eq!(findings.doubled, BTreeSet::from([2]));
        assert_eq!(findings.changed, BTreeSet::from([3]));
        assert_eq!(findings.unasked, 1);
        assert!(!findings.is_clean());
    }

    #[test]
    fn only_lines_in_front_are_forgiven() {
        let content = Content {
            seed: 1,
            from: "a@example.org".to_owned(),
            sizes: vec![(1.0, 400..=400)],
        };
        let sent = content.message(5, "b@example.org");
        let with = |front: &[u8], back: &[u8]| [front, &sent, back].concat();
        let whole = |message: &[u8]| is_whole(&content, 5, "b@example.org", message);
        assert!(whole(&sent));
        assert!(whole(&with(b"Received: from a\r\n by b\r\n", b"")));
        assert!(!whole(&with(b"Received: from a", b"")));
        assert!(!whole(&with(b"X: y\r\n\r\n", b"")));
        assert!(!whole(&with(b"", b"\r\n")));
        assert!(!whole(&sent[1..]));
    }

    #[test]
    fn of_a_message_that_is_too_long_no_more_is_kept_than_was_sent() {
        let content = Content {
            seed: 1,
            from: "a@example.org".to_owned(),
            sizes: vec![(1.0, 400..=500)],
        };
        let (user, mut found) = ("b@example.org", Found::new());
        let most = content.longest() + FRONT_BYTES_MAX;
        let mut reading = Reading {
            content: &content,
            user,
            message: Vec::new(),
            most,
            is_longer: false,
            found: &mut found,
        };
        let mut arrives = |number, lines: usize| {
            reading.take(&b"X: y\r\n".repeat(lines / 2));
            reading.take(&b"X: y\r\n".repeat(lines / 2));
            reading.take(&content.message(number, user));
            assert!(reading.message.capacity() < 3 * most, "{}", reading.message.capacity());
            reading.ended();
        };
        arrives(1, 2);
        arrives(2, 10_000);
        arrives(4, 200);
        // Long behind its header.
        reading.take(&content.message(3, user));
        (0..1_000).for_each(|_| reading.take(&[b'x'; 1_000]));
        reading.ended();
        // What is said of the second stands beyond the octets that are kept: it is none that is known.
        assert_eq!(found, Found::from([(1, (1, true)), (3, (1, false)), (4, (1, true))]));
    }
}
