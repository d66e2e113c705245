//! The server's processes on this machine, from outside: CPU time and private memory.

use std::time::Duration;

/// What processes have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// Memory that is theirs alone, bytes.
    pub(crate) memory: u64,
}

/// Of all `pids` together; a process that is gone is an error, since its share would be missing.
pub(crate) fn usage(pids: &[u32]) -> Result<Usage, String> {
    let mut all = Usage::default();
    for pid in pids {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).map_err(|error| format!("--server-pid {pid}: {path}: {error}"))
        };
        let form = |file: &str| format!("--server-pid {pid}: /proc/{pid}/{file} has an unknown form");
        all.cpu += cpu(&read("stat")?).ok_or_else(|| form("stat"))?;
        all.memory += private(&read("smaps_rollup")?).ok_or_else(|| form("smaps_rollup"))?;
    }
    Ok(all)
}

/// Fields 14 and 15 of proc_pid_stat(5), in ticks; the second field is in parentheses and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64((user + system) as f64 / ticks as f64))
}

fn private(rollup: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(1024 * (field("Private_Clean:")? + field("Private_Dirty:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let usage = usage(&[std::process::id()]).expect("it runs");
        assert!(usage.memory > 100_000, "{usage:?}");
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 9 1 1";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(cpu(stat), Some(Duration::from_secs_f64(300.0 / ticks)));
        assert_eq!(cpu("nonsense"), None);
        assert_eq!(private("Private_Clean:   4 kB\nPrivate_Dirty: 8 kB\n"), Some(12 * 1024));
    }
}
