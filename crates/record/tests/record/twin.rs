//! The crate against its dumb twin, over arbitrary batches.

use crate::common::{TwinBatch, TwinRecord};
use bytes::Bytes;
use klamm_record::*;
use klamm_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

fn bytes_field() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        6 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        1 => (any::<u8>(), 100..3000usize).prop_map(|(byte, count)| Some(vec![byte; count])),
    ]
}

fn twin_record() -> impl Strategy<Value = TwinRecord> {
    let header = (prop::collection::vec(any::<u8>(), 0..4), bytes_field());
    let timestamp = prop_oneof![4 => 0..4_000_000_000_000i64, 1 => Just(-1i64), 1 => 0..i64::MAX / 4];
    (
        timestamp,
        bytes_field(),
        bytes_field(),
        prop::collection::vec(header, 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| TwinRecord {
            timestamp,
            key,
            value,
            headers,
        })
}

fn twin_batch() -> impl Strategy<Value = TwinBatch> {
    let producer = prop_oneof![Just((-1i64, -1i16, -1i32)), (0..i64::MAX, 0..i16::MAX, 0..i32::MAX)];
    (
        0..i64::MAX / 2,
        -1..i32::MAX,
        any::<bool>(),
        producer,
        prop::collection::vec(twin_record(), 1..30),
    )
        .prop_map(
            |(base_offset, leader_epoch, transactional, producer, records)| TwinBatch {
                base_offset,
                leader_epoch,
                attributes: if transactional { 16 } else { 0 },
                producer_id: producer.0,
                producer_epoch: producer.1,
                base_sequence: producer.2,
                records,
            },
        )
}

fn headers_of(record: &TwinRecord) -> Vec<Header> {
    let header = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| Header {
        key: Bytes::from(key.clone()),
        value: value.clone().map(Bytes::from),
    };
    record.headers.iter().map(header).collect()
}

fn build(twin: &TwinBatch, compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression,
        base_offset: Offset(twin.base_offset),
        leader_epoch: LeaderEpoch(twin.leader_epoch),
        producer: ProducerStamp {
            producer_id: ProducerId(twin.producer_id),
            producer_epoch: ProducerEpoch(twin.producer_epoch),
            base_sequence: Sequence(twin.base_sequence),
        },
        transactional: twin.attributes & 16 != 0,
        ..BatchOptions::default()
    });
    for record in &twin.records {
        let headers = headers_of(record);
        let before = builder.uncompressed_size();
        builder
            .append(
                Timestamp(record.timestamp),
                record.key.as_deref(),
                record.value.as_deref(),
                &headers,
            )
            .expect("the record fits");
        let bound = record_size(record.key.as_deref(), record.value.as_deref(), &headers);
        assert!(builder.uncompressed_size() - before <= bound);
    }
    builder.build().expect("the batch is not empty")
}

fn records_of(twin: &TwinBatch) -> Vec<Record> {
    let mut records = Vec::new();
    for (index, record) in twin.records.iter().enumerate() {
        records.push(Record {
            offset: Offset(twin.base_offset + index as i64),
            timestamp: Timestamp(record.timestamp),
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: headers_of(record),
        });
    }
    records
}

fn read(batch: &Batch) -> Vec<Record> {
    let records = batch.records(DECOMPRESSED_SIZE_MAX).expect("the codec data is good");
    records.collect::<Result<_, _>>().expect("the records are good")
}

fn stored_open() -> CheckRules {
    CheckRules {
        depth: RecordDepth::Open {
            decompressed_size_max: DECOMPRESSED_SIZE_MAX,
        },
        ..CheckRules::stored()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_we_build_is_what_the_twin_builds(twin in twin_batch()) {
        let ours = build(&twin, Compression::None);
        let theirs = crate::common::encode(&twin, &crate::common::encode_records(&twin));
        prop_assert_eq!(&ours.bytes()[..], &theirs[..]);
        prop_assert_eq!(crate::common::decode(ours.bytes()), twin.clone());
        let parsed = Batch::parse(Bytes::from(theirs)).unwrap();
        prop_assert_eq!(&parsed, &ours);
        prop_assert_eq!(parsed.check(&stored_open()).unwrap().max_timestamp,
            twin.records.iter().map(|record| Timestamp(record.timestamp)).max());
        prop_assert_eq!(read(&parsed), records_of(&twin));
    }

    #[test]
    fn codecs_change_the_bytes_and_nothing_else(twin in twin_batch(), from in 0..5usize, to in 0..5usize) {
        let (from, to) = (Compression::ALL[from], Compression::ALL[to]);
        let batch = Batch::parse(build(&twin, from).into_bytes()).unwrap();
        prop_assert_eq!(batch.check(&stored_open()).is_ok(), true);
        prop_assert_eq!(read(&batch), records_of(&twin));
        let again = recompress(batch, to, CompressionLevel::Default, DECOMPRESSED_SIZE_MAX).unwrap();
        prop_assert_eq!(again.header().attributes.compression().unwrap(), to);
        let again = Batch::parse(again.into_bytes()).unwrap();
        prop_assert_eq!(again.check(&stored_open()).is_ok(), true);
        prop_assert_eq!(read(&again), records_of(&twin));
        let plain = recompress(again, Compression::None, CompressionLevel::Default, DECOMPRESSED_SIZE_MAX).unwrap();
        prop_assert_eq!(plain, build(&twin, Compression::None));
    }

    #[test]
    fn stamping_equals_building_so(twin in twin_batch(), shared in any::<bool>()) {
        let wanted = build(&twin, Compression::Lz4);
        let fresh = TwinBatch { base_offset: 0, leader_epoch: -1, producer_id: -1, producer_epoch: -1,
            base_sequence: -1, ..twin.clone() };
        let batch = build(&fresh, Compression::Lz4);
        let other_owner = shared.then(|| batch.clone());
        let stamped = batch.with_producer(ProducerStamp {
            producer_id: ProducerId(twin.producer_id),
            producer_epoch: ProducerEpoch(twin.producer_epoch),
            base_sequence: Sequence(twin.base_sequence),
        }).assigned(Offset(twin.base_offset), LeaderEpoch(twin.leader_epoch));
        prop_assert_eq!(stamped, wanted);
        if let Some(other) = other_owner {
            prop_assert_eq!(other, build(&fresh, Compression::Lz4), "the other owner's bytes stay");
        }
    }
}
