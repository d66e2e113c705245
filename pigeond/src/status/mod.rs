//! The status port: HTTP on the control thread, GET only, nothing that changes anything.
//!
//! `/alive` says that the process runs, `/ready` whether it takes connections (503 while it starts or drains), `/metrics`
//! is Prometheus text, `/` a page for people. What is shown comes from a [`NodeView`], which the node wires to the
//! counters of its cores; this module asks no core anything and keeps no state.

mod counters;
mod metrics;
mod page;
mod server;
mod view;

pub use counters::{CoreCounters, Counter, Counts};
pub use server::StatusPort;
pub use view::{ControlDataStatus, CoreStatus, NodeCount, NodeStatus, NodeView, Phase, VolumeStatus};
