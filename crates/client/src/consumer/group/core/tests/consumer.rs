//! A member under KIP-848, code by code.

use super::*;
use crate::consumer::group::error::GroupError;

const INTERVAL: Duration = Duration::from_secs(5);

fn beat(code: ErrorCode, epoch: i32, assigned: Option<&[i32]>) -> Answer {
    Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer {
        code,
        message: String::new(),
        epoch,
        interval: INTERVAL,
        assignment: assigned.map(|numbers| [(topic_id("t"), numbers.iter().copied().collect())].into()),
    })
}

fn member() -> Bench {
    let mut bench = Bench::subscribed(config(GroupProtocol::Consumer));
    bench.coordinator(1);
    bench
}

/// Owns t-0 and t-1 in epoch 2, and has said so.
fn settled() -> Bench {
    let mut bench = member();
    bench.answer("beat", beat(ErrorCode::None, 2, Some(&[0, 1])));
    bench.turn();
    bench.answer("beat", beat(ErrorCode::None, 2, None));
    let none = |number| (TopicPartition::new("t", number), ErrorCode::None, None);
    let (code, parts) = (ErrorCode::None, vec![none(0), none(1)]);
    bench.answer("committed", Answer::Offsets { code, parts });
    bench
}

#[test]
fn it_joins_takes_over_and_says_so() {
    let nothing: [&str; 0] = [];
    let mut bench = Bench::subscribed(config(GroupProtocol::Consumer));
    assert_eq!(bench.coordinator(1), ["beat me@0 wants t owns"]);
    assert_eq!(bench.answer("beat", beat(ErrorCode::None, 2, Some(&[0, 1]))), nothing);
    let (turn, then) = bench.turn();
    assert_eq!(turn, "assign t-0 t-1");
    assert_eq!(then, ["beat me@2 owns 0 1", "committed me@2 t-0 t-1"], "at once");
    assert_eq!(bench.answer("beat", beat(ErrorCode::None, 2, None)), nothing);
    assert_eq!(bench.later(INTERVAL), ["beat me@2"], "nothing new");
    bench.answer("beat", beat(ErrorCode::None, 3, Some(&[1])));
    assert_eq!(
        bench.turn(),
        ("revoke t-0".to_owned(), vec!["beat me@3 owns 1".to_owned()])
    );
}

#[test]
fn while_the_program_does_not_come_heartbeats_say_nothing_of_what_it_owns() {
    let mut bench = settled();
    bench.later(INTERVAL);
    bench.answer("beat", beat(ErrorCode::None, 3, Some(&[])));
    assert_eq!(bench.later(INTERVAL), ["beat me@3"]);
    bench.answer("beat", beat(ErrorCode::None, 3, None));
    assert_eq!(
        bench.turn(),
        ("revoke t-0 t-1".to_owned(), vec!["beat me@3 owns".to_owned()])
    );
}

/// Else the coordinator would wait for it to give up what it never had, and all others with it.
#[test]
fn an_assignment_that_is_taken_back_before_the_program_took_it_is_confirmed() {
    let mut bench = member();
    bench.answer("beat", beat(ErrorCode::None, 2, Some(&[0, 1])));
    bench.later(INTERVAL);
    bench.answer("beat", beat(ErrorCode::None, 2, Some(&[])));
    assert_eq!(bench.turn().0, "assign t-0 t-1");
    assert_eq!(
        bench.turn(),
        ("revoke t-0 t-1".to_owned(), vec!["beat me@2 owns".to_owned()])
    );
}

#[test]
fn fenced_it_loses_everything_before_it_joins_anew() {
    for code in [
        ErrorCode::FencedMemberEpoch,
        ErrorCode::UnknownMemberId,
        ErrorCode::GroupIdNotFound,
    ] {
        let nothing: [&str; 0] = [];
        let mut bench = settled();
        bench.later(INTERVAL);
        assert_eq!(bench.answer("beat", beat(code, 0, None)), nothing, "{code:?}");
        assert_eq!(
            bench.turn(),
            ("lose t-0 t-1".to_owned(), vec!["beat me@0 wants t owns".to_owned()])
        );
    }
}

