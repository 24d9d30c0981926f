//! The rules of the protocol, one by one, as exact answers and exact records. Static members, patterns and classic
//! members have files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::ErrorCode;

use crate::call::{Call, ConsumerHeartbeat, MemberIdChoice, PartitionsByTopic};
use crate::history::{Happened, Removal};
use crate::record::{AssignedPartitions, ConsumerCurrent, ConsumerGroup, ConsumerMember, ConsumerTargetEpoch, Record};
use crate::reply::{ConsumerHeartbeatReply, DescribedConsumerGroup, DescribedConsumerMember, MemberKind, Reply};
use crate::settings::Settings;

use super::commit::CommitScope;
use super::world::{GROUP, World, heartbeat, join, partitions, settings, topic_id, topics};

fn world() -> World {
    World::new(settings(), topics(&[("t", 1, 4), ("u", 2, 2)]))
}

pub fn group() -> String {
    GROUP.to_owned()
}

/// An answer without an error.
pub fn told(
    member: &str,
    epoch: i32,
    interval_ms: i32,
    assignment: Option<PartitionsByTopic>,
) -> ConsumerHeartbeatReply {
    ConsumerHeartbeatReply {
        error: ErrorCode::None,
        message: None,
        member: Some(member.to_owned()),
        member_epoch: epoch,
        heartbeat_interval_ms: interval_ms,
        assignment,
    }
}

pub fn refused(world: &mut World, request: &ConsumerHeartbeat) -> ErrorCode {
    let records = world.log.len();
    let reply = world.beat(request);
    assert!(reply.message.is_some());
    let empty = (None, 0, 0, None);
    assert_eq!(
        (
            reply.member,
            reply.member_epoch,
            reply.heartbeat_interval_ms,
            reply.assignment
        ),
        empty
    );
    assert_eq!(world.log.len(), records, "a refusal writes nothing");
    reply.error
}

pub fn records(world: &mut World, request: &ConsumerHeartbeat) -> Vec<Record> {
    let (_, records) = world.call(Call::ConsumerHeartbeat(Box::new(request.clone())));
    records
}

/// Partitions with the epochs at which they were assigned.
pub fn since(described: &[(u128, &[(i32, i32)])]) -> AssignedPartitions {
    let described = described.iter();
    described
        .map(|(id, partitions)| (topic_id(*id), partitions.iter().copied().collect()))
        .collect()
}

pub fn target(member: &str, value: Option<PartitionsByTopic>) -> Record {
    Record::ConsumerTarget {
        group: group(),
        member: member.to_owned(),
        value,
    }
}

pub fn current(member: &str, value: Option<ConsumerCurrent>) -> Record {
    Record::ConsumerCurrent {
        group: group(),
        member: member.to_owned(),
        value,
    }
}

pub fn subscription(member: &str, value: Option<ConsumerMember>) -> Record {
    Record::ConsumerMember {
        group: group(),
        member: member.to_owned(),
        value,
    }
}

pub fn epoch(world: &World, epoch: i32) -> Record {
    Record::ConsumerGroup {
        group: group(),
        value: Some(ConsumerGroup {
            epoch,
            metadata_hash: world.group().unwrap().metadata_hash,
        }),
    }
}

pub fn target_epoch(world: &World, epoch: i32) -> Record {
    Record::ConsumerTargetEpoch {
        group: group(),
        value: Some(ConsumerTargetEpoch {
            epoch,
            timestamp: world.at().wall.0,
        }),
    }
}

pub fn described_member(names: &[&str]) -> ConsumerMember {
    ConsumerMember {
        instance: None,
        rack: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        subscribed_names: names.iter().map(|name| (*name).to_owned()).collect(),
        subscribed_regex: Some(String::new()),
        rebalance_timeout_ms: 5000,
        server_assignor: None,
        classic: None,
    }
}

