//! Leaders that change, refuse, die and lose what they had.

use super::*;

fn moved(epoch: i32) -> Event {
    Event::Cluster(picture(&[Some((2, epoch))]))
}

/// Reads offsets 0 to 4 under epoch 5 from node 1; the next fetch is under way.
fn read_five(config: CoreConfig) -> (Bench, FetchOrder) {
    let (mut bench, order) = Bench::reading(config, 0);
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    let next = bench.fetch();
    assert_eq!(bench.take_all(), offsets(0, 0..5));
    (bench, next)
}

fn epoch_end(id: u64, epoch: i32, end: i64) -> Event {
    let found = EpochPart {
        partition: tp(0),
        code: ErrorCode::None,
        epoch: LeaderEpoch(epoch),
        end: Offset(end),
    };
    Event::Validated {
        id,
        outcome: Ok(vec![found]),
    }
}

/// The new leader is asked about what was read.
fn validation(bench: &mut Bench, abandoned: u64) -> u64 {
    let effects = bench.poll();
    let [Effect::Validate(order), Effect::Abandon(id)] = &effects[..] else {
        panic!("{effects:?}")
    };
    let part = ValidatePart {
        partition: tp(0),
        leader_epoch: LeaderEpoch(6),
        epoch: LeaderEpoch(5),
    };
    assert_eq!((&order.parts, order.node, *id), (&vec![part], NodeId(2), abandoned));
    order.id
}

#[test]
fn a_new_leader_is_asked_whether_it_has_what_was_read() {
    let (mut bench, order) = read_five(config());
    bench.handle(moved(6));
    let id = validation(&mut bench, order.id);
    bench.handle(epoch_end(id, 5, 5));
    let next = bench.fetch();
    assert_eq!(
        (next.node, next.parts[0].leader_epoch, next.parts[0].offset),
        (NodeId(2), LeaderEpoch(6), Offset(5))
    );
}

#[test]
fn what_was_fetched_ahead_of_an_old_leader_is_dropped() {
    let (mut bench, order) = read_five(config());
    bench.answer(order.id, vec![part(0, 9, batch(5, 4, 5))]);
    let order = bench.fetch();
    assert_eq!(bench.take(2), offsets(0, 5..7));
    bench.handle(moved(6));
    assert_eq!(bench.take_all(), []);
    let id = validation(&mut bench, order.id);
    bench.handle(epoch_end(id, 5, 9));
    assert_eq!(bench.fetch().parts[0].offset, Offset(7));
}

/// It was kept where nothing had been handed out yet, and a cut below it went unnoticed.
#[test]
fn so_is_what_was_fetched_before_anything_was_handed_out() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.answer(order.id, vec![part(0, 9, batch(0, 5, 5))]);
    let order = bench.fetch();
    bench.handle(moved(6));
    assert_eq!(bench.take_all(), []);
    let effects = bench.poll();
    let [Effect::Fetch(next), Effect::Abandon(id)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((next.parts[0].offset, *id), (Offset(0), order.id));
}

#[test]
fn what_is_dropped_while_it_is_opened_is_not_handed_out() {
    let (mut bench, order) = read_five(config());
    bench.answer(order.id, vec![part(0, 9, batch(5, 4, 5))]);
    let order = bench.fetch();
    let lease = bench.core.lease().unwrap();
    bench.handle(moved(6));
    assert_eq!((bench.take_leased(&lease, 4), bench.position()), (vec![], Some(5)));
    let id = validation(&mut bench, order.id);
    bench.handle(epoch_end(id, 5, 9));
    let next = bench.fetch();
    assert_eq!(next.parts[0].offset, Offset(5));
    bench.answer(next.id, vec![part(0, 9, batch(5, 4, 5))]);
    assert_eq!(bench.take_leased(&lease, 4), [], "fetched again, it is another lease");
    assert_eq!(bench.take_all(), offsets(0, 5..9));
}

#[test]
fn nothing_read_means_nothing_to_ask() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.handle(moved(6));
    let effects = bench.poll();
    let [Effect::Fetch(next), Effect::Abandon(id)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((next.node, *id), (NodeId(2), order.id));
}

#[test]
fn a_log_that_was_cut_is_reported() {
    let cases = [
        (5, 3, "offset 3"),
        (4, 8, "offset 5"),
        (4, 2, "offset 2"),
        (-1, -1, "an unknown offset"),
    ];
    for (epoch, end, at) in cases {
        let (mut bench, order) = read_five(config());
        bench.handle(moved(6));
        let id = validation(&mut bench, order.id);
        bench.handle(epoch_end(id, epoch, end));
        assert_eq!(bench.poll(), []);
        let expected = format!("reading t-0: the log was cut at {at} below position 5, read under leader epoch 5");
        assert_eq!((bench.failure(), bench.position()), (expected, Some(5)));
    }
}

#[test]
fn or_reading_goes_on_where_it_was_cut() {
    let (mut bench, order) = read_five(CoreConfig {
        offset_reset: OffsetReset::Latest,
        ..config()
    });
    bench.handle(moved(6));
    let id = validation(&mut bench, order.id);
    bench.handle(epoch_end(id, 5, 3));
    assert_eq!(
        (bench.fetch().parts[0].offset, bench.failure()),
        (Offset(3), String::new())
    );
}

