//! Two batches under way at once: what a crash leaves of them is cut off, and what was acknowledged is never taken for that.

use std::cell::RefCell;
use std::rc::Rc;

use pigeon_store_format::{BatchHeader, CHECKPOINT_NAMES, Checkpoint, LogPosition, Marker, verify_batch};

use super::harness::*;
use crate::sim::{Executor, Image, Random, SimDisk};
use crate::{Uid, Volume, VolumeState};

const SEGMENT: &str = "0000000000000000.log";
const SENDERS: u8 = 6;

/// What was acknowledged: sender and number of a message, and its UID.
type Acknowledged = Rc<RefCell<Vec<(u8, u8, Uid)>>>;

fn text_of(sender: u8, number: u8) -> Vec<u8> {
    message_text(
        u64::from(sender) << 8 | u64::from(number),
        300 + 90 * usize::from(sender),
    )
}

/// Delivers from several senders at once, until all is delivered or the disk has crashed. Together less than a segment, and less
/// than what makes a checkpoint due.
fn deliver_from_many(executor: &Executor, volume: &Volume, numbers: std::ops::Range<u8>) -> Acknowledged {
    let acknowledged = Acknowledged::default();
    for sender in 0..SENDERS {
        let (volume, acknowledged, numbers) = (volume.clone(), acknowledged.clone(), numbers.clone());
        executor.spawn(async move {
            for number in numbers {
                let appended = deliver_one(&volume, account_id(sender), &text_of(sender, number)).await;
                let appended = appended.expect("there is room");
                acknowledged.borrow_mut().push((sender, number, appended.uid));
            }
        });
    }
    executor.run_until_stalled();
    acknowledged
}

/// Everything acknowledged can be read.
fn check(executor: &Executor, volume: &Volume, acknowledged: &Acknowledged) {
    let (volume, acknowledged) = (volume.clone(), acknowledged.borrow().clone());
    executor
        .run(async move {
            for (sender, number, uid) in acknowledged {
                let account = volume.account(account_id(sender)).await.expect("loads");
                let inbox = account.mailbox("INBOX").expect("always there");
                let bytes = read_message(&inbox, uid)
                    .await
                    .unwrap_or_else(|error| panic!("sender {sender}, number {number}: {error}"));
                assert!(bytes == text_of(sender, number), "sender {sender}, number {number}");
            }
        })
        .expect("reading goes on");
}

/// The batches of the first segment up to the first that is not whole, and the headers behind it.
fn batches(image: &Image) -> (Vec<BatchHeader>, Vec<BatchHeader>) {
    let tag = Marker::decode(&image["pigeonair-volume"]).expect("valid").tag;
    let segment = &image[SEGMENT];
    let header_at = |offset: usize| BatchHeader::decode(&segment[offset..], tag.value(), LogPosition(offset as u64));
    let mut good: Vec<BatchHeader> = Vec::new();
    let mut offset = 0;
    while let Some(header) = header_at(offset)
        && good
            .last()
            .is_none_or(|last| header.sequence == last.sequence + 1 && header.epoch >= last.epoch)
        && verify_batch(tag, &header, &segment[offset..]).is_ok()
    {
        good.push(header);
        offset += header.padded_bytes() as usize;
    }
    let behind = (offset..segment.len()).step_by(4096).filter_map(header_at);
    (good, behind.collect())
}

#[test]
fn damage_is_told_from_a_cut_by_what_was_durable() {
    let (mut beside, mut cut_with_a_whole_one_behind) = (0, 0);
    for seed in 1..50 {
        let executor = Executor::new(seed);
        let disk = SimDisk::new(seed);
        let volume = made(&executor, &disk, small_options());
        executor.run_until_stalled();
        deliver_from_many(&executor, &volume, 0..3);
        let mut image = disk.image();
        // As if nothing had been noted since the opening: only the batches tell.
        let mut checkpoint = Checkpoint::decode(&image[CHECKPOINT_NAMES[0]]).expect("valid");
        checkpoint.durable_end = checkpoint.scan_from;
        checkpoint.durable_sequence = checkpoint.scan_sequence;
        for name in CHECKPOINT_NAMES {
            image.insert(name.into(), checkpoint.encode());
        }
        let (good, behind) = batches(&image);
        assert!(behind.is_empty());
        beside += good.iter().filter(|header| header.under_way == 1).count();
        // The journal as it was when so many batches were written, with one of the last of them damaged.
        for end in 1..=good.len() {
            let written = &good[..end];
            for damaged in written.iter().rev().take(3) {
                let known = damaged.position < checkpoint.durable_end
                    || written.iter().any(|later| later.durable_through() >= damaged.sequence);
                cut_with_a_whole_one_behind += u32::from(!known && damaged.sequence < end as u64);
                let mut image = image.clone();
                let segment = image.get_mut(SEGMENT).expect("it is there");
                segment[damaged.position.0 as usize + 70] ^= 1;
                if let Some(later) = good.get(end) {
                    segment[later.position.0 as usize..].fill(0);
                }
                let executor = Executor::new(seed);
                let disk = SimDisk::with_image(seed, &image);
                let volume = opened(&executor, &disk, small_options());
                assert_eq!(
                    matches!(volume.state(), VolumeState::ReadOnly(_)),
                    known,
                    "seed {seed}, {end} batches: {damaged:?}: {:?}",
                    volume.damage()
                );
            }
        }
    }
    assert!(beside > 5, "batches were under way together: {beside}");
    assert!(cut_with_a_whole_one_behind > 5, "{cut_with_a_whole_one_behind}");
}

#[test]
fn a_torn_batch_before_a_whole_one_is_cut_off_and_never_comes_back() {
    let mut seen = 0;
    for seed in 1..400 {
        let mut random = Random::new(seed);
        let executor = Executor::new(seed);
        let disk = SimDisk::new(seed);
        let volume = made(&executor, &disk, small_options());
        executor.run_until_stalled();
        disk.crash_at(disk.operations() + 2 + random.below(20));
        let acknowledged = deliver_from_many(&executor, &volume, 0..4);
        drop(executor);
        let disk = disk.restarted(seed);
        let (good, behind) = batches(&disk.image());
        let torn_before_whole = behind
            .iter()
            .any(|later| good.last().is_some_and(|last| later.sequence == last.sequence + 2));
        seen += u32::from(torn_before_whole);
        if !torn_before_whole && seed > 20 {
            continue;
        }
        // The same journal goes on over what was left there, with crashes again.
        let mut disk = disk;
        for life in 0..3_u8 {
            let executor = Executor::new(seed);
            let volume = opened(&executor, &disk, small_options());
            assert_eq!(volume.state(), VolumeState::Writable, "seed {seed}, life {life}");
            check(&executor, &volume, &acknowledged);
            disk.crash_at(disk.operations() + random.below(15));
            let first = 10 * (life + 1);
            let more = deliver_from_many(&executor, &volume, first..first + 2);
            acknowledged.borrow_mut().extend(more.borrow().iter().copied());
            drop(executor);
            disk = disk.restarted(seed);
        }
        let executor = Executor::new(seed);
        let volume = opened(&executor, &disk, small_options());
        assert_eq!(volume.state(), VolumeState::Writable, "seed {seed}");
        check(&executor, &volume, &acknowledged);
    }
    assert!(seen > 5, "crashes left a torn batch before a whole one: {seen}");
}
