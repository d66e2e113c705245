//! A run second by second: what happened in each, for the report.

use crate::failure::Failure;
use crate::processes::Usage;
use crate::tally::Tally;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Points at most, of 30 KiB each: a run that is longer has its points put together in pairs, again and again.
const POINTS_MAX: usize = 600;

/// What is measured at the moment, and what was before.
#[derive(Default)]
pub(crate) struct Series {
    now: Mutex<Option<Tally>>,
    points: Mutex<Vec<Point>>,
}

/// One stretch of the run.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Its end, from the start of the run.
    pub(crate) at: Duration,
    /// How long it is.
    pub(crate) length: Duration,
    pub(crate) tally: Tally,
    /// CPU time that the server's processes used in it.
    pub(crate) cpu: Duration,
    /// Their memory at its end, bytes.
    pub(crate) memory: u64,
    /// Sessions held at its end.
    pub(crate) held: u64,
}

impl Point {
    /// For the terminal; `watched`: the server's processes are named.
    pub(crate) fn line(&self, watched: bool) -> String {
        let server = match watched {
            true => format!(
                ", server {:.2} CPUs, {:.1} MiB",
                self.cpu.as_secs_f64() / self.length.as_secs_f64().max(1e-9),
                self.memory as f64 / f64::from(1 << 20)
            ),
            false => String::new(),
        };
        let seconds = self.length.as_secs_f64().max(1e-9);
        let millis = |quantile| self.tally.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        format!(
            "{:>6.0} s {:>9.0} a second, {:>7} failed, {:>7} held, p50 {:.2} ms, p99 {:.2} ms{server}",
            self.at.as_secs_f64(),
            self.tally.done as f64 / seconds,
            self.tally.failed(),
            self.held,
            millis(0.5),
            millis(0.99),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Series {
    /// A unit has ended. Called by all cores, for a moment each.
    pub(crate) fn add(&self, outcome: Result<u64, Failure>, latency: Duration) {
        lock(&self.now).get_or_insert_with(Tally::coarse).add(outcome, latency);
    }

    /// All stretches, the oldest first.
    pub(crate) fn points(&self) -> Vec<Point> {
        lock(&self.points).clone()
    }

    fn push(&self, point: Point) {
        let mut points = lock(&self.points);
        points.push(point);
        if points.len() < POINTS_MAX {
            return;
        }
        let pairs = std::mem::take(&mut *points);
        for pair in pairs.chunks(2) {
            let mut both = pair[0].clone();
            if let [_, second] = pair {
                both.tally.merge(&second.tally);
                both.length += second.length;
                both.cpu += second.cpu;
                (both.at, both.memory, both.held) = (second.at, second.memory, second.held);
            }
            points.push(both);
        }
    }
}

/// Cuts the run into stretches.
pub(crate) struct Sampler {
    start: Instant,
    last: Instant,
    usage: Usage,
}

impl Sampler {
    pub(crate) fn new(usage: Usage) -> Sampler {
        let now = Instant::now();
        Sampler {
            start: now,
            last: now,
            usage,
        }
    }

    /// Ends a stretch: what was in it. Without `usage` nobody knows what the server used in it.
    pub(crate) fn sample(&mut self, series: &Series, usage: Option<Usage>, held: u64) -> Point {
        let now = Instant::now();
        let usage = usage.unwrap_or(Usage {
            memory: 0,
            ..self.usage
        });
        let point = Point {
            at: now - self.start,
            length: now - self.last,
            tally: lock(&series.now).take().unwrap_or_else(Tally::coarse),
            cpu: usage.cpu.saturating_sub(self.usage.cpu),
            memory: usage.memory,
            held,
        };
        (self.last, self.usage) = (now, usage);
        series.push(point.clone());
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_its_sums() {
        let (series, mut sampler) = (Series::default(), Sampler::new(Usage::default()));
        for second in 0..3 * POINTS_MAX as u64 {
            series.add(Ok(1), Duration::from_millis(1));
            let usage = Usage {
                cpu: Duration::from_secs(second + 1),
                memory: second,
            };
            let point = sampler.sample(&series, Some(usage), second);
            assert_eq!((point.tally.done, point.cpu), (1, Duration::from_secs(1)));
            assert!(point.line(true).contains(" MiB") && !point.line(false).contains(" MiB"));
        }
        // Of one that is gone nothing is known, and the next knows no more than it.
        let last = 3 * POINTS_MAX as u64;
        let gone = sampler.sample(&series, None, last);
        let again = Usage {
            cpu: Duration::from_secs(last + 5),
            memory: 1,
        };
        let back = sampler.sample(&series, Some(again), last);
        assert_eq!(
            (gone.cpu, gone.memory, back.cpu),
            (Duration::ZERO, 0, Duration::from_secs(5))
        );
        let points = series.points();
        assert!(points.len() < POINTS_MAX);
        assert_eq!(
            points.iter().map(|point| point.tally.done).sum::<u64>(),
            3 * POINTS_MAX as u64
        );
        assert_eq!(points.iter().map(|point| point.cpu.as_secs()).sum::<u64>(), last + 5);
        assert_eq!(points.last().map(|point| point.held), Some(last));
        let bytes: usize = points.iter().map(|point| point.tally.bytes()).sum();
        assert!(bytes < 20 << 20, "{bytes}");
        assert!(points.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}
