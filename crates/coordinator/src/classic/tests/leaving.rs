//! LeaveGroup: batches, operators, ids that were never used.

use super::*;
use crate::history::Removal;

#[test]
fn a_member_that_leaves_starts_a_rebalance_of_the_others() {
    let (mut bench, a, b) = two_stable();
    let mut call = leave(&[(&a, None)]);
    if let Call::Leave(leave) = &mut call {
        leave.members[0].reason = Some("the consumer is being closed".to_owned());
    }
    let (_, decision) = bench.call(call);
    assert_eq!(replies(&decision), [left(&[(&a, None, ErrorCode::None)])]);
    let expected = [
        Happened::MemberLeft {
            member: a.clone(),
            reason: Some("the consumer is being closed".to_owned()),
        },
        Happened::RebalanceStarted {
            cause: format!("left: {a}"),
        },
    ];
    assert_eq!(happened(&decision), expected);
    assert_eq!(code(&mut bench, heartbeat(&b, 1)), ErrorCode::RebalanceInProgress);
    assert_eq!(group(&bench).leader(), Some(b.as_str()));
}

#[test]
fn the_last_to_leave_leaves_an_empty_group() {
    let (mut bench, a, b) = two_stable();
    let (_, decision) = bench.call(leave(&[(&a, None), (&b, None)]));
    let none = ErrorCode::None;
    assert_eq!(replies(&decision), [left(&[(&a, None, none), (&b, None, none)])]);
    assert_eq!(records(&decision), [empty_record(6, 2, "consumer")]);
    assert_eq!(state(&bench), ("Empty", 2));
}

#[test]
fn a_batch_is_answered_member_by_member() {
    let mut bench = bench();
    let unknown = ErrorCode::UnknownMemberId;
    let (_, decision) = bench.call(leave(&[("x", None), ("", Some("i"))]));
    assert_eq!(
        replies(&decision),
        [left(&[("x", None, unknown), ("", Some("i"), unknown)])],
        "no such group"
    );

    call_join(&mut bench, static_join("i"));
    call_join(&mut bench, old_join("a"));
    call_join(&mut bench, join("p", ""));
    let (i, a, p) = (id("i", 2), id("a", 3), id("p", 4));
    bench.pass(6 * SECOND);
    bench.call(sync(
        group(&bench).leader().unwrap_or_default().to_owned().as_str(),
        1,
        &[],
    ));
    assert_eq!(state(&bench), ("Stable", 1));
    let batch = [
        ("x", None),
        (a.as_str(), Some("i")),
        ("", Some("j")),
        ("", None),
        (p.as_str(), None),
        ("", Some("i")),
        (i.as_str(), None),
    ];
    let (_, decision) = bench.call(leave(&batch));
    let errors = [
        unknown,
        ErrorCode::FencedInstanceId,
        unknown,
        unknown,
        ErrorCode::None,
        ErrorCode::None,
        unknown,
    ];
    let answers: Vec<_> = batch
        .iter()
        .zip(errors)
        .map(|((member, instance), error)| (*member, *instance, error))
        .collect();
    assert_eq!(replies(&decision), [left(&answers)]);
    let expected = [
        Happened::MemberRemoved {
            member: i,
            cause: Removal::Administered,
        },
        Happened::RebalanceStarted {
            cause: format!("left: {p}, i"),
        },
    ];
    assert_eq!(happened(&decision), expected);
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
}

#[test]
fn a_whole_request_is_refused_without_a_group_id() {
    let mut bench = bench();
    let call = Call::Leave(Leave {
        group: String::new(),
        members: vec![],
    });
    assert_eq!(code(&mut bench, call), ErrorCode::InvalidGroupId);
}

#[test]
fn who_leaves_while_it_waits_to_join_is_told() {
    let (mut bench, a, b) = two_stable();
    let (waits, _) = call_join(&mut bench, join("a", &a));
    let (leaves, decision) = bench.call(leave(&[(&a, None)]));
    let answers = [
        (waits, refused(ErrorCode::UnknownMemberId, "")),
        (leaves, left(&[(&a, None, ErrorCode::None)])),
    ];
    assert_eq!(decision.replies, answers);
    // The rebalance goes on for the other.
    let (joins, decision) = call_join(&mut bench, join("b", &b));
    assert_eq!(
        decision.replies,
        [(joins, joined(&b, 2, &b, vec![joined_member(&b, "m")]))]
    );
}

#[test]
fn a_rebalance_that_waited_for_the_leaving_member_goes_on() {
    let (mut bench, a, b) = two_stable();
    let (waits, _) = call_join(&mut bench, join("a", &a));
    let (leaves, decision) = bench.call(leave(&[(&b, None)]));
    let all = vec![joined_member(&a, "m")];
    let answers = [
        (waits, joined(&a, 2, &a, all)),
        (leaves, left(&[(&b, None, ErrorCode::None)])),
    ];
    assert_eq!(decision.replies, answers);
}
