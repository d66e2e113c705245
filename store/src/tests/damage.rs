//! Bytes that change on the disk while nobody looks: never other bytes than were written, never a panic, never silence.

use std::rc::Rc;

use super::harness::*;
use crate::disk::Disk;
use crate::sim::{Executor, Image, Random, SimDisk};
use crate::{OpenReason, StoreError, Uid, Volume, VolumeId, VolumeOptions, VolumeState};

const ACCOUNTS: u8 = 3;
const MESSAGES: u32 = 6;

fn text_of(account: u8, uid: u32) -> Vec<u8> {
    let bytes = if uid == 3 { 40_000 } else { 500 };
    message_text(u64::from(account) * 100 + u64::from(uid), bytes)
}

/// A volume with some mail, closed or crashed.
pub(super) fn volume_with_mail(close: bool, options: VolumeOptions) -> Image {
    let executor = Executor::new(9);
    let disk = SimDisk::new(9);
    let volume = made(&executor, &disk, options);
    executor
        .run(async move {
            for uid in 1..=MESSAGES {
                for account in 0..ACCOUNTS {
                    let appended = deliver_one(&volume, account_id(account), &text_of(account, uid)).await;
                    assert_eq!(appended.expect("delivered").uid, Uid(uid));
                }
            }
            if close {
                volume.close().await;
            }
        })
        .expect("goes on");
    drop(executor);
    disk.restarted(9).image()
}

