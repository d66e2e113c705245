//! Resource limits raised at start: RLIMIT_NOFILE and RLIMIT_MEMLOCK.
//!
//! Owns what is asked of the kernel and the sentence for the operator when it is refused. The decision (`plan`) is apart
//! from the system call, so that every case can be tried without changing the limits of the test.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this many descriptors the node does not start: listeners, rings, journal files and a few connections.
pub const OPEN_FILES_MIN: u64 = 256;
/// Below this much locked memory the executor refuses to start (measured with glommio 0.9: 512 KiB), bytes.
pub const LOCKED_MEMORY_BYTES_MIN: u64 = 512 * 1024;

/// One limit, as the messages name it.
struct Limit<'a> {
    resource: Resource,
    /// As in `RLIMIT_NOFILE`.
    name: &'static str,
    /// As in `LimitNOFILE=`.
    systemd: &'static str,
    /// The option of the shell's `ulimit`, and the size of its unit.
    ulimit: (&'static str, u64),
    unit: &'static str,
    /// Less than this does not suffice.
    least: u64,
    /// What takes as much as is wanted.
    wanted_for: &'a str,
}

/// What to do about one limit. `None` as a value of the kernel's is "unlimited".
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// It is as high as it needs to be and as high as it can be.
    Keep,
    /// The hard limit suffices: raise the soft one to it.
    RaiseSoft { to: Option<u64> },
    /// Both must rise, which the process may not be allowed to; if not, the soft one rises to the present hard one.
    RaiseBoth { to: u64, otherwise: Option<u64> },
}

fn plan(soft: Option<u64>, hard: Option<u64>, wanted: u64) -> Plan {
    match (soft, hard) {
        (_, Some(hard)) if hard < wanted => Plan::RaiseBoth {
            to: wanted,
            otherwise: Some(hard),
        },
        (soft, hard) if soft == hard => Plan::Keep,
        (_, hard) => Plan::RaiseSoft { to: hard },
    }
}

