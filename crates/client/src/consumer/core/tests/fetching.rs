//! Positions, fetches, and what is handed out.

use super::*;

fn list(partition: i32, leader_epoch: i32, timestamp: i64) -> ListPart {
    let (leader_epoch, timestamp) = (LeaderEpoch(leader_epoch), Timestamp(timestamp));
    ListPart {
        partition: tp(partition),
        leader_epoch,
        timestamp,
    }
}

#[test]
fn a_start_is_looked_up_at_each_leader_and_then_fetched() {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((2, 3)), Some((1, 4))]));
    bench.core.assign(vec![
        (tp(0), Start::Earliest),
        (tp(1), Start::Timestamp(Timestamp(99))),
        (tp(2), Start::Offset(Offset(7))),
    ]);
    let wanted = |partition, leader_epoch, offset| FetchPart {
        partition: tp(partition),
        topic_id: TOPIC,
        leader_epoch: LeaderEpoch(leader_epoch),
        offset: Offset(offset),
    };
    let order = |id, node, parts| {
        let (bytes_max, partition_bytes_max) = (MIB, MIB);
        Effect::Fetch(FetchOrder {
            id,
            node: NodeId(node),
            bytes_max,
            partition_bytes_max,
            parts,
        })
    };
    assert_eq!(
        bench.poll(),
        [
            Effect::List(ListOrder {
                id: 1,
                node: NodeId(1),
                parts: vec![list(0, 5, -2)]
            }),
            Effect::List(ListOrder {
                id: 2,
                node: NodeId(2),
                parts: vec![list(1, 3, 99)]
            }),
            order(3, 1, vec![wanted(2, 4, 7)]),
        ]
    );
    assert_eq!((bench.position(), bench.core.take_moved()), (None, false));
    let listed = |partition, offset| {
        Ok(vec![ListedPart {
            partition: tp(partition),
            code: ErrorCode::None,
            offset: Offset(offset),
        }])
    };
    bench.handle(Event::Listed {
        id: 1,
        outcome: listed(0, 40),
    });
    assert_eq!((bench.position(), bench.core.take_moved()), (Some(40), true));
    assert_eq!(bench.poll(), [order(4, 1, vec![wanted(0, 5, 40)])]);
    // No record is that young: the end it is.
    bench.handle(Event::Listed {
        id: 2,
        outcome: listed(1, -1),
    });
    let again = ListOrder {
        id: 5,
        node: NodeId(2),
        parts: vec![list(1, 3, -1)],
    };
    assert_eq!(bench.poll(), [Effect::List(again)]);
    bench.handle(Event::Listed {
        id: 5,
        outcome: listed(1, 12),
    });
    assert_eq!(bench.poll(), [order(6, 2, vec![wanted(1, 3, 12)])]);
}

#[test]
fn reading_goes_on_where_the_buffer_ends() {
    let (mut bench, order) = Bench::reading(config(), 3);
    // The batch begins below what was asked for.
    let records = [batch(0, 5, 5), batch(5, 2, 5)].concat();
    bench.answer(order.id, vec![part(0, 9, records.into())]);
    let next = bench.fetch();
    assert_eq!(next.parts[0].offset, Offset(7));
    assert_eq!((bench.position(), bench.core.lag(&tp(0))), (Some(3), Some(6)));
    assert_eq!(bench.take(1), [(0, 3)]);
    assert_eq!(bench.position(), Some(4));
    assert_eq!(bench.take(10), [(0, 4)]);
    assert_eq!(bench.take_all(), offsets(0, 5..7));
    assert_eq!((bench.position(), bench.core.lag(&tp(0))), (Some(7), Some(2)));
    assert_eq!(bench.core.high_watermark(&tp(0)), Some(HighWatermark(9)));
}

#[test]
fn partitions_take_turns_by_batches() {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((1, 5))]));
    bench.core.assign(vec![
        (tp(0), Start::Offset(Offset(0))),
        (tp(1), Start::Offset(Offset(0))),
    ]);
    let order = bench.fetch();
    let two = || Bytes::from([batch(0, 2, 5), batch(2, 2, 5)].concat());
    bench.answer(order.id, vec![part(0, 4, two()), part(1, 4, two())]);
    assert_eq!(bench.take(1), [(0, 0)], "a batch is finished first");
    let expected = [(0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)];
    assert_eq!(bench.take_all(), expected);
}

