//! A classic member, code by code.

use super::*;
use crate::consumer::group::error::GroupError;
use crate::consumer::group::protocol::{Subscribed, write_assignment, write_subscription};

const HEARTBEAT: Duration = Duration::from_secs(3);

pub(super) fn joined(code: ErrorCode, generation: i32, leader: &str) -> Answer {
    let subscribed = Subscribed {
        topics: [Arc::from("t")].into(),
        generation: -1,
        ..Subscribed::default()
    };
    let member = |id: &str| JoinedMember {
        member_id: id.to_owned(),
        instance_id: None,
        metadata: write_subscription(Assignor::Range, &subscribed).unwrap(),
    };
    let leads = leader == "m";
    Answer::Joined(JoinAnswer {
        code,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol_name: "range".to_owned(),
        leader: leader.to_owned(),
        skip_assignment: false,
        member_id: "m".to_owned(),
        members: if leads { vec![member("m"), member("n")] } else { vec![] },
    })
}

pub(super) fn synced(code: ErrorCode, given: &[(&str, i32)]) -> Answer {
    let assignment = write_assignment(&keys(given)).unwrap();
    Answer::Synced { code, assignment }
}

/// A follower of generation 1 with t-0, stable and begun.
pub(super) fn stable(config: CoreConfig) -> Bench {
    let mut bench = Bench::subscribed(config);
    bench.coordinator(1);
    bench.answer("join", joined(ErrorCode::None, 1, "n"));
    bench.answer("sync", synced(ErrorCode::None, &[("t", 0)]));
    assert_eq!(bench.turn().0, "assign t-0");
    let parts = vec![(TopicPartition::new("t", 0), ErrorCode::None, None)];
    bench.answer(
        "committed",
        Answer::Offsets {
            code: ErrorCode::None,
            parts,
        },
    );
    assert_eq!(bench.core.membership().unwrap().generation, 1);
    bench
}

fn cooperative() -> CoreConfig {
    CoreConfig {
        assignors: vec![Assignor::CooperativeSticky],
        ..config(GroupProtocol::Classic)
    }
}

fn by(name: &str, answer: Answer) -> Answer {
    match answer {
        Answer::Joined(answer) => Answer::Joined(JoinAnswer {
            protocol_name: name.to_owned(),
            ..answer
        }),
        other => other,
    }
}

#[test]
fn a_leader_joins_shares_out_and_begins() {
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    let nothing: [&str; 0] = [];
    assert_eq!(
        bench.step(Event::Subscribe(topics(&["t"]))),
        nothing,
        "the program does not poll yet"
    );
    assert!(bench.core.poll_started(bench.now));
    assert_eq!(bench.step(Event::Tick), ["find"]);
    assert_eq!(bench.coordinator(2), ["join @-1 [range cooperative-sticky] t"]);
    let refused = bench.answer("join", joined(ErrorCode::MemberIdRequired, -1, ""));
    assert_eq!(
        refused,
        ["join m@-1 [range cooperative-sticky] t"],
        "at once, with the id"
    );
    assert_eq!(bench.answer("join", joined(ErrorCode::None, 1, "m")), ["topics t"]);
    assert_eq!(
        bench.answer("topics", facts(&[("t", 2)])),
        ["sync m@1 range m=[t-0] n=[t-1]"]
    );
    assert_eq!(bench.answer("sync", synced(ErrorCode::None, &[("t", 0)])), nothing);
    assert_eq!(
        bench.turn(),
        ("assign t-0".to_owned(), vec!["committed @-1 t-0".to_owned()])
    );
    let found = (
        TopicPartition::new("t", 0),
        ErrorCode::None,
        Some(CommittedOffset::new(Offset(7))),
    );
    let answer = Answer::Offsets {
        code: ErrorCode::None,
        parts: vec![found],
    };
    assert_eq!(bench.answer("committed", answer), ["begin t-0:7"]);
    assert_eq!(bench.later(HEARTBEAT), ["heartbeat m@1"]);
    bench.answer("heartbeat", Answer::Heartbeat(ErrorCode::None));
    // The leader watches the topics: another partition is another round.
    assert_eq!(bench.step(Event::Cluster(picture(&[("t", 3)]))), nothing);
    assert_eq!(
        bench.turn(),
        (
            "revoke t-0".to_owned(),
            vec!["join m@-1 [range cooperative-sticky] t".to_owned()]
        )
    );
}

