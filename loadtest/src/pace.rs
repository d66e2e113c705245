//! When the units of one core are due, and when it is over.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The course of a run: how the rate changes in its 24 parts, around a mean of 1.
#[derive(Clone, Debug)]
pub(crate) struct Day {
    /// What is due at the end of each part, of all.
    ends: [f64; 24],
}

impl Day {
    /// `hours`: 24 numbers of 0.000001 to 1,000,000.
    pub(crate) fn new(hours: &[f64]) -> Day {
        let whole: f64 = hours.iter().sum();
        let (mut ends, mut sum) = ([1.0; 24], 0.0);
        for (end, hour) in ends.iter_mut().zip(hours) {
            sum += hour / whole;
            *end = sum;
        }
        // Whatever the sum was rounded to.
        ends[23] = 1.0;
        Day { ends }
    }

    /// When a part of all units (0 to 1) has been due, as a part of the whole time.
    fn time_of(&self, part: f64) -> f64 {
        let hour = self.ends.iter().position(|end| part < *end).unwrap_or(23);
        let before = hour.checked_sub(1).map_or(0.0, |before| self.ends[before]);
        let within = (part - before) / (self.ends[hour] - before);
        (hour as f64 + within) / 24.0
    }
}

/// Of one core. Its sessions share it.
pub(crate) struct Pace {
    start: Instant,
    /// From here on units count.
    counted_from: Instant,
    end: Instant,
    /// Between two units; without, there is no waiting.
    interval: Option<Duration>,
    /// Beside an interval: how it changes.
    day: Option<Day>,
    begun: Cell<u64>,
    count: Option<u64>,
}

impl Pace {
    /// This core's share of `rate` units a second and of `count` units: one of `cores`.
    pub(crate) fn new(
        start: Instant,
        warm_up: Duration,
        duration: Duration,
        rate: Option<f64>,
        count: Option<u64>,
    ) -> Pace {
        Pace {
            start,
            counted_from: start + warm_up,
            end: start + warm_up + duration,
            interval: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            day: None,
            begun: Cell::new(0),
            count,
        }
    }

    /// The same, with the course of a day from the first unit to the end of the run.
    pub(crate) fn over(self, day: Option<Day>) -> Pace {
        Pace { day, ..self }
    }

    fn due(&self, number: u64, interval: Duration) -> Instant {
        // In f64 to keep an even rate: a rounded interval would drift.
        let after = interval.as_secs_f64() * number as f64;
        let whole = (self.end - self.start).as_secs_f64();
        let after = match &self.day {
            Some(day) if after < whole => whole * day.time_of(after / whole),
            _ => after,
        };
        self.start + Duration::from_secs_f64(after)
    }

    /// The moment at which the next unit is due, which may be over already; none when it is over.
    fn ticket(&self, now: Instant) -> Option<Instant> {
        let number = self.begun.get();
        if self.count.is_some_and(|count| number >= count) {
            return None;
        }
        let due = match self.interval {
            Some(interval) => self.due(number, interval),
            None => now,
        };
        if due >= self.end || now >= self.end {
            return None;
        }
        self.begun.set(number + 1);
        Some(due)
    }

    /// Units that were due before the end, would have counted and were not begun, since no session was free; asked when all
    /// sessions have ended. None without an interval: then nothing is due before it is begun.
    pub(crate) fn never_begun(&self) -> u64 {
        let Some(interval) = self.interval else { return 0 };
        let until = |moment: Instant| first(|number| self.due(number, interval) >= moment);
        let all = until(self.end).min(self.count.unwrap_or(u64::MAX));
        all.saturating_sub(self.begun.get().max(until(self.counted_from)))
    }

    /// Waits until the next unit is due, and says when that was.
    pub(crate) async fn next(&self) -> Option<Instant> {
        let now = pigeon_engine::now();
        let due = self.ticket(now)?;
        if due > now {
            pigeon_engine::sleep(due - now).await;
        }
        Some(due)
    }

    /// When it is over, whoever is still at work.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }

    /// Whether a unit that was due then is counted.
    pub(crate) fn counts(&self, due: Instant) -> bool {
        due >= self.counted_from
    }
}

/// The first number that is late; all after it are, too.
fn first(late: impl Fn(u64) -> bool) -> u64 {
    let mut above = 1;
    while !late(above - 1) {
        above *= 2;
    }
    let mut least = 0;
    while least < above - 1 {
        let middle = least + (above - 1 - least) / 2;
        if late(middle) {
            above = middle + 1;
        } else {
            least = middle + 1;
        }
    }
    least
}