/// Raises the soft limits to the hard ones, and the hard ones to at least `open_files` and `locked_memory_bytes` where
/// the process may (CAP_SYS_RESOURCE). `Err` says which limit, what it is, what it must be, and how to raise it; `Ok`
/// holds warnings about what stayed below what was asked but suffices (`OPEN_FILES_MIN`, `LOCKED_MEMORY_BYTES_MIN`).
/// `open_files_for` is what takes so many files, in the warning.
pub fn raise(open_files: u64, open_files_for: &str, locked_memory_bytes: u64) -> Result<Vec<String>, String> {
    let open_files_limit = Limit {
        resource: Resource::Nofile,
        name: "RLIMIT_NOFILE",
        systemd: "LimitNOFILE",
        ulimit: ("-n", 1),
        unit: "open files",
        least: OPEN_FILES_MIN,
        wanted_for: open_files_for,
    };
    let locked_memory_limit = Limit {
        resource: Resource::Memlock,
        name: "RLIMIT_MEMLOCK",
        systemd: "LimitMEMLOCK",
        ulimit: ("-l", 1024),
        unit: "bytes of locked memory",
        least: LOCKED_MEMORY_BYTES_MIN,
        wanted_for: "the cores",
    };
    let mut warnings = Vec::new();
    let mut mistakes = Vec::new();
    for (limit, wanted) in [
        (open_files_limit, open_files),
        (locked_memory_limit, locked_memory_bytes),
    ] {
        let reached = raise_one(&limit, wanted);
        match verdict(&limit, reached, wanted) {
            Ok(None) => {}
            Ok(Some(warning)) => warnings.push(warning),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() {
        Ok(warnings)
    } else {
        Err(mistakes.join("\n"))
    }
}

/// Carries the plan out; the soft limit that is in force afterwards.
fn raise_one(limit: &Limit<'_>, wanted: u64) -> Option<u64> {
    let before = getrlimit(limit.resource);
    match plan(before.current, before.maximum, wanted) {
        Plan::Keep => {}
        // A refusal shows in the limit read back below, which is what counts.
        Plan::RaiseSoft { to } => {
            let _ = setrlimit(
                limit.resource,
                Rlimit {
                    current: to,
                    maximum: before.maximum,
                },
            );
        }
        Plan::RaiseBoth { to, otherwise } => {
            let both = Rlimit {
                current: Some(to),
                maximum: Some(to),
            };
            if setrlimit(limit.resource, both).is_err() {
                let _ = setrlimit(
                    limit.resource,
                    Rlimit {
                        current: otherwise,
                        maximum: before.maximum,
                    },
                );
            }
        }
    }
    getrlimit(limit.resource).current
}

/// What to say about a limit that stands at `reached`.
fn verdict(limit: &Limit<'_>, reached: Option<u64>, wanted: u64) -> Result<Option<String>, String> {
    let reached = match reached {
        Some(reached) if reached < wanted => reached,
        _ => return Ok(None),
    };
    let (option, unit_bytes) = limit.ulimit;
    let how = format!(
        "raise it with {}={wanted} in the systemd unit, or with `ulimit {option} {}` as root before starting",
        limit.systemd,
        wanted.div_ceil(unit_bytes)
    );
    let what = format!("{} allows {reached} {}", limit.name, limit.unit);
    if reached < limit.least.min(wanted) {
        Err(format!(
            "{what}; at least {} are needed and {wanted} wanted: {how}",
            limit.least.min(wanted)
        ))
    } else {
        Ok(Some(format!(
            "{what}; {wanted} are wanted for {}: {how}",
            limit.wanted_for
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_for_every_case() {
        for (soft, hard, wanted, expected) in [
            (Some(1024), Some(4096), 2048, Plan::RaiseSoft { to: Some(4096) }),
            (Some(1024), None, 2048, Plan::RaiseSoft { to: None }),
            (Some(4096), Some(4096), 2048, Plan::Keep),
            (None, None, 2048, Plan::Keep),
            (
                Some(1024),
                Some(1024),
                2048,
                Plan::RaiseBoth {
                    to: 2048,
                    otherwise: Some(1024),
                },
            ),
            (
                Some(512),
                Some(1024),
                2048,
                Plan::RaiseBoth {
                    to: 2048,
                    otherwise: Some(1024),
                },
            ),
            (Some(512), Some(2048), 2048, Plan::RaiseSoft { to: Some(2048) }),
        ] {
            assert_eq!(
                plan(soft, hard, wanted),
                expected,
                "soft {soft:?}, hard {hard:?}, wanted {wanted}"
            );
        }
    }

    #[test]
    fn the_verdict_names_the_limit_and_the_way() {
        let limit = Limit {
            resource: Resource::Memlock,
            name: "RLIMIT_MEMLOCK",
            systemd: "LimitMEMLOCK",
            ulimit: ("-l", 1024),
            unit: "bytes of locked memory",
            least: 1000,
            wanted_for: "4 cores",
        };
        for (reached, wanted, expected) in [
            (None, 5000, Ok(None)),
            (Some(5000), 5000, Ok(None)),
            (
                Some(4000),
                5000,
                Ok(Some(
                    "RLIMIT_MEMLOCK allows 4000 bytes of locked memory; 5000 are wanted for 4 cores: raise it \
                     with LimitMEMLOCK=5000 in the systemd unit, or with `ulimit -l 5` as root before starting",
                )),
            ),
            (
                Some(999),
                5000,
                Err(
                    "RLIMIT_MEMLOCK allows 999 bytes of locked memory; at least 1000 are needed and 5000 wanted: raise it \
                     with LimitMEMLOCK=5000 in the systemd unit, or with `ulimit -l 5` as root before starting",
                ),
            ),
            // Wanting less than the least is the caller's right.
            (Some(500), 400, Ok(None)),
        ] {
            let said = verdict(&limit, reached, wanted);
            assert_eq!(
                said,
                expected.map(|text| text.map(str::to_owned)).map_err(str::to_owned),
                "{reached:?}"
            );
        }
    }

    #[test]
    fn the_real_limits_can_be_raised_to_what_they_allow() {
        let warnings = raise(64, "a test", 64 * 1024).expect("a test process has 64 descriptors and 64 KiB to lock");
        assert!(warnings.is_empty(), "{warnings:?}");
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
