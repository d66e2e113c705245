//! Files that are lost, cut off, swapped, out of date or another volume's: what was acknowledged is there, or the volume says by
//! name what is not, and takes no more.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use pigeon_store_format::{CHECKPOINT_NAMES, Checkpoint, checksum};

use super::damage::volume_with_mail;
use super::harness::*;
use crate::journal::segments::segment_number;
use crate::sim::{Executor, Image, Random, SimDisk};
use crate::{Damage, OpenReason, StoreError, Uid, Volume, VolumeOptions, VolumeState};

const ACCOUNTS: u8 = 4;

/// Messages that must be there: account and UID, with the number of the text.
type Mail = BTreeMap<(u8, u32), u64>;

/// A volume's history: what was on the disk now and then, and what must be there at the end.
struct History {
    images: Vec<Image>,
    mail: Mail,
}

/// Mail comes and goes, so that compaction leaves gaps; images are kept after each round, with the volume open.
fn history(seed: u64, rounds: u64, options: &VolumeOptions) -> History {
    let executor = Executor::new(seed);
    let disk = SimDisk::new(seed);
    let volume = made(&executor, &disk, options.clone());
    let mut history = History {
        images: vec![disk.image()],
        mail: Mail::new(),
    };
    for round in 0..rounds {
        let (held, mut mail) = (volume.clone(), std::mem::take(&mut history.mail));
        history.mail = executor
            .run(async move {
                for message in 0..24 {
                    let number = round * 100 + message;
                    let account = (number % u64::from(ACCOUNTS)) as u8;
                    let text = text_of(number);
                    let appended = deliver_one(&held, account_id(account), &text).await.expect("delivered");
                    mail.insert((account, appended.uid.0), number);
                }
                for account in 0..ACCOUNTS {
                    let inbox = held.account(account_id(account)).await.expect("loads").mailbox("INBOX");
                    let gone: Vec<Uid> = mail
                        .keys()
                        .filter(|(of, uid)| *of == account && uid % 3 != 0)
                        .map(|(_, uid)| Uid(*uid))
                        .collect();
                    inbox.expect("there").expunge(&gone).await.expect("expunged");
                    mail.retain(|(of, uid), _| *of != account || uid % 3 == 0);
                }
                held.poke();
                mail
            })
            .expect("goes on");
        executor.run_until_stalled();
        history.images.push(disk.image());
    }
    history
}

fn closed(image: &Image, options: &VolumeOptions) -> Image {
    let executor = Executor::new(5);
    let disk = SimDisk::with_image(5, image);
    let volume = opened(&executor, &disk, options.clone());
    assert_eq!(volume.state(), VolumeState::Writable);
    executor.run(async move { volume.close().await }).expect("closes");
    disk.image()
}

fn text_of(number: u64) -> Vec<u8> {
    let bytes = if number.is_multiple_of(7) { 40_000 } else { 1500 };
    message_text(number, bytes)
}

/// How a volume opened.
#[derive(Debug)]
enum Opening {
    Refused(OpenReason),
    ReadOnly(Vec<Damage>),
    Writable,
}

