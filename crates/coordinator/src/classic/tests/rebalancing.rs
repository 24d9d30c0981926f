//! What starts a rebalance, what ends it, and who is gone afterwards.

use super::*;
use crate::history::Removal;

#[test]
fn a_follower_that_joins_unchanged_gets_the_current_generation() {
    let (mut bench, a, b) = two_stable();
    let (_, decision) = call_join(&mut bench, join("b", &b));
    assert_eq!(replies(&decision), [joined(&b, 1, &a, vec![])]);
    assert_eq!(decision.changes, []);
}

#[test]
fn a_leader_that_joins_again_rebalances() {
    let (mut bench, a, b) = two_stable();
    let (of_a, decision) = call_join(&mut bench, join("a", &a));
    assert_eq!(decision.replies, []);
    let cause = format!("the leader joins again: {a}");
    assert_eq!(happened(&decision), [Happened::RebalanceStarted { cause }]);
    assert_eq!(code(&mut bench, heartbeat(&b, 1)), ErrorCode::RebalanceInProgress);
    assert_eq!(code(&mut bench, sync(&b, 1, &[])), ErrorCode::RebalanceInProgress);
    let (of_b, decision) = call_join(&mut bench, join("b", &b));
    let all = vec![joined_member(&a, "m"), joined_member(&b, "m")];
    assert_eq!(
        decision.replies,
        [(of_a, joined(&a, 2, &a, all)), (of_b, joined(&b, 2, &a, vec![]))]
    );
}

#[test]
fn changed_metadata_rebalances_and_the_members_own_reason_is_kept() {
    let (mut bench, _, b) = two_stable();
    let call = Join {
        protocols: protocols(&[("range", "n")]),
        reason: Some("new topics".to_owned()),
        ..join("b", &b)
    };
    let (_, decision) = call_join(&mut bench, call);
    let cause = format!("changed: {b}: new topics");
    assert_eq!(happened(&decision), [Happened::RebalanceStarted { cause }]);
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
}

#[test]
fn a_lost_answer_to_join_is_repeated_while_assignments_are_awaited() {
    let (mut bench, a, b) = two_joined();
    let (_, leader) = call_join(&mut bench, join("a", &a));
    let all = vec![joined_member(&a, "m"), joined_member(&b, "m")];
    assert_eq!(replies(&leader), [joined(&a, 1, &a, all)]);
    let (_, follower) = call_join(&mut bench, join("b", &b));
    assert_eq!(replies(&follower), [joined(&b, 1, &a, vec![])]);
    assert_eq!(state(&bench), ("CompletingRebalance", 1));
}

#[test]
fn changed_metadata_while_assignments_are_awaited_begins_anew() {
    let (mut bench, _, b) = two_joined();
    let (waits, _) = bench.call(sync(&b, 1, &[]));
    let call = Join {
        protocols: protocols(&[("range", "n")]),
        ..join("b", &b)
    };
    let (_, decision) = call_join(&mut bench, call);
    assert_eq!(
        decision.replies,
        [(waits, sync_refused(ErrorCode::RebalanceInProgress))]
    );
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
}

#[test]
fn a_repeated_join_takes_the_place_of_the_first() {
    let mut bench = bench();
    call_join(&mut bench, join("a", ""));
    let a = id("a", 1);
    let (first, _) = call_join(&mut bench, join("a", &a));
    let (_, second) = call_join(&mut bench, join("a", &a));
    assert_eq!(second.replies, [(first, refused(ErrorCode::RebalanceInProgress, &a))]);
    assert_eq!(group(&bench).member_count(), 1);
}

#[test]
fn who_does_not_join_again_in_time_is_removed() {
    let (mut bench, a, b) = two_stable();
    let (waits, _) = call_join(&mut bench, join("a", &a));
    for _ in 0..11 {
        bench.pass(5 * SECOND);
        bench.call(heartbeat(&b, 1));
    }
    let decisions = bench.pass(5 * SECOND);
    let history: Vec<Happened> = decisions.iter().flat_map(|(_, decision)| happened(decision)).collect();
    let cause = Removal::RebalanceTimedOut;
    assert_eq!(history, [Happened::MemberRemoved { member: b, cause }]);
    let all = vec![joined_member(&a, "m")];
    assert_eq!(all_replies(decisions), [(waits, joined(&a, 2, &a, all))]);
}

