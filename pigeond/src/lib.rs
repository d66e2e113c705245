//! The daemon: its configuration, the wiring of its roles, the status port, the logs, and the quickstart.
//!
//! The command line is in `main.rs`. Everything here runs on the control thread or before it; what runs on the cores is
//! wired in `node`.

pub mod config;
pub mod logs;
pub mod node;
pub mod quickstart;
#[cfg(test)]
mod scratch;
pub mod signals;
pub mod status;

use config::Config;
use std::path::PathBuf;

/// What a node is started with.
pub struct Start {
    /// The configuration, checked.
    pub config: Config,
    /// Its file, read again on a reload.
    pub config_file: PathBuf,
    /// Whether a volume whose directory is empty or not there is made. Never without being told to: an unmounted disk looks
    /// like that.
    pub create_volumes: bool,
    /// For a person at a terminal: to be given to [`quickstart::announce`] once the node serves.
    pub announcement: Option<String>,
}
