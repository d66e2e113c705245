//! Random use, crashes at any point, and what is there afterwards: all that was acknowledged, and of what was under way all or
//! nothing.
//!
//! `PIGEON_STORE_SEEDS=1000 cargo test --release -p pigeon-store crash` runs so many seeds; `PIGEON_STORE_SEED=7` begins with that
//! one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pigeon_store_format::{CHECKPOINT_NAMES, Checkpoint};

use super::actor::{Actor, Known, Shared, group_delivery};
use super::harness::*;
use super::model::{ModelAccount, compare, compare_bodies};
use crate::sim::{Executor, Random, SimDisk};
use crate::{AccountId, Delivered, StoreError, Uid, Volume, VolumeOptions, VolumeState};

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Runs a test with seeds, and says which one failed.
fn with_seeds(default: u64, test: impl Fn(u64)) {
    let first = number_from("PIGEON_STORE_SEED", 1);
    for seed in first..first + number_from("PIGEON_STORE_SEEDS", default) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        if let Err(panic) = result {
            eprintln!("failed with PIGEON_STORE_SEED={seed} PIGEON_STORE_SEEDS=1");
            std::panic::resume_unwind(panic);
        }
    }
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    options: VolumeOptions,
    accounts: Vec<(AccountId, Rc<RefCell<Known>>)>,
    group: AccountId,
    shared: Shared,
    generation: u64,
    steps: Rc<RefCell<u64>>,
    bytes_max: u64,
}

impl World {
    fn new(seed: u64, accounts: u8, options: VolumeOptions) -> World {
        let disk = SimDisk::new(seed);
        let executor = Executor::new(seed);
        let volume = made(&executor, &disk, options.clone());
        executor.run(async move { volume.close().await }).expect("closes");
        let model = ModelAccount::new(options.uid_validity_base);
        let known = Known {
            acknowledged: model,
            under_way: Vec::new(),
        };
        let known = || Rc::new(RefCell::new(known.clone()));
        World {
            seed,
            random: Random::new(seed),
            disk,
            accounts: (0..accounts).map(|number| (account_id(number), known())).collect(),
            group: account_id(200),
            shared: Rc::new(RefCell::new(BTreeMap::new())),
            generation: 0,
            options,
            steps: Rc::default(),
            bytes_max: 40_000,
        }
    }

    /// Uses the volume until its disk crashes, or for so many steps of each account.
    fn use_it(&mut self, executor: &Executor, volume: &Volume, steps: u64) {
        for (index, (account, known)) in self.accounts.iter().enumerate() {
            let actor = Actor {
                account: *account,
                group: self.group,
                known: known.clone(),
                shared: self.shared.clone(),
                random: Random::new(self.random.number()),
                next_number: (self.generation << 32) | ((index as u64) << 24),
                bytes_max: self.bytes_max,
                steps: self.steps.clone(),
            };
            executor.spawn(actor.run(volume.clone(), steps));
        }
        executor.run_until_stalled();
    }

    /// Everything that must be there is there.
    fn check(&mut self, executor: &Executor, volume: &Volume) {
        for (account, known) in &self.accounts {
            let (volume, id, known) = (volume.clone(), *account, known.clone());
            executor
                .run(async move {
                    let account = volume
                        .account(id)
                        .await
                        .unwrap_or_else(|error| panic!("account {id}: {error}"));
                    let model = settle(&account, &known.borrow());
                    *known.borrow_mut() = Known {
                        acknowledged: model.clone(),
                        under_way: Vec::new(),
                    };
                    compare_bodies(&volume, &account, &model).await;
                })
                .expect("looking goes on");
        }
        let (volume, group, shared) = (volume.clone(), self.group, self.shared.clone());
        executor
            .run(async move { check_group(&volume, group, &shared).await })
            .expect("looking goes on");
    }

    fn next_generation(&mut self) -> Executor {
        self.generation += 1;
        self.disk = self.disk.restarted(self.random.number());
        Executor::new(self.random.number())
    }

    /// One of the checkpoint files goes: the other is enough.
    fn lose_a_checkpoint(&mut self) {
        let name = *self.random.pick(&CHECKPOINT_NAMES);
        let mut image = self.disk.image();
        if self.random.percent(50) {
            image.remove(name);
        } else if let Some(bytes) = image.get_mut(name) {
            let at = self.random.index(bytes.len());
            bytes[at] ^= 1;
        }
        self.disk = SimDisk::with_image(self.random.number(), &image);
    }
}

