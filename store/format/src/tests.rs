//! Every account record there and back, cut anywhere, and with random bytes; and golden bytes that must never change.

use std::borrow::Cow;

use crate::*;

fn message(uid: u32) -> Message {
    Message {
        uid: Uid(uid),
        size: 5000,
        mod_seq: ModSeq(9),
        flags: Flags::SEEN | Flags(1 << 8),
        internal_date: -5,
        body: BodyReference {
            position: LogPosition(64),
            entry: 1,
            sharers: 3,
            streamed: uid.is_multiple_of(2),
            traits: BodyTraits::EIGHT_BIT,
        },
    }
}

fn definition(id: u32, name: &str) -> MailboxDefinition {
    MailboxDefinition {
        id: MailboxId(id),
        uid_validity: UidValidity(77),
        special_use: Some(SpecialUse::Sent),
        selectable: true,
        name: name.to_owned(),
    }
}

fn key(number: u8) -> KeyUse {
    KeyUse {
        key: MessageKey([number; 16]),
        at: 1_700_000_000 + i64::from(number),
    }
}

fn transfer() -> Transfer {
    Transfer {
        source: MailboxId(1),
        target: MailboxId(2),
        uids: UidRanges::from_ascending([1, 2, 5].map(Uid)),
        first_uid: Uid(44),
        mod_seq: ModSeq(12),
        keywords: vec![NewKeyword {
            index: 3,
            name: "work".into(),
        }],
        keyword_map: vec![(0, 3)],
    }
}

fn changes() -> Vec<Change<'static>> {
    let dead = vec![SegmentBytes {
        segment: 3,
        bytes: 4096,
    }];
    vec![
        Change::Append {
            mailbox: MailboxId(1),
            keywords: vec![NewKeyword {
                index: 0,
                name: "$Forwarded".into(),
            }],
            messages: Cow::Owned(vec![message(1), message(2)]),
            starts: vec![StreamedStart {
                end: LogPosition(64),
                start: LogPosition(32),
            }],
            key: None,
        },
        Change::Flags {
            mailbox: MailboxId(1),
            mod_seq: ModSeq(5),
            keywords: vec![],
            groups: vec![FlagGroup {
                set: Flags::SEEN,
                clear: Flags(u64::MAX),
                uids: UidRanges::from_ascending([1, 2, 5].map(Uid)),
            }],
        },
        Change::Expunge {
            mailbox: MailboxId(1),
            mod_seq: ModSeq(6),
            uids: UidRanges::from_ascending([Uid(4)]),
            dead: dead.clone(),
        },
        Change::Copy(transfer()),
        Change::Move {
            transfer: transfer(),
            source_mod_seq: ModSeq(80),
        },
        Change::MailboxCreate {
            mailboxes: vec![definition(1, "INBOX"), definition(2, "Sent/2026 é")],
        },
        Change::MailboxDelete {
            mailbox: MailboxId(2),
            keep_name: true,
            dead: dead.clone(),
        },
        Change::MailboxRename {
            created: vec![definition(4, "a")],
            renamed: vec![(MailboxId(2), "a/b".into()), (MailboxId(3), "a/b/c".into())],
        },
        Change::InboxRename {
            created: vec![definition(5, "old")],
            inbox_mod_seq: ModSeq(8),
        },
        Change::Subscribe {
            subscribed: true,
            name: "a/b".into(),
        },
        Change::Recent {
            mailbox: MailboxId(1),
            first: Uid(3),
        },
        Change::Moved {
            bodies: vec![MovedBody {
                from: LogPosition(8),
                to: LogPosition(16),
                start: LogPosition::NONE,
            }],
            dead: dead.clone(),
            live: dead.clone(),
        },
        Change::Append {
            mailbox: MailboxId(1),
            keywords: vec![],
            messages: Cow::Owned(vec![message(3)]),
            starts: vec![],
            key: Some(key(7)),
        },
        handover(Standing::Here, &[]),
        handover(Standing::Arrived(counterpart()), &[]),
        handover(Standing::Incoming(counterpart()), &[]),
        handover(Standing::HandingOver(counterpart()), &[]),
        handover(Standing::Moved(counterpart()), &dead),
        handover(Standing::GivenUp(counterpart()), &dead),
    ]
}

fn counterpart() -> Counterpart {
    Counterpart {
        id: MoveId([0xcc; 16]),
        place: "n2/v1".into(),
    }
}

fn handover(standing: Standing, dead: &[SegmentBytes]) -> Change<'static> {
    Change::Handover {
        standing,
        dead: dead.to_vec(),
    }
}

fn encoded(change: &Change<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    change.encode(&mut out);
    out
}

