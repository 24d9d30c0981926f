//! Assignments: from the leader, to everybody, once they are written.

use super::*;
use crate::call::SyncProtocol;
use crate::history::Removal;

#[test]
fn the_leaders_assignments_are_written_and_answer_all_who_wait() {
    let (mut bench, a, b) = two_joined();
    let (follower, waits) = bench.call(sync(&b, 1, &[]));
    assert_eq!(waits.replies, []);
    let (leader, decision) = bench.call(sync(&a, 1, &[(&a, "P0"), (&b, "P1"), ("nobody", "P2")]));
    assert_eq!(decision.replies, [(leader, synced("P0")), (follower, synced("P1"))]);
    assert_eq!(records(&decision), [stable_record(6, 1, &[(&a, "P0"), (&b, "P1")])]);
    let ended = Happened::RebalanceEnded {
        generation: 1,
        members: 2,
        took_ms: 6_000,
    };
    assert_eq!(happened(&decision), [ended]);
    assert_eq!(state(&bench), ("Stable", 1));
    // Late, or again.
    let (_, again) = bench.call(sync(&b, 1, &[]));
    assert_eq!(replies(&again), [synced("P1")]);
    assert_eq!(again.changes, []);
}

#[test]
fn whom_the_leader_leaves_out_gets_nothing() {
    let (mut bench, a, b) = two_joined();
    let (_, decision) = bench.call(sync(&a, 1, &[(&a, "P0")]));
    assert_eq!(records(&decision), [stable_record(6, 1, &[(&a, "P0"), (&b, "")])]);
    let (_, late) = bench.call(sync(&b, 1, &[]));
    assert_eq!(replies(&late), [synced("")]);
}

#[test]
fn a_sync_is_checked_in_kafkas_order() {
    let mut bench = bench();
    let with = |call: &Call, protocol_type: Option<&str>, name: Option<&str>| {
        let Call::Sync(sync) = call else { panic!("a SyncGroup") };
        let protocol_type = protocol_type.map(str::to_owned);
        let protocol = Some(SyncProtocol {
            protocol_type,
            name: name.map(str::to_owned),
        });
        Call::Sync(Box::new(Sync {
            protocol,
            ..(**sync).clone()
        }))
    };
    assert_eq!(
        code(&mut bench, sync("x", 1, &[])),
        ErrorCode::UnknownMemberId,
        "no such group"
    );
    let (mut bench, a, b) = two_joined();
    let call = sync(&b, 1, &[]);
    assert_eq!(
        code(&mut bench, with(&call, None, Some("range"))),
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(
        code(&mut bench, with(&call, Some("consumer"), None)),
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(
        code(&mut bench, with(&call, Some("connect"), Some("range"))),
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(
        code(&mut bench, with(&call, Some("consumer"), Some("sticky"))),
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(code(&mut bench, sync("x", 1, &[])), ErrorCode::UnknownMemberId);
    assert_eq!(code(&mut bench, sync(&b, 2, &[])), ErrorCode::IllegalGeneration);
    let nameless = Call::Sync(Box::new(Sync {
        group: String::new(),
        generation: 1,
        member: a.clone(),
        instance: None,
        protocol: None,
        assignments: vec![],
    }));
    assert_eq!(code(&mut bench, nameless), ErrorCode::InvalidGroupId);
    let right = with(&sync(&a, 1, &[]), Some("consumer"), Some("range"));
    assert_eq!(code(&mut bench, right), ErrorCode::None);
}

#[test]
fn a_repeated_sync_takes_the_place_of_the_first() {
    let (mut bench, a, b) = two_joined();
    let (first, _) = bench.call(sync(&b, 1, &[]));
    let (second, decision) = bench.call(sync(&b, 1, &[]));
    assert_eq!(
        decision.replies,
        [(first, sync_refused(ErrorCode::RebalanceInProgress))]
    );
    let (leader, decision) = bench.call(sync(&a, 1, &[(&a, "P0"), (&b, "P1")]));
    assert_eq!(decision.replies, [(leader, synced("P0")), (second, synced("P1"))]);
}

#[test]
fn who_never_syncs_is_removed_after_the_rebalance_timeout_though_it_sends_heartbeats() {
    let (mut bench, a, b) = two_joined();
    let (waits, _) = bench.call(sync(&b, 1, &[]));
    let mut decisions = Vec::new();
    for _ in 0..12 {
        decisions.extend(bench.pass(5 * SECOND));
        bench.call(heartbeat(&a, 1));
    }
    let history: Vec<Happened> = decisions.iter().flat_map(|(_, decision)| happened(decision)).collect();
    let expected = [
        Happened::MemberRemoved {
            member: a.clone(),
            cause: Removal::SyncTimedOut,
        },
        Happened::RebalanceStarted {
            cause: format!("no SyncGroup in time: {a}"),
        },
    ];
    assert_eq!(history, expected);
    assert_eq!(
        all_replies(decisions),
        [(waits, sync_refused(ErrorCode::RebalanceInProgress))]
    );
    assert_eq!(group(&bench).leader(), Some(b.as_str()));
}

#[test]
fn a_follower_that_never_syncs_is_removed_from_a_stable_group_too() {
    let (mut bench, a, b) = two_joined();
    bench.call(sync(&a, 1, &[(&a, "P0"), (&b, "P1")]));
    for _ in 0..12 {
        bench.pass(5 * SECOND);
        bench.call(heartbeat(&a, 1));
        bench.call(heartbeat(&b, 1));
    }
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
    assert_eq!(code(&mut bench, heartbeat(&b, 1)), ErrorCode::UnknownMemberId);
    assert_eq!(code(&mut bench, heartbeat(&a, 1)), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_wait_for_assignments_is_a_sign_of_life() {
    let (mut bench, a, b) = two_joined();
    let (waits, _) = bench.call(sync(&b, 1, &[]));
    for _ in 0..4 {
        assert_eq!(all_replies(bench.pass(9 * SECOND)), []);
        bench.call(heartbeat(&a, 1));
    }
    let (leader, decision) = bench.call(sync(&a, 1, &[(&a, "P0"), (&b, "P1")]));
    assert_eq!(decision.replies, [(leader, synced("P0")), (waits, synced("P1"))]);
    // Its session begins with the answer.
    bench.pass(9 * SECOND);
    assert_eq!(state(&bench), ("Stable", 1));
}
