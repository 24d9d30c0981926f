//! Every anomaly, planted in a run that is good without it.

mod cut;
mod group;
mod memory;
mod random;

use std::time::Duration;

use super::*;
use crate::anomaly::{Anomaly, Audience, Kind};

const WINDOW: Limits = Limits {
    window: 2,
    retained_max: 100,
};

fn value(number: u64) -> Value {
    Value { producer: 1, number }
}

fn acknowledged(number: u64, offset: i64) -> Event {
    let at = Duration::ZERO;
    settled(number, Outcome::Acknowledged { offset, at })
}

fn settled(number: u64, outcome: Outcome) -> Event {
    let value = value(number);
    Event::Settled { value, outcome }
}

fn sent(number: u64) -> Event {
    Event::Sent { value: value(number) }
}

/// A record of our producer, as somebody gets it.
fn read(reader: Reader, offset: i64, number: u64) -> Event {
    let value = Some(value(number));
    Event::Read { reader, offset, value }
}

const READER: Reader = Reader::Partition(0);
const SECOND: Reader = Reader::Partition(1);
const MEMBER: Reader = Reader::Member(7);

fn judge(limits: Limits) -> Judge {
    let mut judge = Judge::new(limits);
    let readers = [(0, Some(0)), (1, Some(0))].into();
    judge.expect(
        0,
        Audiences {
            readers,
            group: Some(0),
        },
    );
    judge.step(0, Event::Assigned { member: 7 });
    judge
}

fn tell(judge: &mut Judge, events: impl IntoIterator<Item = Event>) {
    for event in events {
        judge.step(0, event);
    }
}

/// Values `0..count` at their own offsets, sent, acknowledged, read by all and committed.
fn good_run(count: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..count {
        let offset = number as i64;
        events.push(sent(number));
        events.push(acknowledged(number, offset));
        events.extend([READER, SECOND, MEMBER].map(|reader| read(reader, offset, number)));
        events.push(Event::Committed { offset: offset + 1 });
    }
    events
}

/// What a judge finds in these events, whether it keeps all or little.
fn found(events: &[Event]) -> Vec<Anomaly> {
    let found = [Limits::NONE, WINDOW].map(|limits| {
        let mut judge = judge(limits);
        tell(&mut judge, events.iter().copied());
        judge.finish(Ending::Read);
        judge.findings().examples().cloned().collect::<Vec<_>>()
    });
    let [all, little] = found;
    assert_eq!(all, little);
    all
}

fn without(events: Vec<Event>, gone: impl Fn(&Event) -> bool) -> Vec<Event> {
    events.into_iter().filter(|event| !gone(event)).collect()
}

fn is_read_at(event: &Event, at: i64) -> bool {
    matches!(event, Event::Read { offset, .. } if *offset == at)
}

#[test]
fn a_good_run_has_no_anomalies_and_leaves_little_behind() {
    let mut judge = judge(WINDOW);
    tell(&mut judge, good_run(1000));
    assert!(judge.retained() <= 6, "{} are kept", judge.retained());
    judge.finish(Ending::Read);
    assert_eq!(judge.findings(), &Findings::default());
    let totals = Totals {
        sent: 1000,
        acknowledged: 1000,
        read: 1000,
        read_by_group: 1000,
        ..Totals::default()
    };
    assert_eq!(judge.totals(), totals);
}

#[test]
fn lost_write() {
    let events = without(good_run(9), |event| is_read_at(event, 3));
    let lost = Anomaly::LostWrite {
        partition: 0,
        value: "1:3".into(),
        offset: 3,
    };
    assert_eq!(found(&events), [lost]);
    let mut judge = judge(WINDOW);
    tell(&mut judge, events);
    assert_eq!(judge.overdue(), 1);
}

#[test]
fn a_write_whose_offset_holds_another_is_lost() {
    let mut events = good_run(9);
    events.extend([sent(9), acknowledged(9, 4)]);
    let lost = Anomaly::LostWrite {
        partition: 0,
        value: "1:9".into(),
        offset: 4,
    };
    assert_eq!(found(&events), [lost]);
}

