//! Who may join, as whom, and what the first generation is.

use super::*;

#[test]
fn what_does_not_depend_on_the_group_is_checked_first() {
    let mut bench = bench();
    let cases = [
        (
            Join {
                group: String::new(),
                ..join("a", "x")
            },
            ErrorCode::InvalidGroupId,
        ),
        (
            Join {
                session_timeout_ms: 5_999,
                ..join("a", "x")
            },
            ErrorCode::InvalidSessionTimeout,
        ),
        (
            Join {
                session_timeout_ms: 1_800_001,
                ..join("a", "x")
            },
            ErrorCode::InvalidSessionTimeout,
        ),
        (
            Join {
                session_timeout_ms: -1,
                ..join("a", "x")
            },
            ErrorCode::InvalidSessionTimeout,
        ),
        (join("a", "x"), ErrorCode::UnknownMemberId),
    ];
    for (call, error) in cases {
        let (id, decision) = call_join(&mut bench, call);
        assert_eq!(decision.replies, [(id, refused(error, "x"))]);
        assert_eq!(decision.changes, []);
    }
    let (_, nameless) = call_join(
        &mut bench,
        Join {
            protocol_type: String::new(),
            ..join("a", "")
        },
    );
    assert_eq!(replies(&nameless), [refused(ErrorCode::InconsistentGroupProtocol, "")]);
    let (_, silent) = call_join(
        &mut bench,
        Join {
            protocols: vec![],
            ..join("a", "")
        },
    );
    assert_eq!(replies(&silent), [refused(ErrorCode::InconsistentGroupProtocol, "")]);
}

#[test]
fn a_new_member_gets_its_id_first_and_joins_with_it() {
    let mut bench = bench();
    let (_, first) = call_join(&mut bench, join("a", ""));
    assert_eq!(replies(&first), [refused(ErrorCode::MemberIdRequired, &id("a", 1))]);
    assert_eq!(records(&first), [empty_record(0, 0, "")]);
    assert_eq!(state(&bench), ("Empty", 0));
    assert_eq!(group(&bench).pending_count(), 1);
    // It is described and listed as what is written of it.
    let (_, described) = bench.call(Call::DescribeGroup { group: "g".into() });
    let described = replies(&described);
    let [Reply::DescribeGroup(shown)] = described.as_slice() else {
        panic!("{described:?}");
    };
    assert_eq!((shown.error, shown.state.as_str()), (ErrorCode::None, "Empty"));

    let (again, second) = call_join(&mut bench, join("a", &id("a", 1)));
    assert_eq!(second.replies, []);
    assert_eq!(records(&second), []);
    assert_eq!(group(&bench).pending_count(), 0);
    assert_eq!(state(&bench), ("PreparingRebalance", 0));

    let later = bench.pass(3 * SECOND);
    let all = vec![joined_member(&id("a", 1), "m")];
    assert_eq!(all_replies(later), [(again, joined(&id("a", 1), 1, &id("a", 1), all))]);
}

#[test]
fn a_pending_id_lapses_with_its_session() {
    let mut bench = bench();
    call_join(&mut bench, join("a", ""));
    bench.pass(10 * SECOND);
    assert_eq!(group(&bench).pending_count(), 0);
    let (_, late) = call_join(&mut bench, join("a", &id("a", 1)));
    assert_eq!(replies(&late), [refused(ErrorCode::UnknownMemberId, &id("a", 1))]);
}

#[test]
fn a_pending_id_does_not_go_to_a_static_member() {
    let mut bench = bench();
    call_join(&mut bench, join("a", ""));
    let call = Join {
        instance: Some("i".to_owned()),
        ..join("a", &id("a", 1))
    };
    let (_, decision) = call_join(&mut bench, call);
    assert_eq!(replies(&decision), [refused(ErrorCode::UnknownServerError, "")]);
}

#[test]
fn members_of_old_clients_and_static_ones_are_accepted_at_once() {
    let mut bench = bench();
    let (old, _) = call_join(&mut bench, old_join("a"));
    let (fixed, _) = call_join(&mut bench, static_join("i"));
    let later = all_replies(bench.pass(6 * SECOND));
    let (a, i) = (id("a", 1), id("i", 2));
    let static_member = JoinedMember {
        instance: Some("i".to_owned()),
        ..joined_member(&i, "m")
    };
    let all = vec![joined_member(&a, "m"), static_member];
    assert_eq!(
        later,
        [(old, joined(&a, 1, &a, all)), (fixed, joined(&i, 1, &a, vec![]))]
    );
}

#[test]
fn the_initial_delay_is_extended_while_members_come_up_to_the_rebalance_timeout() {
    let mut bench = bench();
    let call = |client| Join {
        rebalance_timeout_ms: 8_000,
        ..old_join(client)
    };
    call_join(&mut bench, call("a"));
    bench.pass(2 * SECOND);
    call_join(&mut bench, call("b"));
    bench.pass(3 * SECOND);
    assert_eq!(state(&bench).0, "PreparingRebalance", "extended to 6 s");
    call_join(&mut bench, call("c"));
    bench.pass(2 * SECOND);
    assert_eq!(state(&bench).0, "PreparingRebalance", "extended to 8 s");
    call_join(&mut bench, call("d"));
    bench.pass(SECOND - Duration::from_millis(1));
    assert_eq!(state(&bench).0, "PreparingRebalance");
    bench.pass(Duration::from_millis(1));
    assert_eq!(state(&bench), ("CompletingRebalance", 1));
    assert_eq!(group(&bench).member_count(), 4);
}