#[test]
fn if_the_leader_does_not_join_again_another_leads() {
    let (mut bench, a, b) = two_stable();
    let call = Join {
        protocols: protocols(&[("range", "n")]),
        ..join("b", &b)
    };
    let (waits, _) = call_join(&mut bench, call);
    // The session of the old leader ends.
    let all = vec![joined_member(&b, "n")];
    assert_eq!(all_replies(bench.pass(10 * SECOND)), [(waits, joined(&b, 2, &b, all))]);
    assert_eq!(code(&mut bench, heartbeat(&a, 1)), ErrorCode::UnknownMemberId);
}

#[test]
fn a_session_ends_without_heartbeats_and_begins_anew_with_each() {
    let (mut bench, a, b) = two_stable();
    bench.pass(9 * SECOND);
    bench.call(heartbeat(&a, 1));
    bench.pass(SECOND - Duration::from_millis(1));
    assert_eq!(state(&bench), ("Stable", 1));
    let decisions = bench.pass(Duration::from_millis(1));
    let history: Vec<Happened> = decisions.iter().flat_map(|(_, decision)| happened(decision)).collect();
    let cause = Removal::SessionExpired;
    let expected = [
        Happened::MemberRemoved {
            member: b.clone(),
            cause,
        },
        Happened::RebalanceStarted {
            cause: format!("session expired: {b}"),
        },
    ];
    assert_eq!(history, expected);
    assert_eq!(code(&mut bench, heartbeat(&a, 1)), ErrorCode::RebalanceInProgress);
}

#[test]
fn when_all_sessions_end_the_group_is_empty_in_one_more_generation() {
    let (mut bench, a, _) = two_stable();
    let decisions = bench.pass(10 * SECOND);
    let records: Vec<Record> = decisions.iter().flat_map(|(_, decision)| records(decision)).collect();
    assert_eq!(records, [empty_record(16, 2, "consumer")]);
    assert_eq!(state(&bench), ("Empty", 2));
    assert_eq!(code(&mut bench, heartbeat(&a, 2)), ErrorCode::UnknownMemberId);
    assert_eq!(code(&mut bench, sync(&a, 2, &[])), ErrorCode::UnknownMemberId);
    assert_eq!(
        code(&mut bench, Call::Join(Box::new(join("a", &a)))),
        ErrorCode::UnknownMemberId
    );
    // Another type of members may come.
    let connect = Join {
        protocol_type: "connect".to_owned(),
        ..old_join("c")
    };
    let (_, decision) = call_join(&mut bench, connect);
    assert_eq!(crate::testing::records(&decision), []);
    assert_eq!(group(&bench).protocol_type(), Some("connect"));
}

#[test]
fn heartbeats_are_answered_by_state() {
    let mut bench = bench();
    assert_eq!(
        code(&mut bench, heartbeat("x", 0)),
        ErrorCode::UnknownMemberId,
        "no such group"
    );
    let (mut bench, a, _) = two_joined();
    assert_eq!(code(&mut bench, heartbeat(&a, 1)), ErrorCode::None);
    assert_eq!(code(&mut bench, heartbeat(&a, 0)), ErrorCode::IllegalGeneration);
    assert_eq!(code(&mut bench, heartbeat("x", 1)), ErrorCode::UnknownMemberId);
    let with_instance = Call::Heartbeat(Heartbeat {
        group: "g".to_owned(),
        generation: 1,
        member: a,
        instance: Some("i".to_owned()),
    });
    assert_eq!(
        code(&mut bench, with_instance),
        ErrorCode::UnknownMemberId,
        "nobody holds this instance id"
    );
    let nameless = Call::Heartbeat(Heartbeat {
        group: String::new(),
        generation: 1,
        member: "x".to_owned(),
        instance: None,
    });
    assert_eq!(code(&mut bench, nameless), ErrorCode::InvalidGroupId);
}

#[test]
fn a_heartbeat_costs_one_change() {
    let (mut bench, a, _) = two_stable();
    let (_, decision) = bench.call(heartbeat(&a, 1));
    let seen = crate::Change::Transient {
        group: "g".to_owned(),
        change: crate::Transient::Classic(crate::classic::Transient::Seen { member: a }),
    };
    assert_eq!(decision.changes, [seen]);
}

