//! What a misbehaving client says in its session, and where it may break off. Nothing of it is ever completed: no message is sent,
//! none is taken away.

use crate::command_line::TlsMode;
use crate::plan::{Plan, Task};
use crate::work::imap::quoted;

/// One thing that a client does, once what it did before is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A command, or a whole piece of a message: there is an answer to it.
    Say(String),
    /// Less of a message than was announced, which nobody answers.
    Part(String),
    /// The TLS handshake.
    Secure,
}

/// Where a client breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stage {
    /// Of the scripts.
    pub(super) script: usize,
    /// So many steps are done, and the last is not answered yet.
    pub(super) done: usize,
    pub(super) last: Last,
}

/// What else is done before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Last {
    Nothing,
    /// The answer is waited for.
    Answer,
    /// And the first half of the next step is done: half a command, the beginning of a ClientHello.
    Half,
    /// And of the handshake that comes next the ClientHello is sent, and its answer not looked at.
    Hello,
}

/// The beginning of a ClientHello (RFC 8446 section 4.1.2) that announces 508 octets, of which none comes.
pub(super) const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// The beginning of a message that has no end.
const PART: &str = "Subject: never whole\r\n\r\nIt ends in the middle of\r\n";

/// What comes before all else: to where TLS is on, if it is to be.
pub(super) fn prelude(task: &Task, tls: Option<TlsMode>) -> Vec<Step> {
    let say = |words: &str| Step::Say(words.to_owned());
    match (tls, task) {
        (None, _) => Vec::new(),
        (Some(TlsMode::Implicit), _) => vec![Step::Secure],
        (Some(TlsMode::Starttls), Task::Mail { lmtp, .. }) => {
            vec![say(hello(*lmtp)), say("STARTTLS\r\n"), Step::Secure]
        }
        (Some(TlsMode::Starttls), Task::Imap { .. } | Task::Hold { .. }) => vec![say("f0 STARTTLS\r\n"), Step::Secure],
        (Some(TlsMode::Starttls), Task::Pop3 { .. }) => vec![say("STLS\r\n"), Step::Secure],
    }
}

fn hello(lmtp: bool) -> &'static str {
    if lmtp {
        "LHLO fault.invalid\r\n"
    } else {
        "EHLO fault.invalid\r\n"
    }
}

/// What comes behind the prelude: one of these.
pub(super) fn scripts(plan: &Plan, task: &Task, user: u64) -> Vec<Vec<Step>> {
    let user = plan.user(user);
    let script =
        |commands: &[&str]| -> Vec<Step> { commands.iter().map(|&command| Step::Say(command.to_owned())).collect() };
    let never_whole = |commands: &[&str], part: &str| {
        let mut steps = script(commands);
        steps.push(Step::Part(part.to_owned()));
        steps
    };
    match task {
        Task::Mail { lmtp, .. } => {
            let hello = hello(*lmtp);
            let (from, to) = ("MAIL FROM:<fault@sender.example>\r\n", format!("RCPT TO:<{user}>\r\n"));
            let chunk = "BDAT 22\r\nSubject: never whole\r\n";
            let last = format!("BDAT 1000 LAST\r\n{PART}");
            vec![
                never_whole(&[hello, from, &to, "DATA\r\n"], PART),
                never_whole(&[hello, from, &to, chunk], &last),
                script(&[hello, "QUIT\r\n"]),
            ]
        }
        Task::Imap { password, .. } | Task::Hold { password, .. } => {
            let login = format!("f1 LOGIN {} {}\r\n", quoted(user), quoted(password));
            let (select, append) = ("f2 SELECT INBOX\r\n", "f4 APPEND INBOX {1000}\r\n");
            vec![
                never_whole(&[&login, select, "f3 FETCH 1:* (FLAGS BODY.PEEK[])\r\n", append], PART),
                script(&[&login, select, "f3 IDLE\r\n", "DONE\r\n"]),
                script(&[&login, "f2 LOGOUT\r\n"]),
            ]
        }
        Task::Pop3 { password } => {
            let (user, password) = (format!("USER {user}\r\n"), format!("PASS {password}\r\n"));
            vec![script(&[&user, &password, "LIST\r\n", "RETR 1\r\n", "QUIT\r\n"])]
        }
    }
}

