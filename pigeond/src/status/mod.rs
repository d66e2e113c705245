//! The status port: HTTP on the control thread, GET only, nothing that changes anything.
//!
//! `/alive` says that the process runs, `/ready` whether it takes connections (503 while it starts or drains), `/metrics`
//! is Prometheus text, `/` a page for people, `/status.json`, `/sessions.json`, `/queue.json` and
//! `/account.json` are for `pigeonctl` and other programs. What
//! is shown comes from a [`NodeView`], which the node wires to its cores; this module asks no core itself and keeps no state.

mod counters;
mod json;
mod metrics;
mod page;
mod server;
mod view;

pub use counters::{CoreCounters, Counter, Counts};
pub use server::StatusPort;
pub use view::{
    AccountPlace, ClusterStatus, ControlDataStatus, CoreStatus, LinkStatus, Links, NodeCount, NodeStatus, NodeView,
    Phase, QueueHeld, QueueStatus, QueuedFor, Reach, SessionList, SessionStatus, VolumeQueue, VolumeStatus,
    WaitingList, WaitingMessage,
};
