//! What all threads of the node share: nothing here is changed on a path that a message or a session takes.

use crate::config::Config;
use crate::status::{CoreCounters, Phase, VolumeStatus};
use pigeon_datatree_cache::Copy;
use pigeon_delivery::VolumeTable;
use pigeon_delivery::queue::QueueIndex;
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::tls::TlsAcceptor;
use pigeon_proxy::Verification;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
pub(super) struct Shared {
    pub(super) config: Config,
    /// The coherent copy of control data.
    pub(super) copy: Copy,
    /// Without a certificate until one is configured, which a reload may bring.
    pub(super) tls: TlsAcceptor,
    /// Checks passwords, for all cores.
    pub(super) verification: Arc<Verification>,
    /// Of a node among others.
    pub(super) cluster: Option<ClusterIdentity>,
    /// One of each core, by its id.
    pub(super) counters: Vec<CoreCounters>,
    /// Where accounts live; set when the volumes have been opened.
    pub(super) table: OnceLock<Arc<VolumeTable>>,
    /// What waits for other nodes.
    pub(super) queue: Arc<QueueIndex>,
    /// In the order of the configuration. Each core writes those that it owns now and then.
    volumes: Mutex<Vec<VolumeStatus>>,
    phase: AtomicU8,
    started: Instant,
    /// The time of the start since the Unix epoch.
    pub(super) started_at: Duration,
}

/// Who this node is for the others.
pub(super) struct ClusterIdentity {
    /// Its id.
    pub(super) node: String,
    /// With what it logs in.
    pub(super) key: Arc<[u8]>,
    /// Derives keys.
    pub(super) pool: BlockingPool,
    /// Looks up names of other nodes, which may take long.
    pub(super) names: BlockingPool,
}

impl Shared {
    /// Of a node that starts now, with `cores` cores.
    pub(super) fn new(
        config: Config,
        copy: Copy,
        tls: TlsAcceptor,
        verification: Arc<Verification>,
        cluster: Option<ClusterIdentity>,
        cores: u16,
    ) -> Arc<Shared> {
        let volumes = config
            .volumes
            .iter()
            .enumerate()
            .map(|(index, volume)| VolumeStatus {
                id: volume.id.clone(),
                path: volume.path.clone(),
                core: owner(volume.core, index, cores),
                state: Err("not opened yet".to_owned()),
                stats: pigeon_store::VolumeStats::default(),
                free_bytes: 0,
                total_bytes: 0,
            })
            .collect();
        Arc::new(Shared {
            config,
            copy,
            tls,
            verification,
            cluster,
            counters: (0..cores).map(|_| CoreCounters::new()).collect(),
            table: OnceLock::new(),
            queue: Arc::default(),
            volumes: Mutex::new(volumes),
            phase: AtomicU8::new(Phase::Starting as u8),
            started: Instant::now(),
            started_at: pigeon_engine::unix_time(),
        })
    }

    /// Its id, in a cluster.
    pub(super) fn node_id(&self) -> Option<&str> {
        self.config.cluster.as_ref().map(|cluster| cluster.node.as_str())
    }

    /// Where the node is between start and end.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Starting as u8 => Phase::Starting,
            phase if phase == Phase::Ready as u8 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// From here on `phase` says this.
    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Since the start.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The volumes as last published. Held for the length of a copy: never across a wait.
    pub(super) fn volumes(&self) -> MutexGuard<'_, Vec<VolumeStatus>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The core that owns the volume at `index`: the configured one where the node has it, else around the cores.
pub(super) fn owner(configured: Option<u16>, index: usize, cores: u16) -> u16 {
    match configured {
        Some(core) if core < cores => core,
        _ => u16::try_from(index % usize::from(cores)).expect("below the number of cores"),
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn volumes_go_around_the_cores_unless_told() {
        let cases = [
            (None, 0, 2, 0),
            (None, 1, 2, 1),
            (None, 2, 2, 0),
            (Some(1), 0, 2, 1),
            (Some(7), 3, 2, 1),
        ];
        for (configured, index, cores, expected) in cases {
            assert_eq!(owner(configured, index, cores), expected, "{configured:?} {index}");
        }
    }
}
