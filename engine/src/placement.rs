//! Which CPUs the cores and the control thread are pinned to.

use std::fmt;
use std::str::FromStr;

/// A set of CPU numbers, written as the kernel writes it: `0-3,8,10-11`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet {
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
    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let _ = text;
        unimplemented!()
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

impl CpuSet {
    /// The CPUs that this process may use: online, and in its affinity mask (taskset, cpuset cgroups).
    pub fn available() -> std::io::Result<CpuSet> {
        unimplemented!()
    }

    /// The CPU numbers, ascending.
    pub fn cpus(&self) -> &[u16] {
        &self.cpus
    }
}

/// The outcome of laying the configured CPUs over the available ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One CPU a core.
    pub cores: Vec<u16>,
    /// CPUs of the control thread.
    pub control: Vec<u16>,
    /// What the operator should know (fewer CPUs than configured, ...).
    pub warnings: Vec<String>,
}

impl Placement {
    /// Lays `cores` and `control` over `available`. CPUs that are not available are left out with a warning; when none is
    /// left, all available ones are taken, with a warning.
    pub fn new(cores: Option<&CpuSet>, control: Option<&CpuSet>, available: &CpuSet) -> Placement {
        let _ = (cores, control, available);
        unimplemented!()
    }
}