/// One core's share of a whole number.
pub(crate) fn share(whole: u64, core: u16, cores: u16) -> u64 {
    let (core, cores) = (u64::from(core), u64::from(cores));
    whole / cores + u64::from(core < whole % cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_due_at_an_even_rate_whoever_is_late() {
        let start = Instant::now();
        let pace = Pace::new(start, Duration::from_secs(1), Duration::from_secs(1), Some(10.0), None);
        let dues: Vec<Instant> = std::iter::from_fn(|| pace.ticket(start + Duration::from_millis(1500))).collect();
        assert_eq!(dues.len(), 20);
        assert_eq!(dues[15], start + Duration::from_millis(1500));
        assert_eq!(dues.iter().filter(|&&due| pace.counts(due)).count(), 10);
    }

    #[test]
    fn a_day_has_its_hours() {
        let start = Instant::now();
        let mut hours = [1.0; 24];
        hours[6] = 25.0;
        let pace = Pace::new(start, Duration::ZERO, Duration::from_secs(24), Some(100.0), None);
        let pace = pace.over(Some(Day::new(&hours)));
        let mut in_each = [0; 24];
        while let Some(due) = pace.ticket(start) {
            in_each[(due - start).as_secs() as usize] += 1;
        }
        assert_eq!(in_each.iter().sum::<u32>(), 2400);
        // 100 a second on the mean: 50 in each second but one, 1,250 in that.
        assert!((1_248..=1_252).contains(&in_each[6]), "{in_each:?}");
        assert!(
            in_each
                .iter()
                .enumerate()
                .all(|(hour, count)| hour == 6 || (48..=52).contains(count)),
            "{in_each:?}"
        );
    }

    #[test]
    fn the_slowest_rate_and_the_steepest_day_have_times() {
        let start = Instant::now();
        let week = Duration::from_secs(7 * 24 * 3600);
        let pace = Pace::new(start, week, week, Some(0.000_001 / 1024.0), None);
        assert_eq!(pace.ticket(start), Some(start));
        assert_eq!((pace.ticket(start), pace.never_begun()), (None, 0));
        for low in [0, 7, 23] {
            let mut hours = [1_000_000.0; 24];
            hours[low] = 0.000_001;
            let day = Day::new(&hours);
            for thousandth in 0..=1000 {
                let time = day.time_of(f64::from(thousandth) / 1000.0);
                assert!((0.0..=1.0 + 1e-9).contains(&time), "{thousandth}: {time}");
            }
            let edge = day.time_of(1.0 - f64::EPSILON / 2.0);
            assert!((0.9..=1.0 + 1e-9).contains(&edge), "{edge}");
        }
    }

    #[test]
    fn what_no_session_was_free_for_is_counted() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut hours = [1.0; 24];
        hours[6] = 25.0;
        for (day, count, begins, never) in [
            // Twice what a server can do: of 100 a second for 12 seconds it takes 50, of which the first two count for nothing.
            (None, None, 600, 600),
            (None, Some(900), 600, 300),
            (None, None, 1200, 0),
            // Not even the warm-up was over.
            (None, None, 10, 1000),
            (Some(Day::new(&hours)), None, 600, 600),
        ] {
            let pace = Pace::new(start, seconds(2), seconds(10), Some(100.0), count).over(day);
            for unit in 0..begins {
                let now = start + seconds(12).mul_f64(f64::from(unit) / f64::from(begins));
                assert!(pace.ticket(now).is_some(), "{unit} of {begins}");
            }
            assert_eq!(pace.ticket(start + seconds(12)), None);
            assert_eq!(pace.never_begun(), never, "{begins} begun");
        }
        let closed = Pace::new(start, seconds(0), seconds(10), None, Some(5));
        assert_eq!(closed.never_begun(), 0);
    }

    #[test]
    fn the_count_and_the_end_end_it() {
        let start = Instant::now();
        let pace = Pace::new(start, Duration::ZERO, Duration::from_secs(9), None, Some(2));
        assert_eq!(pace.ticket(start), Some(start));
        assert!(pace.ticket(start).is_some());
        assert_eq!(pace.ticket(start), None);
        let pace = Pace::new(start, Duration::ZERO, Duration::from_secs(9), None, None);
        assert_eq!(pace.ticket(start + Duration::from_secs(9)), None);
    }

    #[test]
    fn shares_add_up() {
        for whole in [0, 1, 7, 100] {
            assert_eq!((0..3).map(|core| share(whole, core, 3)).sum::<u64>(), whole);
        }
    }
}
