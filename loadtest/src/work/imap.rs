//! IMAP sessions, as IMAP4rev1 alone knows them.

use crate::client::Client;
use crate::command_line::ImapWork;
use crate::content::Content;
use crate::door::Door;
use crate::failure::Failure;
use crate::plan::Plan;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session that is logged in.
pub(crate) struct Session {
    pub(crate) client: Client,
    tag: u32,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Of the last EXISTS.
    pub(crate) exists: Option<u64>,
    /// Of the last UIDNEXT.
    pub(crate) uid_next: Option<u64>,
    /// Octets in literals.
    pub(crate) literal_bytes: u64,
    /// Literals.
    pub(crate) literals: u64,
}

/// The largest literal that is taken: twice the largest message that is made.
const LITERAL_BYTES_MAX: usize = 1 << 31;

/// The octets that are announced at the end of a line (RFC 3501 section 4.3), if any are.
fn literal(line: &[u8]) -> Result<Option<usize>, Failure> {
    let digits = line.strip_suffix(b"}").and_then(|inner| {
        let open = inner.iter().rposition(|&byte| byte == b'{')?;
        Some(&inner[open + 1..])
    });
    let Some(digits) = digits.filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)) else {
        return Ok(None);
    };
    let count = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    match count {
        Some(count) if count <= LITERAL_BYTES_MAX => Ok(Some(count)),
        _ => Err(Failure::Garbage),
    }
}

