//! Static members: their return without a rebalance, and the fencing of whom they replace.

use super::*;
use crate::history::Removal;

/// `i` leads, `j` follows, both static and stable in generation 1.
fn two_static() -> (Bench, String, String) {
    let mut bench = bench();
    call_join(&mut bench, static_join("i"));
    call_join(&mut bench, static_join("j"));
    bench.pass(6 * SECOND);
    let (i, j) = (id("i", 1), id("j", 2));
    bench.call(sync(&i, 1, &[(&i, "P0"), (&j, "P1")]));
    bench.call(sync(&j, 1, &[]));
    assert_eq!(state(&bench), ("Stable", 1));
    (bench, i, j)
}

fn static_member(member: &str, instance: &str) -> JoinedMember {
    JoinedMember {
        instance: Some(instance.to_owned()),
        ..joined_member(member, "m")
    }
}

fn recorded(decision: &Decision) -> (i32, Option<String>, Vec<(String, Bytes)>) {
    match records(decision).as_slice() {
        [Record::ClassicGroup { value: Some(value), .. }] => {
            let members = value.members.iter();
            let members = members.map(|member| (member.member.clone(), member.assignment.clone()));
            (value.generation, value.leader.clone(), members.collect())
        }
        other => panic!("one record of the group, not {other:?}"),
    }
}

#[test]
fn a_returning_follower_gets_its_partitions_without_a_rebalance() {
    let (mut bench, i, j) = two_static();
    let (_, decision) = call_join(&mut bench, static_join("j"));
    let back = id("j", 5);
    assert_eq!(replies(&decision), [joined(&back, 1, &i, vec![])]);
    let (p0, p1) = (Bytes::from_static(b"P0"), Bytes::from_static(b"P1"));
    assert_eq!(
        recorded(&decision),
        (1, Some(i.clone()), vec![(i, p0), (back.clone(), p1)])
    );
    let expected = [
        Happened::MemberRemoved {
            member: j.clone(),
            cause: Removal::Replaced,
        },
        Happened::MemberJoined {
            member: back.clone(),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
        },
    ];
    assert_eq!(happened(&decision), expected);
    let (_, decision) = bench.call(sync(&back, 1, &[]));
    assert_eq!(replies(&decision), [synced("P1")]);
    // The old one is fenced if it says who it was, and unknown if it does not.
    let old = |instance| {
        Call::Heartbeat(Heartbeat {
            group: "g".to_owned(),
            generation: 1,
            member: j.clone(),
            instance,
        })
    };
    assert_eq!(code(&mut bench, old(Some("j".to_owned()))), ErrorCode::FencedInstanceId);
    assert_eq!(code(&mut bench, old(None)), ErrorCode::UnknownMemberId);
    let rejoin = Join {
        member: j.clone(),
        ..static_join("j")
    };
    let (_, decision) = call_join(&mut bench, rejoin);
    assert_eq!(replies(&decision), [refused(ErrorCode::FencedInstanceId, &j)]);
}

#[test]
fn a_returning_leader_still_leads_and_need_not_assign() {
    let (mut bench, _, j) = two_static();
    let (_, decision) = call_join(&mut bench, static_join("i"));
    let back = id("i", 5);
    let all = vec![static_member(&back, "i"), static_member(&j, "j")];
    let Reply::Join(mut expected) = joined(&back, 1, &back, all) else {
        panic!("an answer to JoinGroup")
    };
    expected.skip_assignment = true;
    assert_eq!(replies(&decision), [Reply::Join(expected)]);
    assert_eq!(recorded(&decision).1, Some(back));
    assert_eq!(state(&bench), ("Stable", 1));
}

#[test]
fn a_returning_leader_of_an_old_client_is_not_told_that_it_leads() {
    let (mut bench, i, _) = two_static();
    let call = Join {
        skip_assignment: SkipAssignment::Unsupported,
        ..static_join("i")
    };
    let (_, decision) = call_join(&mut bench, call);
    assert_eq!(replies(&decision), [joined(&id("i", 5), 1, &i, vec![])]);
    assert_eq!(group(&bench).leader(), Some(id("i", 5).as_str()));
}

#[test]
fn a_return_that_changes_the_protocol_rebalances() {
    let mut bench = bench();
    let both = |list| Join {
        protocols: protocols(list),
        ..static_join("i")
    };
    call_join(&mut bench, both(&[("range", "m"), ("sticky", "m")]));
    bench.pass(3 * SECOND);
    bench.call(sync(&id("i", 1), 1, &[]));
    let (back, decision) = call_join(&mut bench, both(&[("sticky", "m"), ("range", "m")]));
    assert_eq!(state(&bench), ("CompletingRebalance", 2));
    assert_eq!(group(&bench).protocol(), Some("sticky"));
    assert_eq!(decision.replies.len(), 1);
    assert_eq!(decision.replies[0].0, back);
}