#[test]
fn a_write_without_an_offset_is_lost_if_a_later_one_is_there() {
    let mut events = without(good_run(9), |event| {
        is_read_at(event, 3) || *event == acknowledged(3, 3)
    });
    events.push(acknowledged(3, -1));
    assert_eq!(
        found(&events).iter().map(Anomaly::kind).collect::<Vec<_>>(),
        [Kind::LostWrite]
    );
}

#[test]
fn unseen() {
    let events = without(good_run(9), |event| is_read_at(event, 8));
    let unseen = Anomaly::Unseen {
        partition: 0,
        value: "1:8".into(),
        offset: 8,
        by: Audience::Anyone,
    };
    assert_eq!(found(&events), [unseen]);
}

#[test]
fn who_did_not_wait_for_the_readers_cannot_say_that_they_saw_nothing() {
    let mut events = without(good_run(9), |event| is_read_at(event, 8) || is_read_at(event, 3));
    events.push(sent(9));
    let mut judge = judge(WINDOW);
    tell(&mut judge, events);
    judge.finish(Ending::CutShort);
    // The other was passed over, and that is no question of time.
    let counts = [(Kind::LostWrite, 1)].into();
    assert_eq!(judge.findings().counts(), &counts);
    assert_eq!((judge.totals().unchecked, judge.totals().unknown), (1, 1));
}

#[test]
fn unseen_by_the_group_alone() {
    let of_group = |event: &Event| {
        matches!(
            event,
            Event::Read {
                reader: MEMBER,
                offset: 8,
                ..
            }
        ) || *event == Event::Committed { offset: 9 }
    };
    let unseen = Anomaly::Unseen {
        partition: 0,
        value: "1:8".into(),
        offset: 8,
        by: Audience::Group,
    };
    assert_eq!(found(&without(good_run(9), of_group)), [unseen]);
}

#[test]
fn duplicate() {
    let mut events = good_run(9);
    events.extend([READER, SECOND, MEMBER].map(|reader| read(reader, 9, 7)));
    let duplicate = Anomaly::Duplicate {
        partition: 0,
        value: "1:7".into(),
        offsets: (Some(7), 9),
    };
    assert_eq!(found(&events), [duplicate]);
}

#[test]
fn a_duplicate_of_what_is_forgotten() {
    let mut judge = judge(WINDOW);
    tell(&mut judge, good_run(9));
    judge.step(0, read(READER, 9, 0));
    let duplicate = Anomaly::Duplicate {
        partition: 0,
        value: "1:0".into(),
        offsets: (None, 9),
    };
    assert_eq!(judge.findings().examples().collect::<Vec<_>>(), [&duplicate]);
}

#[test]
fn inconsistent_offsets() {
    let mut events = good_run(9);
    for event in &mut events {
        if *event == read(SECOND, 5, 5) {
            *event = Event::Read {
                reader: SECOND,
                offset: 5,
                value: None,
            };
        }
    }
    let differs = Anomaly::InconsistentOffsets {
        partition: 0,
        offset: 5,
        expected: "1:5".into(),
        found: "a foreign record".into(),
    };
    assert_eq!(found(&events), [differs]);
}

/// As after an election with loss: the one who reads late sees the new value where others saw the old one.
#[test]
fn a_value_that_took_another_ones_place_is_not_lost_besides() {
    let mut events = without(good_run(9), |event| *event == read(SECOND, 8, 8));
    events.extend([sent(9), acknowledged(9, 8), read(SECOND, 8, 9)]);
    let differs = Anomaly::InconsistentOffsets {
        partition: 0,
        offset: 8,
        expected: "1:8".into(),
        found: "1:9".into(),
    };
    assert_eq!(found(&events), [differs]);
}

#[test]
fn acknowledged_at_one_offset_and_read_at_another() {
    for late in [false, true] {
        let mut events = without(good_run(9), |event| *event == acknowledged(5, 5));
        let at = if late { events.len() } else { 1 };
        let sends = without(events.split_off(at), |event| *event == sent(5));
        events.extend([sent(5), acknowledged(5, 50)]);
        if late {
            events.retain(|event| *event != sent(5));
            events.insert(0, sent(5));
        }
        events.extend(sends);
        let elsewhere = Anomaly::InconsistentOffsets {
            partition: 0,
            offset: 50,
            expected: "1:5 at 50".into(),
            found: "1:5 at 5".into(),
        };
        assert_eq!(found(&events), [elsewhere]);
    }
}