#[test]
fn a_broker_that_cannot_tell_is_taken_at_its_word() {
    let (mut bench, order) = read_five(config());
    bench.handle(moved(6));
    let id = validation(&mut bench, order.id);
    let unsupported = RequestError::Unsupported {
        address: "h:9092".parse().unwrap(),
        api: klamm_wire::ApiKey::OffsetForLeaderEpoch,
    };
    bench.handle(Event::Validated {
        id,
        outcome: Err(Arc::new(unsupported)),
    });
    assert_eq!(bench.fetch().parts[0].offset, Offset(5));
}

#[test]
fn a_validation_that_a_leader_owes_is_asked_of_the_next() {
    let (mut bench, order) = read_five(config());
    bench.handle(moved(6));
    let old = validation(&mut bench, order.id);
    bench.handle(Event::Cluster(picture(&[Some((3, 7))])));
    let effects = bench.poll();
    let [Effect::Validate(order)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(order.node, NodeId(3));
    bench.handle(epoch_end(old, 5, 1));
    assert_eq!(
        (bench.poll(), bench.failure()),
        (vec![], String::new()),
        "nobody waits for the old answer"
    );
    bench.handle(epoch_end(order.id, 5, 5));
    assert_eq!(bench.fetch().node, NodeId(3));
}

#[test]
fn a_refusal_is_tried_again_with_a_fresh_picture() {
    for code in [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::UnknownLeaderEpoch,
        ErrorCode::UnknownTopicId,
        ErrorCode::InconsistentTopicId,
        ErrorCode::KafkaStorageError,
    ] {
        let (mut bench, order) = Bench::reading(config(), 0);
        bench.answer(order.id, vec![refusal(0, code)]);
        assert_eq!(bench.poll(), [Effect::Refresh], "{code}");
        assert_eq!(bench.after(20).fetch().node, NodeId(1));
    }
}

#[test]
fn a_hint_is_used_at_once() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.handle(moved(6));
    bench.answer(order.id, vec![refusal(0, ErrorCode::NotLeaderOrFollower)]);
    let effects = bench.poll();
    assert!(
        matches!(&effects[..], [Effect::Fetch(next), Effect::Abandon(_)] if next.node == NodeId(2)),
        "{effects:?}"
    );
}

#[test]
fn a_broker_that_is_gone_is_tried_again_until_another_leads() {
    let (mut bench, order) = Bench::reading(config(), 0);
    bench.lose(order.id);
    assert_eq!(bench.poll(), [Effect::Refresh]);
    let order = bench.after(20).fetch();
    bench.lose(order.id);
    assert_eq!(bench.poll(), [Effect::Refresh]);
    bench.handle(moved(6));
    assert_eq!(bench.fetch().node, NodeId(2), "without a pause");
}

#[test]
fn a_silent_broker_makes_us_look_for_another() {
    let (mut bench, order) = Bench::reading(config(), 0);
    assert_eq!(bench.after(699).poll(), []);
    assert_eq!(bench.after(1).poll(), [Effect::Refresh]);
    assert_eq!(
        (bench.after(99).poll(), bench.after(1).poll()),
        (vec![], vec![Effect::Refresh])
    );
    bench.handle(moved(6));
    let effects = bench.poll();
    assert!(
        matches!(&effects[..], [Effect::Fetch(next), Effect::Abandon(id)] if next.node == NodeId(2) && *id == order.id)
    );
}

#[test]
fn a_fetch_that_some_still_wait_for_goes_on() {
    let mut bench = Bench::new(config(), picture(&[Some((1, 5)), Some((1, 5))]));
    bench.core.assign(vec![
        (tp(0), Start::Offset(Offset(0))),
        (tp(1), Start::Offset(Offset(0))),
    ]);
    let first = bench.fetch();
    bench.handle(Event::Cluster(picture(&[Some((2, 6)), Some((1, 5))])));
    let second = bench.fetch();
    assert_eq!((second.node, &second.parts[0].partition), (NodeId(2), &tp(0)));
    bench.answer(first.id, vec![part(0, 3, batch(0, 3, 5)), part(1, 3, batch(0, 3, 5))]);
    assert_eq!(bench.take_all(), offsets(1, 0..3));
}

#[test]
fn a_topic_made_anew_is_another_topic() {
    let other = TopicId(klamm_types::Uuid([8; 16]));
    let anew = || Event::Cluster(picture_of(other, &[Some((2, 0))]));
    let (mut bench, order) = read_five(config());
    bench.handle(anew());
    assert_eq!(bench.poll(), [Effect::Abandon(order.id)]);
    assert_eq!(
        bench.failure(),
        "reading t-0: the topic was replaced by another of the same name"
    );
    bench.core.seek(&tp(0), Start::Offset(Offset(0)));
    let next = bench.fetch();
    assert_eq!((next.node, next.parts[0].topic_id), (NodeId(2), other));
    let (mut bench, order) = read_five(CoreConfig {
        offset_reset: OffsetReset::Earliest,
        ..config()
    });
    bench.handle(anew());
    let effects = bench.poll();
    let [Effect::List(list), Effect::Abandon(id)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (list.node, list.parts[0].timestamp, *id),
        (NodeId(2), Timestamp(-2), order.id)
    );
}