#[test]
fn a_rebalance_takes_everything_from_an_eager_member() {
    let mut bench = stable(config(GroupProtocol::Classic));
    bench.later(HEARTBEAT);
    bench.answer("heartbeat", Answer::Heartbeat(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.turn().0, "revoke t-0");
    bench.answer("join", joined(ErrorCode::None, 2, "n"));
    bench.answer("sync", synced(ErrorCode::None, &[("t", 0), ("t", 1)]));
    assert_eq!(bench.turn().0, "assign t-0 t-1");
}

#[test]
fn a_rebalance_takes_only_what_moves_from_a_cooperative_member() {
    let mut bench = Bench::subscribed(cooperative());
    bench.coordinator(1);
    bench.answer("join", by("cooperative-sticky", joined(ErrorCode::None, 1, "n")));
    bench.answer("sync", synced(ErrorCode::None, &[("t", 0), ("t", 1)]));
    bench.turn();
    bench.later(HEARTBEAT);
    let again = bench.answer("heartbeat", Answer::Heartbeat(ErrorCode::RebalanceInProgress));
    assert_eq!(
        again,
        ["join m@-1 [cooperative-sticky] t owns t-0 t-1"],
        "nothing is given up before"
    );
    bench.answer("join", by("cooperative-sticky", joined(ErrorCode::None, 2, "n")));
    bench.answer("sync", synced(ErrorCode::None, &[("t", 1)]));
    assert_eq!(bench.turn().0, "revoke t-0");
    let (assigned, next) = bench.turn();
    let join = "join m@-1 [cooperative-sticky] t owns t-1".to_owned();
    assert_eq!(
        (assigned.as_str(), next),
        ("assign", vec![join]),
        "another round, so that others get t-0"
    );
}

#[test]
fn heartbeats_refused_by_an_earlier_generation_do_not_count() {
    for code in [
        ErrorCode::IllegalGeneration,
        ErrorCode::UnknownMemberId,
        ErrorCode::FencedInstanceId,
    ] {
        let mut bench = stable(config(GroupProtocol::Classic));
        bench.later(HEARTBEAT);
        // Meanwhile the coordinator moves, and the member enters generation 2 there.
        bench.core.classic.generation = 2;
        bench.answer("heartbeat", Answer::Heartbeat(code));
        assert_eq!(
            (bench.core.turn(), bench.core.failure().is_some()),
            (None, false),
            "{code:?}"
        );
    }
}

#[test]
fn a_member_that_the_coordinator_forgot_loses_everything_and_joins_anew() {
    for (code, id) in [(ErrorCode::IllegalGeneration, "m"), (ErrorCode::UnknownMemberId, "")] {
        let mut bench = stable(config(GroupProtocol::Classic));
        bench.later(HEARTBEAT);
        bench.answer("heartbeat", Answer::Heartbeat(code));
        assert!(bench.core.identity().is_err(), "nothing is committed for what is lost");
        let join = format!("join {id}@-1 [range cooperative-sticky] t");
        assert_eq!(bench.turn(), ("lose t-0".to_owned(), vec![join]));
    }
}

#[test]
fn answers_to_join_and_sync() {
    let nothing: [&str; 0] = [];
    let join = "join m@-1 [range cooperative-sticky] t";
    let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
    bench.coordinator(1);
    bench.answer("join", joined(ErrorCode::MemberIdRequired, -1, ""));
    assert_eq!(
        bench.answer("join", joined(ErrorCode::CoordinatorLoadInProgress, -1, "")),
        nothing
    );
    assert_eq!(bench.later(Duration::from_millis(20)), [join]);
    assert_eq!(bench.answer("join", joined(ErrorCode::NotCoordinator, -1, "")), nothing);
    assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
    assert_eq!(bench.coordinator(3), [join]);
    assert_eq!(
        bench.answer("join", joined(ErrorCode::None, 4, "n")),
        ["sync m@4 range"]
    );
    assert_eq!(
        bench.answer("sync", synced(ErrorCode::RebalanceInProgress, &[])),
        [join]
    );
    bench.answer("join", joined(ErrorCode::None, 5, "n"));
    assert_eq!(
        bench.answer("sync", synced(ErrorCode::IllegalGeneration, &[])),
        [join],
        "with its id"
    );
    bench.answer("join", joined(ErrorCode::None, 6, "n"));
    let anew = bench.answer("sync", synced(ErrorCode::UnknownMemberId, &[]));
    assert_eq!(anew, ["join @-1 [range cooperative-sticky] t"]);
    assert_eq!(bench.outcome("join", lost()), nothing);
    assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
}

#[test]
fn refusals_that_waiting_does_not_mend() {
    for code in [
        ErrorCode::InconsistentGroupProtocol,
        ErrorCode::InvalidSessionTimeout,
        ErrorCode::GroupAuthorizationFailed,
        ErrorCode::GroupMaxSizeReached,
        ErrorCode::InvalidGroupId,
    ] {
        let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
        bench.coordinator(1);
        bench.answer("join", joined(code, -1, ""));
        assert!(
            matches!(bench.core.failure(), Some(GroupError::Refused { code: found, .. }) if *found == code),
            "{code:?}"
        );
        let nothing: [&str; 0] = [];
        assert_eq!(bench.later(Duration::from_secs(100)), nothing);
        assert_eq!(
            bench.step(Event::Subscribe(topics(&["t"]))),
            ["join @-1 [range cooperative-sticky] t"]
        );
    }
    let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
    bench.coordinator(1);
    bench.answer("join", by("sticky", joined(ErrorCode::None, 1, "n")));
    assert!(matches!(
        bench.core.failure(),
        Some(GroupError::InconsistentProtocol { .. })
    ));
}

#[test]
fn a_fenced_static_member_loses_everything_and_stays_out() {
    let named = CoreConfig {
        instance_id: Some("i".to_owned()),
        ..config(GroupProtocol::Classic)
    };
    let mut bench = stable(named);
    assert_eq!(bench.later(HEARTBEAT), ["heartbeat m@1/i"]);
    bench.answer("heartbeat", Answer::Heartbeat(ErrorCode::FencedInstanceId));
    let nothing: Vec<String> = vec![];
    assert_eq!(bench.turn(), ("lose t-0".to_owned(), nothing));
    assert!(
        matches!(bench.core.failure(), Some(GroupError::FencedInstance { group_instance_id }) if group_instance_id == "i")
    );
}

#[test]
fn a_program_that_does_not_poll_leaves_and_comes_back() {
    let mut bench = stable(config(GroupProtocol::Classic));
    bench.core.poll_ended(bench.now);
    let nothing: [&str; 0] = [];
    assert_eq!(bench.later(Duration::from_secs(299)), ["heartbeat m@1"]);
    assert_eq!(bench.later(Duration::from_secs(1)), ["leave m@1"]);
    assert_eq!(bench.later(Duration::from_secs(100)), nothing);
    assert!(bench.core.poll_started(bench.now));
    bench.step(Event::Tick);
    let join = "join @-1 [range cooperative-sticky] t".to_owned();
    assert_eq!(bench.turn(), ("lose t-0".to_owned(), vec![join]));
}

#[test]
fn leaving() {
    let mut bench = stable(config(GroupProtocol::Classic));
    let leave = |waiter| Event::Leave {
        waiter,
        reason: "done".to_owned(),
    };
    assert_eq!(bench.step(leave(9)), ["leave m@1"]);
    assert_eq!(bench.answer("leave", Answer::Left(ErrorCode::None)), ["9 left"]);
    let named = CoreConfig {
        instance_id: Some("i".to_owned()),
        ..config(GroupProtocol::Classic)
    };
    assert_eq!(
        stable(named).step(leave(9)),
        ["9 left"],
        "a static member means to come back"
    );
}

#[test]
fn a_coordinator_that_is_gone_from_the_picture_is_looked_for_anew() {
    let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
    bench.coordinator(2);
    let mut without = (*picture(&[("t", 2)])).clone();
    without.brokers.remove(&NodeId(2));
    bench.step(Event::Cluster(Arc::new(without)));
    assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
    assert_eq!(
        bench.coordinator(3),
        ["join @-1 [range cooperative-sticky] t"],
        "the join that waits there is given up"
    );
    let nothing: [&str; 0] = [];
    assert_eq!(
        bench.answer("join", joined(ErrorCode::None, 1, "n")),
        nothing,
        "and so is its answer"
    );
}

#[test]
fn a_pattern_is_matched_here() {
    let mut bench = Bench::new(config(GroupProtocol::Classic));
    bench.core.poll_started(bench.now);
    let pattern = Subscription::Pattern {
        text: "t.*".to_owned(),
        regex: regex::Regex::new("^(?:t.*)$").unwrap(),
    };
    assert_eq!(bench.step(Event::Subscribe(pattern)), ["find", "topics all"]);
    bench.coordinator(1);
    let all = facts(&[("t", 2), ("at", 1), ("tea", 1), ("__t", 1)]);
    assert_eq!(
        bench.answer("topics", all),
        ["join @-1 [range cooperative-sticky] t tea"]
    );
}
