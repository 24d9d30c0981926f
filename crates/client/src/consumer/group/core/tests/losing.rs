//! A coordinator that falls silent: its machine is without power, so nothing comes back, not even an error.

use super::classic::{joined, stable, synced};
use super::*;
use crate::consumer::group::error::{CommitError, GroupError};

fn without(node: i32) -> Event {
    let mut picture = (*picture(&[("t", 2)])).clone();
    picture.brokers.remove(&NodeId(node));
    Event::Cluster(Arc::new(picture))
}

fn moved(node: i32) -> Event {
    let mut picture = (*picture(&[("t", 2)])).clone();
    picture.brokers.get_mut(&NodeId(node)).unwrap().port = 2;
    Event::Cluster(Arc::new(picture))
}

fn commit() -> Event {
    Event::Commit {
        waiter: 1,
        offsets: offsets(&[("t", 0, 5)]),
    }
}

fn ask() -> Event {
    Event::AskCommitted {
        waiter: 2,
        partitions: keys(&[("t", 0)]),
    }
}

fn leave() -> Event {
    Event::Leave {
        waiter: 9,
        reason: "done".to_owned(),
    }
}

fn beat(epoch: i32) -> Answer {
    Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer {
        code: ErrorCode::None,
        message: String::new(),
        epoch,
        interval: Duration::from_secs(5),
        assignment: Some([(topic_id("t"), [0].into())].into()),
    })
}

/// The requests that nobody has answered are forgotten, as by a machine without power; their ids.
fn forget(bench: &mut Bench) -> Vec<u64> {
    std::mem::take(&mut bench.open)
        .into_iter()
        .map(|order| order.id)
        .collect()
}

/// What the core orders of the coordinator that is found next.
fn next_coordinator(bench: &mut Bench) -> Vec<String> {
    assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
    let mut lines = bench.coordinator(3);
    lines.sort();
    lines
}

#[test]
fn everything_under_way_is_asked_of_the_next_coordinator() {
    for event in [without, moved] {
        let mut bench = stable(config(GroupProtocol::Classic));
        bench.step(commit());
        bench.step(ask());
        assert_eq!(bench.later(Duration::from_secs(3)), ["heartbeat m@1"]);
        let late = forget(&mut bench);
        bench.step(event(1));
        let expected = ["commit m@1 t-0:5", "committed @-1 t-0", "heartbeat m@1"];
        // The heartbeat's time comes with its interval.
        let mut lines = next_coordinator(&mut bench);
        lines.extend(bench.later(Duration::from_secs(3)));
        lines.sort();
        assert_eq!(lines, expected);
        for id in late {
            let answer = Answer::Heartbeat(ErrorCode::NotCoordinator);
            let outcome = Ok(answer);
            assert_eq!(bench.step(Event::Answered { id, outcome }), [] as [&str; 0]);
            let outcome = lost();
            assert_eq!(bench.step(Event::Answered { id, outcome }), [] as [&str; 0]);
        }
        let answer = Answer::Committed(vec![(TopicPartition::new("t", 0), ErrorCode::None)]);
        assert_eq!(
            bench.answer("commit", answer),
            ["1 stored"],
            "the next one is not given up"
        );
    }
}

#[test]
fn a_heartbeat_under_kip_848_is_asked_of_the_next_coordinator_too() {
    let mut bench = Bench::subscribed(config(GroupProtocol::Consumer));
    bench.coordinator(1);
    let late = forget(&mut bench);
    bench.step(without(1));
    assert_eq!(next_coordinator(&mut bench), ["beat me@0 wants t owns"]);
    bench.answer("beat", beat(2));
    for id in late {
        let outcome = Ok(beat(7));
        bench.step(Event::Answered { id, outcome });
    }
    bench.turn();
    assert_eq!(bench.core.membership().unwrap().generation, 2);
}

/// One request that is answered with an error tells it of all others.
#[test]
fn one_answer_is_enough_to_know_that_the_coordinator_is_lost() {
    let mut bench = stable(config(GroupProtocol::Classic));
    bench.step(commit());
    bench.later(Duration::from_secs(3));
    bench.outcome("heartbeat", lost());
    forget(&mut bench);
    assert_eq!(next_coordinator(&mut bench), ["commit m@1 t-0:5"]);
}

#[test]
fn a_coordinator_that_is_silent_is_looked_for_in_a_fresh_picture() {
    let mut bench = stable(config(GroupProtocol::Classic));
    bench.step(commit());
    bench.happened.clear();
    bench.later(Duration::from_millis(999));
    assert!(bench.happened.is_empty(), "{:?}", bench.happened);
    bench.later(Duration::from_millis(1));
    assert!(matches!(bench.happened[..], [Effect::Refresh]), "{:?}", bench.happened);
}

