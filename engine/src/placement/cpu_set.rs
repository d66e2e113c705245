//! A set of CPU numbers: its written form, and the set that the kernel lets this process use.

use std::fmt;
use std::io;
use std::str::FromStr;

/// The highest CPU number a set may name. The affinity mask asked for holds 1024 CPUs, as glibc's `cpu_set_t` does.
pub const CPU_NUMBER_MAX: u16 = 1023;

/// A set of CPU numbers, written as the kernel writes it: `0-3,8,10-11`. Never empty when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet {
    /// Ascending, each once.
    cpus: Vec<u16>,
}

/// What is wrong with a written CPU set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSetError {
    /// What was expected.
    pub message: String,
}

impl fmt::Display for CpuSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CpuSetError {}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    /// Numbers and ranges between commas; blanks around them and a line end behind are let pass.
    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let error = |message: String| CpuSetError { message };
        if text.trim().is_empty() {
            return Err(error(
                "expected CPU numbers and ranges, such as \"0-3,8\", found nothing".into(),
            ));
        }
        let mut cpus = Vec::new();
        for part in text.trim().split(',') {
            let part = part.trim();
            if part.is_empty() {
                return Err(error(format!(
                    "expected a CPU number between the commas of \"{}\"",
                    text.trim()
                )));
            }
            let (first, last) = match part.split_once('-') {
                None => {
                    let cpu = cpu_number(part)?;
                    (cpu, cpu)
                }
                Some((first, last)) => (cpu_number(first)?, cpu_number(last)?),
            };
            if first > last {
                return Err(error(format!(
                    "the range \"{part}\" runs backwards: write \"{last}-{first}\""
                )));
            }
            cpus.extend(first..=last);
        }
        Ok(CpuSet::of(cpus))
    }
}

/// One CPU number, at most `CPU_NUMBER_MAX`.
fn cpu_number(text: &str) -> Result<u16, CpuSetError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuSetError {
            message: format!("expected a CPU number such as 3 or a range such as 0-3, found \"{text}\""),
        });
    }
    match text.parse() {
        Ok(cpu) if cpu <= CPU_NUMBER_MAX => Ok(cpu),
        _ => Err(CpuSetError {
            message: format!("CPU number {text} is too high: the highest is {CPU_NUMBER_MAX}"),
        }),
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.cpus.as_slice();
        let mut separator = "";
        while let Some(&first) = rest.first() {
            // How many follow one another without a hole.
            let run = rest
                .iter()
                .zip(first..)
                .take_while(|(cpu, expected)| *cpu == expected)
                .count();
            let last = rest[run - 1];
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            rest = &rest[run..];
            separator = ",";
        }
        Ok(())
    }
}

impl CpuSet {
    /// The set of these numbers; sorted, each once.
    pub fn of(cpus: impl IntoIterator<Item = u16>) -> CpuSet {
        let mut cpus: Vec<u16> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        CpuSet { cpus }
    }

    /// The CPUs that this process may use: online, and in its affinity mask (taskset, cpuset cgroups).
    ///
    /// Where /sys is not mounted the mask alone decides: the kernel keeps CPUs that are offline out of it.
    pub fn available() -> io::Result<CpuSet> {
        let mask = rustix::thread::sched_getaffinity(None)?;
        let allowed = CpuSet::of((0..=CPU_NUMBER_MAX).filter(|cpu| mask.is_set(usize::from(*cpu))));
        let online = match std::fs::read_to_string("/sys/devices/system/cpu/online") {
            Ok(text) => text.parse::<CpuSet>().ok(),
            Err(_) => None,
        };
        Ok(match online {
            Some(online) => allowed.and(&online),
            None => allowed,
        })
    }

    /// The CPU numbers, ascending.
    pub fn cpus(&self) -> &[u16] {
        &self.cpus
    }

    /// Those in both; `self` when that would be empty, since a process runs somewhere.
    fn and(self, other: &CpuSet) -> CpuSet {
        let both: Vec<u16> = self
            .cpus
            .iter()
            .copied()
            .filter(|cpu| other.cpus.contains(cpu))
            .collect();
        if both.is_empty() { self } else { CpuSet { cpus: both } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_sets_are_read_and_written_back() {
        for (text, cpus, printed) in [
            ("0", vec![0], "0"),
            ("0-3", vec![0, 1, 2, 3], "0-3"),
            ("0-3,8,10-11", vec![0, 1, 2, 3, 8, 10, 11], "0-3,8,10-11"),
            ("3,1,2", vec![1, 2, 3], "1-3"),
            ("0-2,1-4", vec![0, 1, 2, 3, 4], "0-4"),
            (" 0 - 1 , 5 \n", vec![0, 1, 5], "0-1,5"),
            ("7-7", vec![7], "7"),
            ("1023", vec![1023], "1023"),
        ] {
            let set: CpuSet = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(set.cpus(), cpus, "{text}");
            assert_eq!(set.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<CpuSet>().as_ref(), Ok(&set), "{text} again");
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, message) in [
            ("", "expected CPU numbers and ranges, such as \"0-3,8\", found nothing"),
            (
                "  \n",
                "expected CPU numbers and ranges, such as \"0-3,8\", found nothing",
            ),
            ("0,,1", "expected a CPU number between the commas of \"0,,1\""),
            ("0,", "expected a CPU number between the commas of \"0,\""),
            (
                "x",
                "expected a CPU number such as 3 or a range such as 0-3, found \"x\"",
            ),
            (
                "-1",
                "expected a CPU number such as 3 or a range such as 0-3, found \"\"",
            ),
            (
                "1-",
                "expected a CPU number such as 3 or a range such as 0-3, found \"\"",
            ),
            (
                "0-1-2",
                "expected a CPU number such as 3 or a range such as 0-3, found \"1-2\"",
            ),
            (
                "0..3",
                "expected a CPU number such as 3 or a range such as 0-3, found \"0..3\"",
            ),
            (
                "+3",
                "expected a CPU number such as 3 or a range such as 0-3, found \"+3\"",
            ),
            ("3-0", "the range \"3-0\" runs backwards: write \"0-3\""),
            ("1024", "CPU number 1024 is too high: the highest is 1023"),
            (
                "0-99999999999999999999",
                "CPU number 99999999999999999999 is too high: the highest is 1023",
            ),
        ] {
            assert_eq!(
                text.parse::<CpuSet>().map_err(|error| error.message),
                Err(message.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn this_process_may_use_a_cpu() {
        let available = CpuSet::available().expect("the affinity of the own process can be read");
        assert!(!available.cpus().is_empty());
    }

    #[test]
    fn an_empty_intersection_keeps_the_affinity() {
        assert_eq!(CpuSet::of([1, 2]).and(&CpuSet::of([2, 3])).cpus(), [2]);
        assert_eq!(CpuSet::of([1, 2]).and(&CpuSet::of([5])).cpus(), [1, 2]);
    }
}
