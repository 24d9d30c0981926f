//! The rules of the protocol, one by one, as exact answers and exact records: what a member may do. The group as a whole,
//! static members, patterns and classic members have files of their own.

use std::time::Duration;

use klamm_types::ErrorCode;

use crate::call::{ConsumerHeartbeat, MemberIdChoice, PartitionsByTopic};
use crate::history::{Happened, Removal};
use crate::record::{AssignedPartitions, ConsumerCurrent};
use crate::settings::Settings;

use super::exact::{
    current, described_member, epoch, records, refused, since, subscription, target, target_epoch, told,
};
use super::world::{World, heartbeat, join, partitions, settings, topics};

fn world() -> World {
    World::new(settings(), topics(&[("t", 1, 4), ("u", 2, 2)]))
}

#[test]
fn what_is_wrong_with_a_request_whatever_the_group() {
    let mut world = world();
    let mut invalid = |what: &str, spoil: &dyn Fn(&mut ConsumerHeartbeat)| {
        let mut request = join("a", &["t"]);
        spoil(&mut request);
        assert_eq!(refused(&mut world, &request), ErrorCode::InvalidRequest, "{what}");
    };
    invalid("no group", &|request| request.group.clear());
    invalid("no member", &|request| request.member.clear());
    invalid("a blank instance", &|request| request.instance = Some(" ".to_owned()));
    invalid("a blank rack", &|request| request.rack = Some(String::new()));
    invalid("no such epoch", &|request| request.member_epoch = -3);
    invalid("no timeout", &|request| request.rebalance_timeout_ms = -1);
    invalid("owned unsaid", &|request| request.owned = None);
    invalid("owns", &|request| request.owned = Some(partitions(&[(1, &[0])])));
    invalid("no subscription", &|request| request.subscribed_names = None);
    invalid("away without instance", &|request| request.member_epoch = -2);
    for epoch in [-1, 1] {
        invalid("old clients have an id once they are in", &|request| {
            request.member_id = MemberIdChoice::Coordinator;
            request.member.clear();
            request.member_epoch = epoch;
        });
    }
    let assignor = ConsumerHeartbeat {
        server_assignor: Some("sticky".to_owned()),
        ..join("a", &["t"])
    };
    assert_eq!(refused(&mut world, &assignor), ErrorCode::UnsupportedAssignor);
    assert!(world.group().is_none());
}

#[test]
fn the_first_member_of_a_group_is_at_epoch_2_and_has_everything() {
    let mut world = world();
    let written = records(&mut world, &join("a", &["t"]));
    let all = partitions(&[(1, &[0, 1, 2, 3])]);
    assert_eq!(
        written,
        vec![
            subscription("a", Some(described_member(&["t"]))),
            epoch(&world, 2),
            target("a", Some(all.clone())),
            target_epoch(&world, 2),
            current(
                "a",
                Some(ConsumerCurrent {
                    epoch: 2,
                    previous_epoch: 0,
                    state: 0,
                    assigned: since(&[(1, &[(0, 2), (1, 2), (2, 2), (3, 2)])]),
                    pending_revocation: AssignedPartitions::new(),
                })
            ),
        ]
    );
    assert_eq!(world.beat(&join("a", &["t"])), told("a", 2, 5000, Some(all)));
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 2, 5000, None));
    assert_eq!(world.group().unwrap().state(), "Stable");
    assert_eq!(
        world.history,
        vec![
            Happened::MemberJoined {
                member: "a".to_owned(),
                client_id: "client".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
            },
            Happened::RebalanceStarted {
                cause: "member a joined".to_owned()
            },
            Happened::RebalanceEnded {
                generation: 2,
                members: 1,
                took_ms: 0
            },
        ]
    );
}

#[test]
fn the_coordinator_chooses_an_id_for_old_clients() {
    let mut world = world();
    let request = ConsumerHeartbeat {
        member_id: MemberIdChoice::Coordinator,
        ..join("", &["t"])
    };
    let reply = world.beat(&request);
    let id = klamm_types::Uuid::from_u128(2).to_string();
    assert_eq!(reply, told(&id, 2, 5000, Some(partitions(&[(1, &[0, 1, 2, 3])]))));
}

#[test]
fn a_member_that_subscribes_to_nothing_is_at_the_first_epoch() {
    let mut world = world();
    assert_eq!(
        world.beat(&join("a", &[])),
        told("a", 1, 5000, Some(PartitionsByTopic::new()))
    );
    assert_eq!(world.group().unwrap().state(), "Stable");
}

/// Two names of which one comes twice are not the two that the member had.
#[test]
fn a_name_that_comes_twice_is_one_name() {
    let mut world = world();
    world.beat(&join("a", &["t", "none"]));
    let narrower = ConsumerHeartbeat {
        subscribed_names: Some(vec!["t".to_owned(), "t".to_owned()]),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&narrower), told("a", 3, 5000, None));
}