/// Opens an image and reads all mail that must be there: it is there, or an error names it, or the volume is damaged and says so.
/// Gives how it opened, and how many messages were not there.
fn look(image: &Image, mail: &Mail, options: &VolumeOptions) -> (Opening, usize) {
    let executor = Executor::new(1);
    let disk = Rc::new(SimDisk::with_image(1, image));
    let (wanted, with, on) = (mail.clone(), options.clone(), disk.clone());
    let result = executor
        .run(async move {
            let volume = match Volume::open(on, VOLUME, with).await {
                Ok(volume) => volume,
                Err(error) => return (Opening::Refused(error.reason), wanted.len()),
            };
            let damage = volume.damage().to_vec();
            let mut lost = 0;
            for ((account, uid), number) in wanted {
                let found = async {
                    let inbox = volume.account(account_id(account)).await?.mailbox("INBOX");
                    read_message(&inbox.expect("always there"), Uid(uid)).await
                };
                match found.await {
                    Ok(bytes) => assert!(bytes == text_of(number), "account {account}, UID {uid}: other bytes"),
                    Err(StoreError::Damaged { .. }) => lost += 1,
                    Err(StoreError::MessageGone) => {
                        assert!(!damage.is_empty(), "account {account}, UID {uid}: gone without a word");
                        lost += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let opening = match volume.state() {
                VolumeState::ReadOnly(why) => {
                    assert!(!why.is_empty());
                    Opening::ReadOnly(damage)
                }
                _ => Opening::Writable,
            };
            (opening, lost)
        })
        .expect("goes on");
    if !matches!(result.0, Opening::Writable) {
        assert_eq!(&disk.image(), image, "nothing was changed");
    }
    result
}

/// The segments that a checkpoint lists; one more may have been made and not be listed yet.
fn segments_of(image: &Image) -> Vec<String> {
    let checkpoint = image.get(CHECKPOINT_NAMES[0]).map(|bytes| Checkpoint::decode(bytes));
    let listed = |name: &str| match &checkpoint {
        Some(Ok(checkpoint)) => segment_number(name).is_some_and(|number| checkpoint.lists(number)),
        _ => segment_number(name).is_some(),
    };
    image.keys().filter(|name| listed(name)).cloned().collect()
}

fn checkpoint_of(image: &Image) -> Checkpoint {
    Checkpoint::decode(&image[CHECKPOINT_NAMES[0]]).expect("it is good")
}

/// Options with checkpoints now and then, or none but the first.
fn both_options() -> [VolumeOptions; 2] {
    let never = VolumeOptions {
        checkpoint_bytes: u64::MAX / 2,
        // Compaction would write one.
        compaction_live_percent: 0,
        ..small_options()
    };
    [small_options(), never]
}

#[test]
fn every_lost_segment_is_named() {
    for options in both_options() {
        let history = history(21, 8, &options);
        let crashed = history.images.last().expect("some").clone();
        for image in [crashed.clone(), closed(&crashed, &options)] {
            let (opening, lost) = look(&image, &history.mail, &options);
            assert!(matches!(opening, Opening::Writable), "{opening:?}");
            assert_eq!(lost, 0);
            let names = segments_of(&image);
            assert!(names.len() > 5);
            // One alone, then all from one on, then any two.
            let mut choices: Vec<Vec<&String>> = names.iter().map(|name| vec![name]).collect();
            choices.extend((1..names.len()).map(|from| names[from..].iter().collect()));
            choices.extend((1..names.len()).map(|index| vec![&names[index - 1], &names[index]]));
            for choice in choices {
                let mut left = image.clone();
                left.retain(|name, _| !choice.contains(&name));
                let (opening, _) = look(&left, &history.mail, &options);
                let Opening::ReadOnly(damage) = opening else {
                    panic!("without {choice:?}: {opening:?}");
                };
                for name in choice {
                    assert!(
                        damage.iter().any(|damage| damage.place.contains(name.as_str())),
                        "without {name}: {damage:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_segment_that_was_only_made_ahead_cannot_be_told_from_one_that_was_begun() {
    // The last file of the directory is lost, and with it nothing: nobody can know that.
    let history = history(22, 3, &small_options());
    let mut image = history.images.last().expect("some").clone();
    let last = segments_of(&image).pop().expect("some");
    assert!(image[&last].iter().all(|byte| *byte == 0), "it was made ahead");
    image.remove(&last);
    let (opening, lost) = look(&image, &history.mail, &small_options());
    assert!(matches!(opening, Opening::ReadOnly(_)), "{opening:?}");
    assert_eq!(lost, 0);
}

#[test]
fn one_checkpoint_file_alone_is_exact() {
    for options in both_options() {
        let history = history(23, 8, &options);
        let crashed = history.images.last().expect("some").clone();
        for image in [crashed.clone(), closed(&crashed, &options)] {
            for name in CHECKPOINT_NAMES {
                let mut without = image.clone();
                without.remove(name);
                let mut damaged = image.clone();
                damaged.get_mut(name).expect("there")[70] ^= 1;
                let mut long = image.clone();
                long.insert(name.to_owned(), vec![0; pigeon_store_format::CHECKPOINT_BYTES_MAX + 1]);
                let mut empty = image.clone();
                empty.insert(name.to_owned(), Vec::new());
                for image in [without, damaged, long, empty] {
                    let (opening, lost) = look(&image, &history.mail, &options);
                    assert!(matches!(opening, Opening::Writable), "{opening:?}");
                    assert_eq!(lost, 0);
                    // And a lost segment is still known.
                    let mut less = image.clone();
                    let names = segments_of(&image);
                    less.remove(&names[names.len() - 3]);
                    let (opening, _) = look(&less, &history.mail, &options);
                    assert!(matches!(opening, Opening::ReadOnly(_)), "{opening:?}");
                }
            }
        }
    }
}

#[test]
fn without_any_checkpoint_all_mail_is_there_to_be_read() {
    let options = small_options();
    let history = history(24, 8, &options);
    let mut image = history.images.last().expect("some").clone();
    let numbers: Vec<u64> = checkpoint_of(&image)
        .segments
        .iter()
        .map(|segment| segment.number)
        .collect();
    assert!(numbers[0] > 0, "compaction has removed the first ones: {numbers:?}");
    for name in CHECKPOINT_NAMES {
        image.remove(name);
    }
    let (opening, lost) = look(&image, &history.mail, &options);
    let Opening::ReadOnly(damage) = opening else {
        panic!("{opening:?}");
    };
    assert_eq!(lost, 0, "{damage:?}");
    assert!(
        damage[0]
            .what
            .contains("checkpoint-1 is missing, checkpoint-2 is missing"),
        "{damage:?}"
    );
    for damage in &damage {
        assert!(
            damage.accounts.is_empty() && damage.mail_of.is_empty(),
            "nobody lost anything: {damage}"
        );
    }
    // A gap is named.
    let names = segments_of(&image);
    image.remove(&names[1]);
    let (opening, _) = look(&image, &history.mail, &options);
    let Opening::ReadOnly(damage) = opening else {
        panic!("{opening:?}");
    };
    assert!(damage.iter().any(|damage| damage.what.contains("absent")), "{damage:?}");
}

#[test]
fn an_unreadable_table_of_accounts_costs_time_only() {
    let options = small_options();
    let history = history(25, 8, &options);
    let mut image = closed(history.images.last().expect("some"), &options);
    let mut checkpoint = checkpoint_of(&image);
    assert!(checkpoint.segments[0].number > 0, "compaction has left gaps");
    // It points to a record that is none.
    checkpoint.table.0 += 8;
    for name in CHECKPOINT_NAMES {
        image.insert(name.to_owned(), checkpoint.encode());
    }
    let (opening, lost) = look(&image, &history.mail, &options);
    assert!(matches!(opening, Opening::Writable), "{opening:?}");
    assert_eq!(lost, 0);
    for name in segments_of(&image) {
        let mut less = image.clone();
        less.remove(&name);
        let (opening, _) = look(&less, &history.mail, &options);
        assert!(matches!(opening, Opening::ReadOnly(_)), "without {name}: {opening:?}");
    }
}

#[test]
fn segments_of_the_wrong_length_are_named_and_read_as_far_as_they_go() {
    for options in both_options() {
        let history = history(26, 6, &options);
        let image = history.images.last().expect("some");
        for name in segments_of(image) {
            for length in [0, 100, 4096, 50_000, 128 * 1024 - 1, 128 * 1024 + 4096] {
                let mut cut = image.clone();
                cut.get_mut(&name).expect("there").resize(length, 0);
                let (opening, _) = look(&cut, &history.mail, &options);
                let Opening::ReadOnly(damage) = opening else {
                    panic!("{name} of {length} bytes: {opening:?}");
                };
                let text = format!("the segment file has {length} bytes");
                assert!(
                    damage.iter().any(|damage| damage.what.contains(&text)),
                    "{name}: {damage:?}"
                );
            }
        }
    }
}

#[test]
fn checkpoints_out_of_date_never_hide_mail() {
    for options in both_options() {
        let history = history(27, 8, &options);
        let crashed = history.images.last().expect("some").clone();
        for image in [crashed.clone(), closed(&crashed, &options)] {
            for old in &history.images {
                for both in [false, true] {
                    let mut stale = image.clone();
                    for name in &CHECKPOINT_NAMES[..if both { 2 } else { 1 }] {
                        stale.insert((*name).to_owned(), old[*name].clone());
                    }
                    let (opening, lost) = look(&stale, &history.mail, &options);
                    match opening {
                        Opening::Writable => assert_eq!(lost, 0),
                        Opening::ReadOnly(_) => assert!(both, "the newer file counts"),
                        Opening::Refused(reason) => panic!("{reason:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn another_volumes_files_are_never_taken_for_this_ones() {
    let options = small_options();
    let history = history(28, 5, &options);
    // The same identity, another tag: made anew, or a copy of it.
    let other = volume_with_mail(true, options.clone());
    let image = history.images.last().expect("some");
    let names = segments_of(image);
    for (index, name) in names.iter().enumerate() {
        let mut mixed = image.clone();
        mixed.insert(name.clone(), other["0000000000000000.log"].clone());
        let (opening, lost) = look(&mixed, &history.mail, &options);
        // Before the place where reading begins only who reads it meets it.
        let begun = image[name].iter().any(|byte| *byte != 0);
        if matches!(opening, Opening::Writable) {
            assert!(begun && lost > 0, "{name}");
        }
        let behind = index > 0 && image[&names[index - 1]].iter().any(|byte| *byte != 0);
        assert!(
            begun || behind || matches!(opening, Opening::ReadOnly(_)),
            "{name}: {opening:?}"
        );
    }
    let mut beyond = image.clone();
    beyond.insert("0000000000000999.log".to_owned(), other["0000000000000000.log"].clone());
    let (opening, lost) = look(&beyond, &history.mail, &options);
    assert!(
        matches!(&opening, Opening::ReadOnly(damage) if damage.len() == 1 && damage[0].place.contains("999.log")),
        "{opening:?}"
    );
    assert_eq!(lost, 0);
    // Nothing can be at such a place, so such a name is nobody's.
    let mut far = image.clone();
    far.insert("18446744073709551615.log".to_owned(), vec![1; 4096]);
    let disk = SimDisk::with_image(3, &far);
    let volume = opened(&Executor::new(3), &disk, options.clone());
    assert_eq!(volume.state(), VolumeState::Writable);
    assert!(
        disk.image().contains_key("18446744073709551615.log"),
        "it is left alone"
    );
    let mut mixed = image.clone();
    for name in CHECKPOINT_NAMES {
        mixed.insert(name.to_owned(), other[name].clone());
    }
    let (opening, lost) = look(&mixed, &history.mail, &options);
    let Opening::ReadOnly(damage) = opening else {
        panic!("{opening:?}");
    };
    assert!(
        damage[0].what.contains("earlier volume of the same identity"),
        "{damage:?}"
    );
    assert_eq!(lost, 0);
}

#[test]
fn a_checkpoint_of_another_version_refuses_the_volume_by_name() {
    let image = volume_with_mail(true, small_options());
    for name in CHECKPOINT_NAMES {
        for version in [1, 3] {
            let mut changed = image.clone();
            let bytes = changed.get_mut(name).expect("there");
            bytes[16] = version;
            bytes[20..24].fill(0);
            let sum = checksum(bytes);
            bytes[20..24].copy_from_slice(&sum.to_le_bytes());
            let (opening, _) = look(&changed, &Mail::new(), &small_options());
            let Opening::Refused(reason) = opening else {
                panic!("{opening:?}");
            };
            assert_eq!(
                reason,
                OpenReason::OtherCheckpoint {
                    name: name.to_owned(),
                    found: u16::from(version),
                    readable: 2
                }
            );
        }
    }
}

/// Something happens to one file of a closed volume.
fn harm(image: &mut Image, random: &mut Random, others: &[&Image]) -> String {
    let names: Vec<String> = image
        .keys()
        .filter(|name| *name != "pigeonair-volume")
        .cloned()
        .collect();
    let name = random.pick(&names).clone();
    let length = image[&name].len().max(1);
    match random.below(7) {
        0 => {
            image.remove(&name);
            format!("{name} removed")
        }
        1 => {
            let to = random.index(2 * length);
            image.get_mut(&name).expect("there").resize(to, 0);
            format!("{name} made {to} bytes long")
        }
        2 => {
            let from = random.pick(&names).clone();
            let bytes = image[&from].clone();
            image.insert(name.clone(), bytes);
            format!("{name} replaced by {from}")
        }
        3 => {
            let other = *random.pick(others);
            let Some(bytes) = other.get(&name) else {
                return "nothing".to_owned();
            };
            image.insert(name.clone(), bytes.clone());
            format!("{name} replaced by another time's or another volume's")
        }
        4 => {
            let at = random.index(length) / 4096 * 4096;
            let bytes = image.get_mut(&name).expect("there");
            let end = (at + 4096 * (1 + random.index(8))).min(bytes.len());
            if let Some(range) = bytes.get_mut(at..end) {
                range.fill(0);
            }
            format!("{name} zeroed from {at} to {end}")
        }
        5 => {
            let bytes = image.get_mut(&name).expect("there");
            let blocks = bytes.len() / 4096;
            if blocks > 0 {
                let (from, to) = (random.index(blocks) * 4096, random.index(blocks) * 4096);
                bytes.copy_within(from..from + 4096, to);
                return format!("{name}: block at {from} written to {to}");
            }
            "nothing".to_owned()
        }
        _ => {
            let at = random.index(length);
            if let Some(byte) = image.get_mut(&name).expect("there").get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            format!("{name}: a bit at {at}")
        }
    }
}

#[test]
fn whatever_happens_to_a_closed_volume_no_mail_is_lost_in_silence() {
    for options in both_options() {
        let history = history(29, 7, &options);
        let other = volume_with_mail(true, options.clone());
        let image = closed(history.images.last().expect("some"), &options);
        let mut others: Vec<&Image> = history.images.iter().collect();
        others.push(&other);
        let (mut writable, mut read_only) = (0, 0);
        for seed in 0..600 {
            let mut random = Random::new(seed);
            let mut harmed = image.clone();
            let what = harm(&mut harmed, &mut random, &others);
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| look(&harmed, &history.mail, &options)));
            match result {
                Ok((Opening::Writable, _)) => writable += 1,
                Ok((Opening::ReadOnly(damage), _)) => {
                    assert!(!damage.is_empty(), "{what}");
                    read_only += 1;
                }
                Ok((Opening::Refused(reason), _)) => panic!("{what}: {reason:?}"),
                Err(panic) => {
                    eprintln!("seed {seed}: {what}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        assert!(writable > 50 && read_only > 50, "{writable} {read_only}");
    }
}
