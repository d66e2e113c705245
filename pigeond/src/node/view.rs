//! The node as the status port shows it.

use super::roster::{self, Whose};
use super::shared::Shared;
use super::standing::Standing;
use crate::status::{
    AccountPlace, ClusterStatus, ControlDataStatus, CoreStatus, Links, NodeCount, NodeStatus, NodeView, QueueHeld,
    QueueStatus, QueuedFor, SessionList, VolumeQueue, WaitingList,
};
use futures_util::future::BoxFuture;
use pigeon_datatree_cache::Snapshot;
use pigeon_datatree_cache::source::Report;
use pigeon_delivery::queue::{Room, UNDELIVERABLE};
use pigeon_engine::control::CoreHandle;
use pigeon_proxy::authenticate::Count;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Reads what the cores have published.
pub(super) struct View {
    pub(super) shared: Arc<Shared>,
    /// To ask what is not published.
    pub(super) cores: CoreHandle,
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
            cluster: self.cluster(&snapshot),
            queue: self.queue(),
            phase: self.shared.phase(),
            uptime: self.shared.uptime(),
            cores,
            volumes: self.shared.volumes().clone(),
            queues: self.queues(),
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

    fn links(&self) -> BoxFuture<'static, Links> {
        let (cores, shared) = (self.cores.clone(), self.shared.clone());
        Box::pin(async move { roster::links(&cores, &shared).await })
    }

    fn waiting(&self) -> BoxFuture<'static, WaitingList> {
        let (cores, shared) = (self.cores.clone(), self.shared.clone());
        Box::pin(async move { roster::waiting(&cores, &shared).await })
    }

    fn places(&self, account: &str) -> BoxFuture<'static, Option<Vec<AccountPlace>>> {
        let (cores, whose) = (self.cores.clone(), Whose::of(&self.shared, Some(account)));
        Box::pin(async move {
            match whose {
                Whose::Account(id) => roster::places(&cores, id).await,
                Whose::Everybody | Whose::Address(_) => None,
            }
        })
    }

    fn sessions(&self, of: Option<&str>) -> BoxFuture<'static, SessionList> {
        let (cores, whose) = (self.cores.clone(), Whose::of(&self.shared, of));
        Box::pin(async move { roster::sessions(&cores, whose).await })
    }
}

impl View {
    fn cluster(&self, snapshot: &Snapshot) -> Option<ClusterStatus> {
        let node = self.shared.node_id()?;
        let standing = Standing::of(snapshot, Some(node));
        let server = snapshot.server(node);
        Some(ClusterStatus {
            node: node.to_owned(),
            described: server.is_some(),
            state: standing.state,
            roles: standing.roles,
            weight: server.map_or(1, |server| server.weight()),
        })
    }

    fn queues(&self) -> Vec<VolumeQueue> {
        let now = pigeon_engine::unix_time();
        let volumes = &self.shared.config.volumes;
        let gauges = self.shared.queue.gauges().into_iter();
        let status = gauges.map(|(destination, volume, gauge)| VolumeQueue {
            destination,
            volume: volumes.get(volume).map_or_else(String::new, |volume| volume.id.clone()),
            messages: gauge.messages,
            bytes: gauge.bytes,
            oldest: gauge
                .oldest
                .map(|oldest| now.saturating_sub(Duration::from_secs(u64::try_from(oldest).unwrap_or(0)))),
            held: gauge.held,
        });
        status.collect()
    }

    /// By node, in a cluster.
    fn queue(&self) -> Option<QueueStatus> {
        self.shared.cluster.as_ref()?;
        let mut status = QueueStatus::default();
        for queue in self.queues() {
            let node = Some(queue.destination).filter(|name| name != UNDELIVERABLE);
            let sum = match &node {
                None => &mut status.kept,
                Some(node) => {
                    let known = status.destinations.iter().position(|known| known.node == *node);
                    let place = known.unwrap_or_else(|| {
                        status.destinations.push(QueuedFor {
                            node: node.clone(),
                            ..QueuedFor::default()
                        });
                        status.destinations.len() - 1
                    });
                    &mut status.destinations[place]
                }
            };
            sum.messages += queue.messages;
            sum.bytes += queue.bytes;
            sum.oldest_seconds = sum
                .oldest_seconds
                .max(queue.oldest.map_or(0, |oldest| oldest.as_secs()));
            status.bytes += queue.bytes;
            if let (Some(why), true) = (queue.held, queue.messages > 0) {
                status.held.push(QueueHeld {
                    node,
                    volume: queue.volume,
                    why: why.to_string(),
                });
            }
        }
        let volumes = self.shared.config.volumes.iter().enumerate();
        let full = volumes.filter(|(index, _)| super::queue::room(&self.shared, *index) == Room::Full);
        status.full = full.map(|(_, volume)| volume.id.clone()).collect();
        Some(status)
    }

    fn authentication(&self, count: Count) -> NodeCount {
        NodeCount {
            name: count.name(),
            help: count.help(),
            value: self.shared.verification.counts().get(count),
        }
    }
}
