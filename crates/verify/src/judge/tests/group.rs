//! What a group may and may not do over a rebalance.

use super::*;

/// Member 7 reads up to 9 and commits 7; then member 8 has the partition, and begins at `from`.
fn rebalanced(from: i64) -> Vec<Event> {
    let mut events = without(
        good_run(10),
        |event| matches!(event, Event::Committed { offset } if *offset > 7),
    );
    events.extend([Event::Revoked { member: 7 }, Event::Assigned { member: 8 }]);
    let last = from.max(9);
    events.extend((10..=last).map(|number| sent(number as u64)));
    events.extend((10..=last).flat_map(|number| [READER, SECOND].map(|reader| read(reader, number, number as u64))));
    events.extend((from..=last).map(|number| read(Reader::Member(8), number, number as u64)));
    events
}

#[test]
fn a_group_may_get_records_again_after_a_rebalance() {
    assert_eq!(found(&rebalanced(7)), []);
    let mut judge = judge(WINDOW);
    tell(&mut judge, rebalanced(7));
    assert_eq!(judge.totals().redelivered, 3);
}

#[test]
fn a_group_may_not_pass_over_records() {
    let skip = Anomaly::PollSkip {
        partition: 0,
        reader: Reader::Member(8),
        offset: 10,
    };
    assert_eq!(found(&rebalanced(12)), [skip]);
    // Nor may a member while it has the partition.
    let mut events = good_run(9);
    events.retain(|event| {
        !matches!(
            event,
            Event::Read {
                reader: MEMBER,
                offset: 4,
                ..
            }
        )
    });
    let skip = Anomaly::PollSkip {
        partition: 0,
        reader: MEMBER,
        offset: 4,
    };
    assert_eq!(found(&events), [skip]);
}

#[test]
fn a_group_may_not_go_back_behind_its_commit() {
    let back = Anomaly::NonmonotonicPoll {
        partition: 0,
        reader: Reader::Member(8),
        from: 7,
        to: 6,
    };
    assert_eq!(found(&rebalanced(6)), [back]);
    let mut events = good_run(9);
    events.push(read(MEMBER, 8, 8));
    let again = Anomaly::NonmonotonicPoll {
        partition: 0,
        reader: MEMBER,
        from: 8,
        to: 8,
    };
    assert_eq!(found(&events), [again]);
}
