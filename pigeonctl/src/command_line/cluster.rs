//! Nodes, modules and volumes on the command line.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Every node, its volumes, links, control data and queue. Exit code 0: all is well.
    Status,
    /// Move accounts so that each node has its share by weight, and one that drains has none: as few as do it, some at a time.
    /// With --dry-run the changes alone are shown.
    Balance {
        /// Accounts that move at most; they move online, and the nodes fetch them at their own pace.
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
        moves: usize,
    },
}

#[derive(Subcommand)]
pub(crate) enum QueueCommand {
    /// What waits, and what could neither be delivered nor reported: the oldest messages of each volume.
    List {
        /// Only what waits for this node.
        #[arg(long, value_name = "ID", conflicts_with = "kept")]
        node: Option<String>,
        /// Only what could neither be delivered nor reported. It goes to a postmaster as soon as control data has one.
        #[arg(long)]
        kept: bool,
    },
}

#[derive(Args)]
pub(crate) struct NodeSettings {
    /// Where clients reach it. May be given more than once.
    #[arg(long, value_name = "HOST")]
    pub(crate) public: Vec<String>,
    /// Where other nodes reach it: a host, or PROTOCOL://HOST:PORT with imap, pop3, lmtp or status. May be given more than
    /// once.
    #[arg(long, value_name = "HOST")]
    pub(crate) private: Vec<String>,
    /// The file with its key, as in its key_file: the verifier of it is written, not the key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Its share of new accounts.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) weight: Option<String>,
    /// What it is there for: mx, submission, proxy, store. May be given more than once; without: all.
    #[arg(long)]
    pub(crate) role: Vec<String>,
    /// up, draining or down.
    #[arg(long)]
    pub(crate) state: Option<String>,
}

#[derive(Args)]
pub(crate) struct ServiceSettings {
    /// here, a node's id, or host:port. May be given more than once.
    #[arg(long)]
    pub(crate) location: Vec<String>,
}

#[derive(Args)]
pub(crate) struct VolumeSettings {
    /// The node that it belongs to.
    #[arg(long, value_name = "ID")]
    pub(crate) node: Option<String>,
    /// Its directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum ComponentCommand<Settings: Args> {
    /// Add one.
    Add {
        /// Its id: letters, digits, '.', '_' and '-'.
        id: String,
        #[command(flatten)]
        settings: Settings,
        /// The entry below which its entry is made; without, that of another one's.
        #[arg(long, value_name = "DN")]
        parent: Option<String>,
    },
    /// Show one.
    Show {
        /// Its id.
        id: String,
    },
    /// List all.
    List,
    /// Change settings. An empty value takes one away.
    Set {
        /// Its id.
        id: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove its entry. Refused while others name it.
    Remove {
        /// Its id.
        id: String,
    },
}