#[test]
fn what_is_wrong_with_a_request_whatever_the_group() {
    let mut world = world();
    let valid = join("a", &["t"]);
    let wrong: [(&str, ConsumerHeartbeat); 12] = [
        (
            "no group",
            ConsumerHeartbeat {
                group: String::new(),
                ..valid.clone()
            },
        ),
        (
            "no member",
            ConsumerHeartbeat {
                member: String::new(),
                ..valid.clone()
            },
        ),
        (
            "blank instance",
            ConsumerHeartbeat {
                instance: Some(" ".to_owned()),
                ..valid.clone()
            },
        ),
        (
            "blank rack",
            ConsumerHeartbeat {
                rack: Some(String::new()),
                ..valid.clone()
            },
        ),
        (
            "epoch",
            ConsumerHeartbeat {
                member_epoch: -3,
                ..valid.clone()
            },
        ),
        (
            "no timeout",
            ConsumerHeartbeat {
                rebalance_timeout_ms: -1,
                ..valid.clone()
            },
        ),
        (
            "owned unsaid",
            ConsumerHeartbeat {
                owned: None,
                ..valid.clone()
            },
        ),
        (
            "owned",
            ConsumerHeartbeat {
                owned: Some(partitions(&[(1, &[0])])),
                ..valid.clone()
            },
        ),
        (
            "no subscription",
            ConsumerHeartbeat {
                subscribed_names: None,
                ..valid.clone()
            },
        ),
        (
            "away without instance",
            ConsumerHeartbeat {
                member_epoch: -2,
                ..valid.clone()
            },
        ),
        (
            "leaves without id",
            ConsumerHeartbeat {
                member: String::new(),
                member_id: MemberIdChoice::Coordinator,
                ..heartbeat("", -1)
            },
        ),
        (
            "goes on without id",
            ConsumerHeartbeat {
                member_id: MemberIdChoice::Coordinator,
                ..heartbeat("", 1)
            },
        ),
    ];
    for (what, request) in wrong {
        assert_eq!(refused(&mut world, &request), ErrorCode::InvalidRequest, "{what}");
    }
    let assignor = ConsumerHeartbeat {
        server_assignor: Some("sticky".to_owned()),
        ..valid
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

#[test]
fn most_votes_choose_the_assignor() {
    let mut world = world();
    let vote = |member: &str, assignor: Option<&str>| ConsumerHeartbeat {
        server_assignor: assignor.map(str::to_owned),
        ..join(member, &["t"])
    };
    world.beat(&vote("a", None));
    assert_eq!(world.group().unwrap().assignor(), "uniform");
    world.beat(&vote("b", Some("range")));
    assert_eq!(world.group().unwrap().assignor(), "range");
    world.beat(&vote("c", Some("uniform")));
    world.beat(&vote("d", Some("uniform")));
    assert_eq!(world.group().unwrap().assignor(), "uniform");
    // A vote alone moves nothing.
    let epoch = world.group().unwrap().epoch;
    world.beat(&ConsumerHeartbeat {
        server_assignor: Some("range".to_owned()),
        ..heartbeat("d", epoch)
    });
    assert_eq!(
        (world.group().unwrap().assignor(), world.group().unwrap().epoch),
        ("range", epoch)
    );
}

#[test]
fn with_an_assignment_interval_a_newcomer_waits() {
    let settings = Settings {
        consumer_assignment_interval: Duration::from_secs(1),
        ..settings()
    };
    let mut world = World::new(settings, topics(&[("t", 1, 4)]));
    world.beat(&join("a", &["t"]));
    assert_eq!(
        world.beat(&join("b", &["t"])),
        told("b", 2, 5000, Some(PartitionsByTopic::new()))
    );
    assert_eq!(world.group().unwrap().state(), "Assigning");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.beat(&heartbeat("b", 2)).member_epoch, 3);
    assert_eq!(world.group().unwrap().state(), "Reconciling");
}

#[test]
fn other_partitions_raise_the_epoch() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.set_topics(topics(&[("t", 1, 4), ("u", 2, 9)]));
    assert_eq!(world.group().unwrap().epoch, 2, "nobody reads u");
    world.set_topics(topics(&[("t", 1, 5), ("u", 2, 9)]));
    assert_eq!(
        (world.group().unwrap().epoch, world.group().unwrap().state()),
        (3, "Assigning")
    );
    assert_eq!(
        world.beat(&heartbeat("a", 2)),
        told("a", 3, 5000, Some(partitions(&[(1, &[0, 1, 2, 3, 4])])))
    );
    // A topic that is made anew is another one.
    world.set_topics(topics(&[("t", 7, 1)]));
    let reply = world.beat(&heartbeat("a", 3));
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (3, Some(PartitionsByTopic::new()))
    );
    let gave_up = ConsumerHeartbeat {
        owned: Some(PartitionsByTopic::new()),
        ..heartbeat("a", 3)
    };
    assert_eq!(world.beat(&gave_up), told("a", 4, 5000, Some(partitions(&[(7, &[0])]))));
}

/// A coordinator that has just loaded the group compares its topics with those that it sees itself.
#[test]
fn topics_that_changed_unseen_are_noticed_after_a_reload() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.topics = std::sync::Arc::new(topics(&[("t", 1, 5)]));
    world.reload(&mut super::world::Dice(1));
    assert_eq!(
        world.beat(&heartbeat("a", 2)),
        told("a", 3, 5000, Some(partitions(&[(1, &[0, 1, 2, 3, 4])])))
    );
}

#[test]
fn a_reload_goes_on_with_everybody() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let written = world.log.len();
    world.reload(&mut super::world::Dice(1));
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 2, 5000, None));
    assert_eq!(world.log.len(), written);
    world.pass(Duration::from_secs(45));
    assert!(world.group().unwrap().is_empty());
}

/// 100 ms after a step; a quarter of the time since then while more is to come, all of it at rest.
#[test]
fn the_interval_is_short_while_steps_are_made() {
    let mut world = World::new(Settings::default(), topics(&[("t", 1, 4)]));
    let mut intervals = vec![world.beat(&join("a", &["t"])).heartbeat_interval_ms];
    for seconds in [1, 3, 2] {
        world.pass(Duration::from_secs(seconds));
        intervals.push(world.beat(&heartbeat("a", 2)).heartbeat_interval_ms);
    }
    assert_eq!(intervals, vec![100, 1000, 4000, 5000]);
    intervals = vec![world.beat(&join("b", &["t"])).heartbeat_interval_ms];
    for seconds in [1, 7, 24] {
        world.pass(Duration::from_secs(seconds));
        intervals.push(world.beat(&heartbeat("b", 3)).heartbeat_interval_ms);
    }
    assert_eq!(intervals, vec![100, 250, 2000, 5000]);
}

