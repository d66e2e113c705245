//! The byte tables of docs/format.md against the code: each field is where its table says, and each byte has a row.

use std::collections::BTreeMap;

use crate::*;

const DOCUMENT: &str = include_str!("../../../docs/format.md");

/// A row of a byte table: offset, size, field.
type Row = (usize, usize, &'static str);

/// The rows with an offset and a size of the first byte table behind a line that begins so.
fn table(anchor: &str) -> Vec<Row> {
    let from = DOCUMENT
        .lines()
        .position(|line| line.starts_with(anchor))
        .unwrap_or_else(|| panic!("docs/format.md has no line that begins with {anchor:?}"));
    let rows = DOCUMENT.lines().skip(from);
    let rows = rows.skip_while(|line| !line.starts_with("| offset"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (offset, size, field) = (cells.next()?, cells.next()?, cells.next()?);
        Some((offset.parse().ok()?, size.parse().ok()?, field))
    })
    .collect()
}

/// Compares fixed fields: every one has a row, every row is right, and the rows leave no byte out.
fn check(anchor: &str, bytes: &[u8], start: usize, fields: &[(&str, &[u8])]) {
    let mut fields: BTreeMap<&str, &[u8]> = fields.iter().copied().collect();
    let mut next = start;
    for (offset, size, name) in table(anchor) {
        assert_eq!(offset, next, "{anchor}: {name} does not follow the field before it");
        next = offset + size;
        let there = &bytes[offset..next];
        if name == "zero" {
            assert!(
                there.iter().all(|byte| *byte == 0),
                "{anchor}: bytes at {offset} are not zero"
            );
            continue;
        }
        let wanted = fields.remove(name);
        let wanted = wanted.unwrap_or_else(|| panic!("{anchor}: {name} is not in the code"));
        assert_eq!(there, wanted, "{anchor}: {name}");
    }
    assert!(fields.is_empty(), "{anchor}: no row for {:?}", fields.keys());
}

fn volume() -> VolumeId {
    VolumeId([0xd1; 16])
}

fn tag() -> VolumeTag {
    VolumeTag::new(0x1112_1314_1516_1718)
}

#[test]
fn the_marker() {
    let marker = Marker {
        version: FORMAT_VERSION,
        kind: KIND_LOG,
        volume: volume(),
        tag: tag(),
        segment_bytes: 0x2122_2324_2526_2728,
        batch_bytes_max: 0x3132_3334,
        epoch: 0x4142_4344,
        uid_validity_base: 0x5152_5354,
    };
    let bytes = marker.encode();
    let mut zeroed = bytes.clone();
    zeroed[20..24].fill(0);
    check(
        "## 3. The marker",
        &bytes,
        0,
        &[
            ("magic", b"PigeonAir volume"),
            ("version", &3u16.to_le_bytes()),
            ("kind", &1u16.to_le_bytes()),
            ("checksum", &checksum(&zeroed).to_le_bytes()),
            ("volume", &volume().0),
            ("tag", &tag().value().to_le_bytes()),
            ("segment_bytes", &0x2122_2324_2526_2728u64.to_le_bytes()),
            ("batch_bytes_max", &0x3132_3334u32.to_le_bytes()),
            ("epoch", &0x4142_4344u32.to_le_bytes()),
            ("uid_validity_base", &0x5152_5354u32.to_le_bytes()),
        ],
    );
    let (offset, size, _) = *table("## 3. The marker").last().expect("it has rows");
    assert_eq!(offset + size, bytes.len());
}

#[test]
fn the_header_of_a_batch() {
    let header = BatchHeader {
        bytes: 0x2120,
        tag: tag().value(),
        position: LogPosition(0x3132_3334_3536_3738),
        sequence: 0x4142_4344_4546_4748,
        records: 0x5152_5354,
        records_checksum: 0x6162_6364,
        epoch: 0x7172_7374,
        under_way: 1,
    };
    let bytes = header.encode();
    check(
        "The header of a batch",
        &bytes,
        0,
        &[
            ("magic", b"PGNBATCH"),
            ("checksum", &checksum(&bytes[12..]).to_le_bytes()),
            ("bytes", &0x2120u32.to_le_bytes()),
            ("tag", &tag().value().to_le_bytes()),
            ("position", &header.position.0.to_le_bytes()),
            ("sequence", &header.sequence.to_le_bytes()),
            ("records", &header.records.to_le_bytes()),
            ("records_checksum", &header.records_checksum.to_le_bytes()),
            ("epoch", &header.epoch.to_le_bytes()),
            ("under_way", &1u32.to_le_bytes()),
        ],
    );
    let (offset, size, _) = *table("The header of a batch").last().expect("it has rows");
    assert_eq!(offset + size, BATCH_HEADER_BYTES);
}

#[test]
fn a_record() {
    let mut record = vec![0; RECORD_HEADER_BYTES];
    record.extend_from_slice(b"payload");
    let sum = seal_record(
        tag(),
        &mut record,
        RecordKind::Recent,
        LogPosition(0x3132_3334_3536_3738),
    );
    let mut covered = tag().value().to_le_bytes().to_vec();
    covered.extend_from_slice(&record[4..]);
    assert_eq!(checksum(&covered), sum);
    check(
        "## 5. Records",
        &record,
        0,
        &[
            ("checksum", &sum.to_le_bytes()),
            ("length", &31u32.to_le_bytes()),
            ("position", &0x3132_3334_3536_3738u64.to_le_bytes()),
            ("kind", &[26]),
        ],
    );
}

#[test]
fn every_kind_of_record_is_listed() {
    let rows = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with("| kind | name | link"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let listed: Vec<(u8, String, bool)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (
                cells[0].parse().expect("a number"),
                cells[1].to_owned(),
                cells[2] == "yes",
            )
        })
        .collect();
    let known: Vec<(u8, String, bool)> = RecordKind::ALL
        .iter()
        .map(|kind| (*kind as u8, format!("{kind:?}"), kind.is_account_link()))
        .collect();
    assert_eq!(listed, known);
}

