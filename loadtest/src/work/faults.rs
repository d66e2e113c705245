//! Clients that misbehave on purpose, again and again. What the server does with them is not judged: it is to go on serving the
//! others.

use crate::client::Client;
use crate::command_line::Fault;
use crate::failure::Failure;
use crate::plan::{Job, Plan, Task};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// For one of them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a slow reader does not read.
const SLOWNESS: Duration = Duration::from_millis(250);
/// Between two of them, so that they do not become the load.
const PAUSE: Duration = Duration::from_millis(20);
/// Pieces of nonsense before a client gives up.
const GARBAGE_PIECES: u64 = 16;

/// One client after the other, until it is cancelled. `index`: of all that misbehave.
pub(crate) async fn misbehave(plan: Arc<Plan>, fault: Fault, index: u64) {
    let mut turn = index;
    loop {
        let job = &plan.jobs[usize::try_from(turn % plan.jobs.len() as u64).expect("below a length")];
        let client = Misbehaving { plan: &plan, job, turn };
        // Whatever ends it: the server may well send it away.
        let _ = match fault {
            Fault::SlowReader => client.read_slowly().await,
            Fault::Abort => client.abort().await,
            Fault::HalfOpen => client.fall_silent().await,
            Fault::Garbage => client.say_nonsense().await,
        };
        plan.live.misbehaved(fault).fetch_add(1, Ordering::Relaxed);
        turn += 1;
        pigeon_engine::sleep(PAUSE).await;
    }
}

struct Misbehaving<'a> {
    plan: &'a Plan,
    job: &'a Job,
    turn: u64,
}

impl Misbehaving<'_> {
    async fn connect(&self) -> Result<Client, Failure> {
        self.job.door.connect(self.turn, PATIENCE).await
    }

    /// What a client says in its session, command by command. Nothing of it is ever completed: no message is sent.
    fn script(&self) -> Vec<String> {
        let user = self.plan.user(self.turn);
        match &self.job.task {
            Task::Mail { lmtp, .. } => vec![
                format!("{} fault.invalid\r\n", if *lmtp { "LHLO" } else { "EHLO" }),
                "MAIL FROM:<fault@sender.example>\r\n".to_owned(),
                format!("RCPT TO:<{user}>\r\n"),
                "DATA\r\n".to_owned(),
                "Subject: never whole\r\n\r\nIt ends in the middle of\r\n".to_owned(),
            ],
            Task::Imap { password, .. } | Task::Hold { password, .. } => vec![
                format!("f1 LOGIN \"{user}\" \"{password}\"\r\n"),
                "f2 SELECT INBOX\r\n".to_owned(),
                "f3 FETCH 1:* (FLAGS BODY.PEEK[])\r\n".to_owned(),
                "f4 APPEND INBOX {1000}\r\n".to_owned(),
                "Subject: never whole\r\n\r\nIt ends in the middle of\r\n".to_owned(),
            ],
            Task::Pop3 { password } => vec![
                format!("USER {user}\r\n"),
                format!("PASS {password}\r\n"),
                "LIST\r\n".to_owned(),
                "RETR 1\r\n".to_owned(),
            ],
        }
    }

    /// Breaks off at a stage, the next one each time: behind an answer, or in the middle of a command.
    async fn abort(&self) -> Result<(), Failure> {
        let mut client = self.connect().await?;
        let script = self.script();
        let stages = script.len() as u64 * 2 + 1;
        let stage = usize::try_from(self.turn % stages).expect("few");
        for command in &script[..stage / 2] {
            client.taste().await?;
            client.send(command.clone().into_bytes()).await?;
        }
        if stage % 2 == 1 {
            client.taste().await?;
            let command = script[stage / 2].as_bytes();
            client.send(command[..command.len() / 2].to_vec()).await?;
        }
        Ok(())
    }

    /// Asks for all there is, and takes it in small pieces.
    async fn read_slowly(&self) -> Result<(), Failure> {
        let mut client = self.connect().await?;
        let all = match &self.job.task {
            Task::Mail { .. } => "NOOP\r\n".repeat(2_000),
            _ => {
                let script = self.script();
                script[..script.len().min(3)].concat()
                    + &script.last().cloned().filter(|_| script.len() == 4).unwrap_or_default()
            }
        };
        client.send(all.into_bytes()).await?;
        loop {
            pigeon_engine::sleep(SLOWNESS).await;
            client.taste().await?;
        }
    }

    async fn fall_silent(&self) -> Result<(), Failure> {
        let mut client = self.connect().await?;
        client.send(&b"N"[..]).await?;
        client.set_patient();
        Err(client.until_closed().await)
    }

    async fn say_nonsense(&self) -> Result<(), Failure> {
        let mut client = self.connect().await?;
        for piece in 0..GARBAGE_PIECES {
            let mut state = self.plan.seed ^ (self.turn * GARBAGE_PIECES + piece);
            client.send(crate::content::noise(&mut state, 700)).await?;
            client.taste().await?;
        }
        Ok(())
    }
}