#[test]
fn a_commit_with_an_older_epoch_counts_for_what_the_member_had_then() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&join("b", &["u"]));
    world.beat(&heartbeat("a", 2));
    let group = world.group().unwrap();
    assert_eq!(group.validate_commit("a", 3, 9), Ok(CommitScope::All));
    assert_eq!(group.validate_commit("a", 4, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.validate_commit("a", 3, 8), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(group.validate_commit("c", 3, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.validate_commit("", -1, 9), Err(ErrorCode::UnknownMemberId));
    let scope = group.validate_commit("a", 2, 9).unwrap();
    assert_eq!(scope.check(topic_id(1), 0), ErrorCode::None);
    assert_eq!(scope.check(topic_id(1), 4), ErrorCode::StaleMemberEpoch);
    assert_eq!(scope.check(topic_id(2), 0), ErrorCode::StaleMemberEpoch);
    let scope = group.validate_commit("a", 1, 9).unwrap();
    assert_eq!(scope.check(topic_id(1), 0), ErrorCode::StaleMemberEpoch);
    // What is to be given up may still be committed.
    world.beat(&join("c", &["t"]));
    world.beat(&heartbeat("a", 3));
    let scope = world.group().unwrap().validate_commit("a", 2, 9).unwrap();
    assert_eq!(scope.check(topic_id(1), 3), ErrorCode::None);
}

#[test]
fn who_may_commit_to_an_empty_group_and_who_may_fetch() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    let group = world.group().unwrap();
    assert_eq!(group.validate_fetch(None, -1), Ok(()));
    assert_eq!(group.validate_fetch(None, 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.validate_fetch(Some("a"), 2), Ok(()));
    assert_eq!(group.validate_fetch(Some("a"), -1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.validate_fetch(Some("b"), 2), Err(ErrorCode::UnknownMemberId));
    world.beat(&heartbeat("a", -1));
    assert_eq!(world.group().unwrap().validate_commit("", -1, 2), Ok(CommitScope::All));
}

#[test]
fn described_with_what_a_member_holds_and_should_hold() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&join("b", &["t"]));
    world.beat(&heartbeat("a", 2));
    let all: Vec<i32> = (0..4).collect();
    let member = |id: &str, epoch, assignment: &[i32], target: &[i32]| DescribedConsumerMember {
        member: id.to_owned(),
        instance: None,
        rack: None,
        member_epoch: epoch,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        subscribed_names: vec!["t".to_owned()],
        subscribed_regex: Some(String::new()),
        assignment: if assignment.is_empty() {
            Vec::new()
        } else {
            vec![(topic_id(1), "t".to_owned(), assignment.to_vec())]
        },
        target: vec![(topic_id(1), "t".to_owned(), target.to_vec())],
        kind: MemberKind::Consumer,
    };
    let (reply, _) = world.call(Call::DescribeConsumerGroup { group: group() });
    assert_eq!(
        reply,
        Reply::DescribeConsumerGroup(Box::new(DescribedConsumerGroup {
            error: ErrorCode::None,
            message: None,
            group: group(),
            state: "Reconciling".to_owned(),
            group_epoch: 3,
            assignment_epoch: 3,
            assignor: "uniform".to_owned(),
            members: vec![member("a", 2, &all, &[0, 1]), member("b", 3, &[], &[2, 3])],
        }))
    );
    let (reply, _) = world.call(Call::DescribeConsumerGroup { group: "h".to_owned() });
    let Reply::DescribeConsumerGroup(reply) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(
        (reply.error, reply.state.as_str(), reply.members.len()),
        (ErrorCode::GroupIdNotFound, "", 0)
    );
}

#[test]
fn deleting_leaves_a_tombstone_for_every_key() {
    let mut world = world();
    world.beat(&ConsumerHeartbeat {
        subscribed_regex: Some("u.*".to_owned()),
        ..join("a", &["t"])
    });
    let written: BTreeSet<String> = world
        .log
        .iter()
        .map(|record| format!("{:?}", std::mem::discriminant(record)))
        .collect();
    let tombstones = world.group().unwrap().tombstones(GROUP);
    let removed: BTreeSet<String> = tombstones
        .iter()
        .map(|record| format!("{:?}", std::mem::discriminant(record)))
        .collect();
    assert_eq!(removed, written);
    let mut left: BTreeMap<String, Option<crate::group::Group>> = BTreeMap::new();
    let at = world.at();
    let slot = left.entry(group()).or_insert_with(|| world.shard.group(GROUP).cloned());
    for tombstone in tombstones {
        super::apply_record(slot, at, &tombstone);
    }
    assert_eq!(*slot, None);
}