#[test]
fn without_a_delay_the_first_member_is_answered_at_once() {
    let mut bench = Bench::new(Settings {
        initial_rebalance_delay: Duration::ZERO,
        ..Settings::default()
    });
    let (id, _) = call_join(&mut bench, old_join("a"));
    let replies = all_replies(bench.pass(Duration::ZERO));
    assert_eq!(replies.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
}

#[test]
fn protocols_must_fit_all_members() {
    let (mut bench, _, _) = two_stable();
    let other_type = Join {
        protocol_type: "connect".to_owned(),
        ..join("c", "")
    };
    assert_eq!(
        code(&mut bench, Call::Join(Box::new(other_type))),
        ErrorCode::InconsistentGroupProtocol
    );
    let other_name = Join {
        protocols: protocols(&[("cooperative-sticky", "m")]),
        ..join("c", "")
    };
    assert_eq!(
        code(&mut bench, Call::Join(Box::new(other_name))),
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(
        code(&mut bench, Call::Join(Box::new(join("c", "")))),
        ErrorCode::MemberIdRequired
    );
}

#[test]
fn the_protocol_is_voted_for_among_those_that_all_support() {
    let choose = |offers: &[&[&str]]| {
        let mut bench = bench();
        for (index, offer) in offers.iter().enumerate() {
            let offer: Vec<(&str, &'static str)> = offer.iter().map(|name| (*name, "m")).collect();
            let call = Join {
                protocols: protocols(&offer),
                ..old_join(&format!("{index}"))
            };
            call_join(&mut bench, call);
        }
        bench.pass(9 * SECOND);
        group(&bench).protocol().map(str::to_owned)
    };
    let chosen = |name: &str| Some(name.to_owned());
    assert_eq!(
        choose(&[&["range", "sticky"], &["sticky", "range"], &["sticky", "range"]]),
        chosen("sticky")
    );
    assert_eq!(
        choose(&[&["range", "sticky"], &["sticky"], &["range", "sticky"]]),
        chosen("sticky"),
        "all support it"
    );
    assert_eq!(
        choose(&[&["b", "a"], &["a", "b"]]),
        chosen("b"),
        "of equals, the leader's"
    );
    assert_eq!(choose(&[&["a"]]), chosen("a"));
}

#[test]
fn a_repeated_protocol_name_counts_once() {
    let mut bench = bench();
    let call = Join {
        protocols: protocols(&[("range", "x"), ("range", "y")]),
        ..old_join("a")
    };
    call_join(&mut bench, call);
    let member = group(&bench).members().next().expect("it joined");
    assert_eq!(member.protocols, protocols(&[("range", "x")]));
}

#[test]
fn a_full_group_turns_new_members_away() {
    let mut bench = Bench::new(Settings {
        members_max: 1,
        ..Settings::default()
    });
    call_join(&mut bench, old_join("a"));
    let (_, during) = call_join(&mut bench, old_join("b"));
    assert_eq!(replies(&during), [refused(ErrorCode::GroupMaxSizeReached, "")]);
    bench.pass(3 * SECOND);
    let (_, after) = call_join(&mut bench, join("b", ""));
    assert_eq!(replies(&after), [refused(ErrorCode::GroupMaxSizeReached, "")]);
    bench.call(sync(&id("a", 1), 1, &[]));
    let (_, stable) = call_join(&mut bench, static_join("i"));
    assert_eq!(replies(&stable), [refused(ErrorCode::GroupMaxSizeReached, "")]);
    assert_eq!(group(&bench).member_count(), 1);
}

#[test]
fn a_group_that_is_too_large_when_loaded_turns_the_last_to_return_away() {
    let (mut bench, a, b) = two_stable();
    bench.reload_with(Settings {
        members_max: 1,
        ..Settings::default()
    });
    assert_eq!(state(&bench), ("PreparingRebalance", 1));
    let (first, none) = call_join(&mut bench, join("b", &b));
    assert_eq!(none.replies, []);
    let (_, full) = call_join(&mut bench, join("a", &a));
    assert_eq!(replies(&full), [refused(ErrorCode::GroupMaxSizeReached, "")]);
    let replies = all_replies(bench.pass(60 * SECOND));
    assert_eq!(replies, [(first, joined(&b, 2, &b, vec![joined_member(&b, "m")]))]);
}

#[test]
fn a_first_join_waits_no_longer_than_five_minutes() {
    let mut bench = bench();
    let slow = |client| Join {
        rebalance_timeout_ms: 1_000_000,
        ..old_join(client)
    };
    call_join(&mut bench, slow("a"));
    bench.pass(3 * SECOND);
    bench.call(sync(&id("a", 1), 1, &[]));
    let (waits, _) = call_join(&mut bench, slow("b"));
    let mut answers = Vec::new();
    // The member that it waits for sends heartbeats, and does not join.
    for _ in 0..60 {
        answers.extend(all_replies(bench.pass(5 * SECOND)));
        let (_, alive) = bench.call(heartbeat(&id("a", 1), 1));
        assert_eq!(replies(&alive), [Reply::Heartbeat(ErrorCode::RebalanceInProgress)]);
    }
    assert_eq!(answers, [(waits, refused(ErrorCode::UnknownMemberId, ""))]);
    assert_eq!(group(&bench).member_count(), 1);
}
