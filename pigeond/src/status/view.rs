//! What the status port shows, as the node hands it in.

use super::Counts;
use futures_util::future::BoxFuture;
use pigeon_datatree_cache::record::{NodeState, RoleSet};
use pigeon_datatree_cache::source::Following;
use pigeon_store::{VolumeState, VolumeStats};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Gives the status port what it shows. Called on the control thread for each request, so it must not block: it reads
/// what the cores have published.
pub trait NodeView: Send + Sync + 'static {
    /// The node as it is now.
    fn status(&self) -> NodeStatus;

    /// The other nodes, as this one has found them. Asks the cores.
    fn links(&self) -> BoxFuture<'static, Links> {
        Box::pin(async { Links::default() })
    }

    /// What waits for other nodes, message by message. Asks the cores.
    fn waiting(&self) -> BoxFuture<'static, WaitingList> {
        Box::pin(async { WaitingList::default() })
    }

    /// How an account stands in the volumes of this node that have something of it, by an address, a login name or an
    /// entryUUID; `None`: it is not known, or not all could be asked. Asks the cores.
    fn places(&self, _account: &str) -> BoxFuture<'static, Option<Vec<AccountPlace>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    /// Who has logged in; of one account, by an address, a login name or an entryUUID, or all. Asks the cores.
    fn sessions(&self, _of: Option<&str>) -> BoxFuture<'static, SessionList> {
        Box::pin(async { SessionList::default() })
    }
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
    /// Of a node in a cluster.
    pub cluster: Option<ClusterStatus>,
    /// Mail that waits for other nodes, where there can be any.
    pub queue: Option<QueueStatus>,
    /// Where it is between start and end.
    pub phase: Phase,
    /// Since the start of the process.
    pub uptime: Duration,
    /// In the order of their ids.
    pub cores: Vec<CoreStatus>,
    /// In the order of the configuration.
    pub volumes: Vec<VolumeStatus>,
    /// What waits for other nodes.
    pub queues: Vec<VolumeQueue>,
    /// The copy of control data.
    pub control_data: ControlDataStatus,
    /// What checking passwords cost, for all cores together.
    pub authentication: Vec<NodeCount>,
    /// See `logs::Logs::dropped`.
    pub log_lines_dropped: u64,
}

impl NodeStatus {
    /// Whether a balancer should send it new connections, and the word for how it is.
    pub fn readiness(&self) -> (bool, &'static str) {
        let state = self.cluster.as_ref().map_or(NodeState::Up, |cluster| cluster.state);
        match (self.phase, state) {
            (Phase::Ready, NodeState::Draining | NodeState::Down) => (false, state.name()),
            (phase, _) => (phase == Phase::Ready, phase.name()),
        }
    }
}

/// What a node of a cluster is, as control data says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its id.
    pub node: String,
    /// Whether the server_map has it.
    pub described: bool,
    /// Whether it is in use.
    pub state: NodeState,
    /// What it is there for.
    pub roles: RoleSet,
    /// Its share of new accounts.
    pub weight: u32,
}

/// Mail that waits for other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueStatus {
    /// By the node that it waits for.
    pub destinations: Vec<QueuedFor>,
    /// What could neither be delivered nor reported; `node` is empty.
    pub kept: QueuedFor,
    /// Bytes of all.
    pub bytes: u64,
    /// Volumes in which as much waits as may.
    pub full: Vec<String>,
    /// What is not brought, and why.
    pub held: Vec<QueueHeld>,
}

/// Mail that is not brought for now, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueHeld {
    /// The node that it waits for; `None`: it is kept.
    pub node: Option<String>,
    /// The volume that it is in.
    pub volume: String,
    /// Why.
    pub why: String,
}

/// A message that waits, or is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingMessage {
    /// The node that it waits for; `None`: it could neither be delivered nor reported.
    pub node: Option<String>,
    /// The volume that it is in.
    pub volume: String,
    /// Its number there, among those for the same node.
    pub uid: u32,
    /// When it was taken, seconds since the Unix epoch.
    pub received_at: i64,
    /// Bytes, with the envelope.
    pub bytes: u64,
    /// Its name in replies and logs.
    pub id: Option<String>,
    /// Empty for the null sender.
    pub sender: Option<String>,
    /// The first of those who wait for it.
    pub recipients: Vec<String>,
    /// How many do.
    pub recipients_total: u64,
    /// An answer was lost: they may have it.
    pub unsure: bool,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
}

/// What waits, the oldest of each volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaitingList {
    /// Whether it has all.
    pub complete: bool,
    /// Cores that did not answer.
    pub silent_cores: Vec<u16>,
    /// Those that are kept first, by volume.
    pub messages: Vec<WaitingMessage>,
}

/// Mail that waits for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueuedFor {
    /// Its id.
    pub node: String,
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest has waited, in seconds.
    pub oldest_seconds: u64,
}

/// What was found of another node when it was tried last, by this node's sessions and messages; nobody asks it for this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Not tried yet.
    #[default]
    Untried,
    /// It answered.
    Reachable,
    /// It did not answer several times, and is tried now and then.
    Away,
}

/// How it stands with the other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Those of the server_map.
    pub links: Vec<LinkStatus>,
    /// Cores that did not answer: what they know is missing.
    pub silent_cores: Vec<u16>,
}

/// How it stands with another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// Its id.
    pub node: String,
    /// up, draining or down, by control data.
    pub state: &'static str,
    /// Its backend for IMAP.
    pub imap: Reach,
    /// Its backend for POP3.
    pub pop3: Reach,
    /// Its backend for mail.
    pub lmtp: Reach,
    /// Connections for mail, in use or kept.
    pub mail_connections: u64,
    /// Sessions that are redirected there.
    pub sessions: u64,
}

/// How an account stands in a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountPlace {
    /// As the configuration names it.
    pub volume: String,
    /// here, arrived, incoming, handing over, moved or given up.
    pub standing: &'static str,
    /// The other end of a move: a node and a volume.
    pub other: Option<String>,
    /// Whether something is being done about it.
    pub under_way: bool,
}

/// Sessions that have logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionList {
    /// How many there are.
    pub total: u64,
    /// Whether `sessions` has all of them.
    pub complete: bool,
    /// Cores that did not answer: theirs are missing.
    pub silent_cores: Vec<u16>,
    /// The oldest first.
    pub sessions: Vec<SessionStatus>,
}

impl Default for SessionList {
    fn default() -> SessionList {
        SessionList {
            total: 0,
            complete: true,
            silent_cores: Vec::new(),
            sessions: Vec::new(),
        }
    }
}

/// A session that has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionStatus {
    /// As in the log.
    pub id: String,
    /// As the configuration calls it.
    pub service: &'static str,
    /// The account's main address.
    pub account: String,
    /// Its entryUUID.
    pub account_id: String,
    /// Address and port.
    pub client: String,
    /// The login: milliseconds since the Unix epoch.
    pub since: u64,
    /// The node that it was redirected to.
    pub node: Option<String>,
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

/// What waits in one volume for one node.
#[derive(Clone, Debug)]
pub struct VolumeQueue {
    /// The node that it waits for.
    pub destination: String,
    /// The volume that it is in.
    pub volume: String,
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest has waited.
    pub oldest: Option<Duration>,
    /// Why it is not brought now.
    pub held: Option<Arc<str>>,
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
