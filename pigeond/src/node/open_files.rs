//! How many descriptors the node may hold open at once, by its configuration: what RLIMIT_NOFILE is compared with. Where it is
//! lower, the engine sees to it that some are left (`pigeon_engine::net`).

use crate::config::{Config, Volume};
use rustix::fs::statvfs;

/// For logs, signals, the status port with its connections, control data, threads and the executables' own. A guess.
const NODE: u64 = 256;

/// Of each core, beside its sessions and listeners: rings, event descriptors, and connections that were accepted a moment
/// ago, a guess; and pipes.
const CORE: u64 = 64 + 2 * super::PIPES as u64;

/// Of each volume, beside its segments: its claim, small files, and segments that compaction is about to give back.
const VOLUME: u64 = 8;

/// Descriptors for every session that the limits let in, and for every segment that fits into the volumes' file systems: a
/// volume holds all its segments open.
pub(super) fn wanted(config: &Config, cores: u16) -> u64 {
    others(config, cores) + u64::from(cores) * u64::from(config.limits.sessions_per_core_max) * sides(config)
}

/// Descriptors of a session: one that is redirected has two.
pub(super) fn sides(config: &Config) -> u64 {
    1 + u64::from(config.cluster.is_some())
}

/// What else there may be than sessions.
fn others(config: &Config, cores: u16) -> u64 {
    let listeners = config.all_listeners().len() as u64;
    let volumes = config
        .volumes
        .iter()
        .map(|volume| segments(volume) + VOLUME)
        .sum::<u64>();
    NODE + u64::from(cores) * (listeners + CORE) + volumes
}

/// The most that the volume can have, as far as that can be known now.
fn segments(volume: &Volume) -> u64 {
    let file_system = statvfs(&volume.path).map_or(0, |found| found.f_blocks.saturating_mul(found.f_frsize));
    let bytes = volume
        .bytes_max
        .map_or(file_system, |most| most.bytes().min(file_system));
    bytes / volume.segment_bytes.bytes().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn sessions_listeners_and_segments_are_counted() {
        let parse = |volume: &str| {
            let content = format!(
                "hostname = \"a.b\"\ncontrol_data.ldif = \"users.ldif\"\nlimits.sessions_per_core_max = 1000\n\
                 [[listener]]\naddress = \"127.0.0.1:2025\"\nservice = \"smtp\"\n\
                 [[volume]]\nid = \"main\"\n{volume}"
            );
            Config::parse(&content, Path::new("pigeon.toml"), Path::new("/")).expect("it is valid")
        };
        let nowhere = parse("path = \"/nowhere/at/all\"\n");
        let without_segments = NODE + VOLUME;
        assert_eq!(wanted(&nowhere, 1), without_segments + 1001 + CORE);
        assert_eq!(wanted(&nowhere, 8), without_segments + 8 * (1001 + CORE));
        // A root file system of less than 80 MiB would not hold the tests.
        let cluster = parse("path = \"/nowhere/at/all\"\n[cluster]\nnode = \"n1\"\nkey_file = \"key\"\n");
        assert_eq!(
            wanted(&cluster, 1),
            wanted(&nowhere, 1) + 1000,
            "sessions may have two sides"
        );
        let bounded = parse("path = \"/\"\nsegment_bytes = \"8 MiB\"\nbytes_max = \"80 MiB\"\n");
        assert_eq!(wanted(&bounded, 1), without_segments + 1001 + CORE + 10);
    }
}