/// Which of the states that may be there is.
fn settle(account: &crate::Account, known: &Known) -> ModelAccount {
    let mut differences = Vec::new();
    for model in std::iter::once(&known.acknowledged).chain(&known.under_way) {
        match compare(account, model) {
            Ok(()) => return model.clone(),
            Err(what) => differences.push(what),
        }
    }
    panic!("account {}: neither before nor after: {differences:#?}", account.id());
}

/// Every acknowledged message for all is there once, others at most once; and again so when they are brought again.
async fn check_group(volume: &Volume, group: AccountId, shared: &Shared) {
    let account = volume.account(group).await.expect("loads");
    let inbox = account.mailbox("INBOX").expect("there");
    let uids: Vec<Uid> = inbox.with_messages(|messages| messages.iter().map(|message| message.uid).collect());
    let mut missing = shared.borrow().clone();
    let mut there = BTreeMap::new();
    for uid in uids {
        let bytes = read_message(&inbox, uid)
            .await
            .unwrap_or_else(|error| panic!("group: UID {uid}: {error}"));
        let text = String::from_utf8(bytes.clone()).expect("it is text");
        let number = text
            .strip_prefix("Message-ID: <")
            .and_then(|rest| rest.split('@').next());
        let number: u64 = number
            .and_then(|number| number.parse().ok())
            .expect("it has its number");
        let (body, _) = missing
            .remove(&number)
            .unwrap_or_else(|| panic!("group: message {number} is there twice"));
        assert!(bytes == body.content(), "group: UID {uid}: other bytes");
        there.insert(number, (body, true));
    }
    for (number, (_, acknowledged)) in &missing {
        assert!(!acknowledged, "group: message {number} is lost");
    }
    // Whoever brought one and got no answer brings it again.
    let mut again: Vec<u64> = missing.into_keys().collect();
    again.extend(there.keys().rev().take(3));
    for number in again {
        let was_there = there.contains_key(&number);
        let body = shared.borrow()[&number].0.clone();
        let brought = deliver_keyed(volume, vec![group_delivery(group, number)], &body.shared()).await;
        match brought[..] {
            [Ok(Delivered::Known)] => assert!(was_there, "group: message {number} is not there"),
            [Ok(Delivered::Stored(_))] => {
                assert!(!was_there, "group: message {number} came twice");
                there.insert(number, (body, true));
            }
            _ => {}
        }
    }
    *shared.borrow_mut() = there;
}

#[test]
fn what_was_acknowledged_survives_any_crash() {
    with_seeds(60, |seed| {
        let mut world = World::new(seed, 3, small_options());
        let mut crashes = 0;
        while crashes < 6 {
            let executor = world.next_generation();
            if world.random.percent(25) {
                world.lose_a_checkpoint();
            }
            let operations = world.random.below(if crashes % 3 == 2 { 40 } else { 900 });
            world.disk.crash_at(operations);
            if let Some(volume) = try_open(&executor, &world.disk, world.options.clone()) {
                assert_eq!(volume.state(), VolumeState::Writable);
                world.use_it(&executor, &volume, 10_000);
            }
            assert!(world.disk.crashed(), "seed {}: it went on until the crash", world.seed);
            crashes += 1;
            // A look without a crash.
            let executor = world.next_generation();
            let volume = opened(&executor, &world.disk, world.options.clone());
            assert_eq!(volume.state(), VolumeState::Writable);
            world.check(&executor, &volume);
            if world.random.percent(30) {
                executor.run(async move { volume.close().await }).expect("closes");
            }
        }
    });
}

#[test]
fn writes_of_a_killed_process_never_land_on_later_ones() {
    with_seeds(30, |seed| {
        let mut world = World::new(seed, 3, small_options());
        let mut acknowledged = 0u64;
        for _ in 0..8 {
            let executor = world.next_generation();
            let volume = opened(&executor, &world.disk, world.options.clone());
            assert_eq!(volume.state(), VolumeState::Writable);
            // At once, before anything else has had the time to land.
            let held = volume.clone();
            executor
                .run(async move {
                    let account = held.account(account_id(100)).await.expect("loads");
                    let inbox = account.mailbox("INBOX").expect("there");
                    for number in acknowledged..acknowledged + 3 {
                        deliver_one(&held, account_id(100), &message_text(number, 3000))
                            .await
                            .expect("delivered");
                    }
                    for number in 0..acknowledged {
                        let uid = Uid(u32::try_from(number + 1).expect("few"));
                        let bytes = read_message(&inbox, uid).await;
                        assert!(bytes.expect("it is there") == message_text(number, 3000));
                    }
                })
                .expect("goes on");
            acknowledged += 3;
            world.check(&executor, &volume);
            let operations = world.disk.operations() + 10 + world.random.below(200);
            world.disk.kill_at(operations);
            world.use_it(&executor, &volume, 10_000);
        }
    });
}

