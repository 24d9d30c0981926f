//! Commits and questions: order, retries, and what each code means.

use super::*;

fn commit(waiter: u64, at: i64) -> Event {
    Event::Commit {
        waiter,
        offsets: offsets(&[("t", 0, at)]),
    }
}

fn stored(code: ErrorCode) -> Answer {
    Answer::Committed(vec![(TopicPartition::new("t", 0), code)])
}

fn beat(epoch: i32, assigned: &[i32]) -> Answer {
    Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer {
        code: ErrorCode::None,
        message: String::new(),
        epoch,
        interval: Duration::from_secs(5),
        assignment: Some([(topic_id("t"), assigned.iter().copied().collect())].into()),
    })
}

/// Owns t-0 in epoch 2.
fn member() -> Bench {
    let mut bench = Bench::subscribed(config(GroupProtocol::Consumer));
    bench.coordinator(1);
    bench.answer("beat", beat(2, &[0]));
    bench.turn();
    bench.answer("beat", beat(2, &[0]));
    let parts = vec![(TopicPartition::new("t", 0), ErrorCode::None, None)];
    let answer = Answer::Offsets {
        code: ErrorCode::None,
        parts,
    };
    assert_eq!(bench.answer("committed", answer), ["begin t-0:none"]);
    bench
}

#[test]
fn one_after_another_and_each_until_it_is_stored() {
    let nothing: [&str; 0] = [];
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    assert_eq!(bench.step(commit(1, 5)), ["find"], "without a group to be in");
    assert_eq!(bench.step(commit(2, 6)), nothing);
    assert_eq!(bench.coordinator(1), ["commit @-1 t-0:5"]);
    assert_eq!(
        bench.answer("commit", stored(ErrorCode::CoordinatorLoadInProgress)),
        nothing
    );
    assert_eq!(bench.later(Duration::from_millis(20)), ["commit @-1 t-0:5"]);
    assert_eq!(bench.answer("commit", stored(ErrorCode::NotCoordinator)), nothing);
    assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
    assert_eq!(bench.coordinator(2), ["commit @-1 t-0:5"]);
    assert_eq!(
        bench.answer("commit", stored(ErrorCode::None)),
        ["1 stored", "commit @-1 t-0:6"]
    );
    let refused = "2 committing the offset of t-0";
    assert_eq!(
        bench.answer("commit", stored(ErrorCode::UnknownMemberId)),
        [refused],
        "the group has members"
    );
}

#[test]
fn a_commit_of_nothing_is_done_when_all_before_it_are() {
    let nothing = |waiter| Event::Commit {
        waiter,
        offsets: BTreeMap::new(),
    };
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    assert_eq!(bench.step(nothing(1)), ["1 stored"]);
    bench.step(commit(2, 5));
    assert_eq!(bench.step(nothing(3)), [] as [&str; 0]);
    bench.coordinator(1);
    assert_eq!(
        bench.answer("commit", stored(ErrorCode::None)),
        ["2 stored", "3 stored"]
    );
}

#[test]
fn a_commit_that_finds_no_coordinator_is_given_up_in_time() {
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    bench.step(commit(1, 5));
    assert_eq!(
        bench.later(Duration::from_secs(60)),
        ["1 the group's coordinator was unavailable for 60s"]
    );
}

#[test]
fn a_stale_epoch_is_tried_again_while_the_partition_is_ours() {
    let mut bench = member();
    assert_eq!(bench.step(commit(1, 5)), ["commit me@2 t-0:5"]);
    assert_eq!(
        bench.answer("commit", stored(ErrorCode::StaleMemberEpoch)),
        ["beat me@2"],
        "it asks at once"
    );
    assert_eq!(bench.answer("beat", beat(3, &[0])), [] as [&str; 0]);
    assert_eq!(bench.later(Duration::from_millis(20)), ["commit me@3 t-0:5"]);
    assert_eq!(bench.answer("commit", stored(ErrorCode::None)), ["1 stored"]);
}

