//! Clients that misbehave on purpose, again and again. What the server does with them is not judged: it is to go on serving the
//! others.

mod script;

use crate::client::Client;
use crate::command_line::{Fault, TlsMode};
use crate::failure::Failure;
use crate::plan::{Job, Plan, Task};
use script::{HALF_HELLO, Last, Step, ends_answer, opening, place, prelude, refuses, scripts, stages};
use std::cell::Cell;
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

/// One client after the other, until it is cancelled. `index`: of all that misbehave. Each is counted when it begins to misbehave,
/// or when it has come to nothing before that.
pub(crate) async fn misbehave(plan: Arc<Plan>, fault: Fault, index: u64) {
    for turn in index.. {
        let begun = Begun {
            plan: &plan,
            fault,
            is: Cell::new(false),
        };
        // Whatever ends it: the server may well send it away.
        let _ = match fault {
            Fault::Abort => abort(&plan, turn, &begun).await,
            _ => {
                let job = &plan.jobs[place(turn, plan.jobs.len(), |_| 1).0];
                let client = Misbehaving::new(&plan, job, turn);
                match fault {
                    Fault::SlowReader => client.read_slowly(&begun).await,
                    Fault::HalfOpen => client.fall_silent(&begun).await,
                    _ => client.say_nonsense(&begun).await,
                }
            }
        };
        if !begun.is.get() {
            plan.live.never_misbehaved(fault).fetch_add(1, Ordering::Relaxed);
        }
        pigeon_engine::sleep(PAUSE).await;
    }
}

/// Whether a client has come as far as to misbehave.
struct Begun<'a> {
    plan: &'a Plan,
    fault: Fault,
    is: Cell<bool>,
}

impl Begun<'_> {
    fn now(&self) {
        if !self.is.replace(true) {
            self.plan.live.misbehaved(self.fault).fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Breaks off at a stage, another one each time.
async fn abort(plan: &Plan, turn: u64, begun: &Begun<'_>) -> Result<(), Failure> {
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
        begun.now();
        return Ok(());
    }
    dialogue.answer().await?;
    begun.now();
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
    /// So many answers may not be a no: without them there is no session.
    needed: usize,
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

    fn words_of_prelude(&self) -> usize {
        let words = |step: &&Step| **step != Step::Secure;
        self.prelude().iter().filter(words).count()
    }

    async fn begin(&self) -> Result<Dialogue<'a>, Failure> {
        let client = self.job.door.connect_in_the_clear(self.turn, PATIENCE).await?;
        let tls_first = matches!(self.job.door.tls(), Some((TlsMode::Implicit, _)));
        Ok(Dialogue {
            job: self.job,
            client,
            owed: !tls_first,
            is_greeting: true,
            needed: 1 + self.words_of_prelude() + opening(&self.job.task),
        })
    }

    /// Connected, greeted, under TLS where the work is, and so many steps of the first script further, all answered.
    async fn connect(&self, further: usize) -> Result<Client, Failure> {
        let mut dialogue = self.begin().await?;
        let script = self.scripts().swap_remove(0);
        for step in self.prelude().iter().chain(script.iter().take(further)) {
            dialogue = dialogue.step(step).await?;
        }
        dialogue.answer().await?;
        Ok(dialogue.client)
    }

    /// Asks for all there is, again and again, and takes it in small pieces: what is not read fills the server's side until it
    /// can write no more.
    async fn read_slowly(&self, begun: &Begun<'_>) -> Result<(), Failure> {
        let (further, again) = self.question();
        let mut client = self.connect(further).await?;
        begun.now();
        let again = bytes::Bytes::from(again.repeat(QUESTIONS));
        for _ in 0..QUESTIONS_ROUNDS {
            client.send(again.clone()).await?;
            pigeon_engine::sleep(SLOWNESS).await;
            client.taste().await?;
        }
        Ok(())
    }

    /// How many steps of the first script open the way, and a question whose answer is longer than itself.
    fn question(&self) -> (usize, &'static str) {
        match &self.job.task {
            Task::Mail { lmtp: false, .. } => (1, "EHLO fault.invalid\r\n"),
            Task::Mail { lmtp: true, .. } => (1, "LHLO fault.invalid\r\n"),
            Task::Imap { .. } | Task::Hold { .. } => (2, "f3 FETCH 1:* (FLAGS BODY.PEEK[])\r\n"),
            Task::Pop3 { .. } => (2, "RETR 1\r\n"),
        }
    }

    async fn fall_silent(&self, begun: &Begun<'_>) -> Result<(), Failure> {
        let mut client = self.connect(0).await?;
        begun.now();
        client.send(&b"N"[..]).await?;
        client.set_patient();
        Err(client.until_closed().await)
    }

    async fn say_nonsense(&self, begun: &Begun<'_>) -> Result<(), Failure> {
        let mut client = self.connect(0).await?;
        begun.now();
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
            if !self.owed && self.needed > 0 {
                self.needed -= 1;
                if refuses(&self.job.task, line) {
                    return Err(Failure::Refused);
                }
            }
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