/// What is left of writes that were cut off is never taken for what was written later at the same place, however short the lives.
#[test]
fn many_short_lives_leave_nothing_behind() {
    with_seeds(25, |seed| {
        let mut world = World::new(seed, 2, small_options());
        let mut epoch = 0;
        for _ in 0..30 {
            for _ in 0..world.random.below(4) {
                // Cut off while it opens, or soon after, with nothing acknowledged.
                let executor = world.next_generation();
                world.disk.crash_at(world.random.below(40));
                drop(try_open(&executor, &world.disk, world.options.clone()));
            }
            let executor = world.next_generation();
            let volume = opened(&executor, &world.disk, world.options.clone());
            assert_eq!(volume.state(), VolumeState::Writable);
            world.check(&executor, &volume);
            let image = world.disk.image();
            let now = CHECKPOINT_NAMES.map(|name| Checkpoint::decode(&image[name]).expect("it is good").epoch);
            assert!(now[0] == now[1] && now[0] > epoch, "{epoch} {now:?}");
            epoch = now[0];
            world.disk.crash_at(world.disk.operations() + world.random.below(30));
            world.use_it(&executor, &volume, 10_000);
        }
    });
}

#[test]
fn small_files_that_cannot_be_written_lose_nothing() {
    with_seeds(20, |seed| {
        let mut world = World::new(seed, 2, small_options());
        for _ in 0..5 {
            let executor = world.next_generation();
            if world.random.percent(50) {
                world.lose_a_checkpoint();
            }
            let volume = opened(&executor, &world.disk, world.options.clone());
            assert_eq!(volume.state(), VolumeState::Writable);
            world.check(&executor, &volume);
            world.disk.fail_small_in(world.random.below(6));
            world.use_it(&executor, &volume, 200);
            if world.random.percent(50) {
                executor.run(async move { volume.close().await });
            }
        }
    });
}

#[test]
fn a_failed_write_ends_all_changes_and_loses_nothing() {
    with_seeds(25, |seed| {
        let mut world = World::new(seed, 2, small_options());
        for _ in 0..4 {
            let executor = world.next_generation();
            let volume = opened(&executor, &world.disk, world.options.clone());
            world.check(&executor, &volume);
            world.disk.fail_write_in(world.random.below(120));
            world.use_it(&executor, &volume, 400);
            if let VolumeState::Poisoned(why) = volume.state() {
                assert!(why.contains("offset"), "{why}");
                // Reads go on, and changes are refused.
                let (account, volume) = (world.accounts[0].0, volume.clone());
                executor
                    .run(async move {
                        let account = volume.account(account).await.expect("loads");
                        let refused = account.subscribe("something else", true).await;
                        assert!(matches!(refused, Err(StoreError::Poisoned(_))), "{refused:?}");
                        volume.close().await;
                    })
                    .expect("goes on");
            }
        }
    });
}

#[test]
fn accounts_out_of_memory_and_back_are_the_same() {
    with_seeds(6, |seed| {
        let options = VolumeOptions {
            index_bytes_max: 1,
            ..small_options()
        };
        let mut world = World::new(seed, 5, options.clone());
        let executor = world.next_generation();
        let volume = opened(&executor, &world.disk, options);
        world.bytes_max = 3000;
        world.use_it(&executor, &volume, 300);
        assert!(volume.stats().evictions > 50, "{:?}", volume.stats());
        world.check(&executor, &volume);
    });
}

#[test]
fn a_small_disk_under_random_use_refuses_and_goes_on() {
    with_seeds(6, |seed| {
        let options = VolumeOptions {
            volume_bytes_max: Some(6 * 128 * 1024),
            ..small_options()
        };
        let mut world = World::new(seed, 3, options.clone());
        for _ in 0..3 {
            let executor = world.next_generation();
            let volume = opened(&executor, &world.disk, options.clone());
            world.use_it(&executor, &volume, 400);
            assert!(!matches!(volume.state(), VolumeState::Poisoned(_)));
            world.check(&executor, &volume);
            executor.run(async move { volume.close().await }).expect("closes");
        }
    });
}