#[test]
fn what_another_owns_by_now_is_not_overwritten() {
    let mut bench = member();
    bench.step(commit(1, 5));
    bench.outcome("commit", lost());
    // Before the coordinator is found again, t-0 is given up.
    bench.core.reconciler.epoch = 3;
    bench.core.owned.clear();
    let lines = bench.step(Event::Tick);
    assert_eq!(lines, ["1 committing offsets: the group is rebalancing"]);
}

#[test]
fn a_member_that_is_none_any_more_commits_nothing() {
    let mut bench = member();
    bench.step(commit(1, 5));
    let told = bench.answer("commit", stored(ErrorCode::UnknownMemberId));
    let none = "1 committing offsets: this consumer is not a member of its group any more";
    assert_eq!(told, [none, "beat me@2"], "and it finds out at once");
}

#[test]
fn auto_commit_asks_now_and_then_and_commits_what_is_owned() {
    let often = CoreConfig {
        auto_commit_interval: Some(Duration::from_secs(1)),
        ..config(GroupProtocol::Consumer)
    };
    let mut bench = Bench::subscribed(often);
    bench.coordinator(1);
    bench.answer("beat", beat(2, &[0]));
    bench.turn();
    assert_eq!(bench.later(Duration::from_secs(1)), ["commit processed"]);
    let processed = offsets(&[("t", 0, 4), ("t", 1, 9)]);
    assert_eq!(bench.step(Event::AutoCommit(processed)), ["commit me@2 t-0:4"]);
    assert_eq!(bench.later(Duration::from_secs(1)), [] as [&str; 0], "one is under way");
    bench.answer("commit", stored(ErrorCode::None));
    assert_eq!(bench.later(Duration::from_millis(100)), ["commit processed"]);
}

#[test]
fn an_offset_whose_transaction_is_open_is_waited_for() {
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    let ask = Event::AskCommitted {
        waiter: 1,
        partitions: keys(&[("t", 0), ("t", 1)]),
    };
    bench.step(ask);
    assert_eq!(bench.coordinator(1), ["committed @-1 t-0 t-1"]);
    let part = |number, code, offset: Option<i64>| {
        let offset = offset.map(|offset| CommittedOffset::new(Offset(offset)));
        (TopicPartition::new("t", number), code, offset)
    };
    let answer = |code, parts| Answer::Offsets { code, parts };
    let open = vec![
        part(0, ErrorCode::UnstableOffsetCommit, None),
        part(1, ErrorCode::None, Some(3)),
    ];
    assert_eq!(
        bench.answer("committed", answer(ErrorCode::None, open)),
        [] as [&str; 0]
    );
    assert_eq!(bench.later(Duration::from_millis(20)), ["committed @-1 t-0 t-1"]);
    let done = vec![part(0, ErrorCode::None, None), part(1, ErrorCode::None, Some(3))];
    assert_eq!(
        bench.answer("committed", answer(ErrorCode::None, done)),
        ["1 is told t-1:3"]
    );
}

fn parts(list: &[(&str, i32, ErrorCode)]) -> Answer {
    let part = |&(topic, number, code): &(&str, i32, ErrorCode)| (TopicPartition::new(topic, number), code);
    Answer::Committed(list.iter().map(part).collect())
}

fn of_two_topics(waiter: u64) -> Event {
    Event::Commit {
        waiter,
        offsets: offsets(&[("t", 0, 5), ("u", 0, 7)]),
    }
}

/// It would be refused for as long as it were tried, and keep revoked partitions from others.
#[test]
fn the_offset_of_a_topic_that_is_gone_is_dropped_at_once() {
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    let mut gone = (*picture(&[("t", 1), ("u", 1)])).clone();
    let topic = Topic {
        error: Some(ErrorCode::UnknownTopicOrPartition),
        partitions: vec![],
        ..(*gone.topics["u"]).clone()
    };
    gone.topics.insert(Arc::from("u"), Arc::new(topic));
    bench.step(Event::Cluster(Arc::new(gone)));
    bench.step(of_two_topics(1));
    assert_eq!(bench.coordinator(1), ["commit @-1 t-0:5 u-0:7"]);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let told = bench.answer("commit", parts(&[("t", 0, ErrorCode::None), ("u", 0, unknown)]));
    assert_eq!(told, ["1 committing the offset of u-0"]);
}

