//! What a run came to: for people, and as JSON.

use crate::command_line::{Fault, WorkCommand};
use crate::failure::Failure;
use crate::fleet::{FAILURES_IN_A_ROW, Round};
use crate::plan::Plan;
use crate::processes::Usage;
use crate::tally::Tally;
use crate::work::verify::Findings;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Of each kind of wrong message, so many are named.
const NAMED_MAX: usize = 10;

/// See the module.
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tally: &'a Tally,
    /// Of each job of the plan.
    pub(crate) by_job: &'a [Tally],
    /// Units that were due, and for which no session was free before the end; sessions that were not even tried.
    pub(crate) never_begun: u64,
    /// From the first connection to the last answer, warm-up included.
    pub(crate) took: Duration,
    /// Of the server's processes: before, while sessions were held (else as after), after; or which of them is gone.
    pub(crate) usage: Option<Result<(Usage, Usage, Usage), String>>,
    /// Sessions that were there when `usage` was taken while they were.
    pub(crate) sessions_held: u64,
    /// Of sessions that are held: the first opening, and each after a drop.
    pub(crate) rounds: Vec<Round>,
    /// Of `verify`, and how many messages were acknowledged.
    pub(crate) findings: Option<(&'a Findings, usize)>,
}

const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

impl Report<'_> {
    /// In which units were counted.
    fn counted(&self) -> f64 {
        let time = match self.plan.work.pacing() {
            Some(pacing) => self.took.saturating_sub(pacing.warm_up),
            None => self.rounds.iter().skip(self.first_counted()).map(Round::took).sum(),
        };
        time.as_secs_f64().max(1e-9)
    }

    /// The first opening is what `idle` is about; in a storm it is what comes before.
    fn first_counted(&self) -> usize {
        usize::from(matches!(self.plan.work, WorkCommand::Storm(_)))
    }

    /// Those of a storm.
    fn reopened(&self) -> &[Round] {
        match self.plan.work {
            WorkCommand::Storm(_) => self.rounds.get(1..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Before, while held, after; without processes, or when one is gone, nothing.
    fn used(&self) -> Option<(Usage, Usage, Usage)> {
        self.usage.as_ref()?.as_ref().ok().copied()
    }

    /// Which process is gone.
    fn gone(&self) -> Option<&str> {
        self.usage.as_ref()?.as_ref().err().map(String::as_str)
    }

    fn held(&self) -> bool {
        self.plan.work.pacing().is_none()
    }

    fn rate(&self) -> f64 {
        self.tally.done as f64 / self.counted()
    }

    /// CPU time of the server for one unit of all that were tried.
    fn cpu_each(&self) -> Option<Duration> {
        let (before, _, after) = self.used()?;
        // Warm-up included, since it cost too.
        let units = u32::try_from(self.plan.live.units()).ok().filter(|units| *units > 0)?;
        Some(after.cpu.saturating_sub(before.cpu) / units)
    }

    fn memory_each(&self) -> Option<u64> {
        let (before, held, _) = self.used()?;
        held.memory
            .saturating_sub(before.memory)
            .checked_div(self.sessions_held)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let tally = self.tally;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: {} done, {} failed in {:.1} s (seed {}); {:.0} a second, {:.1} MiB of messages a second",
            self.plan.name(),
            tally.done,
            tally.failed(),
            self.took.as_secs_f64(),
            self.plan.seed,
            self.rate(),
            tally.message_bytes as f64 / self.counted() / f64::from(1 << 20),
        );
        let latencies: Vec<String> = QUANTILES
            .iter()
            .map(|(name, quantile)| format!("{name} {:.2}", millis(tally, *quantile)))
            .collect();
        let _ = writeln!(text, "latency, ms: {}", latencies.join(", "));
        for (number, round) in self.reopened().iter().enumerate() {
            let _ = writeln!(
                text,
                "round {}: {} of {} back {:.3} s after the drop",
                number + 1,
                round.opened,
                self.plan.amount().sessions,
                round.took().as_secs_f64()
            );
        }
        self.jobs(&mut text);
        for failure in Failure::ALL {
            if let Some(count) = tally.failures.get(&failure) {
                let _ = writeln!(text, "{failure}: {count}");
            }
        }
        if self.never_begun > 0 {
            let why = match self.held() {
                true => format!("{FAILURES_IN_A_ROW} sessions in a row could not be opened"),
                false => "no session was free before the end".to_owned(),
            };
            let _ = writeln!(text, "never begun: {}: {why}", self.never_begun);
        }
        if let Some(cpu) = self.cpu_each() {
            let _ = writeln!(text, "the server's CPU time: {:.1} us a unit", cpu.as_secs_f64() * 1e6);
        }
        if let Some(gone) = self.gone() {
            let _ = writeln!(text, "the server's process is gone: {gone}");
        }
        if let Some((_, held, after)) = self.used() {
            let memory = if self.held() { held.memory } else { after.memory };
            let _ = writeln!(
                text,
                "the server's own memory: {:.1} MiB",
                memory as f64 / f64::from(1 << 20)
            );
        }
        if let Some(each) = self.memory_each() {
            let _ = writeln!(text, "the server's memory a session: {each} bytes");
        }
        if let Some((findings, acknowledged)) = self.findings {
            self.verified(&mut text, findings, acknowledged);
        }
        text
    }

    /// The jobs of a mix, and who misbehaved.
    fn jobs(&self, text: &mut String) {
        let jobs = self.plan.jobs.iter().zip(self.by_job);
        for (job, tally) in jobs.filter(|_| self.plan.jobs.len() > 1) {
            let _ = writeln!(
                text,
                "  {:<12} {:>8} done, {:>6} failed, p50 {:.2}, p99 {:.2} ms",
                job.name,
                tally.done,
                tally.failed(),
                millis(tally, 0.5),
                millis(tally, 0.99)
            );
        }
        for (fault, _) in self.plan.work.faults() {
            let count = self.plan.live.misbehaved(*fault).load(Ordering::Relaxed);
            let never = match self.plan.live.never_misbehaved(*fault).load(Ordering::Relaxed) {
                0 => String::new(),
                never => format!(", and {never} that came to no session"),
            };
            let _ = writeln!(text, "{}: {count} clients{never}", fault.name());
        }
    }

    fn verified(&self, text: &mut String, findings: &Findings, acknowledged: usize) {
        let _ = writeln!(
            text,
            "verify: {acknowledged} acknowledged, {} there once and whole; {} there without an acknowledgement",
            findings.right, findings.unasked
        );
        for (name, numbers) in [
            ("lost", &findings.lost),
            ("there more than once", &findings.doubled),
            ("changed", &findings.changed),
        ] {
            if !numbers.is_empty() {
                let named: Vec<String> = numbers
                    .iter()
                    .take(NAMED_MAX)
                    .map(|number| self.named(*number))
                    .collect();
                let _ = writeln!(text, "{} {name}: {}", numbers.len(), named.join(", "));
            }
        }
        for (user, failure) in findings.unread.iter().take(NAMED_MAX) {
            let _ = writeln!(text, "{user} could not be read: {failure}");
        }
    }

    fn named(&self, number: u64) -> String {
        format!(
            "<{number}.{}@load.invalid> of {}",
            self.plan.seed,
            self.plan.user(number)
        )
    }

    /// For programs; times in seconds where no unit is named.
    pub(crate) fn json(&self) -> Value {
        let by_job = self.plan.jobs.iter().zip(self.by_job).map(|(job, tally)| {
            let of_job = json!({
                "done": tally.done,
                "failed": tally.failed(),
                "message_bytes": tally.message_bytes,
                "latency_ms": latencies(tally),
                "failures": failures(tally),
            });
            (job.name.to_owned(), of_job)
        });
        let live = &self.plan.live;
        let of_faults = |count: &dyn Fn(Fault) -> u64| -> serde_json::Map<_, _> {
            let each = self.plan.work.faults().iter();
            each.map(|(fault, _)| (fault.name().to_owned(), json!(count(*fault))))
                .collect()
        };
        let faults = of_faults(&|fault| live.misbehaved(fault).load(Ordering::Relaxed));
        let never_faults = of_faults(&|fault| live.never_misbehaved(fault).load(Ordering::Relaxed));
        json!({
            "work": self.plan.name(),
            "tls": self.plan.tls(),
            "seed": self.plan.seed,
            "sessions": self.plan.amount().sessions,
            "seconds": self.took.as_secs_f64(),
            "done": self.tally.done,
            "failed": self.tally.failed(),
            "never_begun": self.never_begun,
            "per_second": self.rate(),
            "message_bytes": self.tally.message_bytes,
            "latency_ms": latencies(self.tally),
            "failures": failures(self.tally),
            "jobs": by_job.collect::<serde_json::Map<_, _>>(),
            "faults": faults,
            "faults_not_begun": never_faults,
            "rounds": self.reopened().iter().map(|round| json!({
                "opened": round.opened,
                "seconds": round.took().as_secs_f64(),
            })).collect::<Vec<_>>(),
            "server_gone": self.gone(),
            "server_cpu_us_per_unit": self.cpu_each().map(|cpu| cpu.as_secs_f64() * 1e6),
            "server_memory_bytes_per_session": self.memory_each(),
            "verify": self.findings.map(|(findings, acknowledged)| json!({
                "acknowledged": acknowledged,
                "right": findings.right,
                "lost": findings.lost,
                "doubled": findings.doubled,
                "changed": findings.changed,
                "unasked": findings.unasked,
                "unread": findings.unread.iter().map(|(user, failure)| (user, failure.name())).collect::<BTreeMap<_, _>>(),
            })),
        })
    }
}

fn millis(tally: &Tally, quantile: f64) -> f64 {
    tally.latencies.value_at_quantile(quantile) as f64 / 1000.0
}

fn latencies(tally: &Tally) -> Value {
    let each = QUANTILES.map(|(name, quantile)| (name.to_owned(), json!(millis(tally, quantile))));
    Value::Object(each.into_iter().collect())
}

fn failures(tally: &Tally) -> Value {
    let each = tally.failures.iter();
    let each = each.map(|(failure, count)| (failure.name().to_owned(), json!(count)));
    Value::Object(each.collect())
}
