//! A run: the sessions on all cores, a line a second while they work, and the report.

use crate::command_line::{Machine, VerifyOptions, WorkCommand};
use crate::output::Output;
use crate::pace::{Pace, share};
use crate::plan::Plan;
use crate::plot;
use crate::processes::{self, Usage};
use crate::report::Report;
use crate::series::Sampler;
use crate::tally::Tally;
use crate::work::verify::{self, Findings};
use crate::work::{Worker, faults, hold};
use futures_util::future::join_all;
use pigeon_engine::placement::CpuSet;
use pigeon_engine::runtime::EngineOptions;
use pigeon_engine::{core_count, current_core};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// After a failure, so that a server that is not there is not asked as fast as this machine can.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// After so many failures in a row `idle` opens no more on that core: each may take as long as a unit may.
pub(crate) const FAILURES_IN_A_ROW: u32 = 10;

/// Accounts that are read back at once, on one core.
const READERS: usize = 16;

/// What the cores came to, together.
#[derive(Default)]
struct Outcome {
    /// By job.
    tallies: Vec<Tally>,
    /// Units that were due, and for which no session was free before the end; sessions that `idle` did not try to open.
    never_begun: u64,
    acknowledged: BTreeSet<u64>,
    findings: Findings,
    /// When the last core had opened its sessions; of `idle` and `storm`.
    opened: Option<Result<Usage, String>>,
    trouble: Option<String>,
}

type Shared = Arc<Mutex<Outcome>>;

