//! A volume of very many accounts: what a checkpoint takes, and how often it is written.

use pigeon_store_format::{AccountHead, AccountId, CHECKPOINT_NAMES, LogPosition};

use super::harness::*;
use crate::VolumeOptions;
use crate::sim::{Executor, SimDisk};

const ACCOUNTS: u64 = 1_000_000;

#[test]
fn a_million_accounts_need_small_files_and_few_checkpoints() {
    let executor = Executor::new(31);
    let disk = SimDisk::new(31);
    let options = VolumeOptions {
        segment_bytes: 32 * 1024 * 1024,
        batch_bytes_max: 1024 * 1024,
        checkpoint_bytes: 1024 * 1024,
        ..small_options()
    };
    let volume = made(&executor, &disk, options.clone());
    volume.fill_heads((0..ACCOUNTS).map(|number| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let place = LogPosition(64 + number);
        (
            AccountId(id),
            AccountHead {
                head: place,
                base: place,
            },
        )
    }));
    // Enough for some checkpoints, would the table not be counted.
    let held = volume.clone();
    executor
        .run(async move {
            for number in 0..60 {
                deliver_one(&held, account_id(7), &message_text(number, 100_000))
                    .await
                    .expect("delivered");
                held.poke();
            }
        })
        .expect("goes on");
    executor.run_until_stalled();
    let stats = volume.stats();
    assert!(stats.checkpoints <= 2, "{stats:?}");
    assert!(stats.journal_bytes < 3 * 32 * ACCOUNTS, "{stats:?}");
    executor.run(async move { volume.close().await }).expect("closes");
    let image = disk.image();
    for name in CHECKPOINT_NAMES {
        assert!(image[name].len() < 1024, "{} bytes", image[name].len());
    }
    drop(executor);
    let volume = opened(&Executor::new(32), &disk.restarted(32), options);
    assert_eq!(volume.stats().accounts, ACCOUNTS + 1);
    assert!(!volume.stats().open_full_scan);
}
