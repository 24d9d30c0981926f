//! Batches whose bytes are published: what we build must equal them, and what we read from them is known.

use bytes::Bytes;
use klamm_record::*;
use klamm_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const TIME: Timestamp = Timestamp(1_700_000_000_000);

const PLAIN: &str = "0000000000000000 0000003a ffffffff 02 e99b8dd8 0000 00000000 0000018bcfe56800 0000018bcfe56800 \
    ffffffffffffffff ffff ffffffff 00000001 10 00 00 00 02 6b 02 76 00";
const IDEMPOTENT: &str = "0000000000000000 00000049 ffffffff 02 4e18b054 0000 00000001 0000018bcfe56800 \
    0000018bcfe56805 00000000000003e8 0000 00000000 00000002 16 00 00 00 01 0a 68656c6c6f 00 \
    16 00 0a 02 02 6b 01 02 02 68 02 78";
const COMMIT: &str = "0000000000000007 00000042 00000000 02 a1ac499f 0030 00000000 0000018bcfe56800 \
    0000018bcfe56800 00000000000003e8 0000 ffffffff 00000001 20 00 00 00 08 00000001 0c 000000000000 00";

fn parse(text: &str) -> Batch {
    Batch::parse(Bytes::from(crate::common::hex(text))).expect("the vector is a batch")
}

fn stamp() -> ProducerStamp {
    ProducerStamp {
        producer_id: ProducerId(1000),
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(0),
    }
}

fn idempotent() -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: stamp(),
        ..BatchOptions::default()
    });
    builder.append(TIME, None, Some(b"hello"), &[]).unwrap();
    let later = Timestamp(TIME.0 + 5);
    builder
        .append(later, Some(b"k"), None, &[Header::new("h", "x")])
        .unwrap();
    builder.build().unwrap()
}

#[test]
fn a_plain_batch() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(TIME, Some(b"k"), Some(b"v"), &[]).unwrap();
    let batch = builder.build().unwrap();
    assert_eq!(batch, parse(PLAIN));
    assert_eq!(batch.size(), 70);
    assert_eq!(
        batch.check(&CheckRules::produced()),
        Ok(Checked {
            max_timestamp: Some(TIME)
        })
    );
}

#[test]
fn an_idempotent_batch_with_headers_and_nulls() {
    let batch = idempotent();
    assert_eq!(batch, parse(IDEMPOTENT));
    assert_eq!(batch.size(), 85);
    assert_eq!(batch.header().last_sequence(), Sequence(1));
    let records: Vec<Record> = batch.records(0).unwrap().map(Result::unwrap).collect();
    let expected = vec![
        Record {
            offset: Offset(0),
            timestamp: TIME,
            key: None,
            value: Some("hello".into()),
            headers: vec![],
        },
        Record {
            offset: Offset(1),
            timestamp: Timestamp(TIME.0 + 5),
            key: Some("k".into()),
            value: None,
            headers: vec![Header::new("h", "x")],
        },
    ];
    assert_eq!(records, expected);
}

#[test]
fn a_commit_marker() {
    let marker = EndTxnMarker {
        result: TxnResult::Commit,
        coordinator_epoch: 0,
    };
    let built = MarkerBatch {
        marker,
        producer_id: ProducerId(1000),
        producer_epoch: ProducerEpoch(0),
        timestamp: TIME,
        base_offset: Offset(7),
        leader_epoch: LeaderEpoch(0),
    };
    let batch = built.build().unwrap();
    assert_eq!(batch, parse(COMMIT));
    assert_eq!(batch.size(), 78);
    batch.check(&CheckRules::stored()).unwrap();
    assert_eq!(
        batch
            .clone()
            .assigned(Offset(0), LeaderEpoch(0))
            .check(&CheckRules::produced())
            .unwrap_err(),
        BatchError::ControlNotAllowed
    );
    let record = batch.records(0).unwrap().next().unwrap().unwrap();
    assert_eq!(EndTxnMarker::from_record(&record), Some(marker));
    let kind = |key: &[u8]| ControlKind::from_key(key);
    assert_eq!(kind(&[0, 0, 0, 0]), Some(ControlKind::EndTxn(TxnResult::Abort)));
    assert_eq!(kind(&[0, 0, 0, 2]), Some(ControlKind::LeaderChange));
    assert_eq!(kind(&[0, 0, 0, 9]), Some(ControlKind::Unknown(9)));
    assert_eq!((kind(&[0, 0, 0]), kind(&[0xff, 0xff, 0, 0])), (None, None));
}

#[test]
fn assigning_keeps_the_checksum_and_the_buffer() {
    let batch = idempotent();
    let (address, crc) = (batch.bytes().as_ptr(), batch.header().crc);
    let assigned = batch.assigned(Offset(41), LeaderEpoch(3));
    assert_eq!(
        assigned.bytes().as_ptr(),
        address,
        "a buffer of one owner is changed in place"
    );
    assert_eq!(
        (assigned.base_offset(), assigned.last_offset(), assigned.next_offset()),
        (Offset(41), Offset(42), Offset(43))
    );
    assert_eq!((assigned.leader_epoch(), assigned.header().crc), (LeaderEpoch(3), crc));
    assigned.check(&CheckRules::stored()).unwrap();

    let shared = assigned.clone().assigned(Offset(99), LeaderEpoch(4));
    assert_ne!(shared.bytes().as_ptr(), address, "a shared buffer is copied");
    assert_eq!((assigned.base_offset(), shared.base_offset()), (Offset(41), Offset(99)));
    assert_eq!(Batch::parse(shared.bytes().clone()).unwrap(), shared);
}

#[test]
fn timestamps_rewritten_by_the_leader() {
    let appended = idempotent().with_log_append_time(Timestamp(5));
    assert_eq!(appended.check(&CheckRules::produced()), Ok(Checked::default()));
    let times: Vec<_> = appended
        .records(0)
        .unwrap()
        .map(|record| record.unwrap().timestamp)
        .collect();
    assert_eq!(times, [Timestamp(5), Timestamp(5)]);
    let created = appended.with_create_time(Timestamp(TIME.0 + 5));
    assert_eq!(created, idempotent());
    let moved = created.with_producer(ProducerStamp::NONE).with_producer(stamp());
    assert_eq!(moved, idempotent());
}

#[test]
fn batches_one_after_another() {
    let mut bytes = crate::common::hex(PLAIN);
    bytes.extend(crate::common::hex(COMMIT));
    bytes.extend(&crate::common::hex(IDEMPOTENT)[..80]);
    let mut batches = Batches::new(Bytes::from(bytes));
    assert_eq!(batches.next(), Some(Ok(parse(PLAIN))));
    assert_eq!(batches.next(), Some(Ok(parse(COMMIT))));
    assert_eq!(
        batches.next(),
        Some(Err(BatchError::Truncated {
            needed: 85,
            available: 80
        }))
    );
    assert_eq!((batches.next(), batches.rest().len()), (None, 80));
}