#[test]
fn those_served_longest_ago_come_first() {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((1, 5)), Some((1, 5))]));
    bench.core.assign(
        (0..3)
            .map(|partition| (tp(partition), Start::Offset(Offset(0))))
            .collect(),
    );
    let order = bench.fetch();
    let empty = |partition| part(partition, 0, Bytes::new());
    bench.answer(order.id, vec![part(0, 4, batch(0, 2, 5)), empty(1), empty(2)]);
    let order = bench.fetch();
    let asked = |order: &FetchOrder| {
        order
            .parts
            .iter()
            .map(|part| part.partition.partition.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(&order), [1, 2, 0]);
    bench.answer(order.id, vec![part(1, 4, batch(0, 2, 5)), empty(2), empty(0)]);
    assert_eq!(asked(&bench.fetch()), [2, 0, 1]);
}

#[test]
fn a_seek_makes_what_is_under_way_worthless() {
    let (mut bench, first) = Bench::reading(config(), 0);
    bench.answer(first.id, vec![part(0, 9, batch(0, 5, 5))]);
    let second = bench.fetch();
    let lease = bench.core.lease().unwrap();
    assert!(bench.core.seek(&tp(0), Start::Offset(Offset(100))));
    // What was leased before does not move the new position, and nobody gets it.
    assert_eq!(bench.take_leased(&lease, 5), []);
    assert_eq!(bench.position(), Some(100));
    let effects = bench.poll();
    let [Effect::Fetch(third), Effect::Abandon(abandoned)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((third.parts[0].offset, *abandoned), (Offset(100), second.id));
    bench.answer(second.id, vec![part(0, 9, batch(5, 5, 5))]);
    assert_eq!(bench.take_all(), []);
    bench.answer(third.id, vec![part(0, 109, batch(100, 2, 5))]);
    assert_eq!(bench.take_all(), offsets(0, 100..102));
    assert!(!bench.core.seek(&tp(1), Start::Earliest), "not assigned");
}

#[test]
fn a_paused_partition_holds_nothing_and_keeps_its_position() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    let second = bench.fetch();
    assert_eq!(bench.take(2), offsets(0, 0..2));
    bench.core.pause(&tp(0));
    assert_eq!(bench.poll(), [Effect::Abandon(second.id)]);
    assert_eq!(
        (bench.take_all(), bench.position(), bench.core.buffered),
        (vec![], Some(2), 0)
    );
    assert!(!bench.core.has_news(bench.now));
    bench.core.resume(&tp(0));
    let order = bench.fetch();
    assert_eq!(order.parts[0].offset, Offset(2));
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    assert_eq!(bench.take_all(), offsets(0, 2..5));
}

#[test]
fn an_offset_out_of_range_is_reported_after_what_was_fetched() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    let second = bench.fetch();
    bench.answer(second.id, vec![refusal(0, ErrorCode::OffsetOutOfRange)]);
    assert_eq!((bench.poll(), bench.failure()), (vec![], String::new()));
    assert_eq!(bench.take_all(), offsets(0, 0..5));
    for _ in 0..2 {
        assert_eq!(bench.failure(), "reading t-0: the log does not hold offset 5");
    }
    bench.core.seek(&tp(0), Start::Latest);
    assert_eq!(bench.failure(), "");
    assert!(matches!(bench.poll()[..], [Effect::List(_)]));
}

