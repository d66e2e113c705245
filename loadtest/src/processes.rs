//! The server's processes on this machine, from outside: those that were named, and all that come from them, as they come and
//! go. What one has used is kept when it has ended.

mod ledger;

use ledger::{Ledger, Stat};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What processes have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads, of those that have ended as well.
    pub(crate) cpu: Duration,
    /// Memory of those that are there, bytes; what several share is counted once.
    pub(crate) memory: u64,
}

/// Those of `--server-pid`, with their children.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    named: Vec<u32>,
    ledger: Mutex<Ledger>,
}

impl Processes {
    pub(crate) fn new(named: &[u32]) -> Processes {
        Processes {
            named: named.to_vec(),
            ledger: Mutex::default(),
        }
    }

    /// Whether there is anything to measure.
    pub(crate) fn are_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// Looks at all of them. One of the named that is gone is an error, since its share would be missing; so is one that may
    /// not be looked at.
    pub(crate) fn usage(&self) -> Result<Usage, String> {
        if self.named.is_empty() {
            return Ok(Usage::default());
        }
        let there = there()?;
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |pid| format!("--server-pid {pid}: there is no such process, or no more, or it is hidden");
        ledger.take(&self.named, &there).map_err(gone)?;
        let mut memory = 0;
        for pid in ledger.pids() {
            memory += match std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
                Ok(rollup) => {
                    shared_out(&rollup).ok_or_else(|| format!("/proc/{pid}/smaps_rollup has an unknown form"))?
                }
                Err(error) if has_ended(&error) && self.named.contains(&pid) => return Err(gone(pid)),
                Err(error) if has_ended(&error) => 0,
                Err(error) => return Err(format!("--server-pid: /proc/{pid}/smaps_rollup: {error}")),
            };
        }
        let ticks = rustix::param::clock_ticks_per_second();
        Ok(Usage {
            cpu: Duration::from_secs_f64(ledger.ticks() as f64 / ticks as f64),
            memory,
        })
    }
}

/// It was there a moment ago.
fn has_ended(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// It is somebody else's, and hidden from this one (`hidepid` of proc(5)).
fn is_hidden(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// All processes of this machine that may be looked at.
fn there() -> Result<BTreeMap<u32, Stat>, String> {
    let mut there = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("/proc: {error}"))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let text = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(text) => text,
            Err(error) if has_ended(&error) || is_hidden(&error) => continue,
            Err(error) => return Err(format!("/proc/{pid}/stat: {error}")),
        };
        let stat = Stat::parse(&text).ok_or_else(|| format!("/proc/{pid}/stat has an unknown form"))?;
        there.insert(pid, stat);
    }
    Ok(there)
}

/// Its proportional share, bytes (proc_pid_smaps(5)).
fn shared_out(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_a_child_of_it() {
        let processes = Processes::new(&[std::process::id()]);
        let alone = processes.usage().expect("it runs");
        assert!(alone.memory > 100_000, "{alone:?}");
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("it is everywhere");
        let both = processes.usage();
        let known = processes
            .ledger
            .lock()
            .expect("no thread broke")
            .pids()
            .any(|pid| pid == child.id());
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert!(both.is_ok() && known, "{both:?}");
        assert!(processes.usage().is_ok(), "a child may go");
        let said = Processes::new(&[child.id()]).usage().expect_err("it is gone");
        assert!(said.starts_with(&format!("--server-pid {}: ", child.id())), "{said}");
    }

    #[test]
    fn who_is_hidden_is_no_error() {
        let error = |errno: rustix::io::Errno| std::io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(is_hidden(&error(rustix::io::Errno::PERM)) && is_hidden(&error(rustix::io::Errno::ACCESS)));
        assert!(!is_hidden(&error(rustix::io::Errno::IO)) && !has_ended(&error(rustix::io::Errno::IO)));
    }

    #[test]
    fn memory() {
        assert_eq!(shared_out("Rss:  9 kB\nPss:   4 kB\nPss_Anon: 3 kB\n"), Some(4 * 1024));
        assert_eq!(shared_out("nonsense"), None);
    }
}