#[test]
fn a_value_that_nobody_sent() {
    let mut events = good_run(9);
    events.push(read(READER, 9, 100));
    events.extend([read(MEMBER, 9, 100), Event::Committed { offset: 10 }]);
    let kinds: Vec<_> = found(&events).iter().map(Anomaly::kind).collect();
    assert_eq!(kinds, [Kind::InconsistentOffsets]);
}

#[test]
fn nonmonotonic_poll() {
    let mut events = good_run(9);
    events.push(read(SECOND, 7, 7));
    let back = Anomaly::NonmonotonicPoll {
        partition: 0,
        reader: SECOND,
        from: 8,
        to: 7,
    };
    assert_eq!(found(&events), [back]);
}

#[test]
fn poll_skip() {
    // Whether the others have read it before or read it after.
    for late in [false, true] {
        let mut events = without(good_run(9), |event| *event == read(SECOND, 8, 8));
        if late {
            events.retain(|event| !is_read_at(event, 8) && *event != Event::Committed { offset: 9 });
        }
        events.extend([sent(9), acknowledged(9, 9), read(SECOND, 9, 9)]);
        if late {
            events.extend([read(READER, 8, 8), read(MEMBER, 8, 8)]);
        }
        events.extend([read(READER, 9, 9), read(MEMBER, 9, 9)]);
        let skip = Anomaly::PollSkip {
            partition: 0,
            reader: SECOND,
            offset: 8,
        };
        assert_eq!(found(&events), [skip]);
    }
}

#[test]
fn nonmonotonic_send() {
    let mut events = Vec::new();
    for (number, offset) in [(0, 0), (1, 2), (2, 1), (3, 3), (4, 4), (5, 5), (6, 6)] {
        events.extend([sent(number), acknowledged(number, offset)]);
    }
    for (offset, number) in [(0, 0), (1, 2), (2, 1), (3, 3), (4, 4), (5, 5), (6, 6)] {
        events.extend([READER, SECOND, MEMBER].map(|reader| read(reader, offset, number)));
        events.push(Event::Committed { offset: offset + 1 });
    }
    let order = Anomaly::NonmonotonicSend {
        partition: 0,
        earlier: "1:1".into(),
        later: "1:2".into(),
    };
    assert_eq!(found(&events), [order]);
}

#[test]
fn g1a() {
    for outcome in [Outcome::Failed, Outcome::Aborted] {
        // Whether the reader or the producer is told first.
        for late in [false, true] {
            let mut events = without(good_run(9), |event| *event == acknowledged(5, 5));
            let at = events.iter().position(|event| *event == sent(5)).unwrap() + 1;
            events.insert(if late { events.len() } else { at }, settled(5, outcome));
            let aborted = Anomaly::G1a {
                partition: 0,
                value: "1:5".into(),
                offset: 5,
            };
            assert_eq!(found(&events), [aborted]);
        }
    }
    // Nobody reads it: so it must be.
    let mut events = good_run(9);
    events.extend([sent(9), settled(9, Outcome::Aborted)]);
    assert_eq!(found(&events), []);
}

#[test]
fn an_unknown_outcome_may_go_either_way() {
    let mut events = good_run(9);
    events.extend([sent(9), settled(9, Outcome::Unknown), sent(10)]);
    assert_eq!(found(&events), []);
    events.extend([READER, SECOND, MEMBER].map(|reader| read(reader, 9, 9)));
    assert_eq!(found(&events), []);
}

#[test]
fn a_send_that_was_not_taken_leaves_its_number_to_the_next() {
    let mut events = good_run(3);
    events.extend([
        sent(3),
        Event::Withdrawn { value: value(3) },
        sent(3),
        acknowledged(3, 3),
    ]);
    events.extend([READER, SECOND, MEMBER].map(|reader| read(reader, 3, 3)));
    assert_eq!(found(&events), []);
}
