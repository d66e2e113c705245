//! A volume of very many accounts: what a checkpoint takes, how often it is written, and what is kept free for it.

use pigeon_store_format::{AccountHead, AccountId, CHECKPOINT_NAMES, LogPosition};

use super::harness::*;
use crate::sim::{Executor, SimDisk, yield_now};
use crate::{StoreError, Uid, Volume, VolumeOptions};

const ACCOUNTS: u64 = 1_000_000;

/// Puts accounts into the table. What they refer to is nowhere: nobody asks for it.
fn fill(volume: &Volume, accounts: u64) {
    volume.fill_heads((0..accounts).map(|number| {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let place = LogPosition(u64::MAX / 2 + number);
        (
            AccountId(id),
            AccountHead {
                head: place,
                base: place,
            },
        )
    }));
}

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
    fill(&volume, ACCOUNTS);
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

#[test]
fn a_full_disk_leaves_room_for_the_table_of_accounts() {
    let executor = Executor::new(33);
    let disk = SimDisk::new(33);
    let options = VolumeOptions {
        segment_bytes: 1024 * 1024,
        batch_bytes_max: 128 * 1024,
        checkpoint_bytes: 1024 * 1024,
        ..small_options()
    };
    // The table takes more than a segment.
    let accounts = 50_000;
    disk.set_capacity(24 * options.segment_bytes);
    let volume = made(&executor, &disk, options);
    fill(&volume, accounts);
    volume.poke();
    executor.run_until_stalled();
    executor
        .run(async move {
            let mut stored = 0u32;
            let refused = loop {
                match deliver_one(&volume, account_id(0), &message_text(u64::from(stored), 20_000)).await {
                    Ok(_) => stored += 1,
                    Err(error) => break error,
                }
                assert!(stored < 1000);
            };
            assert_eq!(refused, StoreError::NearlyFull);
            assert!(stored > 100, "{stored}");
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there");
            let gone: Vec<Uid> = (1..=stored * 3 / 4).map(Uid).collect();
            inbox.expunge(&gone).await.expect("expunged");
            volume.poke();
            let mut turns = 0;
            // Compaction may need room itself before it gives some.
            while let Err(error) = deliver_one(&volume, account_id(0), &message_text(1, 20_000)).await {
                assert_eq!(error, StoreError::NearlyFull);
                yield_now().await;
                turns += 1;
                assert!(
                    turns < 20_000,
                    "compaction makes no room: {:?} {:?}",
                    volume.state(),
                    volume.stats()
                );
            }
        })
        .expect("goes on");
}