fn exists(line: &[u8]) -> Option<u64> {
    let number = line.strip_prefix(b"* ")?.strip_suffix(b" EXISTS")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn uid_next(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"* OK [UIDNEXT ")?;
    let end = rest.iter().position(|&byte| byte == b']')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// Of a line that ends a command before it could begin.
fn refusal(line: &[u8]) -> Failure {
    let status = line.splitn(2, |&byte| byte == b' ').nth(1).unwrap_or_default();
    match status {
        _ if status.starts_with(b"NO [UNAVAILABLE]") => Failure::Temporary,
        _ if status.starts_with(b"NO") || status.starts_with(b"BAD") => Failure::Refused,
        _ => Failure::Garbage,
    }
}

/// In a quoted string (RFC 3501 section 4.3).
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

impl Session {
    /// Connects and logs in.
    pub(crate) async fn open(
        door: &Door,
        number: u64,
        user: &str,
        password: &str,
        timeout: Duration,
    ) -> Result<Session, Failure> {
        let mut client = door.connect(number, timeout).await?;
        let greeting = client.line().await?;
        if greeting.starts_with(b"* BYE") {
            return Err(Failure::Temporary);
        }
        if !greeting.starts_with(b"* OK") {
            return Err(Failure::Garbage);
        }
        let mut session = Session { client, tag: 0 };
        if let Some(connector) = door.starttls() {
            session.command("STARTTLS", |_| {}).await?;
            session.client = session.client.secure(connector).await?;
        }
        let login = format!("LOGIN {} {}", quoted(user), quoted(password));
        session.command(&login, |_| {}).await?;
        Ok(session)
    }

    /// Sends a command, and reads its answer; literals are given in pieces.
    pub(crate) async fn command(&mut self, command: &str, piece: impl FnMut(&[u8])) -> Result<Answer, Failure> {
        self.send(command).await?;
        self.answer(piece, |_| {}).await
    }

    /// The same; before each literal its octets are told.
    pub(crate) async fn literals(
        &mut self,
        command: &str,
        piece: impl FnMut(&[u8]),
        begin: impl FnMut(usize),
    ) -> Result<Answer, Failure> {
        self.send(command).await?;
        self.answer(piece, begin).await
    }

    async fn send(&mut self, command: &str) -> Result<(), Failure> {
        self.tag += 1;
        self.client
            .send(format!("a{} {command}\r\n", self.tag).into_bytes())
            .await
    }

    async fn answer(&mut self, mut piece: impl FnMut(&[u8]), mut begin: impl FnMut(usize)) -> Result<Answer, Failure> {
        let tag = format!("a{} ", self.tag).into_bytes();
        let mut answer = Answer::default();
        // What stands behind a literal goes on with the line before it.
        let mut goes_on = false;
        loop {
            let line = self.client.line().await?;
            if goes_on || line.starts_with(b"* ") || line.starts_with(b"+") {
                // A BYE that answers no LOGOUT is followed by the end of the connection, which the next line shows.
                answer.exists = exists(line).or(answer.exists);
                answer.uid_next = uid_next(line).or(answer.uid_next);
                let count = literal(line)?;
                goes_on = count.is_some();
                if let Some(count) = count {
                    begin(count);
                    answer.literals += 1;
                    answer.literal_bytes = answer.literal_bytes.saturating_add(count as u64);
                    self.client.take(count, &mut piece).await?;
                }
                continue;
            }
            return match line.strip_prefix(&tag[..]) {
                Some(status) if status.starts_with(b"OK") => Ok(answer),
                Some(status) if status.starts_with(b"NO [UNAVAILABLE]") => Err(Failure::Temporary),
                Some(status) if status.starts_with(b"NO") || status.starts_with(b"BAD") => Err(Failure::Refused),
                _ => Err(Failure::Garbage),
            };
        }
    }

    /// IDLE (RFC 2177): from here on the server speaks when it has something to say.
    pub(crate) async fn idle(&mut self) -> Result<(), Failure> {
        self.send("IDLE").await?;
        loop {
            let line = self.client.line().await?;
            if line.starts_with(b"+") {
                return Ok(());
            }
            if !line.starts_with(b"* ") {
                return Err(refusal(line));
            }
        }
    }

    /// In IDLE, for so long; `Ok`: how long that was.
    async fn listen(&mut self, time: Duration) -> Result<Duration, Failure> {
        let began = pigeon_engine::now();
        let hears = async {
            loop {
                match self.client.line().await {
                    Ok(line) if line.starts_with(b"* ") => {}
                    Ok(line) => return refusal(line),
                    Err(failure) => return failure,
                }
            }
        };
        match pigeon_engine::timeout(time, hears).await {
            Ok(failure) => Err(failure),
            Err(_) => Ok(pigeon_engine::now() - began),
        }
    }

    /// The end of IDLE.
    async fn done(&mut self) -> Result<(), Failure> {
        self.client.send(&b"DONE\r\n"[..]).await?;
        self.answer(|_| {}, |_| {}).await.map(|_| ())
    }

    /// APPEND with a synchronising literal.
    async fn append(&mut self, message: Vec<u8>) -> Result<u64, Failure> {
        let bytes = message.len() as u64;
        self.send(&format!("APPEND INBOX {{{bytes}}}")).await?;
        loop {
            let line = self.client.line().await?;
            if line.starts_with(b"+") {
                break;
            }
            if !line.starts_with(b"* ") {
                return Err(refusal(line));
            }
        }
        let mut message = message;
        message.extend_from_slice(b"\r\n");
        self.client.send(Bytes::from(message)).await?;
        self.answer(|_| {}, |_| {}).await.map(|_| bytes)
    }

    pub(crate) async fn logout(mut self) -> Result<(), Failure> {
        self.command("LOGOUT", |_| {}).await?;
        self.client.part();
        Ok(())
    }
}

/// Units of IMAP.
pub(crate) struct Imap {
    plan: Arc<Plan>,
    /// Of its job in the plan.
    place: usize,
    work: ImapWork,
    password: String,
    /// How long `ImapWork::Idle` is in IDLE.
    idle: Duration,
    content: Content,
    /// The next connection's number.
    connections: u64,
    next: u64,
    kept: Option<(Session, u64)>,
    /// Of `sync`: the first UID that its copies do not have, by account.
    synced: HashMap<u64, u64>,
}

/// Accounts whose copies one session remembers.
const COPIES_MAX: usize = 10_000;

impl Imap {
    pub(crate) fn new(
        plan: &Arc<Plan>,
        place: usize,
        work: ImapWork,
        password: &str,
        idle: Duration,
        index: u64,
    ) -> Imap {
        Imap {
            plan: plan.clone(),
            place,
            work,
            password: password.to_owned(),
            idle,
            content: plan.content(),
            connections: index,
            next: index,
            kept: None,
            synced: HashMap::new(),
        }
    }

    async fn open(&mut self) -> Result<Session, Failure> {
        let number = self.connections;
        self.connections += 1;
        let user = self.plan.user(self.next);
        let timeout = self.plan.amount().timeout;
        let door = &self.plan.jobs[self.place].door;
        Session::open(door, number, user, &self.password, timeout).await
    }

    /// `rested`: for so long it was in IDLE, which it is not later than `until`.
    pub(crate) async fn unit(&mut self, until: Instant, rested: &mut Duration) -> Result<u64, Failure> {
        let result = match self.work {
            ImapWork::Login => async { self.open().await?.logout().await.map(|()| 0) }.await,
            ImapWork::Fetch => self.fetch().await,
            ImapWork::Sync => self.sync().await,
            ImapWork::Idle => self.wait(until, rested).await,
            ImapWork::Bulk | ImapWork::Append | ImapWork::Flags => self.within_session().await,
        };
        self.next += u64::from(self.plan.amount().sessions);
        result
    }

    async fn fetch(&mut self) -> Result<u64, Failure> {
        let mut session = self.open().await?;
        let selected = session.command("SELECT INBOX", |_| {}).await?;
        if selected.exists.unwrap_or(0) == 0 {
            return Err(Failure::NoMessage);
        }
        let fetched = session.command("FETCH * (FLAGS BODY.PEEK[])", |_| {}).await?;
        if fetched.literals == 0 {
            return Err(Failure::NoMessage);
        }
        session.logout().await?;
        Ok(fetched.literal_bytes)
    }

    async fn sync(&mut self) -> Result<u64, Failure> {
        let account = self.next % self.plan.users.len() as u64;
        let mut session = self.open().await?;
        session.command("LIST \"\" \"*\"", |_| {}).await?;
        let selected = session.command("SELECT INBOX", |_| {}).await?;
        let next = selected.uid_next.ok_or(Failure::Garbage)?;
        session.command("UID FETCH 1:* (FLAGS)", |_| {}).await?;
        let first = self.synced.get(&account).copied().unwrap_or(1);
        let mut bytes = 0;
        if first < next {
            let fetched = session
                .command(&format!("UID FETCH {first}:* (FLAGS BODY.PEEK[])"), |_| {})
                .await?;
            bytes = fetched.literal_bytes;
        }
        session.logout().await?;
        if self.synced.len() < COPIES_MAX {
            self.synced.insert(account, next);
        }
        Ok(bytes)
    }

    async fn wait(&mut self, until: Instant, rested: &mut Duration) -> Result<u64, Failure> {
        let mut session = self.open().await?;
        session.command("SELECT INBOX", |_| {}).await?;
        session.idle().await?;
        let time = self.idle.min(until.saturating_duration_since(pigeon_engine::now()));
        let timeout = self.plan.amount().timeout;
        session.client.set_deadline(time + timeout);
        *rested = session.listen(time).await?;
        session.client.set_deadline(timeout);
        session.done().await?;
        session.logout().await?;
        Ok(0)
    }

    async fn within_session(&mut self) -> Result<u64, Failure> {
        let (mut session, exists) = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let mut session = self.open().await?;
                let selected = session.command("SELECT INBOX", |_| {}).await?;
                (session, selected.exists.unwrap_or(0))
            }
        };
        session.client.set_deadline(self.plan.amount().timeout);
        if exists == 0 && self.work != ImapWork::Append {
            return Err(Failure::NoMessage);
        }
        let bytes = match self.work {
            ImapWork::Bulk => session.command("FETCH 1:* (BODY.PEEK[])", |_| {}).await?.literal_bytes,
            ImapWork::Append => {
                let message = self.content.message(self.next, self.plan.user(self.next));
                session.append(message).await?
            }
            _ => {
                session
                    .command(&format!("STORE {exists} +FLAGS (\\Flagged)"), |_| {})
                    .await?;
                session
                    .command(&format!("STORE {exists} -FLAGS (\\Flagged)"), |_| {})
                    .await?;
                0
            }
        };
        self.kept = Some((session, exists));
        Ok(bytes)
    }

    pub(crate) async fn end(self) {
        if let Some((session, _)) = self.kept {
            session.client.set_deadline(Duration::from_secs(2));
            // All that matters was answered before.
            let _ = session.logout().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(literal(b"* 1 FETCH (BODY[] {12}"), Ok(Some(12)));
        assert_eq!(literal(b"* 1 FETCH (BODY[] {2147483648}"), Ok(Some(LITERAL_BYTES_MAX)));
        for huge in [
            "* 1 FETCH (BODY[] {2147483649}",
            "* 1 FETCH (BODY[] {18446744073709551615}",
            "{99999999999999999999999}",
        ] {
            assert_eq!(literal(huge.as_bytes()), Err(Failure::Garbage), "{huge}");
        }
        for other in ["* 1 FETCH (FLAGS ())", "x {}", "x {+5}", "x {a}", "}"] {
            assert_eq!(literal(other.as_bytes()), Ok(None), "{other}");
        }
        assert_eq!(exists(b"* 17 EXISTS"), Some(17));
        assert_eq!(exists(b"* 17 RECENT"), None);
        assert_eq!(uid_next(b"* OK [UIDNEXT 4392] Predicted"), Some(4392));
        assert_eq!(uid_next(b"* OK [UIDVALIDITY 4392] ok"), None);
        assert_eq!(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
    }
}