#[test]
fn after_a_heartbeat_that_was_lost_everything_is_said_again() {
    let mut bench = settled();
    bench.later(INTERVAL);
    bench.outcome("beat", lost());
    assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
    assert_eq!(bench.coordinator(2), ["beat me@2 wants t owns 0 1"]);
    bench.answer("beat", beat(ErrorCode::NotCoordinator, 0, None));
    bench.later(Duration::from_millis(20));
    assert_eq!(bench.coordinator(3), ["beat me@2 wants t owns 0 1"]);
    bench.answer("beat", beat(ErrorCode::CoordinatorLoadInProgress, 0, None));
    assert_eq!(bench.later(Duration::from_millis(20)), ["beat me@2 wants t owns 0 1"]);
}

#[test]
fn refusals_that_waiting_does_not_mend() {
    for code in [
        ErrorCode::GroupAuthorizationFailed,
        ErrorCode::UnsupportedAssignor,
        ErrorCode::UnreleasedInstanceId,
        ErrorCode::InvalidRequest,
        ErrorCode::GroupMaxSizeReached,
        ErrorCode::UnsupportedVersion,
        ErrorCode::GroupIdNotFound,
    ] {
        let mut bench = member();
        bench.answer("beat", beat(code, 0, None));
        assert!(
            matches!(bench.core.failure(), Some(GroupError::Refused { code: found, .. }) if *found == code),
            "{code:?}"
        );
    }
}

#[test]
fn a_changed_subscription_is_said_at_once() {
    let mut bench = settled();
    assert_eq!(
        bench.step(Event::Subscribe(topics(&["t", "u"]))),
        ["beat me@2 wants t u"]
    );
}

#[test]
fn topics_that_are_not_known_are_asked_for_by_id() {
    let mut bench = member();
    let assigned = Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer {
        code: ErrorCode::None,
        message: String::new(),
        epoch: 2,
        interval: INTERVAL,
        assignment: Some([(topic_id("x"), [0].into())].into()),
    });
    assert_eq!(bench.answer("beat", assigned), ["topics by id, 1", "beat me@2 owns"]);
    bench.answer("topics", facts(&[("x", 1)]));
    assert_eq!(bench.turn().0, "assign x-0");
}

#[test]
fn a_topic_that_was_created_anew_is_given_up_first() {
    let mut bench = settled();
    let other = TopicId(Uuid::from_u128(99));
    bench.core.reconciler.names.insert(other, Arc::from("t"));
    bench.later(INTERVAL);
    let assigned = Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer {
        code: ErrorCode::None,
        message: String::new(),
        epoch: 3,
        interval: INTERVAL,
        assignment: Some([(other, [0, 1].into())].into()),
    });
    bench.answer("beat", assigned);
    assert_eq!(bench.turn().0, "revoke t-0 t-1");
    assert_eq!(bench.turn().0, "assign t-0 t-1");
}

#[test]
fn leaving() {
    let leave = || Event::Leave {
        waiter: 9,
        reason: "done".to_owned(),
    };
    let mut bench = settled();
    assert_eq!(bench.step(leave()), ["beat me@-1"]);
    assert_eq!(bench.answer("beat", beat(ErrorCode::None, -1, None)), ["9 left"]);
    let named = CoreConfig {
        instance_id: Some("i".to_owned()),
        ..config(GroupProtocol::Consumer)
    };
    let mut bench = Bench::subscribed(named);
    bench.coordinator(1);
    bench.answer("beat", beat(ErrorCode::None, 2, Some(&[])));
    assert_eq!(bench.step(leave()), ["beat me@-2/i"], "it comes back");
}

#[test]
fn a_program_that_does_not_poll_leaves_and_comes_back() {
    let mut bench = settled();
    bench.core.poll_ended(bench.now);
    assert_eq!(bench.later(Duration::from_secs(300)), ["beat me@-1"]);
    let nothing: [&str; 0] = [];
    assert_eq!(bench.later(Duration::from_secs(100)), nothing);
    assert!(bench.core.poll_started(bench.now));
    bench.step(Event::Tick);
    assert_eq!(
        bench.turn(),
        ("lose t-0 t-1".to_owned(), vec!["beat me@0 wants t owns".to_owned()])
    );
}
