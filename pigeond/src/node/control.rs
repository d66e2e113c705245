//! The control thread's part: start, status, signals, control data, end.

use super::access::{Teller, tell_cores};
use super::core as core_node;
use super::shared::Shared;
use super::view::View;
use super::{listening, moves, occupancy, volumes};
use crate::Start;
use crate::config::{Config, Log, read_identities};
use crate::logs::Logs;
use crate::signals::{Signals, Wish, tell_ready, tell_reloading, tell_stopping};
use crate::status::{Phase, StatusPort};
use futures_util::future::join_all;
use pigeon_datatree_cache::source::{Follower, Handle, Notice};
use pigeon_delivery::{VolumeSeat, VolumeTable};
use pigeon_engine::CoreId;
use pigeon_engine::control::CoreHandle;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What went wrong with the last change of control data, for the status page.
type Problem = Arc<Mutex<Option<String>>>;

/// See the module.
pub(super) struct Control {
    logs: Logs,
    shared: Arc<Shared>,
    follower: Option<Follower>,
    config_file: PathBuf,
    create_volumes: bool,
    announcement: Option<String>,
    cpus: Vec<u16>,
    problem: Problem,
    outcome: Arc<Mutex<Result<(), String>>>,
}

impl Control {
    pub(super) fn new(
        start: Start,
        logs: Logs,
        shared: Arc<Shared>,
        follower: Follower,
        cpus: Vec<u16>,
        outcome: Arc<Mutex<Result<(), String>>>,
    ) -> Control {
        Control {
            logs,
            shared,
            follower: Some(follower),
            config_file: start.config_file,
            create_volumes: start.create_volumes,
            announcement: start.announcement,
            cpus,
            problem: Problem::default(),
            outcome,
        }
    }

    /// From the start of the cores to their end.
    pub(super) async fn run(mut self, cores: CoreHandle) {
        let served = self.serve(&cores).await;
        everywhere(&cores, |_| core_node::drain(Duration::ZERO)).await;
        let shared = self.shared.clone();
        everywhere(&cores, move |_| volumes::close_own(shared.clone())).await;
        everywhere(&cores, |_| core_node::end()).await;
        if let Err(why) = &served {
            tracing::error!("{why}");
        }
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = served;
    }

    async fn serve(&mut self, cores: &CoreHandle) -> Result<(), String> {
        let mut signals = Signals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
        let _claims = occupancy::claim(&self.shared.config, self.create_volumes).await?;
        self.open_status_port(cores).await?;
        self.open_volumes(cores).await?;
        for opened in everywhere(cores, |_| listening::listen()).await {
            opened?;
        }
        let handle = self.follow_control_data(tell_cores(cores))?;
        // Those whose moves were under way, or due, when the node ended.
        let moved = self.shared.copy.current();
        let moved = moved.accounts().filter(|account| account.was_elsewhere());
        let candidates = Arc::new(moved.cloned().collect());
        everywhere(cores, move |_| {
            let candidates = Arc::clone(&candidates);
            async move {
                moves::look(&candidates);
                moves::look_at_all();
            }
        })
        .await;
        self.shared.set_phase(Phase::Ready);
        tell_ready();
        tracing::info!(
            hostname = self.shared.config.hostname,
            cores = cores.core_count(),
            "the node serves"
        );
        if let Some(announcement) = self.announcement.take() {
            crate::quickstart::announce(&announcement);
        }
        while signals.next().await == Wish::Reload {
            self.reload(&handle);
        }
        self.shared.set_phase(Phase::Draining);
        tell_stopping();
        tracing::info!("the node drains");
        let timeouts = &self.shared.config.timeouts;
        let (notice, patience) = (timeouts.drain_notice.duration(), timeouts.drain.duration());
        let noticed = tokio::select! {
            () = tokio::time::sleep(notice) => true,
            () = stopped(&mut signals) => false,
        };
        handle.stop();
        if !noticed {
            tracing::info!("the node waits for nobody");
            return Ok(());
        }
        tokio::select! {
            _ = everywhere(cores, move |_| core_node::drain(patience)) => {}
            () = stopped(&mut signals) => tracing::info!("the node does not wait for sessions"),
        }
        Ok(())
    }

    async fn open_status_port(&mut self, cores: &CoreHandle) -> Result<(), String> {
        let Some(status) = self.shared.config.status else {
            return Ok(());
        };
        let port = StatusPort::bind(status.address)
            .await
            .map_err(|error| format!("status port {}: {error}", status.address))?;
        let view = View {
            shared: self.shared.clone(),
            cores: cores.clone(),
            cpus: self.cpus.clone(),
            problem: self.problem.clone(),
            report: self.follower.as_ref().and_then(Follower::report),
            log_lines_dropped: Box::new(self.logs.dropped()),
        };
        tokio::spawn(port.serve(Arc::new(view)));
        Ok(())
    }