#[test]
fn changed_metadata_of_a_returning_member_is_written_without_a_rebalance() {
    let (mut bench, _, _) = two_static();
    let call = Join {
        protocols: protocols(&[("range", "n")]),
        ..static_join("j")
    };
    let (_, decision) = call_join(&mut bench, call);
    assert_eq!(state(&bench), ("Stable", 1));
    let [Record::ClassicGroup { value: Some(value), .. }] = &records(&decision)[..] else {
        panic!("one record")
    };
    assert_eq!(value.members[1].subscription, Bytes::from_static(b"n"));
}

#[test]
fn a_return_fences_the_calls_that_wait() {
    let mut bench = bench();
    let (first, _) = call_join(&mut bench, static_join("i"));
    let (second, decision) = call_join(&mut bench, static_join("i"));
    assert_eq!(
        decision.replies,
        [(first, refused(ErrorCode::FencedInstanceId, &id("i", 1)))]
    );
    call_join(&mut bench, static_join("j"));
    let replies = all_replies(bench.pass(6 * SECOND));
    let (i, j) = (id("i", 2), id("j", 3));
    let all = vec![static_member(&i, "i"), static_member(&j, "j")];
    assert_eq!(replies[0], (second, joined(&i, 1, &i, all)));

    let (waits, _) = bench.call(sync(&j, 1, &[]));
    let (_, decision) = call_join(&mut bench, static_join("j"));
    assert_eq!(decision.replies, [(waits, sync_refused(ErrorCode::FencedInstanceId))]);
    assert_eq!(
        state(&bench),
        ("PreparingRebalance", 1),
        "the leader may be assigning to the old id"
    );
}

#[test]
fn a_static_member_that_is_away_keeps_its_place_until_its_session_ends() {
    let (mut bench, i, j) = two_static();
    let rejoin = Join {
        member: i.clone(),
        rebalance_timeout_ms: 6_000,
        ..static_join("i")
    };
    call_join(&mut bench, rejoin);
    bench.pass(9 * SECOND);
    assert_eq!(
        state(&bench),
        ("PreparingRebalance", 1),
        "the rebalance waits for the other"
    );
    let decisions = bench.pass(SECOND);
    let history: Vec<Happened> = decisions.iter().flat_map(|(_, decision)| happened(decision)).collect();
    let cause = Removal::SessionExpired;
    assert_eq!(history, [Happened::MemberRemoved { member: j, cause }]);
    assert_eq!(state(&bench), ("CompletingRebalance", 2));
}

#[test]
fn at_the_end_of_the_rebalance_timeout_static_members_stay() {
    let mut bench = bench();
    let patient = |instance| Join {
        session_timeout_ms: 100_000,
        ..static_join(instance)
    };
    call_join(&mut bench, patient("i"));
    call_join(&mut bench, patient("j"));
    bench.pass(6 * SECOND);
    let (i, j) = (id("i", 1), id("j", 2));
    bench.call(sync(&i, 1, &[(&i, "P0"), (&j, "P1")]));
    bench.call(sync(&j, 1, &[]));
    call_join(
        &mut bench,
        Join {
            member: i,
            ..patient("i")
        },
    );
    bench.pass(60 * SECOND);
    assert_eq!(state(&bench), ("CompletingRebalance", 2));
    assert!(group(&bench).member(&j).is_some(), "the leader assigns to it as well");
}

#[test]
fn unknown_instances_and_ids_are_told_apart() {
    let (mut bench, i, j) = two_static();
    let cases = [
        (
            Join {
                member: i.clone(),
                ..static_join("j")
            },
            ErrorCode::FencedInstanceId,
        ),
        (
            Join {
                member: i.clone(),
                ..static_join("k")
            },
            ErrorCode::UnknownMemberId,
        ),
        (join("client", "x"), ErrorCode::UnknownMemberId),
    ];
    for (call, error) in cases {
        assert_eq!(code(&mut bench, Call::Join(Box::new(call))), error);
    }
    // Without its instance id a static member is who its id says.
    let (_, decision) = call_join(&mut bench, join("client", &j));
    assert_eq!(replies(&decision), [joined(&j, 1, &i, vec![])]);
}