/// A small generator of numbers for tests: xorshift64*, seeded and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn every_change_goes_there_and_back_and_no_part_of_it_does() {
    for change in changes() {
        let bytes = encoded(&change);
        assert_eq!(Change::decode(change.kind(), &bytes).as_ref(), Ok(&change));
        for cut in 0..bytes.len() {
            assert!(
                Change::decode(change.kind(), &bytes[..cut]).is_err(),
                "{change:?} cut at {cut}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(
            Change::decode(change.kind(), &longer).is_err(),
            "{change:?} with a byte more"
        );
    }
}

#[test]
fn a_snapshot_goes_there_and_back() {
    let dead = [SegmentBytes { segment: 1, bytes: 2 }];
    let place = SnapshotPlace {
        covers: LogPosition(9),
        base: LogPosition(8),
        parts: 2,
        last_part: LogPosition(7),
        image_bytes: 100,
    };
    let mut bytes = Vec::new();
    SnapshotEnd::encode_fields(&mut bytes, place, &dead, &[], b"image");
    let Ok(Change::Snapshot(decoded)) = Change::decode(RecordKind::Snapshot, &bytes) else {
        panic!("not a snapshot");
    };
    assert_eq!(
        (decoded.covers, decoded.base, decoded.parts),
        (place.covers, place.base, place.parts)
    );
    assert_eq!(
        (decoded.dead(), decoded.live(), decoded.image),
        (dead.to_vec(), Vec::new(), &b"image"[..])
    );
    assert_eq!(encoded(&Change::Snapshot(decoded)), bytes);

    let part = SnapshotPart {
        account: AccountId([4; 16]),
        previous: LogPosition(3),
        index: 1,
        image: b"more",
    };
    let mut bytes = Vec::new();
    part.encode(&mut bytes);
    assert_eq!(SnapshotPart::decode(&bytes), Ok(part));
}

#[test]
fn an_image_goes_there_and_back() {
    let image = AccountImage {
        next_mailbox: MailboxId(3),
        next_uid_validity: UidValidity(79),
        mailboxes: vec![MailboxImage {
            definition: definition(1, "INBOX"),
            uid_next: Uid(9),
            highest_mod_seq: ModSeq(10),
            first_recent: Uid(4),
            keywords: vec!["work".into()],
            messages: Cow::Owned(vec![message(1), message(8)]),
        }],
        subscriptions: vec!["INBOX".into()],
        starts: vec![StreamedStart {
            end: LogPosition(64),
            start: LogPosition(32),
        }],
        keys: vec![key(1), key(2)],
        standing: Standing::Incoming(counterpart()),
        taken: vec![counterpart().id, crate::MoveId([9; 16])],
    };
    let bytes = image.encode();
    assert_eq!(AccountImage::decode(&bytes).as_ref(), Ok(&image));
    for cut in 0..bytes.len() {
        assert!(AccountImage::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn random_bytes_do_not_make_a_parser_panic() {
    let mut random = Random(0x5eed);
    let mut seeds: Vec<(RecordKind, Vec<u8>)> = changes()
        .iter()
        .map(|change| (change.kind(), encoded(change)))
        .collect();
    seeds.push((RecordKind::Snapshot, vec![0; 60]));
    for round in 0..30_000usize {
        let (kind, mut bytes) = seeds[round % seeds.len()].clone();
        for _ in 0..1 + random.next() % 4 {
            let index = (random.next() as usize) % bytes.len();
            bytes[index] = random.next() as u8;
        }
        bytes.truncate((random.next() as usize) % (bytes.len() + 1));
        let _ = Change::decode(kind, &bytes);
        let _ = AccountImage::decode(&bytes);
        let _ = Body::decode(&bytes);
        let _ = BodyChunk::decode(&bytes);
        let _ = BodyEnd::decode(&bytes);
        let _ = AccountTable::decode(&bytes).map(|table| table.accounts().count());
        let _ = SnapshotPart::decode(&bytes);
        let _ = Marker::decode(&bytes);
        let _ = Checkpoint::decode(&bytes);
        let _ = salvage_records(VolumeTag::new(1), &bytes, LogPosition(0));
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What version 3 writes is what every later version reads: these bytes never change.
#[test]
fn golden_bytes() {
    let tag = VolumeTag::new(0x1122_3344_5566_7788);
    let mut payload = Vec::new();
    Link {
        account: AccountId([0xaa; 16]),
        previous: LogPosition(0x40),
    }
    .encode(&mut payload);
    changes()[0].encode(&mut payload);
    let mut record = vec![0; RECORD_HEADER_BYTES];
    record.extend_from_slice(&payload);
    seal_record(tag, &mut record, RecordKind::Append, LogPosition(0x1040));
    let all: Vec<String> = changes().iter().map(|change| hexadecimal(&encoded(change))).collect();
    let golden = include_str!("golden.txt");
    let written = format!("record {}\n{}\n", hexadecimal(&record), all.join("\n"));
    assert_eq!(written, golden, "the format has changed");
}
