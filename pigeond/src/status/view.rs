//! What the status port shows, as the node hands it in.

use super::Counts;
use pigeon_datatree_cache::source::Following;
use pigeon_store::{VolumeState, VolumeStats};
use std::path::PathBuf;
use std::time::Duration;

/// Gives the status port what it shows. Called on the control thread for each request, so it must not block: it reads
/// what the cores have published.
pub trait NodeView: Send + Sync + 'static {
    /// The node as it is now.
    fn status(&self) -> NodeStatus;
}

impl<F: Fn() -> NodeStatus + Send + Sync + 'static> NodeView for F {
    fn status(&self) -> NodeStatus {
        self()
    }
}

/// Where the node is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Volumes are being recovered; no listener is open.
    Starting,
    /// It serves.
    Ready,
    /// It was told to end: sessions may finish, and no new ones are taken.
    Draining,
}

impl Phase {
    /// As `/ready` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        }
    }
}

/// The node as it is at one moment.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// From the configuration.
    pub hostname: String,
    /// Where it is between start and end.
    pub phase: Phase,
    /// Since the start of the process.
    pub uptime: Duration,
    /// In the order of their ids.
    pub cores: Vec<CoreStatus>,
    /// In the order of the configuration.
    pub volumes: Vec<VolumeStatus>,
    /// The copy of control data.
    pub control_data: ControlDataStatus,
    /// What checking passwords cost, for all cores together.
    pub authentication: Vec<NodeCount>,
    /// See `logs::Logs::dropped`.
    pub log_lines_dropped: u64,
}

/// Something that the node counts as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCount {
    /// As the metrics spell it, without the prefix `pigeon_` and the suffix `_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Since the start of the process.
    pub value: u64,
}

/// A core.
#[derive(Clone, Debug)]
pub struct CoreStatus {
    /// The CPU it is pinned to.
    pub cpu: u16,
    /// What it has counted.
    pub counts: Counts,
}

/// A volume.
#[derive(Clone, Debug)]
pub struct VolumeStatus {
    /// As the configuration names it.
    pub id: String,
    /// Its directory.
    pub path: PathBuf,
    /// The core that owns it.
    pub core: u16,
    /// What it can do; `Err` says why it is not open.
    pub state: Result<VolumeState, String>,
    /// Its counters; zero while it is not open.
    pub stats: VolumeStats,
    /// Bytes that are free on its file system, when they were last looked at.
    pub free_bytes: u64,
    /// Bytes of its file system.
    pub total_bytes: u64,
}

/// The copy of control data that the cores read.
#[derive(Clone, Debug, Default)]
pub struct ControlDataStatus {
    /// Grows with every change taken over; 0 before the first.
    pub generation: u64,
    /// Accounts in it.
    pub accounts: u64,
    /// Domains in it.
    pub domains: u64,
    /// Why the source's last change was not taken over.
    pub problem: Option<String>,
    /// How following goes, where a directory is followed.
    pub following: Option<Following>,
}
