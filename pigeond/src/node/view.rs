//! The node as the status port shows it.

use super::shared::Shared;
use crate::status::{ControlDataStatus, CoreStatus, NodeCount, NodeStatus, NodeView};
use pigeon_datatree_cache::source::Report;
use pigeon_proxy::authenticate::Count;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads what the cores have published.
pub(super) struct View {
    pub(super) shared: Arc<Shared>,
    /// The CPU of each core.
    pub(super) cpus: Vec<u16>,
    /// Why the last change of control data was not taken over.
    pub(super) problem: Arc<Mutex<Option<String>>>,
    /// What a followed directory tells.
    pub(super) report: Option<Report>,
    /// Log lines that were dropped.
    pub(super) log_lines_dropped: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl NodeView for View {
    fn status(&self) -> NodeStatus {
        let snapshot = self.shared.copy.current();
        let cores = self
            .shared
            .counters
            .iter()
            .zip(&self.cpus)
            .map(|(counters, cpu)| CoreStatus {
                cpu: *cpu,
                counts: counters.read(),
            })
            .collect();
        NodeStatus {
            hostname: self.shared.config.hostname.clone(),
            phase: self.shared.phase(),
            uptime: self.shared.uptime(),
            cores,
            volumes: self.shared.volumes().clone(),
            control_data: ControlDataStatus {
                generation: snapshot.generation(),
                accounts: snapshot.account_count() as u64,
                domains: snapshot.domains().count() as u64,
                problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                following: self.report.as_ref().map(Report::read),
            },
            authentication: Count::ALL.iter().map(|count| self.authentication(*count)).collect(),
            log_lines_dropped: (self.log_lines_dropped)(),
        }
    }
}

impl View {
    fn authentication(&self, count: Count) -> NodeCount {
        NodeCount {
            name: count.name(),
            help: count.help(),
            value: self.shared.verification.counts().get(count),
        }
    }
}
