//! Whether this kernel has what the engine needs; Linux 6.1 is the least.
//!
//! Owns the list of features, the kernel version that brought each, and the message for the operator. What can be tried
//! is tried on a small ring (`trial.rs`), because a version number says little about a patched kernel or a container.
//! There is no slow mode to fall back to: a missing feature ends the start.

mod trial;

use std::fmt;
use std::io;
use trial::Refusal;

/// The least kernel. Debian 12 has it.
pub const KERNEL_LEAST: KernelVersion = KernelVersion { major: 6, minor: 1 };

/// A kernel version as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// As in 6.
    pub major: u32,
    /// As in .1.
    pub minor: u32,
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl KernelVersion {
    /// Reads the start of a release such as `6.1.0-18-amd64`.
    fn parse(release: &str) -> Option<KernelVersion> {
        let mut numbers = release.split(|character: char| !character.is_ascii_digit());
        Some(KernelVersion {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }
}

/// Something the engine needs of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Feature {
    name: &'static str,
    since: KernelVersion,
}

const fn feature(name: &'static str, major: u32, minor: u32) -> Feature {
    Feature {
        name,
        since: KernelVersion { major, minor },
    }
}

/// Names every missing feature and the kernel version that has it, or says why io_uring cannot be used at all.
pub fn probe() -> Result<(), String> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    judge(&release, disabled.as_deref().map(str::trim), trial::missing_features())
}

/// The verdict over what was found. `disabled` is the kernel.io_uring_disabled sysctl, which exists since 6.6.
fn judge(release: &str, disabled: Option<&str>, tried: Result<Vec<Feature>, Refusal>) -> Result<(), String> {
    let version = KernelVersion::parse(release);
    let too_old = version.is_none_or(|version| version < KERNEL_LEAST);
    let advice = format!("Linux {KERNEL_LEAST} or later is needed, this is {release}");
    let missing = match tried {
        Err(refusal) => return Err(refusal_message(&refusal, disabled, too_old.then_some(advice.as_str()))),
        Ok(missing) => missing,
    };
    if missing.is_empty() {
        // An old version number with every feature in it is a kernel with backports whose other faults nobody here
        // has tested: say so rather than find out with somebody's mail.
        return if too_old { Err(advice) } else { Ok(()) };
    }
    let list: Vec<String> = missing
        .iter()
        .map(|feature| format!("{} (in Linux since {})", feature.name, feature.since))
        .collect();
    let why = if too_old {
        ""
    } else {
        "; a container or a security policy may take it away"
    };
    Err(format!("this kernel does not offer {}; {advice}{why}", list.join(", ")))
}

/// Why no ring could be made, and what to do about it.
fn refusal_message(refusal: &Refusal, disabled: Option<&str>, too_old: Option<&str>) -> String {
    let Refusal { step, error } = refusal;
    let why = match (error.raw_os_error().map(rustix::io::Errno::from_raw_os_error), disabled) {
        (Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS), Some("2")) => {
            "io_uring is switched off for every process: set the sysctl kernel.io_uring_disabled to 0".to_owned()
        }
        (Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS), Some("1")) => {
            "io_uring is switched off for processes without privileges: set the sysctl kernel.io_uring_disabled to 0, \
             or put the node's user into the group named by kernel.io_uring_group"
                .to_owned()
        }
        (Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS), _) => {
            "io_uring is forbidden here; container runtimes forbid it by default in their seccomp profile: allow \
             io_uring_setup, io_uring_enter and io_uring_register there"
                .to_owned()
        }
        (Some(rustix::io::Errno::NOSYS), _) => {
            "io_uring is not there: the kernel was built without it (CONFIG_IO_URING), or a seccomp profile hides it"
                .to_owned()
        }
        (Some(rustix::io::Errno::NOMEM), _) => {
            "there is not enough memory that may be locked: raise RLIMIT_MEMLOCK (LimitMEMLOCK= in the systemd unit)"
                .to_owned()
        }
        (Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE), _) => {
            "no file descriptor is left: raise RLIMIT_NOFILE (LimitNOFILE= in the systemd unit)".to_owned()
        }
        _ => "io_uring does not work here".to_owned(),
    };
    match too_old {
        Some(advice) => format!("{why} ({step}: {error}); {advice}"),
        None => format!("{why} ({step}: {error})"),
    }
}

