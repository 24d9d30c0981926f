//! A log that was cut: what was acknowledged beyond the cut is lost, and nothing else is wrong.

use super::*;

fn cut(offset: i64) -> Event {
    Event::Cut { offset }
}

/// Five values read by all; then the log is cut at 3, and two others come to stand there.
fn run() -> Vec<Event> {
    let mut events = good_run(5);
    events.push(cut(3));
    for number in 5..7 {
        let offset = number as i64 - 2;
        events.extend([sent(number), acknowledged(number, offset)]);
        events.extend([READER, SECOND, MEMBER].map(|reader| read(reader, offset, number)));
        events.push(Event::Committed { offset: offset + 1 });
    }
    events
}

fn kinds(events: &[Event]) -> Vec<(Kind, u64)> {
    let mut judge = judge(Limits::NONE);
    tell(&mut judge, events.iter().copied());
    judge.finish(Ending::Read);
    judge
        .findings()
        .counts()
        .iter()
        .map(|(&kind, &count)| (kind, count))
        .collect()
}

#[test]
fn exactly_what_was_acknowledged_beyond_the_cut_is_lost() {
    assert_eq!(kinds(&run()), [(Kind::LostWrite, 2)]);
}

#[test]
fn without_word_of_the_cut_the_offsets_do_not_agree() {
    let events: Vec<Event> = run().into_iter().filter(|event| *event != cut(3)).collect();
    assert!(
        kinds(&events)
            .iter()
            .any(|(kind, _)| *kind == Kind::InconsistentOffsets)
    );
}

#[test]
fn what_was_not_acknowledged_may_come_again_elsewhere() {
    let mut events = vec![sent(0), read(READER, 0, 0), cut(0), sent(1), acknowledged(1, 0)];
    events.extend([(0, 1), (1, 0)].map(|(offset, number)| read(READER, offset, number)));
    events.push(acknowledged(0, 1));
    let found = kinds(&events);
    assert!(
        !found
            .iter()
            .any(|(kind, _)| matches!(kind, Kind::LostWrite | Kind::Duplicate)),
        "{found:?}"
    );
    // And what was acknowledged may not: it had another place.
    let mut events = run();
    events.push(read(READER, 5, 4));
    assert!(
        kinds(&events)
            .iter()
            .any(|(kind, _)| *kind == Kind::InconsistentOffsets)
    );
}

#[test]
fn what_is_missing_below_the_cut_is_lost_too() {
    let mut events = run();
    events.retain(|event| !matches!(event, Event::Read { offset: 1, .. }));
    assert!(kinds(&events).contains(&(Kind::LostWrite, 3)), "{:?}", kinds(&events));
}

#[test]
fn what_had_left_the_window_is_unchecked() {
    let mut judge = judge(WINDOW);
    tell(&mut judge, good_run(5));
    judge.step(0, cut(0));
    assert!(judge.totals().unchecked > 0);
}
