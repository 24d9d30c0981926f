//! What goes by itself: offsets whose time is over, offsets of deleted topics, groups with neither.

use klamm_types::{ErrorCode, TopicId};
use proptest::prelude::*;

use super::RECORDS_PER_DECISION_MAX;
use super::testing::*;
use crate::call::{Call, CommitOffsets, DeleteOffsets};
use crate::draft::Decision;
use crate::record::{Committed, Record};
use crate::shard::{Event, TopicsAge};

fn aged(days: i64) -> Committed {
    Committed {
        commit_timestamp: START_MS - days * DAY_MS,
        ..committed(1)
    }
}

/// What is left after the first check for offsets whose time is over; commits are as old as their partition says.
fn left_after_check(group: &[Record]) -> (Vec<i32>, bool) {
    let mut log = group.to_vec();
    for days in [0, 6, 7, 8] {
        log.push(offset("g", "many", days, Some(aged(i64::from(days)))));
    }
    let mut served = Served::new(topics(&[("many", 1, 10), ("orders", 2, 3)]), &log);
    assert!(served.tick_all().is_empty());
    served.now_ms = 600_000;
    served.tick_all();
    let left = served.offsets("g").into_iter().map(|(_, partition, _)| partition);
    (left.collect(), served.shard.group("g").is_some())
}

#[test]
fn offsets_expire_by_the_state_of_the_group() {
    // Only offsets: each by its own age. So, too, if members are stable and do not read the topic.
    assert_eq!(left_after_check(&[]), (vec![0, 6], false));
    assert_eq!(left_after_check(&[classic("consumer", &["m"])]), (vec![0, 6], true));
    // Empty since a day: none yet.
    assert_eq!(left_after_check(&[classic("consumer", &[])]), (vec![0, 6, 7, 8], true));
    // Members that read nobody knows what: never.
    assert_eq!(
        left_after_check(&[classic("connect", &["m"])]),
        (vec![0, 6, 7, 8], true)
    );
}

#[test]
fn an_empty_group_goes_with_its_last_offset() {
    let mut served = Served::orders(&[classic("consumer", &[]), offset("g", "orders", 0, Some(committed(1)))]);
    served.now_ms = 6 * DAY_MS - 1;
    served.tick_all();
    assert_eq!(served.log.len(), 2);
    served.now_ms = 6 * DAY_MS + 600_000;
    served.tick_all();
    assert_eq!(served.log[2..], [offset("g", "orders", 0, None), no_group()]);
    assert_eq!(served.shard.groups().count(), 0);
}

#[test]
fn an_empty_group_without_offsets_goes_at_the_next_check() {
    let mut served = Served::orders(&[classic("consumer", &[])]);
    served.now_ms = 600_000;
    served.tick_all();
    assert_eq!(served.log[1..], [no_group()]);
}

#[test]
fn what_members_read_does_not_expire() {
    let old = Committed {
        expire_timestamp: START_MS,
        ..aged(400)
    };
    let mut served = Served::orders(&[classic("consumer", &["m"]), offset("g", "orders", 0, Some(old))]);
    for _ in 0..20 {
        served.now_ms += 40_000;
        assert_eq!(served.commit_code(of_member("m", 5)), ErrorCode::None);
        served.tick_all();
    }
    assert_eq!(served.offsets("g").len(), 1);
}

#[test]
fn much_that_is_over_goes_in_bounded_steps() {
    let many = 2 * RECORDS_PER_DECISION_MAX + 500;
    let log: Vec<Record> = (0..many)
        .map(|index| {
            offset(
                &format!("g{}", index % 7),
                "orders",
                i32::try_from(index).unwrap(),
                Some(aged(30)),
            )
        })
        .collect();
    let mut served = Served::new(topics(&[("orders", 1, many)]), &log);
    served.now_ms = 600_000;
    assert_eq!(served.tick_all(), [1000, 1000, 500]);
    assert!(served.shard.offsets().is_empty());

    let mut served = Served::new(topics(&[("orders", 1, many)]), &log);
    served.shard.set_topics(topics(&[]), TopicsAge::Current);
    assert_eq!(served.decide(Event::TopicsChanged), Decision::default());
    assert_eq!(served.tick_all(), [1000, 1000, 500]);
    assert!(served.shard.offsets().is_empty());
}

