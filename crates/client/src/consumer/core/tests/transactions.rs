//! What of transactions is shown.

use klamm_record::{BatchError, EndTxnMarker, MarkerBatch, ProducerStamp, TxnResult};
use klamm_types::{ProducerEpoch, ProducerId, Sequence};

use super::super::admit::{Aborted, Visibility, admit};
use super::*;

fn of_producer(base: i64, count: i64, producer: i64) -> Bytes {
    let options = BatchOptions {
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(5),
        producer: ProducerStamp {
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
        },
        transactional: true,
        ..BatchOptions::default()
    };
    build(options, base, count)
}

fn marker(offset: i64, producer: i64, result: TxnResult) -> Bytes {
    let batch = MarkerBatch {
        marker: EndTxnMarker {
            result,
            coordinator_epoch: 0,
        },
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(0),
        timestamp: Timestamp(1),
        base_offset: Offset(offset),
        leader_epoch: LeaderEpoch(5),
    };
    batch.build().unwrap().into_bytes()
}

fn aborted(producer: i64, first: i64) -> Aborted {
    Aborted {
        first_offset: Offset(first),
        producer_id: ProducerId(producer),
    }
}

/// Two producers: 1 aborts 0..2 and commits 5..7, 2 aborts 3..4; 8 is of nobody.
fn log() -> Bytes {
    [
        of_producer(0, 2, 1),
        marker(2, 1, TxnResult::Abort),
        of_producer(3, 1, 2),
        batch(4, 1, 5),
        of_producer(5, 2, 1),
        marker(7, 2, TxnResult::Abort),
        batch(8, 1, 5),
        marker(9, 1, TxnResult::Commit),
        of_producer(10, 1, 2),
    ]
    .concat()
    .into()
}

fn shown(isolation: IsolationLevel, from: i64, aborted: &[Aborted]) -> Vec<i64> {
    let admitted = admit(log(), Offset(from), isolation, aborted);
    assert_eq!(admitted.fault, None);
    let shown = admitted
        .batches
        .iter()
        .filter(|(_, visibility)| *visibility == Visibility::Shown);
    shown.map(|(batch, _)| batch.base_offset().0).collect()
}

#[test]
fn uncommitted_reads_see_all_but_the_markers() {
    assert_eq!(shown(IsolationLevel::ReadUncommitted, 0, &[]), [0, 3, 4, 5, 8, 10]);
}

#[test]
fn committed_reads_do_not_see_what_was_aborted() {
    let list = [aborted(2, 3), aborted(1, 0)];
    assert_eq!(shown(IsolationLevel::ReadCommitted, 0, &list), [4, 5, 8, 10]);
    assert_eq!(shown(IsolationLevel::ReadCommitted, 4, &[aborted(2, 3)]), [4, 5, 8, 10]);
}

#[test]
fn a_position_moves_past_what_is_hidden() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(
        order.id,
        vec![part(
            0,
            4,
            [batch(0, 2, 5), marker(2, 1, TxnResult::Commit)].concat().into(),
        )],
    );
    bench.fetch();
    assert_eq!(bench.take_all(), offsets(0, 0..2));
    assert_eq!((bench.position(), bench.core.take_moved()), (Some(3), true));
    assert_eq!(bench.core.lag(&tp(0)), Some(1));
}

#[test]
fn batches_that_go_back_are_a_fault() {
    let records = Bytes::from([batch(0, 3, 5), batch(2, 2, 5)].concat());
    let admitted = admit(records, Offset(0), IsolationLevel::ReadUncommitted, &[]);
    let fault = BatchError::BadOffsets {
        base_offset: Offset(2),
        last_offset_delta: 1,
    };
    assert_eq!((admitted.batches.len(), admitted.fault), (1, Some(fault)));
}

#[test]
fn a_marker_that_was_damaged_is_a_fault() {
    let mut broken = marker(0, 1, TxnResult::Abort).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let admitted = admit(broken.into(), Offset(0), IsolationLevel::ReadCommitted, &[]);
    assert!(matches!(admitted.fault, Some(BatchError::BadCrc { .. })));
}