/// Takes, gives up, gets: every answer and every record on the way.
#[test]
fn a_second_member_gets_its_part_when_the_first_has_given_it_up() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let (half, other_half) = (partitions(&[(1, &[0, 1])]), partitions(&[(1, &[2, 3])]));

    let written = records(&mut world, &join("b", &["t"]));
    assert_eq!(
        written,
        vec![
            subscription("b", Some(described_member(&["t"]))),
            epoch(&world, 3),
            target("a", Some(half.clone())),
            target("b", Some(other_half.clone())),
            target_epoch(&world, 3),
            current(
                "b",
                Some(ConsumerCurrent {
                    epoch: 3,
                    previous_epoch: 0,
                    state: 2,
                    assigned: AssignedPartitions::new(),
                    pending_revocation: AssignedPartitions::new(),
                })
            ),
        ]
    );
    assert_eq!(world.beat(&heartbeat("b", 3)), told("b", 3, 5000, None));
    assert_eq!(world.group().unwrap().state(), "Reconciling");

    let written = records(&mut world, &heartbeat("a", 2));
    let revoking = ConsumerCurrent {
        epoch: 2,
        previous_epoch: 0,
        state: 1,
        assigned: since(&[(1, &[(0, 2), (1, 2)])]),
        pending_revocation: since(&[(1, &[(2, 2), (3, 2)])]),
    };
    assert_eq!(written, vec![current("a", Some(revoking))]);
    let still_owns = ConsumerHeartbeat {
        owned: Some(partitions(&[(1, &[0, 1, 2, 3])])),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&still_owns), told("a", 2, 5000, Some(half.clone())));
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 2, 5000, None));
    assert_eq!(world.beat(&heartbeat("b", 3)), told("b", 3, 5000, None));

    let gave_up = ConsumerHeartbeat {
        owned: Some(half),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&gave_up), told("a", 3, 5000, None));
    assert_eq!(world.beat(&heartbeat("b", 3)), told("b", 3, 5000, Some(other_half)));
    assert_eq!(world.beat(&heartbeat("a", 3)), told("a", 3, 5000, None));
    assert_eq!(world.group().unwrap().state(), "Stable");
}

#[test]
fn who_is_unknown_or_at_the_wrong_epoch() {
    let mut world = world();
    assert_eq!(refused(&mut world, &heartbeat("a", 1)), ErrorCode::GroupIdNotFound);
    assert_eq!(refused(&mut world, &heartbeat("a", -1)), ErrorCode::GroupIdNotFound);
    world.beat(&join("a", &["t"]));
    assert_eq!(refused(&mut world, &heartbeat("b", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(refused(&mut world, &heartbeat("b", -1)), ErrorCode::UnknownMemberId);
    assert_eq!(refused(&mut world, &heartbeat("a", 3)), ErrorCode::FencedMemberEpoch);
    assert_eq!(refused(&mut world, &heartbeat("a", 1)), ErrorCode::FencedMemberEpoch);
}

#[test]
fn a_member_whose_answer_was_lost_is_told_again() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&join("b", &["u"]));
    // Lost: the epoch is 3 now.
    assert_eq!(world.beat(&heartbeat("a", 2)).member_epoch, 3);
    let all = partitions(&[(1, &[0, 1, 2, 3])]);
    let behind = ConsumerHeartbeat {
        owned: Some(all.clone()),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&behind), told("a", 3, 5000, Some(all.clone())));
    // The request as it was, in Kafka a reason to fence.
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 3, 5000, Some(all)));
    let owns_other = ConsumerHeartbeat {
        owned: Some(partitions(&[(2, &[0])])),
        ..heartbeat("a", 2)
    };
    assert_eq!(refused(&mut world, &owns_other), ErrorCode::FencedMemberEpoch);
}

#[test]
fn a_full_group_takes_no_more_but_keeps_who_is_in() {
    let settings = Settings {
        consumer_members_max: 1,
        ..settings()
    };
    let mut world = World::new(settings, topics(&[("t", 1, 4)]));
    world.beat(&join("a", &["t"]));
    assert_eq!(refused(&mut world, &join("b", &["t"])), ErrorCode::GroupMaxSizeReached);
    assert_eq!(world.beat(&join("a", &["t"])).error, ErrorCode::None);
}

#[test]
fn who_leaves_is_removed_and_the_epoch_rises() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let written = records(&mut world, &heartbeat("a", -1));
    let hash = world.group().unwrap().metadata_hash;
    assert_eq!(hash, 0);
    assert_eq!(
        written,
        vec![
            current("a", None),
            target("a", None),
            subscription("a", None),
            epoch(&world, 3),
        ]
    );
    assert_eq!(world.group().unwrap().state(), "Empty");
    assert_eq!(
        world.history.last(),
        Some(&Happened::MemberLeft {
            member: "a".to_owned(),
            reason: None
        })
    );
    world.beat(&join("b", &["t"]));
    assert_eq!(world.beat(&heartbeat("b", -1)), told("b", -1, 0, None));
}

#[test]
fn silence_ends_a_session() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.pass(Duration::from_secs(44));
    world.beat(&heartbeat("a", 2));
    world.pass(Duration::from_secs(44));
    assert!(!world.group().unwrap().is_empty());
    world.pass(Duration::from_secs(1));
    assert!(world.group().unwrap().is_empty());
    assert_eq!(
        world.history.last(),
        Some(&Happened::MemberRemoved {
            member: "a".to_owned(),
            cause: Removal::SessionExpired
        })
    );
    assert_eq!(refused(&mut world, &heartbeat("a", 2)), ErrorCode::UnknownMemberId);
}

#[test]
fn who_does_not_give_up_in_time_is_removed() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&join("b", &["t"]));
    world.beat(&heartbeat("a", 2));
    world.pass(Duration::from_millis(4999));
    world.beat(&heartbeat("a", 2));
    assert_eq!(world.group().unwrap().members.len(), 2);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.group().unwrap().members.keys().collect::<Vec<_>>(), vec!["b"]);
    let removed = Happened::MemberRemoved {
        member: "a".to_owned(),
        cause: Removal::RevocationTimedOut,
    };
    assert!(world.history.contains(&removed));
    assert_eq!(
        world.beat(&heartbeat("b", 3)).assignment,
        Some(partitions(&[(1, &[0, 1, 2, 3])]))
    );
}
