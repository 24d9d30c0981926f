//! What is fetched ahead stays within its bounds, and nobody starves.

use super::*;

/// One record of about `size` bytes.
fn large(base: i64, size: usize) -> Bytes {
    let options = BatchOptions {
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(5),
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder
        .append(Timestamp(1), None, Some(&vec![b'x'; size]), &[])
        .unwrap();
    builder.build().unwrap().into_bytes()
}

#[test]
fn a_partition_runs_ahead_by_two_answers() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(order.id, vec![part(0, 9, large(0, MIB))]);
    let order = bench.fetch();
    bench.answer(order.id, vec![part(0, 9, large(1, MIB))]);
    assert_eq!(bench.poll(), []);
    assert_eq!(bench.take_all(), offsets(0, 0..2));
    assert_eq!((bench.fetch().parts[0].offset, bench.core.buffered), (Offset(2), 0));
}

#[test]
fn all_brokers_fit_into_the_buffer_at_a_time() {
    let small = CoreConfig {
        buffer_memory: 6 * MIB,
        ..config()
    };
    let leaders: Vec<_> = (0..30).map(|partition| Some((partition % 3 + 1, 5))).collect();
    let mut bench = Bench::new(small, picture(&leaders));
    bench.core.assign(
        (0..30)
            .map(|partition| (tp(partition), Start::Offset(Offset(0))))
            .collect(),
    );
    let bytes: Vec<usize> = bench
        .poll()
        .iter()
        .map(|effect| match effect {
            Effect::Fetch(order) => order.bytes_max,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bytes, [MIB; 3]);
}

#[test]
fn a_full_buffer_waits_until_the_whole_answer_is_handed_out() {
    let small = CoreConfig {
        buffer_memory: 4 * MIB,
        ..config()
    };
    let mut bench = Bench::new(small, picture(&[Some((1, 5)), Some((1, 5)), Some((2, 5))]));
    bench.core.assign(
        (0..2)
            .map(|partition| (tp(partition), Start::Offset(Offset(0))))
            .collect(),
    );
    let order = bench.fetch();
    // More than was asked for: two batches that are large by themselves.
    bench.answer(
        order.id,
        vec![part(0, 9, large(0, 2 * MIB)), part(1, 9, large(0, 2 * MIB))],
    );
    bench.core.assign(vec![(tp(2), Start::Offset(Offset(0)))]);
    assert_eq!(bench.poll(), []);
    assert_eq!(bench.take(1), [(0, 0)]);
    assert_eq!(bench.poll(), [], "the other half of the answer holds the frame");
    assert_eq!(bench.take(1), [(1, 0)]);
    assert_eq!(bench.poll().len(), 2);
}

#[test]
fn a_batch_larger_than_the_buffer_gets_through() {
    let tiny = CoreConfig {
        buffer_memory: 10,
        fetch_bytes_max: 10,
        partition_fetch_bytes_max: 10,
        ..config()
    };
    let (mut bench, order) = Bench::reading(tiny, 0);
    assert_eq!(order.bytes_max, 5);
    bench.answer(order.id, vec![part(0, 9, large(0, MIB))]);
    assert_eq!((bench.poll(), bench.take_all()), (vec![], offsets(0, 0..1)));
    assert_eq!(bench.fetch().parts[0].offset, Offset(1));
}

#[test]
fn a_partition_that_becomes_fetchable_does_not_wait_for_idle_ones() {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((1, 5)), Some((1, 5))]));
    bench.core.assign(vec![(tp(0), Start::Offset(Offset(0)))]);
    bench.fetch();
    bench.core.assign(vec![(tp(1), Start::Offset(Offset(0)))]);
    let second = bench.fetch();
    bench.core.assign(vec![(tp(2), Start::Offset(Offset(0)))]);
    assert_eq!(bench.poll(), [], "two are enough");
    bench.answer(second.id, vec![part(1, 0, Bytes::new())]);
    assert_eq!(bench.fetch().parts.len(), 2);
}

#[test]
fn a_throttled_consumer_waits() {
    let (mut bench, order) = Bench::reading(config(), 0);
    let parts = vec![part(0, 0, Bytes::new())];
    let throttle = Duration::from_millis(50);
    let answer = FetchAnswer {
        code: ErrorCode::None,
        throttle,
        bytes: 0,
        parts,
    };
    bench.handle(Event::Fetched {
        id: order.id,
        outcome: Ok(answer),
    });
    assert_eq!(bench.after(49).poll(), []);
    assert_eq!(bench.after(1).fetch().node, NodeId(1));
}