#[test]
fn a_loaded_group_goes_on_with_new_sessions_and_no_rebalance() {
    let (mut bench, a, b) = two_stable();
    bench.pass(9 * SECOND);
    bench.reload();
    bench.pass(9 * SECOND);
    assert_eq!(state(&bench), ("Stable", 1));
    assert_eq!(code(&mut bench, heartbeat(&a, 1)), ErrorCode::None);
    let (_, decision) = bench.call(sync(&b, 1, &[]));
    assert_eq!(replies(&decision), [synced("P1")]);
    let (_, decision) = call_join(&mut bench, join("b", &b));
    assert_eq!(replies(&decision), [joined(&b, 1, &a, vec![])]);
}

#[test]
fn after_a_sleep_everybody_gets_the_whole_time_again() {
    let (mut bench, a, b) = two_stable();
    let changed = Join {
        protocols: protocols(&[("range", "n")]),
        ..join("b", &b)
    };
    call_join(&mut bench, changed);
    bench.sleep(300 * SECOND);
    // The member that waits in its call has no session that could end; the other has a whole one.
    assert_eq!(bench.shard.late_by(bench.at.moment), Duration::ZERO);
    assert!(
        bench
            .pass(9 * SECOND)
            .iter()
            .all(|(_, decision)| decision.changes.is_empty())
    );
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
    let (of_a, decision) = call_join(&mut bench, join("a", &a));
    assert_eq!(decision.replies[0].0, of_a);
    assert_eq!(state(&bench), ("CompletingRebalance", 2));

    // So has the wait for assignments.
    bench.sleep(300 * SECOND);
    assert!(
        bench
            .pass(9 * SECOND)
            .iter()
            .all(|(_, decision)| decision.changes.is_empty())
    );
    assert_eq!(
        code(&mut bench, sync(&a, 2, &[(&a, "P0"), (&b, "P1")])),
        ErrorCode::None
    );
    assert_eq!(state(&bench), ("Stable", 2));
}

/// An id that was given out and not used yet outlives a sleep, and then lapses.
#[test]
fn a_pending_id_is_waited_for_again_after_a_sleep() {
    let mut bench = bench();
    call_join(&mut bench, join("a", ""));
    assert_eq!(group(&bench).pending_count(), 1);
    bench.sleep(300 * SECOND);
    bench.pass(5 * SECOND);
    assert_eq!(group(&bench).pending_count(), 1);
    bench.pass(SECOND);
    assert!(
        bench
            .shard
            .group("g")
            .is_none_or(|_| group(&bench).pending_count() == 0)
    );
}

/// Nobody but static members, none of which has joined, and a rebalance timeout of next to nothing: looked at once a second.
#[test]
fn a_group_of_absent_static_members_is_not_looked_at_without_a_pause() {
    let hasty = |instance| Join {
        rebalance_timeout_ms: 1,
        session_timeout_ms: 1_800_000,
        ..static_join(instance)
    };
    let mut bench = bench();
    call_join(&mut bench, hasty("i"));
    call_join(&mut bench, hasty("j"));
    bench.pass(3 * SECOND);
    let (i, j) = (id("i", 1), id("j", 2));
    bench.call(sync(&i, 1, &[(&i, "P0"), (&j, "P1")]));
    bench.call(sync(&j, 1, &[]));
    bench.call(leave(&[(&j, Some("j"))]));
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
    assert_eq!(bench.pass(10 * SECOND).len(), 10);
}

#[test]
fn who_offers_very_many_protocols_is_refused() {
    let names: Vec<String> = (0..101).map(|number| format!("p{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "m")).collect();
    for (count, error) in [
        (100, ErrorCode::MemberIdRequired),
        (101, ErrorCode::InconsistentGroupProtocol),
    ] {
        let mut bench = bench();
        let offer = Join {
            protocols: protocols(&many[..count]),
            ..join("a", "")
        };
        let (_, decision) = call_join(&mut bench, offer);
        let Reply::Join(joined) = &decision.replies[0].1 else {
            panic!("{decision:?}");
        };
        assert_eq!(joined.error, error);
    }
}

#[test]
fn of_a_very_long_client_id_a_member_id_has_the_beginning() {
    let mut bench = bench();
    let (_, decision) = call_join(&mut bench, old_join(&"ü".repeat(16_000)));
    assert_eq!(decision.replies, []);
    let member = &group(&bench).members().next().unwrap().member;
    assert_eq!(*member, id(&"ü".repeat(512), 1));
}
