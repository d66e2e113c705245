//! What a login asks the directory: to bind as the account, or for the account's secrets once more.
//!
//! A bounded number of connections on a thread of their own, each with one question at a time, opened when needed and
//! closed when idle; a bounded queue in front. Whoever asks waits as a task, on a core or elsewhere, and is never blocked.
//!
//! Invariants: a DN comes from a record of the copy, and the filter of a search is constant: nothing that a client says
//! gets into either. No bind is sent without a DN and a password (RFC 4513, 5.1.2: a server would say yes), nor with a
//! password that others could read on its way. A question that was asked is answered, within `answer_timeout` times the number
//! of servers and one.
//!
//! What this deliberately does not do: it remembers no answer and counts no failure.

mod desk;

use super::options::LdapOptions;
use crate::password::PASSWORD_BYTES_MAX;
use crate::record::{Account, AccountUuid};
use desk::Desk;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// How much is asked at once.
#[derive(Clone, Copy, Debug)]
pub struct InquiryLimits {
    /// Connections to the directory, each with one question at a time. At least 1.
    pub connections: usize,
    /// Questions that may wait for one. At least 1.
    pub waiting_max: usize,
    /// A connection without a question for so long is closed.
    pub idle: Duration,
}

/// What became of a bind as an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The password is right.
    Right,
    /// It is wrong, or the entry is gone or has none.
    Wrong,
    /// The directory lets this account in with no password now: it is locked or switched off there. For the log.
    Barred(String),
    /// The directory answered, and said neither: it is unwilling, or wants something else first. For the log.
    Unwilling(String),
    /// No server answered; why.
    Away(String),
    /// Too many questions are waiting.
    Full,
}

/// What became of reading an account's secrets once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reread {
    /// The secrets as they are in the directory now.
    Secrets(Vec<String>),
    /// There is no entry of that account under its DN any more.
    Gone,
    /// No server answered, or not with what was asked for; why.
    Away(String),
    /// Too many questions are waiting.
    Full,
}

/// A question about one account.
struct Inquiry {
    dn: String,
    id: AccountUuid,
    asked: Instant,
    question: Question,
}

enum Question {
    Bind {
        password: String,
        answer: oneshot::Sender<Bound>,
    },
    Read {
        answer: oneshot::Sender<Reread>,
    },
}

/// The way to ask. Shared by all cores; the thread ends with it.
pub struct Inquiries {
    queue: mpsc::Sender<Inquiry>,
    away: Arc<AtomicBool>,
}

impl Inquiries {
    /// For these servers. Nothing is opened before the first question.
    pub fn start(options: LdapOptions, limits: InquiryLimits) -> io::Result<Inquiries> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (queue, questions) = mpsc::channel(limits.waiting_max.max(1));
        let away = Arc::new(AtomicBool::new(false));
        let told = away.clone();
        thread::Builder::new()
            .name("directory-login".to_owned())
            .spawn(move || {
                let desk = Desk::new(options, limits, told);
                runtime.block_on(LocalSet::new().run_until(desk.serve(questions)));
            })?;
        Ok(Inquiries { queue, away })
    }

    /// Binds as `account` with `password`. May be awaited anywhere.
    pub async fn bind(&self, account: &Account, password: &[u8]) -> Bound {
        let Some(password) = bindable(password) else {
            return Bound::Wrong;
        };
        let (answer, bound) = oneshot::channel();
        let question = Question::Bind { password, answer };
        match self.ask(account, question) {
            Ok(()) => bound.await.unwrap_or_else(|_| Bound::Away(UNANSWERED.to_owned())),
            Err(Refused::Full) => Bound::Full,
            Err(Refused::Ended) => Bound::Away(UNANSWERED.to_owned()),
        }
    }

    /// Reads the secrets of `account` from its entry. May be awaited anywhere.
    pub async fn read_again(&self, account: &Account) -> Reread {
        let (answer, read) = oneshot::channel();
        match self.ask(account, Question::Read { answer }) {
            Ok(()) => read.await.unwrap_or_else(|_| Reread::Away(UNANSWERED.to_owned())),
            Err(Refused::Full) => Reread::Full,
            Err(Refused::Ended) => Reread::Away(UNANSWERED.to_owned()),
        }
    }

    /// Whether the last question found no server that answers.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn ask(&self, account: &Account, question: Question) -> Result<(), Refused> {
        let inquiry = Inquiry {
            dn: account.dn().to_owned(),
            id: account.id(),
            asked: Instant::now(),
            question,
        };
        self.queue.try_send(inquiry).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Ended,
        })
    }
}

/// A question was dropped without an answer: the library panicked on what a server sent, or the node ends.
const UNANSWERED: &str = "the question was lost";

enum Refused {
    Full,
    Ended,
}

/// A password that may be sent with a bind. Others match nothing, whatever a server would say: an empty one is no
/// authentication (RFC 4513, 5.1.2), and one with a NUL is cut short by some servers.
fn bindable(password: &[u8]) -> Option<String> {
    let is_good = !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX && !password.contains(&0);
    is_good.then(|| String::from_utf8(password.to_vec()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_never_sent() {
        assert_eq!(bindable(b"pigeon"), Some("pigeon".to_owned()));
        assert_eq!(bindable("Täubchen".as_bytes()), Some("Täubchen".to_owned()));
        for never in [&b""[..], b"\0", b"pigeon\0", b"\0\0\0", b"\xff\xfe", &[b'x'; 1025]] {
            assert_eq!(bindable(never), None, "{never:?}");
        }
    }
}
