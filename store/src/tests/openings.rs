//! What an opening leaves on the disk, and what becomes of one that fails half-way.

use std::rc::Rc;

use pigeon_store_format::{CHECKPOINT_NAMES, Checkpoint};

use super::damage::{read_all, volume_with_mail};
use super::harness::*;
use crate::sim::{Executor, Image, SimDisk};
use crate::{OpenReason, StoreError, Volume, VolumeState};

fn checkpoints(image: &Image) -> [Checkpoint; 2] {
    CHECKPOINT_NAMES.map(|name| Checkpoint::decode(&image[name]).expect("it is good"))
}

#[test]
fn every_opening_has_a_higher_epoch_than_all_before() {
    let mut image = volume_with_mail(true, small_options());
    let mut last = checkpoints(&image)[0].epoch;
    for seed in 0..5 {
        let executor = Executor::new(seed);
        let disk = SimDisk::with_image(seed, &image);
        // It writes nothing, and then the power goes.
        let volume = opened(&executor, &disk, small_options());
        assert_eq!(volume.state(), VolumeState::Writable);
        image = disk.restarted(seed).image();
        let [one, two] = checkpoints(&image);
        assert_eq!(one, two);
        assert_eq!(one.epoch, last + 1);
        assert!(!one.clean);
        last = one.epoch;
    }
    assert_eq!(read_all(&image), Some((0, false)));
}

#[test]
fn an_opening_that_cannot_say_so_is_read_only() {
    let image = volume_with_mail(true, small_options());
    for failing in 0..2 {
        for seed in 0..8 {
            let executor = Executor::new(seed);
            let disk = SimDisk::with_image(seed, &image);
            disk.fail_small_in(failing);
            let volume = opened(&executor, &disk, small_options());
            let VolumeState::ReadOnly(why) = volume.state() else {
                panic!("{:?}", volume.state());
            };
            assert!(why.contains(&format!("checkpoint-{}", failing + 1)), "{why}");
            executor
                .run(async move {
                    let refused = deliver_one(&volume, account_id(0), b"a: b\r\n\r\n").await;
                    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
                    volume.close().await;
                })
                .expect("goes on");
            // The next one is as good as any.
            assert_eq!(read_all(&disk.restarted(seed).image()), Some((0, false)));
        }
    }
    // So it is when there is no room for it.
    let executor = Executor::new(1);
    let disk = SimDisk::with_image(1, &image);
    disk.set_capacity(0);
    let volume = opened(&executor, &disk, small_options());
    assert!(matches!(volume.state(), VolumeState::ReadOnly(_)));
    assert_eq!(disk.image(), image, "nothing was changed");
}

#[test]
fn an_opening_that_cannot_read_is_refused_by_name_or_exact() {
    let image = volume_with_mail(true, small_options());
    let mut refused = 0;
    for failing in 0..12 {
        let executor = Executor::new(failing);
        let disk = Rc::new(SimDisk::with_image(failing, &image));
        disk.fail_look_in(failing);
        let opened = executor
            .run(async move { Volume::open(disk, VOLUME, small_options()).await })
            .expect("goes on");
        match opened {
            Ok(volume) => assert_eq!(volume.state(), VolumeState::Writable),
            Err(error) => {
                assert!(matches!(error.reason, OpenReason::Io(_)), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn a_crash_at_every_point_of_opening_and_closing_leaves_the_same_mail() {
    let image = volume_with_mail(false, small_options());
    for crash_at in 0.. {
        let executor = Executor::new(crash_at);
        let disk = SimDisk::with_image(crash_at, &image);
        disk.crash_at(crash_at);
        if let Some(volume) = try_open(&executor, &disk, small_options()) {
            executor.run(async move { volume.close().await });
        }
        assert_eq!(
            read_all(&disk.restarted(crash_at).image()),
            Some((0, false)),
            "{crash_at}"
        );
        if !disk.crashed() || crash_at > 400 {
            assert!(crash_at > 10);
            break;
        }
    }
}

#[test]
fn a_crash_at_every_point_of_making_a_volume_leaves_none_or_a_whole_one() {
    for crash_at in 0..12 {
        let executor = Executor::new(crash_at);
        let disk = SimDisk::new(crash_at);
        disk.crash_at(crash_at);
        let making = disk.clone();
        executor.run(async move { Volume::create(Rc::new(making), VOLUME, &small_options()).await });
        let disk = disk.restarted(crash_at);
        let executor = Executor::new(crash_at);
        let opening = Rc::new(disk.clone());
        let first = executor
            .run(async move { Volume::open(opening, VOLUME, small_options()).await })
            .expect("goes on");
        match first {
            Ok(volume) => assert_eq!(volume.state(), VolumeState::Writable),
            Err(error) => {
                assert_eq!(error.reason, OpenReason::NoMarker, "{error}");
                // What is there does not keep it from being made.
                drop(made(&executor, &disk, small_options()));
            }
        }
    }
}

#[test]
fn a_volume_without_its_marker_is_not_made_anew() {
    for close in [false, true] {
        let mut image = volume_with_mail(close, small_options());
        image.remove("pigeonair-volume");
        let mut without = image.clone();
        CHECKPOINT_NAMES.iter().for_each(|name| drop(without.remove(*name)));
        for image in [image, without] {
            let disk = SimDisk::with_image(3, &image);
            let making = Rc::new(disk.clone());
            let refused = Executor::new(3)
                .run(async move { Volume::create(making, VOLUME, &small_options()).await })
                .expect("goes on");
            assert!(
                matches!(&refused, Err(StoreError::Io(why)) if why.contains("of another")),
                "{refused:?}"
            );
            assert_eq!(disk.image(), image, "nothing was changed");
        }
    }
}
