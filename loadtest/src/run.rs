//! A run: the sessions on all cores, a line a second while they work, and the report.

use crate::client::PARTING_MAX;
use crate::command_line::{Machine, VerifyOptions, WorkCommand};
use crate::fleet;
use crate::output::{self, Output};
use crate::pace::{Pace, share};
use crate::plan::Plan;
use crate::plot;
use crate::processes::Usage;
use crate::reading::{self, Look};
use crate::report::Report;
use crate::series::Sampler;
use crate::tally::Tally;
use crate::work::verify::Findings;
use crate::work::{Ended, Worker, faults};
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

/// What the cores came to, together.
#[derive(Default)]
pub(crate) struct Outcome {
    /// By job.
    tallies: Vec<Tally>,
    /// Units that were due, and for which no session was free before the end; sessions that were not even tried.
    pub(crate) never_begun: u64,
    pub(crate) acknowledged: BTreeSet<u64>,
    pub(crate) findings: Findings,
    /// What the server had used when all cores had opened their sessions, and how many were there; of `idle` and `storm`.
    pub(crate) held: Option<(Result<Usage, String>, u64)>,
    pub(crate) trouble: Option<String>,
}

pub(crate) type Shared = Arc<Mutex<Outcome>>;

pub(crate) fn with<T>(shared: &Shared, change: impl FnOnce(&mut Outcome) -> T) -> T {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn opened(path: Option<&Path>) -> Result<Option<Output>, String> {
    path.map(Output::open).transpose()
}

/// Does it, and reports. `false`: something was wrong that should not be.
pub(crate) fn run(machine: &Machine, plan: Plan) -> Result<bool, String> {
    let (json, html) = (opened(machine.json.as_deref())?, opened(machine.html.as_deref())?);
    if let (Some(json), Some(html)) = (&json, &html)
        && json.is_same(html)?
    {
        return Err("--json and --html name the same file".to_owned());
    }
    if let Some(remark) = plan.remark.filter(|_| !machine.quiet) {
        output::mention(format_args!("pigeon-load: {remark}"));
    }
    let plan = Arc::new(plan);
    let shared = Shared::default();
    let before = plan.server.usage()?;
    let began = Instant::now();
    let (sending, results) = (plan.clone(), shared.clone());
    on_all_cores(machine, &plan, true, move || send(sending.clone(), results.clone()))?;
    let took = began.elapsed();
    let after = plan.server.usage();
    if let WorkCommand::Verify(options) = &plan.work {
        let until = Instant::now() + options.patience;
        let look = |look| {
            let (reading, results, options) = (plan.clone(), shared.clone(), VerifyOptions::clone(options));
            let main = move || reading::read(reading.clone(), options.clone(), results.clone(), look, until);
            on_all_cores(machine, &plan, false, main)
        };
        look(Look::First)?;
        std::thread::sleep(options.settle);
        look(Look::Last)?;
    }
    let outcome = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(trouble) = outcome.trouble {
        return Err(trouble);
    }
    let mut tally = Tally::new();
    outcome.tallies.iter().for_each(|of_job| tally.merge(of_job));
    // Gone at the end, or already while sessions were held: then nothing of it can be told, but the rest can.
    let (held, sessions) = outcome.held.unwrap_or_else(|| (after.clone(), 0));
    let usage = held.and_then(|held| Ok((before, held, after?)));
    let gone = usage.is_err();
    let report = Report {
        plan: &plan,
        tally: &tally,
        by_job: &outcome.tallies,
        never_begun: outcome.never_begun,
        took,
        usage: plan.server.are_named().then_some(usage),
        sessions_held: sessions,
        rounds: plan.fleet.rounds(),
        findings: matches!(plan.work, WorkCommand::Verify(_))
            .then_some((&outcome.findings, outcome.acknowledged.len())),
    };
    let text = report.text();
    // None is lost when another cannot be written.
    let said = output::say(&text);
    let written = json.map_or(Ok(()), |file| file.write(&format!("{:#}\n", report.json())));
    let page = || plot::page(&format!("pigeon-load {}", plan.name()), &text, &plan.series.points());
    html.map_or(Ok(()), |file| file.write(&page())).and(written).and(said)?;
    Ok(outcome.findings.is_clean() && tally.done > 0 && !gone)
}

/// Says how a core's root task has ended, however it ended: without a word of one that panicked the run would have no end.
struct Farewell {
    in_order: bool,
    told: mpsc::UnboundedSender<bool>,
}

impl Farewell {
    fn in_order(mut self) {
        self.in_order = true;
    }
}

impl Drop for Farewell {
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
    let faults = plan
        .work
        .faults()
        .iter()
        .map(|(_, count)| u64::from(*count))
        .sum::<u64>();
    // Each has a connection of every job at most.
    let sessions = u64::from(plan.amount().sessions) * plan.jobs.len() as u64 + faults;
    let options = EngineOptions {
        cores,
        control_cpus: None,
        receive_buffers: 1024,
        receive_buffer_bytes: 16 * 1024,
        pipes: 0,
        core_queue_depth: 64,
        open_files: sessions + PARTING_MAX + 256,
        open_files_for: format!("{sessions} sessions"),
    };
    let (told, mut ends) = mpsc::unbounded_channel();
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    let (quiet, live) = (machine.quiet || !sampled, plan.clone());
    pigeon_engine::runtime::run(
        options,
        move || {
            let ended = Farewell {
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
            let usage = || live.server.usage().ok();
            let mut sampler = Sampler::new(usage().unwrap_or_default());
            let mut not_before = Instant::now();
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
                        let looks = Instant::now();
                        if looks < not_before {
                            continue;
                        }
                        let usage = usage();
                        // Thousands of processes take their time: no more than a twentieth of it is spent on them.
                        not_before = looks + 20 * looks.elapsed();
                        let watched = live.server.are_named() && usage.is_some();
                        let point = sampler.sample(&live.series, usage, live.live.held());
                        if !quiet {
                            let faults = live.live.misbehaving(live.work.faults());
                            output::mention(format_args!("{}{faults}", point.line(watched)));
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
pub(crate) fn own_sessions(plan: &Plan) -> impl Iterator<Item = u64> + use<> {
    let (core, cores) = (u64::from(current_core().0), u64::from(core_count()));
    (core..u64::from(plan.amount().sessions)).step_by(usize::try_from(cores).expect("few"))
}

async fn send(plan: Arc<Plan>, shared: Shared) {
    match &plan.work {
        WorkCommand::Idle(_) => fleet::hold_all(&plan, &shared, None).await,
        WorkCommand::Storm(storm) => fleet::hold_all(&plan, &shared, Some(storm.rounds)).await,
        _ => work(plan, shared).await,
    }
}

async fn work(plan: Arc<Plan>, shared: Shared) {
    let (amount, pacing) = (plan.amount(), plan.work.pacing().expect("all that is not held has it"));
    // A core without a session has no share.
    let busy = plan.amount().sessions.min(u32::from(core_count()));
    let (core, cores) = (current_core().0, u16::try_from(busy).expect("at most the cores"));
    let pace = Pace::new(
        pigeon_engine::now(),
        pacing.warm_up,
        amount.duration,
        pacing.rate.map(|rate| rate / f64::from(cores)),
        pacing
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
    if !plan.work.faults().is_empty() {
        // A core without a session, or whose sessions end first, has its clients misbehave as long as the others work.
        plan.fleet.meet().await;
    }
    faults.into_iter().for_each(pigeon_engine::Task::cancel);
    with(&shared, |outcome| {
        finish(outcome, &tallies.borrow());
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

/// Takes over what one core came to.
pub(crate) fn finish(outcome: &mut Outcome, tallies: &[Tally]) {
    outcome.tallies.resize_with(tallies.len(), Tally::new);
    for (all, own) in outcome.tallies.iter_mut().zip(tallies) {
        all.merge(own);
    }
}

/// This core's clients that misbehave.
pub(crate) fn misbehaving(plan: &Arc<Plan>) -> Vec<pigeon_engine::Task<()>> {
    let (core, cores) = (u64::from(current_core().0), u64::from(core_count()));
    let all = plan
        .work
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
        let Ended { job, result, rested } = worker.unit(pace.end()).await;
        plan.live.add(result.is_ok());
        let latency = pigeon_engine::now()
            .saturating_duration_since(due)
            .saturating_sub(rested);
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
