//! The rules of sequences case by case, and snapshots that survive a round trip and nothing else.

use std::time::Duration;

use klamm_record::{Batch, BatchBuilder, BatchOptions, ProducerStamp};
use klamm_types::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

use super::{BATCHES_REMEMBERED, ProducerTable, SnapshotError, Verdict};

fn batch(producer: i64, epoch: i16, sequence: i32, count: usize, base: i64) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: ProducerStamp {
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        },
        ..BatchOptions::default()
    });
    for _ in 0..count {
        builder.append(Timestamp(5), None, Some(b"v"), &[]).unwrap();
    }
    builder.build().unwrap().assigned(Offset(base), LeaderEpoch(1))
}

fn verdict(table: &ProducerTable, producer: i64, epoch: i16, sequence: i32, count: usize) -> Verdict {
    table.check(batch(producer, epoch, sequence, count, 0).header())
}

/// Producer 7 in epoch 3 has written sequences 0..=9 in five batches of two.
fn table() -> ProducerTable {
    let mut table = ProducerTable::default();
    for index in 0..5 {
        let (sequence, base) = (index * 2, i64::from(index) * 2);
        table.replay(batch(7, 3, sequence, 2, base).header(), Timestamp(100));
    }
    table
}

#[test]
fn each_case_of_the_table() {
    let table = table();
    let refused = Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(verdict(&table, 7, 3, 10, 1), Verdict::Append, "the next sequence");
    assert_eq!(verdict(&table, 7, 3, 11, 1), refused, "a gap");
    assert_eq!(verdict(&table, 7, 3, 8, 1), refused, "overlaps, but ends elsewhere");
    assert_eq!(
        verdict(&table, 7, 4, 0, 1),
        Verdict::Append,
        "a higher epoch begins at 0"
    );
    assert_eq!(verdict(&table, 7, 4, 10, 1), refused, "a higher epoch begins elsewhere");
    let fenced = Verdict::Refuse(ErrorCode::InvalidProducerEpoch);
    assert_eq!(verdict(&table, 7, 2, 10, 1), fenced, "a lower epoch");
    assert_eq!(verdict(&table, 8, 0, 33, 1), Verdict::Append, "an unknown producer");
    match verdict(&table, 7, 3, 2, 2) {
        Verdict::Duplicate(seen) => assert_eq!((seen.base_offset, seen.last_offset), (Offset(2), Offset(3))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_last_batches_are_recognised() {
    let mut table = table();
    table.replay(batch(7, 3, 10, 1, 10).header(), Timestamp(100));
    let refused = Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(verdict(&table, 7, 3, 0, 2), refused);
    assert!(matches!(verdict(&table, 7, 3, 2, 2), Verdict::Duplicate(_)));
    assert_eq!(table.get(ProducerId(7)).unwrap().batches.len(), BATCHES_REMEMBERED);
}

#[test]
fn sequences_wrap() {
    let mut table = ProducerTable::default();
    table.replay(batch(7, 0, i32::MAX - 1, 2, 0).header(), Timestamp(0));
    assert_eq!(verdict(&table, 7, 0, 0, 1), Verdict::Append);
    table.replay(batch(7, 0, 0, 1, 2).header(), Timestamp(0));
    assert_eq!(verdict(&table, 7, 0, 1, 1), Verdict::Append);
}

#[test]
fn the_silent_and_the_surplus_are_forgotten() {
    let mut table = ProducerTable::default();
    for producer in 0..4 {
        table.replay(batch(producer, 0, 0, 1, producer).header(), Timestamp(producer * 10));
    }
    table.replay(batch(0, 0, 1, 1, 4).header(), Timestamp(40));
    table.expire(Timestamp(120), Duration::from_millis(100));
    let known = |table: &ProducerTable| table.iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    assert_eq!(known(&table), [0, 3], "1 and 2 were silent for 100 ms");
    table.limit(1);
    assert_eq!(known(&table), [0], "3 has been silent for longer than 0");
}

#[test]
fn batches_below_the_end_are_passed_over() {
    let mut table = table();
    let before = table.clone();
    table.replay(batch(7, 3, 0, 2, 0).header(), Timestamp(900));
    assert_eq!(table, before);
    assert_eq!(table.end(), Offset(10));
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let bytes = table().encode();
    assert_eq!(ProducerTable::decode(&bytes), Ok(table()));
    assert_eq!(ProducerTable::decode(&bytes[..10]), Err(SnapshotError::Truncated));
    for position in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[position] ^= 0x10;
        assert_eq!(
            ProducerTable::decode(&damaged),
            Err(SnapshotError::Checksum),
            "byte {position}"
        );
    }
}

proptest! {
    /// A snapshot and the batches behind it give the same table as the whole log.
    #[test]
    fn snapshot_and_replay_equal_the_whole_log(
        steps in prop::collection::vec((0i64..4, 0i16..2, 1usize..4), 0..40),
        cut in 0usize..40,
    ) {
        let mut base = 0;
        let mut sequences = std::collections::BTreeMap::new();
        let mut log = Vec::new();
        for (producer, epoch, count) in steps {
            let sequence = sequences.entry((producer, epoch)).or_insert(0);
            log.push(batch(producer, epoch, *sequence, count, base));
            *sequence += count as i32;
            base += count as i64;
        }
        let cut = cut.min(log.len());
        let mut whole = ProducerTable::default();
        let mut first = ProducerTable::default();
        log.iter().for_each(|batch| whole.replay(batch.header(), Timestamp(1)));
        log[..cut].iter().for_each(|batch| first.replay(batch.header(), Timestamp(1)));
        let mut rebuilt = ProducerTable::decode(&first.encode()).unwrap();
        log.iter().for_each(|batch| rebuilt.replay(batch.header(), Timestamp(1)));
        prop_assert_eq!(rebuilt, whole);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ProducerTable::decode(&bytes);
    }
}

#[test]
fn a_log_that_begins_anew_is_told_of_what_lies_below() {
    let mut table = ProducerTable::default();
    for (number, (producer, sequence)) in [(7, 0), (8, 0), (7, 1), (9, 0), (7, 2)].into_iter().enumerate() {
        let batch = batch(producer, 0, sequence, 1, number as i64);
        table.replay(batch.header(), Timestamp(number as i64));
    }
    let below = table.below(Offset(3), 10);
    assert_eq!(below.end(), Offset(3));
    let of = |producer| below.get(ProducerId(producer)).map(|entry| entry.last_sequence());
    assert_eq!([of(7), of(8), of(9)], [Some(Sequence(1)), Some(Sequence(0)), None]);
    let one = table.below(Offset(3), 1);
    assert_eq!(
        one.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        [ProducerId(7)],
        "heard of last"
    );
    assert_eq!(ProducerTable::decode(&below.encode()), Ok(below));
}