    /// A volume that does not open leaves the others alone; a node with none does not start.
    async fn open_volumes(&self, cores: &CoreHandle) -> Result<(), String> {
        let seats: Vec<VolumeSeat> = self
            .shared
            .volumes()
            .iter()
            .map(|volume| VolumeSeat {
                name: volume.id.clone(),
                core: CoreId(volume.core),
            })
            .collect();
        let (shared, create) = (self.shared.clone(), self.create_volumes);
        let opened = everywhere(cores, move |_| volumes::open_own(shared.clone(), create)).await;
        let mut accounts = vec![None; seats.len()];
        let mut refused = Vec::new();
        for opened in opened.into_iter().flatten() {
            match opened.accounts {
                Ok(ids) => accounts[opened.index] = Some(ids),
                Err(why) => refused.push(why),
            }
        }
        if accounts.iter().all(Option::is_none) {
            return Err(refused.join("\n"));
        }
        // Set once: this runs once.
        let _ = self.shared.table.set(Arc::new(VolumeTable::new(seats, &accounts)));
        Ok(())
    }

    /// Gives the follower a thread of its own: reading a file of a million accounts takes seconds.
    fn follow_control_data(&mut self, teller: Teller) -> Result<Handle, String> {
        let follower = self.follower.take().ok_or("control data is followed already")?;
        let (handle, problem) = (follower.handle(), self.problem.clone());
        let source = self.shared.config.control_data.described();
        std::thread::Builder::new()
            .name("control-data".to_owned())
            .spawn(move || {
                follower.run(|notice| {
                    teller.tell(&notice);
                    observe(&source, &problem, notice);
                });
            })
            .map_err(|error| format!("the thread for control data cannot be made: {error}"))?;
        Ok(handle)
    }

    /// Reads again what can change while the node runs; what is mistaken leaves everything as it is.
    fn reload(&self, control_data: &Handle) {
        tell_reloading();
        control_data.reload();
        match Config::load(&self.config_file) {
            Err(error) => tracing::error!("the configuration stays as it is: {error}"),
            Ok(config) => self.take_over(&config),
        }
        tell_ready();
    }

    fn take_over(&self, config: &Config) {
        self.take_over_certificates(config);
        if let Err(error) = self.logs.set_level(&config.log.level) {
            tracing::error!("{error}");
        }
        if needs_restart(&self.shared.config, config) {
            tracing::warn!(
                "the configuration has changes that need a restart: only certificates, their paths and log.level are taken over while the node runs"
            );
        }
    }

    /// New certificates hold for the handshakes from now on; the first ones also let sessions that begin now offer TLS.
    fn take_over_certificates(&self, config: &Config) {
        match read_identities(config) {
            Ok(identities) if identities.is_empty() => {
                if self.shared.tls.has_certificate() {
                    tracing::error!(
                        "the certificates stay as they are: expected a [[certificate]] section, found none"
                    );
                }
            }
            Ok(identities) => match self.shared.tls.reload(&identities) {
                Ok(()) => tracing::info!("certificates read again"),
                Err(error) => tracing::error!("the certificates stay as they are: {error}"),
            },
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!("the certificates stay as they are: {mistake}");
                }
            }
        }
    }
}

/// Whether anything differs that is not taken over while the node runs.
fn needs_restart(old: &Config, new: &Config) -> bool {
    let changeable = Config {
        certificates: new.certificates.clone(),
        log: Log {
            level: new.log.level.clone(),
            ..old.log.clone()
        },
        written: new.written.clone(),
        ..old.clone()
    };
    changeable != *new
}

/// Runs the same on all cores at once, and waits for all. Cores that have ended are left out.
pub(super) async fn everywhere<T, F, W>(cores: &CoreHandle, work: W) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    W: Fn(CoreId) -> F + Clone + Send + 'static,
{
    let calls = (0..cores.core_count()).map(CoreId).map(|core| {
        let work = work.clone();
        cores.call(core, move || work(core))
    });
    join_all(calls).await.into_iter().flatten().collect()
}

async fn stopped(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

fn observe(file: &str, problem: &Problem, notice: Notice<'_>) {
    let problem_now = match notice {
        Notice::Published { snapshot, warnings, .. } => {
            for warning in &warnings.list {
                tracing::warn!("{file}:{warning}");
            }
            let (generation, accounts) = (snapshot.generation(), snapshot.account_count());
            tracing::info!(generation, accounts, "control data taken over");
            None
        }
        Notice::Refused(error) => {
            tracing::error!("control data stays as it is: {error}");
            Some(error.to_string())
        }
    };
    *problem.lock().unwrap_or_else(PoisonError::into_inner) = problem_now;
}
