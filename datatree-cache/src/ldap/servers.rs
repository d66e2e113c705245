//! Which server is tried next, and when.
//!
//! Every server has its own pause. It is short where nobody answers, so that a server that returns is found soon, and
//! long where somebody answers and refuses, because that takes a person to mend.

use super::options::LdapOptions;
use std::time::{Duration, Instant};

/// How long a server that is behind what the node has seen is waited for, while there are others. A replica catches up
/// in milliseconds; one that does not has lost changes, and is what there is.
const BEHIND_PATIENCE: Duration = Duration::from_secs(3);

/// Why a server is of no use now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing came back, or the connection ended.
    Unreachable,
    /// An answer came, and it was no.
    Refused,
}

/// A failure, and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    pub(super) why: String,
}

impl Trouble {
    pub(super) fn unreachable(why: impl Into<String>) -> Trouble {
        Trouble {
            failure: Failure::Unreachable,
            why: why.into(),
        }
    }

    pub(super) fn refused(why: impl Into<String>) -> Trouble {
        Trouble {
            failure: Failure::Refused,
            why: why.into(),
        }
    }

    /// By an LDAP result: busy and unavailable pass by themselves.
    pub(super) fn of_result(code: u32, why: String) -> Trouble {
        match code {
            51 | 52 => Trouble::unreachable(why),
            _ => Trouble::refused(why),
        }
    }

    /// With the server's name in front.
    pub(super) fn at(self, server: &impl std::fmt::Display) -> Trouble {
        Trouble {
            why: format!("{server}: {}", self.why),
            ..self
        }
    }
}

#[derive(Clone, Copy)]
struct Standing {
    /// Since the last success.
    failures: u32,
    due: Instant,
}

/// The servers in the order of preference.
pub(super) struct Servers {
    standing: Vec<Standing>,
    /// The one in use, or tried last.
    at: usize,
    /// Since when servers have only been behind.
    behind: Option<Instant>,
}

impl Servers {
    pub(super) fn new(count: usize, now: Instant) -> Servers {
        let standing = Standing { failures: 0, due: now };
        Servers {
            standing: vec![standing; count],
            at: 0,
            behind: None,
        }
    }

    /// Which it is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// When that one may be tried.
    pub(super) fn due(&self) -> Instant {
        self.standing[self.at].due
    }

    /// Waits for nothing any more.
    pub(super) fn try_now(&mut self, now: Instant) {
        self.standing.iter_mut().for_each(|server| server.due = now);
    }

    /// Goes to the server whose turn comes first; of those whose turn it is, to the next.
    pub(super) fn failed(&mut self, failure: Failure, options: &LdapOptions, now: Instant) {
        let longest = match failure {
            Failure::Unreachable => options.pause_max,
            Failure::Refused => options.pause_refused_max,
        };
        let standing = &mut self.standing[self.at];
        let factor = 1_u32 << standing.failures.min(16);
        standing.failures = standing.failures.saturating_add(1);
        standing.due = now + jittered(options.pause.saturating_mul(factor).min(longest));
        let count = self.standing.len();
        self.at = (1..=count)
            .map(|step| (self.at + step) % count)
            .min_by_key(|index| self.standing[*index].due.max(now))
            .unwrap_or(0);
    }

    /// The one in use is as it should be.
    pub(super) fn succeeded(&mut self) {
        self.standing[self.at].failures = 0;
        self.behind = None;
    }

    /// The one in use is behind the cookie. Whether it is to be taken as it is.
    pub(super) fn is_behind(&mut self, now: Instant) -> bool {
        let since = *self.behind.get_or_insert(now);
        self.standing.len() == 1 || now.saturating_duration_since(since) >= BEHIND_PATIENCE
    }
}

/// Less up to a half, so that the nodes of a cluster do not come back together.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish() % 512;
    pause - pause.mul_f64(chance as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LdapOptions {
        LdapOptions::new(Vec::new(), "dc=test")
    }

    #[test]
    fn a_server_that_nobody_answers_at_is_tried_every_second() {
        let (options, now) = (options(), Instant::now());
        let mut servers = Servers::new(1, now);
        assert_eq!(servers.due(), now);
        for failures in 0..40 {
            servers.failed(Failure::Unreachable, &options, now);
            let longest = Duration::from_millis(200 << failures.min(3)).min(options.pause_max);
            let pause = servers.due() - now;
            assert!(pause <= longest && pause > longest * 49 / 100, "{failures}: {pause:?}");
        }
        assert!(options.pause_max <= Duration::from_secs(1));
        servers.succeeded();
        servers.failed(Failure::Unreachable, &options, now);
        assert!(servers.due() - now <= options.pause);
    }

    #[test]
    fn one_that_refuses_is_left_alone_longer() {
        let (options, now) = (options(), Instant::now());
        let mut servers = Servers::new(1, now);
        (0..40).for_each(|_| servers.failed(Failure::Refused, &options, now));
        let pause = servers.due() - now;
        assert!(pause <= options.pause_refused_max && pause > options.pause_refused_max * 49 / 100);
        servers.try_now(now);
        assert_eq!(servers.due(), now);
    }

    #[test]
    fn the_next_server_is_tried_at_once_and_a_refusing_one_holds_up_nobody() {
        let (options, mut now) = (options(), Instant::now());
        let mut servers = Servers::new(2, now);
        servers.failed(Failure::Unreachable, &options, now);
        assert_eq!((servers.at(), servers.due()), (1, now));
        servers.failed(Failure::Refused, &options, now);
        assert!(servers.due() > now);
        let mut tried = [0, 0];
        for _ in 0..100 {
            tried[servers.at()] += 1;
            now = now.max(servers.due());
            let failure = [Failure::Unreachable, Failure::Refused][servers.at()];
            servers.failed(failure, &options, now);
        }
        assert!(tried[0] > 80 && tried[1] > 1, "{tried:?}");
    }

    #[test]
    fn one_that_is_behind_is_waited_for_while_there_are_others() {
        let now = Instant::now();
        assert!(Servers::new(1, now).is_behind(now));
        let mut servers = Servers::new(2, now);
        assert!(!servers.is_behind(now));
        assert!(!servers.is_behind(now + BEHIND_PATIENCE / 2));
        assert!(servers.is_behind(now + BEHIND_PATIENCE));
        servers.succeeded();
        assert!(!servers.is_behind(now + BEHIND_PATIENCE));
    }
}
