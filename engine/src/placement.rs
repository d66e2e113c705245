//! Which CPUs the cores and the control thread are pinned to.
//!
//! Owns the written form of a CPU set (`cpu_set.rs`) and the laying of what is configured over what the process may use.
//! It pins nothing itself: the runtime does. Invariant: a `Placement` made over a non-empty set of available CPUs names
//! at least one CPU for the cores and one for the control thread, and none that is not available.

mod cpu_set;
mod policy;

pub use cpu_set::{CPU_NUMBER_MAX, CpuSet, CpuSetError};
pub(crate) use policy::schedule_in_batches;

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
    ///
    /// Where `cores` is not configured but `control` is, the cores take what is available without the control thread's
    /// CPUs, so that setting the one alone does what it says; with nothing left they share.
    pub fn new(cores: Option<&CpuSet>, control: Option<&CpuSet>, available: &CpuSet) -> Placement {
        let mut warnings = Vec::new();
        let control_cpus = match control {
            Some(wanted) => chosen("the control thread", wanted, available, &mut warnings),
            None => available.cpus().to_vec(),
        };
        let core_cpus = match (cores, control) {
            (Some(wanted), _) => chosen("the cores", wanted, available, &mut warnings),
            (None, Some(_)) => {
                let apart: Vec<u16> = available
                    .cpus()
                    .iter()
                    .copied()
                    .filter(|cpu| !control_cpus.contains(cpu))
                    .collect();
                if apart.is_empty() {
                    available.cpus().to_vec()
                } else {
                    apart
                }
            }
            (None, None) => available.cpus().to_vec(),
        };
        Placement {
            cores: core_cpus,
            control: control_cpus,
            warnings,
        }
    }
}

/// The part of `wanted` that is available, or all of `available` where that part is empty; says what was left out.
fn chosen(whose: &str, wanted: &CpuSet, available: &CpuSet, warnings: &mut Vec<String>) -> Vec<u16> {
    let (usable, missing): (Vec<u16>, Vec<u16>) = wanted
        .cpus()
        .iter()
        .copied()
        .partition(|cpu| available.cpus().contains(cpu));
    if usable.is_empty() {
        warnings.push(format!(
            "none of the CPUs configured for {whose} ({wanted}) may be used by this process; running on all that may: {available}"
        ));
        return available.cpus().to_vec();
    }
    if !missing.is_empty() {
        let missing = CpuSet::of(missing);
        let usable = CpuSet::of(usable.iter().copied());
        warnings.push(format!(
            "of the CPUs configured for {whose} ({wanted}), {missing} may not be used by this process; running on {usable}"
        ));
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> CpuSet {
        text.parse().expect("the table holds valid sets")
    }

    #[test]
    fn configured_cpus_are_laid_over_the_available_ones() {
        // Case; cores, control, available; then cores, control, number of warnings.
        type Row = (
            &'static str,
            Option<&'static str>,
            Option<&'static str>,
            &'static str,
            &'static str,
            &'static str,
            usize,
        );
        let table: &[Row] = &[
            ("nothing configured", None, None, "0-3", "0-3", "0-3", 0),
            (
                "nothing configured, under taskset -c 2,3",
                None,
                None,
                "2-3",
                "2-3",
                "2-3",
                0,
            ),
            ("all there", Some("0-2"), Some("3"), "0-3", "0-2", "3", 0),
            (
                "control may share a core's CPU",
                Some("0-3"),
                Some("0"),
                "0-3",
                "0-3",
                "0",
                0,
            ),
            (
                "only control: the cores take the rest",
                None,
                Some("0"),
                "0-3",
                "1-3",
                "0",
                0,
            ),
            ("only control, one CPU: they share", None, Some("0"), "0", "0", "0", 0),
            (
                "only control, and it takes all: they share",
                None,
                Some("0-3"),
                "0-3",
                "0-3",
                "0-3",
                0,
            ),
            ("one CPU for eight", Some("0-7"), None, "0", "0", "0", 1),
            ("fewer than configured", Some("0-7"), Some("8"), "0-3,8", "0-3", "8", 1),
            (
                "a cpuset cgroup elsewhere",
                Some("0-3"),
                None,
                "8-11",
                "8-11",
                "8-11",
                1,
            ),
            (
                "a cpuset cgroup elsewhere, control too",
                Some("0-3"),
                Some("4"),
                "8-9",
                "8-9",
                "8-9",
                2,
            ),
            (
                "control gone, cores there",
                Some("0-1"),
                Some("7"),
                "0-3",
                "0-1",
                "0-3",
                1,
            ),
            (
                "control partly gone, cores free",
                None,
                Some("3,9"),
                "0-3",
                "0-2",
                "3",
                1,
            ),
            ("holes", Some("0,2,4,6"), Some("1"), "0-2,6", "0,2,6", "1", 1),
        ];
        for (case, cores, control, available, expected_cores, expected_control, warnings) in table {
            let placement = Placement::new(cores.map(set).as_ref(), control.map(set).as_ref(), &set(available));
            assert_eq!(placement.cores, set(expected_cores).cpus(), "{case}: cores");
            assert_eq!(placement.control, set(expected_control).cpus(), "{case}: control");
            assert_eq!(placement.warnings.len(), *warnings, "{case}: {:?}", placement.warnings);
        }
    }

    #[test]
    fn a_warning_names_what_is_missing_and_what_runs() {
        let placement = Placement::new(Some(&set("0-7")), None, &set("0-3"));
        assert_eq!(
            placement.warnings,
            ["of the CPUs configured for the cores (0-7), 4-7 may not be used by this process; running on 0-3"]
        );
        let placement = Placement::new(Some(&set("4")), None, &set("0-1"));
        assert_eq!(
            placement.warnings,
            ["none of the CPUs configured for the cores (4) may be used by this process; running on all that may: 0-1"]
        );
    }
}
