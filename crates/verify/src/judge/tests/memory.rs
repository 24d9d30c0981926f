//! Runs much longer than what is kept of them.

use super::*;

#[test]
fn a_reader_that_hangs_costs_checks_and_no_memory() {
    let mut judge = judge(WINDOW);
    let events = without(good_run(1000), |event| {
        matches!(event, Event::Read { reader: SECOND, .. })
    });
    for event in events {
        judge.step(0, event);
        assert!(judge.retained() <= WINDOW.retained_max);
    }
    tell(&mut judge, (0..1000).map(|number| read(SECOND, number as i64, number)));
    judge.finish(Ending::Read);
    assert!(judge.findings().is_empty(), "{:?}", judge.findings());
    assert!(judge.totals().unchecked >= 900, "{:?}", judge.totals());
}

#[test]
fn sends_that_nobody_reads_cost_checks_and_no_memory() {
    let mut judge = judge(WINDOW);
    for number in 0..1000 {
        tell(&mut judge, [sent(number), acknowledged(number, number as i64)]);
        assert!(judge.retained() <= WINDOW.retained_max);
    }
    judge.finish(Ending::Read);
    let (unseen, unchecked) = (judge.findings().count(Kind::Unseen), judge.totals().unchecked);
    assert_eq!(unseen + unchecked, 1000);
    assert!(unchecked >= 900, "{unchecked}");
}

/// Ten million records over ten partitions: what is kept depends on what is under way, not on how long it goes on.
#[test]
fn ten_million_records_are_judged_in_little_memory() {
    const RECORDS: u64 = 1_000_000;
    const UNDER_WAY: u64 = 100;
    let mut judge = Judge::new(Limits::shared_by(10));
    let readers = BTreeMap::from([(0, Some(0))]);
    for partition in 0..10 {
        let readers = readers.clone();
        judge.expect(
            partition,
            Audiences {
                readers,
                group: Some(0),
            },
        );
    }
    let mut most = 0;
    for number in 0..RECORDS + UNDER_WAY {
        for partition in 0..10 {
            if number < RECORDS {
                judge.step(partition, sent(number));
            }
            let Some(done) = number.checked_sub(UNDER_WAY) else {
                continue;
            };
            let offset = done as i64;
            judge.step(partition, read(READER, offset, done));
            judge.step(partition, acknowledged(done, offset));
            judge.step(partition, read(MEMBER, offset, done));
            if done % 1000 == 999 {
                judge.step(partition, Event::Committed { offset: offset + 1 });
            }
        }
        if number % 1000 == 998 {
            most = most.max(judge.retained());
        }
    }
    judge.finish(Ending::Read);
    assert_eq!(judge.totals().acknowledged, 10 * RECORDS);
    assert_eq!(judge.totals().read, 10 * RECORDS);
    assert!(judge.findings().is_empty(), "{:?}", judge.findings());
    // The window, what was not committed yet, and what was under way; for each an offset and a send.
    let (window, uncommitted) = (1000, 1000);
    assert!(
        most <= 10 * 2 * (window + uncommitted + UNDER_WAY as usize),
        "{most} were kept"
    );
}
