//! Clients that misbehave on purpose, again and again. What the server does with them is not judged: it is to go on serving the
//! others.

mod script;

use crate::client::Client;
use crate::command_line::{Fault, TlsMode};
use crate::failure::Failure;
use crate::plan::{Job, Plan, Task};
use script::{HALF_HELLO, Last, Step, ends_answer, place, prelude, scripts, stages};
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
/// What a slow reader asks at a time, and how often: the answers are more than the sockets of both sides hold.
const QUESTIONS: usize = 1_000;
const QUESTIONS_ROUNDS: u32 = 240;

/// One client after the other, until it is cancelled. `index`: of all that misbehave.
pub(crate) async fn misbehave(plan: Arc<Plan>, fault: Fault, index: u64) {
    for turn in index.. {
        // Whatever ends it: the server may well send it away.
        let _ = match fault {
            Fault::Abort => abort(&plan, turn).await,
            _ => {
                let job = &plan.jobs[place(turn, plan.jobs.len(), |_| 1).0];
                let client = Misbehaving::new(&plan, job, turn);
                match fault {
                    Fault::SlowReader => client.read_slowly().await,
                    Fault::HalfOpen => client.fall_silent().await,
                    _ => client.say_nonsense().await,
                }
            }
        };
        plan.live.misbehaved(fault).fetch_add(1, Ordering::Relaxed);
        pigeon_engine::sleep(PAUSE).await;
    }
}

/// Breaks off at a stage, another one each time.
async fn abort(plan: &Plan, turn: u64) -> Result<(), Failure> {
    let of = |job: usize| {
        let client = Misbehaving::new(plan, &plan.jobs[job], turn);
        stages(&client.prelude(), &client.scripts())
    };
    let (job, stage) = place(turn, plan.jobs.len(), |job| of(job).len());
    let stage = of(job)[stage];
    let client = Misbehaving::new(plan, &plan.jobs[job], turn);
    let steps = [client.prelude(), client.scripts().swap_remove(stage.script)].concat();
    let mut dialogue = client.begin().await?;
    for step in &steps[..stage.done] {
        dialogue = dialogue.step(step).await?;
    }
    if stage.last == Last::Nothing {
        return Ok(());
    }
    dialogue.answer().await?;
    match (stage.last, steps.get(stage.done)) {
        (Last::Half, Some(Step::Say(words) | Step::Part(words))) => {
            let words = words.as_bytes();
            dialogue.client.send(words[..words.len() / 2].to_vec()).await
        }
        (Last::Half, Some(Step::Secure)) => dialogue.client.send(HALF_HELLO).await,
        (Last::Hello, Some(step @ Step::Secure)) => {
            // The first turn sends it; the answer takes longer than no time.
            let _ = pigeon_engine::timeout(Duration::ZERO, dialogue.step(step)).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

struct Misbehaving<'a> {
    plan: &'a Plan,
    job: &'a Job,
    turn: u64,
}

/// A connection on which a script is followed.
struct Dialogue<'a> {
    job: &'a Job,
    client: Client,
    /// The server owes an answer, or its greeting.
    owed: bool,
    is_greeting: bool,
}

impl<'a> Misbehaving<'a> {
    fn new(plan: &'a Plan, job: &'a Job, turn: u64) -> Misbehaving<'a> {
        Misbehaving { plan, job, turn }
    }

    fn prelude(&self) -> Vec<Step> {
        prelude(&self.job.task, self.job.door.tls().map(|(mode, _)| mode))
    }

    fn scripts(&self) -> Vec<Vec<Step>> {
        scripts(self.plan, &self.job.task, self.turn)
    }

    async fn begin(&self) -> Result<Dialogue<'a>, Failure> {
        let client = self.job.door.connect_in_the_clear(self.turn, PATIENCE).await?;
        let tls_first = matches!(self.job.door.tls(), Some((TlsMode::Implicit, _)));
        Ok(Dialogue {
            job: self.job,
            client,
            owed: !tls_first,
            is_greeting: true,
        })
    }

    /// Connected, and under TLS where the work is.
    async fn connect(&self) -> Result<Client, Failure> {
        let mut dialogue = self.begin().await?;
        for step in &self.prelude() {
            dialogue = dialogue.step(step).await?;
        }
        Ok(dialogue.client)
    }

    /// Asks for all there is, again and again, and takes it in small pieces: what is not read fills the server's side until it
    /// can write no more.
    async fn read_slowly(&self) -> Result<(), Failure> {
        let mut client = self.connect().await?;
        let (first, again) = self.questions();
        client.send(first.into_bytes()).await?;
        let again = bytes::Bytes::from(again.repeat(QUESTIONS));
        for _ in 0..QUESTIONS_ROUNDS {
            client.send(again.clone()).await?;
            pigeon_engine::sleep(SLOWNESS).await;
            client.taste().await?;
        }
        Ok(())
    }

    /// What opens the way, and a question whose answer is longer than itself.
    fn questions(&self) -> (String, &'static str) {
        let words = |step: &Step| match step {
            Step::Say(words) | Step::Part(words) => words.clone(),
            Step::Secure => String::new(),
        };
        let script = self.scripts().swap_remove(0);
        let front = |count: usize| script.iter().take(count).map(words).collect();
        match &self.job.task {
            Task::Mail { lmtp: false, .. } => (front(1), "EHLO fault.invalid\r\n"),
            Task::Mail { lmtp: true, .. } => (front(1), "LHLO fault.invalid\r\n"),
            Task::Imap { .. } | Task::Hold { .. } => (front(2), "f3 FETCH 1:* (FLAGS BODY.PEEK[])\r\n"),
            Task::Pop3 { .. } => (front(2), "RETR 1\r\n"),
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

impl Dialogue<'_> {
    /// Waits for what the server owes.
    async fn answer(&mut self) -> Result<(), Failure> {
        while self.owed {
            let line = self.client.line().await?;
            self.owed = !ends_answer(&self.job.task, self.is_greeting, line);
        }
        self.is_greeting = false;
        Ok(())
    }

    async fn step(mut self, step: &Step) -> Result<Self, Failure> {
        self.answer().await?;
        match step {
            Step::Say(words) | Step::Part(words) => {
                self.client.send(words.clone().into_bytes()).await?;
                self.owed = true;
            }
            Step::Secure => {
                let (mode, connector) = self.job.door.tls().expect("a script has it where it is");
                self.client = self.client.secure(connector).await?;
                self.is_greeting = mode == TlsMode::Implicit;
                self.owed = self.is_greeting;
            }
        }
        Ok(self)
    }
}