#[test]
fn a_topic_that_the_coordinator_may_not_know_yet_is_waited_for_but_not_for_long() {
    let nothing: [&str; 0] = [];
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    bench.step(of_two_topics(1));
    bench.coordinator(1);
    bench.happened.clear();
    let answer = parts(&[("t", 0, ErrorCode::None), ("u", 0, unknown)]);
    assert_eq!(bench.answer("commit", answer), nothing);
    assert!(matches!(bench.happened[..], [Effect::Refresh]), "{:?}", bench.happened);
    assert_eq!(bench.later(Duration::from_millis(99)), nothing, "not without a pause");
    assert_eq!(
        bench.later(Duration::from_millis(1)),
        ["commit @-1 u-0:7"],
        "what is stored is not sent again"
    );
    for _ in 0..9 {
        assert_eq!(bench.answer("commit", parts(&[("u", 0, unknown)])), nothing);
        assert_eq!(bench.later(Duration::from_millis(100)), ["commit @-1 u-0:7"]);
    }
    let told = bench.answer("commit", parts(&[("u", 0, unknown)]));
    assert_eq!(told, ["1 committing the offset of u-0"]);
}

#[test]
fn a_partition_that_is_refused_does_not_keep_the_others_from_being_stored() {
    let nothing: [&str; 0] = [];
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    bench.step(of_two_topics(1));
    bench.coordinator(1);
    let (refused, loading) = (ErrorCode::OffsetMetadataTooLarge, ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(
        bench.answer("commit", parts(&[("t", 0, refused), ("u", 0, loading)])),
        nothing
    );
    assert_eq!(bench.later(Duration::from_millis(20)), ["commit @-1 u-0:7"]);
    let told = bench.answer("commit", parts(&[("u", 0, ErrorCode::None)]));
    assert_eq!(told, ["1 committing the offset of t-0"]);
}

/// Answers a commit like this until it would be sent only a second later; says how often that was.
fn until_it_takes_its_time(bench: &mut Bench, answer: impl Fn() -> Answer) -> usize {
    for times in 1..100 {
        bench.answer("commit", answer());
        let before = bench.now;
        while bench.open.is_empty() {
            bench.now = bench.wake.expect("it tries again");
            bench.step(Event::Tick);
            if bench.open.iter().any(|order| order.call == Call::FindCoordinator) {
                bench.coordinator(1);
            }
        }
        if bench.now.since(before) >= Duration::from_secs(1) {
            return times;
        }
    }
    panic!("it never slows down");
}

/// A coordinator is easily found; that does not mean that it works.
#[test]
fn commits_that_keep_failing_are_spaced_out() {
    for code in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress] {
        let mut bench = Bench::new(CoreConfig {
            api_timeout: Duration::from_secs(1000),
            ..config(GroupProtocol::Classic)
        });
        bench.step(commit(1, 5));
        bench.coordinator(1);
        assert!(until_it_takes_its_time(&mut bench, || stored(code)) < 40, "{code:?}");
        // One that is stored makes up for all of them.
        bench.answer("commit", stored(ErrorCode::None));
        bench.step(commit(2, 6));
        bench.answer("commit", stored(ErrorCode::CoordinatorLoadInProgress));
        assert_eq!(bench.later(Duration::from_millis(20)), ["commit @-1 t-0:6"]);
    }
}

#[test]
fn questions_that_keep_failing_are_spaced_out() {
    let nothing: [&str; 0] = [];
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    bench.step(Event::AskCommitted {
        waiter: 1,
        partitions: keys(&[("t", 0)]),
    });
    bench.coordinator(1);
    for _ in 0..40 {
        let code = ErrorCode::CoordinatorLoadInProgress;
        bench.answer("committed", Answer::Offsets { code, parts: vec![] });
        if bench.later(Duration::from_millis(500)) == nothing {
            return;
        }
    }
    panic!("it never slows down");
}