/// Opens the image and reads everything: what cannot be read must be an error that names it, or the volume must have said that
/// it is damaged. Gives how many messages could not be read, and whether the volume says it is damaged;
/// `None` when it did not open.
pub(super) fn read_all(image: &Image) -> Option<(u32, bool)> {
    let executor = Executor::new(1);
    let disk = Rc::new(SimDisk::with_image(1, image));
    executor
        .run(async move {
            let Ok(volume) = Volume::open(disk, VOLUME, small_options()).await else {
                return None;
            };
            let mut unread = 0;
            for number in 0..ACCOUNTS {
                let account = match volume.account(account_id(number)).await {
                    Ok(account) => account,
                    Err(StoreError::Damaged { what }) => {
                        assert!(what.contains(&account_id(number).to_string()), "{what}");
                        unread += MESSAGES;
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                let inbox = account.mailbox("INBOX").expect("always there");
                for uid in 1..=MESSAGES {
                    match read_message(&inbox, Uid(uid)).await {
                        Ok(bytes) => assert!(
                            bytes == text_of(number, uid),
                            "account {number}, UID {uid}: other bytes"
                        ),
                        Err(StoreError::Damaged { what }) => {
                            assert!(what.contains(&format!("UID {uid}")), "{what}");
                            unread += 1;
                        }
                        Err(StoreError::MessageGone) => {
                            assert!(
                                !volume.damage().is_empty(),
                                "account {number}, UID {uid}: gone without a word"
                            );
                            unread += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            let read_only = matches!(volume.state(), VolumeState::ReadOnly(_));
            assert_eq!(read_only, !volume.damage().is_empty());
            Some((unread, read_only))
        })
        .expect("reading goes on")
}

/// Every byte is too many for a short test: a step that shares no factor with the structures meets all of them.
fn flip_bytes(image: &Image, step: usize, mut check: impl FnMut(&str, usize, &Image)) {
    let mut image = image.clone();
    let names: Vec<String> = image.keys().cloned().collect();
    for name in names {
        let length = image[&name].len();
        let used = image[&name]
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let step = if length < 4096 { 1 } else { step };
        for offset in (0..used).step_by(step) {
            image.get_mut(&name).expect("it is there")[offset] ^= 0x41;
            check(&name, offset, &image);
            image.get_mut(&name).expect("it is there")[offset] ^= 0x41;
        }
    }
}

#[test]
fn any_changed_byte_of_a_closed_volume_is_harmless_or_named() {
    let image = volume_with_mail(true, small_options());
    assert_eq!(read_all(&image), Some((0, false)));
    flip_bytes(&image, 211, |name, offset, image| match read_all(image) {
        None => assert_eq!(name, "pigeonair-volume", "offset {offset} of {name}: did not open"),
        Some((unread, read_only)) => {
            // What cannot be read was named when it was read; what is missing, when the volume opened.
            assert!(
                unread == 0 || read_only || name.ends_with(".log"),
                "offset {offset} of {name}"
            );
        }
    });
}

#[test]
fn damage_with_valid_batches_behind_it_makes_the_volume_read_only() {
    // The whole journal is read at opening.
    let options = VolumeOptions {
        checkpoint_bytes: u64::MAX / 2,
        ..small_options()
    };
    let image = volume_with_mail(false, options);
    let segment = &image["0000000000000000.log"];
    let last = segment
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("something is written");
    let mut damaged = image.clone();
    damaged.get_mut("0000000000000000.log").expect("there")[4096 + 100] ^= 1;
    assert!(last > 3 * 4096);
    let (unread, read_only) = read_all(&damaged).expect("it opens");
    assert!(read_only);
    assert!(unread <= MESSAGES, "only what the damage touches is lost: {unread}");
    let executor = Executor::new(1);
    let disk = SimDisk::with_image(1, &damaged);
    let volume = opened(&executor, &disk, small_options());
    executor
        .run(async move {
            let refused = deliver_one(&volume, account_id(1), b"a: b\r\n\r\n").await;
            assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
            volume.close().await;
        })
        .expect("goes on");
    assert_eq!(disk.image(), damaged, "nothing was changed");
}

#[test]
fn misdirected_writes_and_unreadable_blocks_never_give_other_bytes() {
    for seed in 1..40 {
        let mut random = Random::new(seed);
        let executor = Executor::new(seed);
        let disk = SimDisk::new(seed);
        let volume = made(&executor, &disk, small_options());
        disk.misdirect_write_in(random.below(15));
        executor
            .run(async move {
                for uid in 1..=MESSAGES {
                    for account in 0..ACCOUNTS {
                        deliver_one(&volume, account_id(account), &text_of(account, uid))
                            .await
                            .ok();
                    }
                }
            })
            .expect("goes on");
        read_all(&disk.restarted(seed).image()).expect("it opens");
    }
    let image = volume_with_mail(true, small_options());
    for block in 0..12 {
        let executor = Executor::new(block);
        let disk = SimDisk::with_image(block, &image);
        disk.make_unreadable("0000000000000000.log", block * 4096);
        let disk: Rc<dyn Disk> = Rc::new(disk);
        executor
            .run(async move {
                let volume = Volume::open(disk, VOLUME, small_options()).await.expect("it opens");
                for number in 0..ACCOUNTS {
                    let Ok(account) = volume.account(account_id(number)).await else {
                        continue;
                    };
                    let inbox = account.mailbox("INBOX").expect("always there");
                    for uid in 1..=MESSAGES {
                        if let Ok(bytes) = read_message(&inbox, Uid(uid)).await {
                            assert!(bytes == text_of(number, uid));
                        }
                    }
                }
            })
            .expect("goes on");
    }
}

#[test]
fn what_is_not_this_volume_is_refused_by_name() {
    let image = volume_with_mail(true, small_options());
    let open = |image: &Image, volume: VolumeId| {
        let disk: Rc<dyn Disk> = Rc::new(SimDisk::with_image(1, image));
        let options = VolumeOptions::default();
        let opened = Executor::new(1).run(async move { Volume::open(disk, volume, options).await.err() });
        opened.expect("goes on")
    };
    let error = open(&Image::new(), VOLUME).expect("refused");
    assert_eq!(error.reason, OpenReason::NoMarker);
    assert!(error.to_string().contains(&VOLUME.to_string()), "{error}");
    let other = VolumeId([7; 16]);
    assert_eq!(
        open(&image, other).map(|error| error.reason),
        Some(OpenReason::OtherVolume(VOLUME))
    );
    let mut without = image.clone();
    without.retain(|name, _| !name.ends_with(".log"));
    assert!(matches!(
        open(&without, VOLUME).map(|error| error.reason),
        Some(OpenReason::MissingSegment(_))
    ));
    let marker = pigeon_store_format::Marker::decode(&image["pigeonair-volume"]).expect("valid");
    let newer = pigeon_store_format::Marker { version: 9, ..marker };
    let mut changed = image.clone();
    changed.insert("pigeonair-volume".into(), newer.encode());
    let reason = open(&changed, VOLUME).map(|error| error.reason);
    assert_eq!(reason, Some(OpenReason::NewerFormat { found: 9, readable: 3 }));
    let older = pigeon_store_format::Marker { version: 2, ..marker };
    changed.insert("pigeonair-volume".into(), older.encode());
    let reason = open(&changed, VOLUME).map(|error| error.reason);
    assert_eq!(reason, Some(OpenReason::OlderFormat { found: 2, readable: 3 }));
    let kind = pigeon_store_format::Marker { kind: 2, ..marker };
    changed.insert("pigeonair-volume".into(), kind.encode());
    assert_eq!(
        open(&changed, VOLUME).map(|error| error.reason),
        Some(OpenReason::OtherKind(2))
    );
    assert_eq!(open(&image, VOLUME), None);
}