/// All stages of these scripts, each behind the same prelude, and none twice.
pub(super) fn stages(prelude: &[Step], scripts: &[Vec<Step>]) -> Vec<Stage> {
    let mut stages = Vec::new();
    for (number, script) in scripts.iter().enumerate() {
        let steps: Vec<&Step> = prelude.iter().chain(script).collect();
        // What another one has begun with as well is done there.
        let shared = scripts[..number].iter().map(|other| {
            let same = script.iter().zip(other).take_while(|(own, its)| own == its).count();
            prelude.len() + same
        });
        let first = shared.max().unwrap_or(0);
        let mut add = |done, last| {
            stages.push(Stage {
                script: number,
                done,
                last,
            });
        };
        for done in first..=steps.len() {
            if number == 0 || done > first {
                add(done, Last::Nothing);
                if !matches!(done.checked_sub(1).map(|last| steps[last]), Some(Step::Part(_))) {
                    add(done, Last::Answer);
                }
            }
            match steps.get(done) {
                Some(Step::Say(_) | Step::Part(_)) => add(done, Last::Half),
                Some(Step::Secure) => {
                    add(done, Last::Half);
                    add(done, Last::Hello);
                }
                None => {}
            }
        }
    }
    stages
}

/// Which job and which of its stages a client's turn is about: of each job every stage comes, whatever their numbers are.
pub(super) fn place(turn: u64, jobs: usize, stages: impl FnOnce(usize) -> usize) -> (usize, usize) {
    let within = |number: u64, count: usize| usize::try_from(number % count as u64).expect("below a length");
    let job = within(turn, jobs);
    (job, within(turn / jobs as u64, stages(job)))
}

/// How many steps of a script stand before a session is one: EHLO, or a login.
pub(super) fn opening(task: &Task) -> usize {
    match task {
        Task::Mail { .. } | Task::Imap { .. } | Task::Hold { .. } => 1,
        Task::Pop3 { .. } => 2,
    }
}

/// Whether the last line of an answer, or a greeting, says no.
pub(super) fn refuses(task: &Task, line: &[u8]) -> bool {
    match task {
        Task::Mail { .. } => matches!(line.first(), Some(b'4' | b'5')),
        Task::Imap { .. } | Task::Hold { .. } => {
            let status = line.splitn(2, |&byte| byte == b' ').nth(1).unwrap_or_default();
            [&b"NO"[..], b"BAD", b"BYE"].iter().any(|no| status.starts_with(no))
        }
        Task::Pop3 { .. } => line.starts_with(b"-"),
    }
}

/// Whether a line of the server is the end of an answer.
pub(super) fn ends_answer(task: &Task, is_greeting: bool, line: &[u8]) -> bool {
    match task {
        Task::Mail { .. } => line.get(3) != Some(&b'-'),
        Task::Imap { .. } | Task::Hold { .. } => is_greeting || !line.starts_with(b"* "),
        // The rest of a long one is of no interest.
        Task::Pop3 { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_job_meets_all_its_stages() {
        for counts in [
            vec![23, 23, 11, 29],
            vec![11],
            vec![4, 4],
            vec![6, 3, 9, 9, 9, 9, 9, 9, 11],
        ] {
            let mut met = vec![BTreeSet::new(); counts.len()];
            let most = *counts.iter().max().expect("some");
            // As one client does, wherever it begins.
            for turn in 7..7 + (most * counts.len()) as u64 {
                let (job, stage) = place(turn, counts.len(), |job| counts[job]);
                met[job].insert(stage);
            }
            assert_eq!(met.iter().map(BTreeSet::len).collect::<Vec<_>>(), counts);
        }
    }

    #[test]
    fn stages_lie_before_within_and_behind_each_step() {
        let say = |words: &str| Step::Say(words.to_owned());
        let scripts = [vec![say("a"), say("b")], vec![say("a"), Step::Part("q".to_owned())]];
        let stages = stages(&[Step::Secure], &scripts);
        let stage = |script, done, last| Stage { script, done, last };
        let expected = [
            stage(0, 0, Last::Nothing),
            stage(0, 0, Last::Answer),
            stage(0, 0, Last::Half),
            stage(0, 0, Last::Hello),
            stage(0, 1, Last::Nothing),
            stage(0, 1, Last::Answer),
            stage(0, 1, Last::Half),
            stage(0, 2, Last::Nothing),
            stage(0, 2, Last::Answer),
            stage(0, 2, Last::Half),
            stage(0, 3, Last::Nothing),
            stage(0, 3, Last::Answer),
            stage(1, 2, Last::Half),
            // Nobody would answer.
            stage(1, 3, Last::Nothing),
        ];
        assert_eq!(stages, expected);
    }
}