impl Refusal {
    fn new(step: &'static str, error: io::Error) -> Refusal {
        Refusal { step, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("6.18.5", Some((6, 18))),
            ("5.15.0-91-generic", Some((5, 15))),
            ("7.0-rc1", Some((7, 0))),
            ("6", None),
            ("", None),
            ("linux", None),
        ] {
            let expected = expected.map(|(major, minor)| KernelVersion { major, minor });
            assert_eq!(KernelVersion::parse(release), expected, "{release}");
        }
    }

    #[test]
    fn the_verdict_names_what_is_missing_and_who_has_it() {
        let receive = feature("multishot receive", 6, 0);
        let defer = feature("IORING_SETUP_DEFER_TASKRUN", 6, 1);
        for (release, missing, expected) in [
            ("6.1.0-18-amd64", vec![], Ok(())),
            ("6.18.5", vec![], Ok(())),
            (
                "5.15.0-91-generic",
                vec![receive, defer],
                Err(
                    "this kernel does not offer multishot receive (in Linux since 6.0), IORING_SETUP_DEFER_TASKRUN (in Linux \
                     since 6.1); Linux 6.1 or later is needed, this is 5.15.0-91-generic",
                ),
            ),
            (
                "6.8.0",
                vec![receive],
                Err(
                    "this kernel does not offer multishot receive (in Linux since 6.0); Linux 6.1 or later is needed, this is \
                     6.8.0; a container or a security policy may take it away",
                ),
            ),
            ("6.0.9", vec![], Err("Linux 6.1 or later is needed, this is 6.0.9")),
            ("unknown", vec![], Err("Linux 6.1 or later is needed, this is unknown")),
        ] {
            assert_eq!(
                judge(release, None, Ok(missing)),
                expected.map_err(str::to_owned),
                "{release}"
            );
        }
    }

    #[test]
    fn a_refusal_says_who_refuses() {
        let eperm = rustix::io::Errno::PERM;
        for (errno, disabled, release, words) in [
            (
                eperm,
                Some("2"),
                "6.6.1",
                &["every process", "kernel.io_uring_disabled to 0"][..],
            ),
            (
                eperm,
                Some("1"),
                "6.6.1",
                &["without privileges", "kernel.io_uring_group"],
            ),
            (eperm, Some("0"), "6.6.1", &["seccomp", "io_uring_setup"]),
            (eperm, None, "6.1.0", &["seccomp"]),
            (
                rustix::io::Errno::NOSYS,
                None,
                "4.19.0",
                &["CONFIG_IO_URING", "Linux 6.1 or later is needed, this is 4.19.0"],
            ),
            (
                rustix::io::Errno::NOMEM,
                None,
                "6.1.0",
                &["RLIMIT_MEMLOCK", "LimitMEMLOCK="],
            ),
            (rustix::io::Errno::MFILE, None, "6.1.0", &["RLIMIT_NOFILE"]),
            (rustix::io::Errno::IO, None, "6.1.0", &["does not work", "os error 5"]),
        ] {
            let refusal = Refusal::new("io_uring_setup", errno.into());
            let message = judge(release, disabled, Err(refusal)).expect_err("a refusal is an error");
            for word in words {
                assert!(
                    message.contains(word),
                    "{errno:?} {disabled:?}: no {word:?} in {message:?}"
                );
            }
        }
    }

    #[test]
    fn the_kernel_under_the_tests_has_everything() {
        assert_eq!(probe(), Ok(()));
    }
}