#[test]
fn a_goodbye_is_said_to_the_next_coordinator() {
    let mut bench = stable(config(GroupProtocol::Classic));
    assert_eq!(bench.step(leave()), ["leave m@1"]);
    forget(&mut bench);
    bench.step(without(1));
    assert_eq!(next_coordinator(&mut bench), ["leave m@1"]);
    assert_eq!(bench.answer("leave", Answer::Left(ErrorCode::None)), ["9 left"]);
    let mut bench = stable(config(GroupProtocol::Classic));
    bench.step(leave());
    assert_eq!(
        bench.later(Duration::from_secs(30)),
        ["9 left"],
        "it is not waited for longer"
    );
}

#[test]
fn a_member_that_fails_leaves_its_group() {
    let mut bench = stable(config(GroupProtocol::Classic));
    bench.later(Duration::from_secs(3));
    let refused = Answer::Heartbeat(ErrorCode::GroupAuthorizationFailed);
    assert_eq!(bench.answer("heartbeat", refused), ["leave m@1"]);
    assert!(matches!(bench.core.failure(), Some(GroupError::Refused { .. })));
    assert_eq!(bench.turn().0, "lose t-0");
    assert_eq!(bench.step(leave()), [] as [&str; 0], "closing waits for that goodbye");
    assert_eq!(bench.answer("leave", Answer::Left(ErrorCode::None)), ["9 left"]);

    let mut bench = Bench::subscribed(config(GroupProtocol::Consumer));
    bench.coordinator(1);
    bench.answer("beat", beat(2));
    let cause = Arc::new(RequestError::Unsupported {
        address: "h:1".parse().unwrap(),
        api: klamm_wire::ApiKey::ConsumerGroupHeartbeat,
    });
    bench.turn();
    assert_eq!(bench.outcome("beat", Err(cause)), ["beat me@-1"]);
}

/// The coordinator has a place for it, though there is nothing it could do there.
#[test]
fn a_member_that_cannot_take_part_gives_its_place_back() {
    let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
    bench.coordinator(1);
    let Answer::Joined(answer) = joined(ErrorCode::None, 1, "n") else {
        unreachable!()
    };
    let unknown = JoinAnswer {
        protocol_name: "sticky".to_owned(),
        ..answer
    };
    assert_eq!(bench.answer("join", Answer::Joined(unknown)), ["leave m@-1"]);
    let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
    bench.coordinator(1);
    bench.answer("join", joined(ErrorCode::None, 1, "n"));
    let Answer::Synced { code, .. } = synced(ErrorCode::None, &[]) else {
        unreachable!()
    };
    let assignment = bytes::Bytes::from_static(b"\0\0\0\0\0\x09");
    assert_eq!(bench.answer("sync", Answer::Synced { code, assignment }), ["leave m@1"]);
}

/// What it owned is another's by then: nothing can be committed, and the program must not believe it could.
#[test]
fn what_a_stuck_program_owned_is_lost() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let mut bench = match protocol {
            GroupProtocol::Classic => stable(config(protocol)),
            GroupProtocol::Consumer => {
                let mut bench = Bench::subscribed(config(protocol));
                bench.coordinator(1);
                bench.answer("beat", beat(2));
                bench.turn();
                bench
            }
        };
        assert!(!bench.core.has_lost(), "{protocol:?}");
        bench.core.poll_ended(bench.now);
        bench.later(Duration::from_secs(300));
        assert!(bench.core.has_lost() && !bench.core.owned().is_empty(), "{protocol:?}");
        assert!(matches!(bench.core.identity(), Err(CommitError::NotMember)));
    }
}

/// A broker may be found for as long as it is asked for, and never serve.
#[test]
fn a_coordinator_that_is_found_and_never_serves_is_asked_less_and_less() {
    let mut bench = Bench::subscribed(config(GroupProtocol::Classic));
    bench.coordinator(1);
    for _ in 0..40 {
        bench.answer("join", joined(ErrorCode::NotCoordinator, -1, ""));
        if bench.later(Duration::from_millis(500)).is_empty() {
            bench.later(Duration::from_millis(500));
            bench.coordinator(1);
            // Once it serves, the next loss is an ordinary one.
            bench.answer("join", joined(ErrorCode::None, 1, "n"));
            bench.outcome("sync", lost());
            assert_eq!(bench.later(Duration::from_millis(20)), ["find"]);
            return;
        }
        bench.coordinator(1);
    }
    panic!("it never slows down");
}
