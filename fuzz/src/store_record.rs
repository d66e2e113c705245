//! The journal's records: payloads of every kind there and back, records that were sealed are found again, and batches of
//! any bytes are refused without harm.

use pigeon_store_format::{
    AccountImage, AccountTable, BATCH_HEADER_BYTES, BatchHeader, Body, BodyChunk, BodyEnd, Change, Link, LogPosition,
    RECORD_HEADER_BYTES, RecordHeader, RecordKind, VolumeTag, parse_record, records, salvage_records, seal_record,
    verify_batch,
};

use crate::steer;

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let Some(kind) = RecordKind::from_number(steer.option(49) as u8) else {
        return;
    };
    payload(kind, data);
    frames(kind, data);
}

fn payload(kind: RecordKind, data: &[u8]) {
    if let Ok(change) = Change::decode(kind, data) {
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        assert_eq!(Change::decode(kind, &bytes).as_ref(), Ok(&change));
    }
    if let Ok((link, rest)) = Link::decode(data) {
        let mut bytes = Vec::new();
        link.encode(&mut bytes);
        assert_eq!([&bytes, rest].concat(), data);
    }
    if let Ok(image) = AccountImage::decode(data) {
        assert_eq!(AccountImage::decode(&image.encode()).as_ref(), Ok(&image));
    }
    if let Ok(body) = Body::decode(data) {
        let _ = format!("{body:?}");
    }
    if let Ok(chunk) = BodyChunk::decode(data) {
        chunk.accounts().count();
    }
    if let Ok(end) = BodyEnd::decode(data) {
        end.extents().count();
    }
    if let Ok(table) = AccountTable::decode(data) {
        let mut bytes = Vec::new();
        AccountTable::encode(&mut bytes, table.previous, &table.accounts().collect::<Vec<_>>());
        let again = AccountTable::decode(&bytes).expect("it was encoded");
        assert!(again.previous == table.previous && again.accounts().eq(table.accounts()));
    }
}

fn frames(kind: RecordKind, data: &[u8]) {
    let tag = VolumeTag::new(7);
    let position = LogPosition(4096 + BATCH_HEADER_BYTES as u64);
    let mut record = vec![0; RECORD_HEADER_BYTES];
    record.extend_from_slice(data);
    seal_record(tag, &mut record, kind, position);
    let parsed = parse_record(tag, &record, position).expect("it was sealed");
    assert_eq!((parsed.kind, parsed.payload), (kind, data));
    assert_eq!(salvage_records(tag, &record, position).len(), 1);

    let _ = RecordHeader::parse(data);
    let _ = parse_record(tag, data, position);
    let _ = salvage_records(tag, data, position);
    let header = BatchHeader {
        bytes: u32::try_from(data.len()).expect("inputs are small"),
        tag: tag.value(),
        position: LogPosition(4096),
        sequence: 1,
        records: 1,
        records_checksum: 0,
        epoch: 1,
        under_way: 0,
    };
    let _ = verify_batch(tag, &header, data);
    let _ = records(tag, &header, data).map(Iterator::count);
    if let Some(header) = BatchHeader::decode(data, tag.value(), LogPosition(4096)) {
        assert_eq!(&header.encode()[..], &data[..BATCH_HEADER_BYTES]);
    }
}