const INFO: ContentInfo = ContentInfo {
    size: 5,
    header_bytes: 3,
    traits: BodyTraits(9),
};

fn entries() -> impl Iterator<Item = BodyEntry<'static>> {
    let entry = BodyEntry {
        account: Some(AccountId([0xe1; 16])),
        prepend: b"front",
    };
    [entry; 2].into_iter()
}

#[test]
fn bodies() {
    let mut body = Vec::new();
    Body::encode_head(&mut body, INFO, entries());
    let entry_length = (2 * entry_bytes(5)) as u32;
    let common: [(&str, &[u8]); 5] = [
        ("size", &5u64.to_le_bytes()),
        ("header_bytes", &3u32.to_le_bytes()),
        ("traits", &[9]),
        ("entry_count", &2u16.to_le_bytes()),
        ("entry_bytes", &entry_length.to_le_bytes()),
    ];
    check("Body (1)", &body, 0, &common);
    assert_eq!(body.len(), 24 + entry_length as usize);

    let mut chunk = Vec::new();
    let accounts = [AccountId([1; 16]), AccountId([2; 16])];
    BodyChunk::encode_head(&mut chunk, 0x2122_2324, 0x3132_3334, accounts.into_iter());
    check(
        "BodyChunk (2)",
        &chunk,
        0,
        &[
            ("body", &0x2122_2324u64.to_le_bytes()),
            ("offset", &0x3132_3334u64.to_le_bytes()),
            ("account_count", &2u16.to_le_bytes()),
        ],
    );
    assert_eq!(chunk.len(), 24 + 2 * 16);

    let mut end = Vec::new();
    let extents = [(0x5152, 2), (0x4142, 3)].map(|(position, length)| Extent {
        position: LogPosition(position),
        length,
    });
    BodyEnd::encode(&mut end, INFO, 0x2122_2324, entries(), &extents);
    assert_eq!(end[..20], body[..20]);
    check(
        "BodyEnd (3)",
        &end,
        0,
        &[
            ("", &body[..20]),
            ("extent_count", &2u32.to_le_bytes()),
            ("body", &0x2122_2324u64.to_le_bytes()),
            ("start", &0x4142u64.to_le_bytes()),
        ],
    );
    let at = 40 + entry_length as usize;
    assert_eq!(end[at..at + 8], 0x5152u64.to_le_bytes());
    assert_eq!(end[at + 8..at + 12], 2u32.to_le_bytes());
    assert_eq!(end.len(), at + 24);
}

