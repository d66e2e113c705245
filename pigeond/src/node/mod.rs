//! The node: its roles wired together. The control thread opens the volumes on their cores, then the listeners on all, then
//! waits for what the operator wants; at the end it goes the same way back.
//!
//! Invariant: nothing is accepted before every volume has been opened or refused, and no volume is closed while a session
//! of any core may still write to it.

mod access;
mod contexts;
mod control;
mod core;
mod joins;
mod listening;
mod mail;
mod moves;
mod occupancy;
mod open_files;
mod publish;
mod queue;
mod redirects;
mod roster;
mod routed;
mod shared;
mod standing;
mod unsettled;
mod view;
mod volumes;

use crate::Start;
use crate::config::{Config, Verify, read_identities, read_key};
use crate::logs::Logs;
use control::Control;
use pigeon_datatree_cache::ldap::{Directory, Inquiries, InquiryLimits};
use pigeon_datatree_cache::ldif::{LdifFile, LdifOptions};
use pigeon_datatree_cache::source::{DataTree, Follower};
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::placement::{CpuSet, Placement};
use pigeon_engine::runtime::EngineOptions;
use pigeon_engine::tls::TlsAcceptor;
use pigeon_proxy::Verification;
use pigeon_proxy::authenticate::AskDirectory;
use shared::{ClusterIdentity, Shared};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Pipes of a core, for redirected sessions that fetch much in the clear at once; beyond it they are copied. A guess.
const PIPES: u16 = 64;

/// A connection to the directory over which no login asked anything for so long is closed. A guess, below the usual idle
/// timeouts of servers and firewalls.
const LOGIN_CONNECTION_IDLE: Duration = Duration::from_secs(60);

/// Keys to derive, and names to look up, that wait at most; further sessions are told to come again. A guess.
const CLUSTER_JOBS_MAX: usize = 1024;
/// Names of other nodes that are looked up at a time; a name server that hangs holds one each.
const NAME_THREADS: usize = 4;

/// Runs the node until it is told to end.
pub fn run(start: Start, logs: Logs) -> Result<(), String> {
    let config = &start.config;
    let follower = load_control_data(config)?;
    let tls = load_certificates(config)?;
    let available = CpuSet::available().map_err(|error| format!("the CPUs of this process cannot be read: {error}"))?;
    let placement = Placement::new(config.cores.as_ref(), config.control_cpus.as_ref(), &available);
    let cores = u16::try_from(placement.cores.len()).map_err(|_| "more cores than a node can have".to_owned())?;
    let verification = Arc::new(verification(config, &placement)?);
    let cluster = cluster_identity(config)?;
    let shared = Shared::new(config.clone(), follower.copy(), tls, verification, cluster, cores);
    let options = engine_options(config, cores);
    let outcome = Arc::new(Mutex::new(Ok(())));
    let control = Control::new(start, logs, shared.clone(), follower, placement.cores, outcome.clone());
    pigeon_engine::runtime::run(
        options,
        move || core::main(shared.clone()),
        move |handle| control.run(handle),
    )
    .map_err(|error| error.to_string())?;
    let mut outcome = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::mem::replace(&mut *outcome, Ok(()))
}

fn load_control_data(config: &Config) -> Result<Follower, String> {
    let data = &config.control_data;
    let map = data.attribute_map();
    let source: Box<dyn DataTree> = match (&data.ldap, &data.ldif) {
        (Some(ldap), _) => Box::new(Directory::new(ldap.options(map)?).map_err(|error| error.to_string())?),
        (None, Some(path)) => {
            let options = LdifOptions {
                map,
                ..LdifOptions::default()
            };
            Box::new(LdifFile::new(path, options).map_err(|error| error.to_string())?)
        }
        (None, None) => return Err("the configuration names no control data".to_owned()),
    };
    let (follower, warnings) = Follower::start(source).map_err(|error| error.to_string())?;
    for warning in &warnings.list {
        tracing::warn!("{}: {warning}", data.described());
    }
    Ok(follower)
}

/// Who this node is for the others, with its key read.
fn cluster_identity(config: &Config) -> Result<Option<ClusterIdentity>, String> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    let key = read_key(&cluster.key_file)?;
    Ok(Some(ClusterIdentity {
        node: cluster.node.clone(),
        key: key.into(),
        pool: BlockingPool::new("cluster", 1, CLUSTER_JOBS_MAX, None),
        names: BlockingPool::new("names", NAME_THREADS, CLUSTER_JOBS_MAX, None),
    }))
}

/// What checks passwords: the pool for hashes, and the directory where there is one.
fn verification(config: &Config, placement: &Placement) -> Result<Verification, String> {
    let waiting_max = config.limits.logins_waiting_max as usize;
    let pool = BlockingPool::new(
        "password",
        usize::from(config.password_threads),
        waiting_max,
        // Not as configured: of those, only what taskset and cgroups left.
        Some(CpuSet::of(placement.control.iter().copied())),
    );
    let data = &config.control_data;
    let (mut directory, mut verify) = (None, pigeon_proxy::Verify::Hash);
    if let Some(ldap) = &data.ldap {
        let limits = InquiryLimits {
            connections: usize::from(ldap.login_connections),
            waiting_max,
            idle: LOGIN_CONNECTION_IDLE,
        };
        let inquiries = Inquiries::start(ldap.options(data.attribute_map())?, limits);
        let inquiries = inquiries.map_err(|error| format!("no thread for logins to the directory: {error}"))?;
        directory = Some(Arc::new(inquiries) as Arc<dyn AskDirectory>);
        verify = match ldap.verify {
            Verify::Hash => pigeon_proxy::Verify::Hash,
            Verify::Bind => pigeon_proxy::Verify::Bind,
        };
    }
    Ok(Verification::new(pool, directory, verify, data.verified_for.duration()))
}

fn load_certificates(config: &Config) -> Result<TlsAcceptor, String> {
    let identities = read_identities(config)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let acceptor = if identities.is_empty() {
        TlsAcceptor::without_certificates()
    } else {
        TlsAcceptor::new(&identities)
    };
    acceptor.map_err(|error| error.to_string())
}

fn engine_options(config: &Config, cores: u16) -> EngineOptions {
    let sessions = config.limits.sessions_per_core_max;
    EngineOptions {
        cores: config.cores.clone(),
        control_cpus: config.control_cpus.clone(),
        receive_buffers: config.limits.receive_buffers,
        receive_buffer_bytes: u32::try_from(config.limits.receive_buffer_bytes.bytes()).unwrap_or(u32::MAX),
        pipes: PIPES,
        core_queue_depth: config.limits.core_queue_max as usize,
        open_files: open_files::wanted(config, cores),
        open_files_for: format!(
            "limits.sessions_per_core_max = {sessions} on {cores} cores{} and the segments of the volumes",
            if open_files::sides(config) == 1 {
                ""
            } else {
                ", with two sides each,"
            }
        ),
    }
}