#[test]
fn an_offset_out_of_range_is_reset_after_what_was_fetched() {
    let (mut bench, order) = Bench::reading(
        CoreConfig {
            offset_reset: OffsetReset::Earliest,
            ..config()
        },
        0,
    );
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    let second = bench.fetch();
    bench.answer(second.id, vec![refusal(0, ErrorCode::OffsetOutOfRange)]);
    assert_eq!(bench.poll(), []);
    assert_eq!(bench.take_all(), offsets(0, 0..5));
    let effects = bench.poll();
    let [Effect::List(list)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(list.parts[0].timestamp, Timestamp(-2));
    let listed = ListedPart {
        partition: tp(0),
        code: ErrorCode::None,
        offset: Offset(8),
    };
    bench.handle(Event::Listed {
        id: list.id,
        outcome: Ok(vec![listed]),
    });
    assert_eq!(bench.fetch().parts[0].offset, Offset(8));
}

#[test]
fn a_damaged_batch_is_reported_and_fetched_again() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    let second = bench.fetch();
    let lease = bench.core.lease().unwrap();
    let now = bench.now;
    let cause = klamm_record::BatchError::BadCrc { stored: 1, computed: 2 };
    let failure = bench.core.damaged(now, &lease, cause.clone()).unwrap();
    assert!(failure.is_retriable() && !failure.may_have_had_effect());
    assert!(matches!(
        failure,
        ConsumeError::Damaged {
            position: Offset(0),
            next_offset: Some(Offset(5)),
            ..
        }
    ));
    assert_eq!(bench.poll(), [Effect::Abandon(second.id)]);
    assert!(
        bench.core.damaged(now, &lease, cause).is_none(),
        "it is not the next any more"
    );
    assert_eq!(bench.after(20).fetch().parts[0].offset, Offset(0));
}

#[test]
fn bytes_that_are_no_batch_are_reported_after_those_that_are() {
    let (mut bench, order) = Bench::reading(config(), 0);
    let mut broken = batch(2, 2, 5).to_vec();
    broken[16] = 9;
    bench.answer(
        order.id,
        vec![part(0, 9, [batch(0, 2, 5).to_vec(), broken].concat().into())],
    );
    assert_eq!((bench.poll(), bench.failure()), (vec![], String::new()));
    assert_eq!(bench.take_all(), offsets(0, 0..2));
    assert_eq!(bench.failure(), "reading t-0: the batch at offset 2 is damaged");
    assert_eq!(bench.after(20).fetch().parts[0].offset, Offset(2));
}

#[test]
fn a_batch_that_is_cut_off_comes_first_the_next_time() {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((1, 5))]));
    bench.core.assign(vec![
        (tp(0), Start::Offset(Offset(0))),
        (tp(1), Start::Offset(Offset(0))),
    ]);
    let order = bench.fetch();
    let cut = batch(0, 3, 5).slice(..70);
    bench.answer(order.id, vec![part(0, 3, batch(0, 3, 5)), part(1, 3, cut)]);
    assert_eq!(bench.fetch().parts.len(), 1, "the other one waits a little");
    let order = bench.after(20).fetch();
    assert_eq!(order.parts[0].partition, tp(1));
    bench.answer(order.id, vec![part(1, 3, batch(0, 3, 5))]);
    assert_eq!(bench.take_all().len(), 6);
}

#[test]
fn a_partition_that_cannot_be_read_is_reported_at_intervals() {
    let mut bench = Bench::new(config(), picture(&[None]));
    bench
        .core
        .assign(vec![(tp(0), Start::Earliest), (tp(1), Start::Earliest)]);
    assert_eq!(bench.poll(), [Effect::Refresh]);
    assert_eq!(
        (bench.after(99).poll(), bench.after(1).poll()),
        (vec![], vec![Effect::Refresh])
    );
    bench.after(59_900);
    assert!(bench.core.has_news(bench.now));
    assert_eq!(bench.failure(), "reading t-0: unavailable for 60s");
    assert_eq!(bench.failure(), "reading t-1: unavailable for 60s");
    assert_eq!(bench.failure(), "");
    bench.after(60_000);
    assert_eq!(bench.failure(), "reading t-0: unavailable for 60s");
}

#[test]
fn a_refusal_that_does_not_pass_stops_the_partition() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(order.id, vec![refusal(0, ErrorCode::TopicAuthorizationFailed)]);
    assert_eq!(
        (bench.poll(), bench.failure()),
        (vec![], "reading t-0: refused by the broker".to_owned())
    );
}
