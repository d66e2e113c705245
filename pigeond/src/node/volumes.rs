//! The volumes that a core owns: opened before any listener, closed after the last session.

use super::shared::Shared;
use crate::config::Volume as Configured;
use pigeon_delivery::{add_volume, take_volumes};
use pigeon_store::disk::{Disk, EngineDisk};
use pigeon_store::{OpenReason, Volume, VolumeOptions, VolumeStats};
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;

/// What opening a volume gave: the accounts that have mail in it, or what is wrong with it.
pub(super) struct Opened {
    pub(super) index: usize,
    pub(super) accounts: Result<Vec<[u8; 16]>, String>,
}

/// Opens the volumes of this core, one after the other. One that does not open leaves the others alone.
pub(super) async fn open_own(shared: Arc<Shared>, create: bool) -> Vec<Opened> {
    let core = pigeon_engine::current_core().0;
    let own: Vec<usize> = shared
        .volumes()
        .iter()
        .enumerate()
        .filter(|(_, seat)| seat.core == core)
        .map(|(index, _)| index)
        .collect();
    let mut opened = Vec::with_capacity(own.len());
    for index in own {
        let configured = &shared.config.volumes[index];
        let accounts = match open(&shared, configured, create).await {
            Ok(volume) => {
                let accounts: Vec<[u8; 16]> = volume.account_ids().into_iter().map(|account| account.0).collect();
                drop(pigeon_engine::spawn(volume.drive()));
                drop(pigeon_engine::runtime::spawn_background(volume.maintain()));
                shared.volumes()[index].state = Ok(volume.state());
                super::queue::open(&shared, index, &volume, &accounts).await;
                add_volume(index, volume);
                Ok(accounts)
            }
            Err(why) => {
                tracing::error!(volume = configured.id, "{why}");
                shared.volumes()[index].state = Err(why.clone());
                Err(why)
            }
        };
        opened.push(Opened { index, accounts });
    }
    opened
}

async fn open(shared: &Shared, configured: &Configured, create: bool) -> Result<Volume, String> {
    let (id, disk) = (configured.volume_id(), disk(configured));
    let named = |error: &dyn Display| format!("volume {:?}: {error}", configured.id);
    let mut outcome = Volume::open(disk.clone(), id, options(shared, configured)).await;
    if let Err(error) = &outcome
        && create
        && error.reason == OpenReason::NoMarker
        && is_empty(&disk).await
    {
        // Its directory is there: it was made when the volume was claimed.
        Volume::create(disk.clone(), id, &options(shared, configured))
            .await
            .map_err(|error| named(&error))?;
        tracing::info!(volume = configured.id, path = %configured.path.display(), "volume made");
        outcome = Volume::open(disk, id, options(shared, configured)).await;
    }
    outcome.map_err(|error| named(&error))
}

fn disk(configured: &Configured) -> Rc<dyn Disk> {
    Rc::new(EngineDisk::new(&configured.path))
}

/// Whether nothing is there that making a volume could hurt.
async fn is_empty(disk: &Rc<dyn Disk>) -> bool {
    match disk.list().await {
        Ok(names) => names.iter().all(|name| name == "lost+found"),
        Err(_) => false,
    }
}

fn options(shared: &Shared, configured: &Configured) -> VolumeOptions {
    let limits = &shared.config.limits;
    let bytes = |size: crate::config::Size| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    VolumeOptions {
        segment_bytes: configured.segment_bytes.bytes(),
        // RFC 3501 section 2.3.1.1 recommends the time; it ends in 2106, and never repeats before.
        uid_validity_base: u32::try_from(shared.started_at.as_secs()).unwrap_or(u32::MAX),
        volume_bytes_max: configured.bytes_max.map(|size| size.bytes()),
        reserve_bytes: configured.reserve_bytes.bytes(),
        body_cache_bytes: bytes(limits.body_cache_bytes),
        index_bytes_max: bytes(limits.index_cache_bytes),
        ingest_bytes_max: bytes(limits.body_memory_bytes),
        sleep: Some(Rc::new(|duration| Box::pin(pigeon_engine::sleep(duration)))),
        ..VolumeOptions::default()
    }
}

/// Closes the volumes of this core: what was acknowledged is durable already, closing only makes the next start fast.
pub(super) async fn close_own(shared: Arc<Shared>) {
    for (index, volume) in take_volumes() {
        volume.close().await;
        let mut volumes = shared.volumes();
        volumes[index].state = Err("closed".to_owned());
        volumes[index].stats = VolumeStats::default();
    }
}