fn with<T>(shared: &Shared, change: impl FnOnce(&mut Outcome) -> T) -> T {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn opened(path: Option<&Path>) -> Result<Option<Output>, String> {
    path.map(Output::open).transpose()
}

/// Does it, and reports. `false`: something was wrong that should not be.
pub(crate) fn run(machine: &Machine, plan: Plan) -> Result<bool, String> {
    let (json, html) = (opened(machine.json.as_deref())?, opened(machine.html.as_deref())?);
    let plan = Arc::new(plan);
    let shared = Shared::default();
    let pids = &plan.amount().server_pid;
    let before = processes::usage(pids)?;
    let began = Instant::now();
    let (sending, results) = (plan.clone(), shared.clone());
    on_all_cores(machine, &plan, true, move || send(sending.clone(), results.clone()))?;
    let took = began.elapsed();
    let after = processes::usage(pids);
    if let WorkCommand::Verify(options) = &plan.work {
        let (reading, results, options) = (plan.clone(), shared.clone(), VerifyOptions::clone(options));
        let until = Instant::now() + options.patience;
        on_all_cores(machine, &plan, false, move || {
            read(reading.clone(), options.clone(), results.clone(), until)
        })?;
    }
    let outcome = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(trouble) = outcome.trouble {
        return Err(trouble);
    }
    let mut tally = Tally::new();
    outcome.tallies.iter().for_each(|of_job| tally.merge(of_job));
    // Gone at the end, or already while sessions were held: then nothing of it can be told, but the rest can.
    let usage = outcome.opened.unwrap_or_else(|| after.clone());
    let usage = usage.and_then(|held| Ok((before, held, after?)));
    let gone = usage.is_err();
    let report = Report {
        plan: &plan,
        tally: &tally,
        by_job: &outcome.tallies,
        never_begun: outcome.never_begun,
        took,
        usage: (!pids.is_empty()).then_some(usage),
        findings: matches!(plan.work, WorkCommand::Verify(_))
            .then_some((&outcome.findings, outcome.acknowledged.len())),
    };
    let text = report.text();
    print!("{text}");
    // Neither is lost when the other cannot be written.
    let written = json.map_or(Ok(()), |file| file.write(&format!("{:#}\n", report.json())));
    let page = || plot::page(&format!("pigeon-load {}", plan.name()), &text, &plan.series.points());
    html.map_or(Ok(()), |file| file.write(&page())).and(written)?;
    Ok(outcome.findings.is_clean() && tally.done > 0 && !gone)
}

/// Says how a core's root task has ended, however it ended: without a word of one that panicked the run would have no end.
struct Ended {
    in_order: bool,
    told: mpsc::UnboundedSender<bool>,
}

impl Ended {
    fn in_order(mut self) {
        self.in_order = true;
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody listens any more when the control thread has given up.
        let _ = self.told.send(self.in_order);
    }
}

/// `main` on every core; `sampled`: second by second, and shown.
fn on_all_cores<F>(
    machine: &Machine,
    plan: &Arc<Plan>,
    sampled: bool,
    main: impl Fn() -> F + Clone + Send + 'static,
) -> Result<(), String>
where
    F: Future<Output = ()> + 'static,
{
    let cores = match &machine.cores {
        Some(text) => Some(
            text.parse::<CpuSet>()
                .map_err(|error| format!("--cores {text:?}: {error}"))?,
        ),
        None => None,
    };
    let faults = plan.faults().iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
    // Each has a connection of every job at most.
    let sessions = u64::from(plan.amount().sessions) * plan.jobs.len() as u64 + faults;
    let options = EngineOptions {
        cores,
        control_cpus: None,
        receive_buffers: 1024,
        receive_buffer_bytes: 16 * 1024,
        pipes: 0,
        core_queue_depth: 64,
        open_files: sessions + 256,
        open_files_for: format!("{sessions} sessions"),
    };
    let (told, mut ends) = mpsc::unbounded_channel();
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    let (quiet, live) = (machine.quiet || !sampled, plan.clone());
    pigeon_engine::runtime::run(
        options,
        move || {
            let ended = Ended {
                in_order: false,
                told: told.clone(),
            };
            let work = main();
            async move {
                work.await;
                ended.in_order();
            }
        },
        move |handle| async move {
            let mut left = handle.core_count();
            // A process that is gone is told at the end of the run.
            let usage = || processes::usage(&live.amount().server_pid).unwrap_or_default();
            let mut sampler = Sampler::new(usage());
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            // The first is at once.
            ticks.tick().await;
            while left > 0 {
                tokio::select! {
                    ended = ends.recv() => match ended {
                        Some(true) => left -= 1,
                        Some(false) | None => {
                            breaks.store(true, Ordering::Relaxed);
                            return handle.stop();
                        }
                    },
                    _ = ticks.tick(), if sampled => {
                        let point = sampler.sample(&live.series, usage(), live.live.held());
                        if !quiet {
                            eprintln!("{}", point.line());
                        }
                    }
                }
            }
            if sampled {
                sampler.sample(&live.series, usage(), live.live.held());
            }
        },
    )
    .map_err(|error| error.to_string())?;
    match broken.load(Ordering::Relaxed) {
        true => Err("a core of the generator broke: see above".to_owned()),
        false => Ok(()),
    }
}

/// The numbers of the sessions of this core.
fn own_sessions(plan: &Plan) -> impl Iterator<Item = u64> {
    let (core, cores) = (u64::from(current_core().0), u64::from(core_count()));
    (core..u64::from(plan.amount().sessions)).step_by(usize::try_from(cores).expect("few"))
}

async fn send(plan: Arc<Plan>, shared: Shared) {
    match &plan.work {
        WorkCommand::Idle(_) => hold_all(&plan, shared, true).await,
        WorkCommand::Storm(_) => hold_all(&plan, shared, false).await,
        _ => work(plan, shared).await,
    }
}

async fn work(plan: Arc<Plan>, shared: Shared) {
    let amount = plan.amount();
    // A core without a session has no share.
    let busy = plan.amount().sessions.min(u32::from(core_count()));
    let (core, cores) = (current_core().0, u16::try_from(busy).expect("at most the cores"));
    let pace = Pace::new(
        pigeon_engine::now(),
        amount.warm_up,
        amount.duration,
        amount.rate.map(|rate| rate / f64::from(cores)),
        amount
            .count
            .map(|count| if core < cores { share(count, core, cores) } else { 0 }),
    );
    let pace = Rc::new(pace.over(plan.day.clone()));
    let faults = misbehaving(&plan);
    let tallies = Rc::new(RefCell::new(plan.jobs.iter().map(|_| Tally::new()).collect::<Vec<_>>()));
    let sessions = own_sessions(&plan).filter_map(|index| Worker::new(&plan, index));
    let tasks: Vec<_> = sessions
        .map(|worker| pigeon_engine::spawn(session(plan.clone(), worker, pace.clone(), tallies.clone())))
        .collect();
    let ended = join_all(tasks).await;
    faults.into_iter().for_each(pigeon_engine::Task::cancel);
    with(&shared, |outcome| {
        merge(outcome, &tallies.borrow());
        if core < cores {
            outcome.never_begun += pace.never_begun();
        }
        for acknowledged in ended {
            match acknowledged {
                Some(numbers) => outcome.acknowledged.extend(numbers),
                None => outcome.trouble = Some("a session of the generator broke: see above".to_owned()),
            }
        }
    });
}

fn merge(outcome: &mut Outcome, tallies: &[Tally]) {
    outcome.tallies.resize_with(tallies.len(), Tally::new);
    for (all, own) in outcome.tallies.iter_mut().zip(tallies) {
        all.merge(own);
    }
}

/// This core's clients that misbehave.
fn misbehaving(plan: &Arc<Plan>) -> Vec<pigeon_engine::Task<()>> {
    let (core, cores) = (u64::from(current_core().0), u64::from(core_count()));
    let all = plan
        .faults()
        .iter()
        .flat_map(|(fault, count)| (0..*count).map(|_| *fault));
    let numbered = (0_u64..).zip(all);
    let own = numbered.filter(|(index, _)| index % cores == core);
    own.map(|(index, fault)| pigeon_engine::spawn(faults::misbehave(plan.clone(), fault, index)))
        .collect()
}

async fn session(plan: Arc<Plan>, mut worker: Worker, pace: Rc<Pace>, tallies: Rc<RefCell<Vec<Tally>>>) -> Vec<u64> {
    while let Some(due) = pace.next().await {
        let (job, result) = worker.unit().await;
        plan.live.add(result.is_ok());
        let latency = pigeon_engine::now().saturating_duration_since(due);
        plan.series.add(result, latency);
        if pace.counts(due) {
            tallies.borrow_mut()[job].add(result, latency);
        }
        if result.is_err() {
            pigeon_engine::sleep(FAILURE_PAUSE).await;
        }
    }
    worker.end().await
}

/// Opens this core's sessions, and holds them for the duration.
async fn hold_all(plan: &Arc<Plan>, shared: Shared, one_by_one: bool) {
    let faults = misbehaving(plan);
    let tally = Rc::new(RefCell::new(Tally::new()));
    let open = |index: u64| {
        let (plan, tally) = (plan.clone(), tally.clone());
        async move {
            let began = pigeon_engine::now();
            let opened = hold::open(&plan, index).await;
            plan.live.add(opened.is_ok());
            let result = opened.as_ref().map(|_| 0).map_err(|failure| *failure);
            let latency = pigeon_engine::now() - began;
            plan.series.add(result, latency);
            tally.borrow_mut().add(result, latency);
            let session = opened.ok()?;
            plan.live.held.fetch_add(1, Ordering::Relaxed);
            Some(session)
        }
    };
    let mut sessions = Vec::new();
    let mut never_opened = 0;
    if one_by_one {
        let mut in_a_row = 0;
        for index in own_sessions(plan) {
            if in_a_row == FAILURES_IN_A_ROW {
                never_opened += 1;
                continue;
            }
            let session = open(index).await;
            in_a_row = if session.is_some() { 0 } else { in_a_row + 1 };
            sessions.extend(session);
        }
    } else {
        let opening: Vec<_> = own_sessions(plan)
            .map(|index| pigeon_engine::spawn(open(index)))
            .collect();
        sessions.extend(join_all(opening).await.into_iter().flatten().flatten());
    }
    let holding: Vec<_> = sessions
        .into_iter()
        .map(|mut session| {
            let (plan, tally) = (plan.clone(), tally.clone());
            pigeon_engine::spawn(async move {
                let failure = hold::hold(&mut session).await;
                plan.live.held.fetch_sub(1, Ordering::Relaxed);
                plan.series.add(Err(failure), Duration::ZERO);
                tally.borrow_mut().undo(failure);
            })
        })
        .collect();
    pigeon_engine::sleep(plan.amount().duration).await;
    // While all are held: what it costs the server.
    let usage = processes::usage(&plan.amount().server_pid);
    for task in holding {
        task.cancel();
    }
    faults.into_iter().for_each(pigeon_engine::Task::cancel);
    with(&shared, |outcome| {
        merge(outcome, std::slice::from_ref(&*tally.borrow()));
        outcome.never_begun += never_opened;
        outcome.opened = Some(usage);
    });
}

async fn read(plan: Arc<Plan>, options: VerifyOptions, shared: Shared, until: Instant) {
    let acknowledged = with(&shared, |outcome| outcome.acknowledged.clone());
    let (core, cores) = (usize::from(current_core().0), usize::from(core_count()));
    let own: Vec<usize> = (core..plan.users.len()).step_by(cores).collect();
    let next = Rc::new(RefCell::new(own.into_iter()));
    let readers = (0..READERS).map(|_| {
        let (plan, options, next, acknowledged) = (plan.clone(), options.clone(), next.clone(), acknowledged.clone());
        pigeon_engine::spawn(async move {
            let mut findings = Findings::default();
            loop {
                let account = next.borrow_mut().next();
                let Some(account) = account else {
                    return findings;
                };
                let of_account = |number: &u64| *number % plan.users.len() as u64 == account as u64;
                let expected = acknowledged.iter().copied().filter(of_account).collect();
                findings.merge(verify::read_back(plan.clone(), options.clone(), account, expected, until).await);
            }
        })
    });
    for findings in join_all(readers.collect::<Vec<_>>()).await {
        with(&shared, |outcome| match findings {
            Some(findings) => outcome.findings.merge(findings),
            None => outcome.trouble = Some("a session of the generator broke: see above".to_owned()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::{Command, CommandLine};
    use clap::Parser;

    #[test]
    fn a_core_that_breaks_ends_the_run() {
        let line = CommandLine::parse_from([
            "pigeon-load",
            "smtp",
            "--target",
            "127.0.0.1:1",
            "--user",
            "a@b.example",
        ]);
        let Command::Work(work) = line.command else {
            unreachable!("smtp is work");
        };
        let plan = Arc::new(Plan::new(*work).expect("a plan"));
        let ended = on_all_cores(&line.machine, &plan, false, || async {
            assert!(current_core().0 != 0, "this test breaks the first core");
            pigeon_engine::sleep(Duration::from_secs(3600)).await;
        });
        assert_eq!(ended, Err("a core of the generator broke: see above".to_owned()));
        on_all_cores(&line.machine, &plan, false, || async {}).expect("it works again");
    }
}