#[test]
fn the_offsets_of_a_deleted_topic_go_with_it() {
    let of = |topic_id| Committed {
        topic_id: TopicId::from_u128(topic_id),
        ..committed(1)
    };
    let mut served = Served::orders(&[
        offset("g", "orders", 0, Some(of(1))),
        offset("g", "other", 0, Some(of(2))),
        // Without an id it belongs to whatever has the name.
        offset("h", "orders", 0, Some(of(0))),
        offset("h", "other", 0, Some(of(0))),
    ]);
    assert!(served.tick_all().is_empty());
    // One was deleted, one deleted and made again.
    served.shard.set_topics(topics(&[("orders", 5, 3)]), TopicsAge::Current);
    served.tick_all();
    assert_eq!(served.offsets("g"), []);
    assert_eq!(served.offsets("h"), [("orders".into(), 0, 1)]);
    assert_eq!(served.log.len(), 4 + 3);
}

/// A topic that was deleted while another broker coordinated is noticed by the one that loads.
#[test]
fn a_topic_that_is_gone_at_the_start_is_forgotten() {
    let log = [
        offset("g", "gone", 0, Some(committed(1))),
        offset("g", "orders", 0, Some(committed(1))),
    ];
    let mut served = Served::orders(&log);
    assert_eq!(served.tick_all(), [1]);
    assert_eq!(served.log[2..], [offset("g", "gone", 0, None)]);
    assert!(served.tick_all().is_empty());
}

proptest! {
    /// Whatever happens to a shard, its offsets are those that a replay of its log gives.
    #[test]
    fn the_log_tells_the_offsets(steps in proptest::collection::vec((0..6u8, 0..3usize, 0..4i32, 0..4u128), 1..60)) {
        let mut served = Served::orders(&[]);
        let mut known = topics(&[("orders", 1, 3), ("other", 2, 1)]);
        for (kind, group, number, id) in steps {
            let group = ["a", "b", "c"][group].to_owned();
            match kind {
                0..=2 => {
                    let retention_ms = if kind == 2 { 1000 } else { -1 };
                    served.commit(CommitOffsets { group, retention_ms, ..simple(vec![partition(number, 1)]) });
                }
                3 => {
                    let topics = vec![("orders".to_owned(), vec![number])];
                    served.call(Call::DeleteOffsets(DeleteOffsets { group, topics }));
                }
                4 => {
                    served.call(Call::DeleteGroup { group });
                }
                _ => {
                    known = if id == 0 { topics(&[]) } else { topics(&[("orders", id, 3)]) };
                    served.shard.set_topics(known.clone(), TopicsAge::Current);
                    served.decide(Event::TopicsChanged);
                    served.now_ms += i64::from(number) * 3 * DAY_MS;
                }
            }
            served.tick_all();
        }
        let again = Served::new(known, &served.log);
        prop_assert_eq!(again.shard.offsets(), served.shard.offsets());
        prop_assert_eq!(served.shard.offsets().has_deleted_topics(&topics(&[])), !served.shard.offsets().is_empty());
    }
}

/// A leader may not have seen the metadata yet in which a topic was made whose offsets it has loaded.
#[test]
fn topics_that_may_be_older_than_the_leadership_delete_nothing() {
    let log = [offset("g", "new", 0, Some(committed(1)))];
    let mut served = Served::orders(&[]);
    served
        .shard
        .set_topics(topics(&[("orders", 5, 3)]), TopicsAge::MayBeOlder);
    served.shard.replay(at(served.now_ms), log[0].clone());
    served.shard.start(at(served.now_ms));
    assert!(served.tick_all().is_empty());
    served
        .shard
        .set_topics(topics(&[("orders", 5, 3), ("new", 1, 1)]), TopicsAge::Current);
    assert!(served.tick_all().is_empty());
    assert_eq!(served.offsets("g"), [("new".into(), 0, 1)]);
    served.shard.set_topics(topics(&[("orders", 5, 3)]), TopicsAge::Current);
    served.tick_all();
    assert_eq!(served.offsets("g"), []);
}
