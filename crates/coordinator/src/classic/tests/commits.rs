//! What offsets ask of a group: whether a commit may pass, and who is subscribed to what.

use std::collections::BTreeSet;

use klamm_wire::ConsumerProtocolSubscription;
use klamm_wire::Encode;

use super::*;
use crate::classic::seen_in_commit;
use crate::draft::{Draft, Ground};
use crate::topics::Topics;

fn subscription(version: i16, topics: &[&str]) -> Bytes {
    let subscription = ConsumerProtocolSubscription {
        topics: topics.to_vec(),
        ..ConsumerProtocolSubscription::default()
    };
    let body = subscription.to_bytes(version).expect("it can be written");
    [&version.to_be_bytes()[..], &body].concat().into()
}

#[test]
fn a_commit_passes_by_state_member_and_generation() {
    let passes = |bench: &Bench, member: &str, instance, generation| {
        group(bench)
            .validate_commit(member, instance, generation)
            .err()
            .unwrap_or(ErrorCode::None)
    };
    let (mut bench, a, _) = two_joined();
    assert_eq!(
        passes(&bench, &a, None, 1),
        ErrorCode::RebalanceInProgress,
        "it has no assignment yet"
    );
    bench.call(sync(&a, 1, &[]));
    assert_eq!(passes(&bench, &a, None, 1), ErrorCode::None);
    assert_eq!(passes(&bench, &a, None, 0), ErrorCode::IllegalGeneration);
    assert_eq!(passes(&bench, &a, None, -1), ErrorCode::IllegalGeneration);
    assert_eq!(passes(&bench, &a, Some("i"), 1), ErrorCode::UnknownMemberId);
    assert_eq!(passes(&bench, "x", None, 1), ErrorCode::UnknownMemberId);
    assert_eq!(
        passes(&bench, "", None, -1),
        ErrorCode::UnknownMemberId,
        "members are there"
    );
    call_join(&mut bench, join("a", &a));
    assert_eq!(
        passes(&bench, &a, None, 1),
        ErrorCode::None,
        "before it gives its partitions up"
    );
    bench.pass(60 * SECOND);
    bench.call(leave(&[(&a, None)]));
    assert_eq!(state(&bench).0, "Empty");
    assert_eq!(passes(&bench, "", None, -1), ErrorCode::None);
    assert_eq!(passes(&bench, "x", None, -1), ErrorCode::None);
    assert_eq!(passes(&bench, &a, None, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn subscriptions_are_read_in_every_version_and_kept_over_a_reload() {
    let mut bench = bench();
    let offers = |metadata| vec![("range".to_owned(), metadata)];
    for (client, version, topics) in [("a", 0, ["x", "y"]), ("b", 3, ["y", "z"]), ("c", 99, ["z", "x"])] {
        let metadata = match version {
            99 => [&99i16.to_be_bytes()[..], &subscription(0, &topics)[2..], b"later"]
                .concat()
                .into(),
            version => subscription(version, &topics),
        };
        call_join(
            &mut bench,
            Join {
                protocols: offers(metadata),
                ..old_join(client)
            },
        );
    }
    assert!(group(&bench).is_subscribed_to("anything"), "not known yet");
    bench.pass(6 * SECOND);
    bench.call(sync(&id("a", 1), 1, &[]));
    let topics: BTreeSet<String> = ["x", "y", "z"].map(str::to_owned).into();
    assert_eq!(group(&bench).subscribed_topics(), Some(&topics));
    bench.reload();
    assert_eq!(group(&bench).subscribed_topics(), Some(&topics));
    assert!(group(&bench).is_subscribed_to("x") && !group(&bench).is_subscribed_to("other"));
    bench.pass(10 * SECOND);
    assert_eq!(
        group(&bench).subscribed_topics(),
        Some(&BTreeSet::new()),
        "nobody is left"
    );
}

#[test]
fn metadata_that_cannot_be_read_is_no_subscription_and_no_error() {
    let (bench, _, _) = two_stable();
    assert_eq!(group(&bench).subscribed_topics(), None);
    assert!(group(&bench).is_subscribed_to("anything"));
    let garbage: [&'static [u8]; 5] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\x01\x7f\xff\xff\xff",
        b"\0\0\0\0\0\x01\0\x02\xff\xff\0\0\0\0",
    ];
    for metadata in garbage {
        assert_eq!(
            crate::classic::subscription::topics(&Bytes::from_static(metadata)),
            None,
            "{metadata:?}"
        );
    }
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let (mut bench, a, _) = two_stable();
    bench.pass(9 * SECOND);
    let (settings, topics) = (Settings::default(), Topics::default());
    let ground = Ground {
        at: bench.at,
        settings: &settings,
        topics: &topics,
    };
    let group_before = Some(AnyGroup::Classic(group(&bench).clone()));
    let mut draft = Draft::new(ground, "g", &group_before);
    seen_in_commit(&mut draft, &a);
    seen_in_commit(&mut draft, "nobody");
    let decision = draft.finish();
    bench.shard.apply(bench.at, &decision.changes);
    bench.pass(5 * SECOND);
    let members: Vec<&str> = group(&bench).members().map(|member| member.member.as_str()).collect();
    assert_eq!(members, [a.as_str()], "b was silent");
}