#[test]
fn a_message_and_a_link() {
    let message = Message {
        uid: Uid(0x1112_1314),
        size: 0x2122_2324,
        mod_seq: ModSeq(0x3132_3334_3536_3738),
        flags: Flags(0x4142_4344_4546_4748),
        internal_date: -5,
        body: BodyReference {
            position: LogPosition(0x5152_5354_5556_5758),
            entry: 0x6162,
            sharers: 0x7172,
            streamed: true,
            traits: BodyTraits(0x0b),
        },
    };
    let mut payload = Vec::new();
    let (account, previous) = (AccountId([0xe1; 16]), LogPosition(0x8182_8384));
    Link { account, previous }.encode(&mut payload);
    check(
        "An account is named by a UUID",
        &payload,
        0,
        &[("account", &account.0), ("previous", &previous.0.to_le_bytes())],
    );
    let change = Change::Append {
        mailbox: MailboxId(1),
        keywords: Vec::new(),
        messages: vec![message].into(),
        starts: Vec::new(),
        key: None,
    };
    let mut fields = Vec::new();
    change.encode(&mut fields);
    // Mailbox, no keywords, one message.
    check(
        "Message, 48 bytes",
        &fields[10..58],
        0,
        &[
            ("uid", &message.uid.0.to_le_bytes()),
            ("size", &message.size.to_le_bytes()),
            ("mod_seq", &message.mod_seq.0.to_le_bytes()),
            ("flags", &message.flags.0.to_le_bytes()),
            ("internal_date", &message.internal_date.to_le_bytes()),
            ("position", &message.body.position.0.to_le_bytes()),
            ("entry", &message.body.entry.to_le_bytes()),
            ("sharers", &message.body.sharers.to_le_bytes()),
            ("traits", &[0x0b]),
            ("streamed", &[1]),
        ],
    );
}

#[test]
fn a_snapshot() {
    let mut bytes = vec![0; LINK_BYTES];
    let place = SnapshotPlace {
        covers: LogPosition(0x1112),
        base: LogPosition(0x2122),
        parts: 0x3132,
        last_part: LogPosition(0x4142),
        image_bytes: 0x5152,
    };
    SnapshotEnd::encode_fields(&mut bytes, place, &[], &[], b"image");
    check(
        "## 9. Snapshots",
        &bytes,
        LINK_BYTES,
        &[
            ("covers", &0x1112u64.to_le_bytes()),
            ("base", &0x2122u64.to_le_bytes()),
            ("parts", &0x3132u32.to_le_bytes()),
            ("last_part", &0x4142u64.to_le_bytes()),
            ("image_bytes", &0x5152u64.to_le_bytes()),
        ],
    );
    assert_eq!(&bytes[64..], b"\0\0\0\0\0\0\0\0image");
}

#[test]
fn a_checkpoint() {
    let checkpoint = Checkpoint {
        volume: volume(),
        tag: tag(),
        number: 0x2122,
        clean: true,
        scan_from: LogPosition(0x3000),
        scan_sequence: 0x4142,
        durable_end: LogPosition(0x5000),
        durable_sequence: 0x6162,
        scan_epoch: 0x7172,
        epoch: 0x8182,
        table: LogPosition(0x9192),
        accounts: 0xa1a2,
        segments: vec![SegmentUse {
            number: 0xb1b2,
            live_bytes: 0xc1c2,
            written_bytes: 0xd1d2,
        }],
    };
    let bytes = checkpoint.encode();
    let mut zeroed = bytes.clone();
    zeroed[20..24].fill(0);
    check(
        "## 10. Checkpoints",
        &bytes,
        0,
        &[
            ("magic", b"PigeonAir chkpnt"),
            ("version", &2u16.to_le_bytes()),
            ("flags", &1u16.to_le_bytes()),
            ("checksum", &checksum(&zeroed).to_le_bytes()),
            ("volume", &volume().0),
            ("tag", &tag().value().to_le_bytes()),
            ("number", &0x2122u64.to_le_bytes()),
            ("scan_from", &0x3000u64.to_le_bytes()),
            ("scan_sequence", &0x4142u64.to_le_bytes()),
            ("durable_end", &0x5000u64.to_le_bytes()),
            ("durable_sequence", &0x6162u64.to_le_bytes()),
            ("scan_epoch", &0x7172u32.to_le_bytes()),
            ("epoch", &0x8182u32.to_le_bytes()),
            ("table", &0x9192u64.to_le_bytes()),
            ("accounts", &0xa1a2u64.to_le_bytes()),
            ("segment_count", &1u32.to_le_bytes()),
        ],
    );
    let numbers = [0xb1b2u64, 0xc1c2, 0xd1d2].map(u64::to_le_bytes).concat();
    assert_eq!(bytes[120..], numbers);
}
