//! Classic members in a group of this kind, and groups that change their kind with members in them.

use std::time::Duration;

use bytes::Bytes;
use klamm_types::{ErrorCode, Uuid};
use klamm_wire::consumer_protocol_assignment::TopicPartition;
use klamm_wire::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_subscription, encode_versioned,
};

use crate::call::{
    Call, Client as Caller, ConsumerHeartbeat, Heartbeat, Join, Leave, LeavingMember, MemberIdRule, SkipAssignment,
    Sync, SyncProtocol,
};
use crate::group::Group as AnyGroup;
use crate::record::{
    AssignedPartitions, ClassicGroup, ClassicMember, ClassicMemberMetadata, ConsumerCurrent, ConsumerGroup,
    ConsumerMember, ConsumerTargetEpoch, Record,
};
use crate::reply::{Joined, Left, LeftMember, Reply, Synced};

use super::rules_test::{current, described_member, group, records, refused, since, subscription, target, told};
use super::world::{Dice, GROUP, World, heartbeat, join, partitions, settings, topics};

fn world() -> World {
    World::new(settings(), topics(&[("t", 1, 4), ("u", 2, 2)]))
}

/// A subscription in version 1, which names what is owned.
fn metadata(names: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let owned_partitions = owned
        .iter()
        .map(|(topic, partitions)| consumer_protocol_subscription::TopicPartition {
            topic,
            partitions: partitions.to_vec(),
        })
        .collect();
    let subscription = ConsumerProtocolSubscription {
        topics: names.to_vec(),
        owned_partitions,
        ..Default::default()
    };
    encode_versioned(&subscription, 1).unwrap()
}

fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let assigned_partitions = vec![TopicPartition {
        topic,
        partitions: partitions.to_vec(),
    }];
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions,
        user_data: None,
    };
    encode_versioned(&assignment, 1).unwrap()
}

fn joins(member: &str, names: &[&str], owned: &[(&str, &[i32])]) -> Join {
    Join {
        group: group(),
        member: member.to_owned(),
        instance: None,
        client: Caller {
            id: "old".to_owned(),
            host: "/127.0.0.1".to_owned(),
        },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 6000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), metadata(names, owned))],
        reason: None,
        member_id_rule: MemberIdRule::Required,
        skip_assignment: SkipAssignment::Supported,
    }
}

fn join_reply(world: &mut World, call: &Join) -> Joined {
    match world.call(Call::Join(Box::new(call.clone()))) {
        (Reply::Join(joined), _) => *joined,
        (other, _) => panic!("{other:?} answers JoinGroup"),
    }
}

fn sync_reply(world: &mut World, member: &str, generation: i32) -> Synced {
    let call = Sync {
        group: group(),
        generation,
        member: member.to_owned(),
        instance: None,
        protocol: Some(SyncProtocol {
            protocol_type: Some("consumer".to_owned()),
            name: Some("range".to_owned()),
        }),
        assignments: Vec::new(),
    };
    match world.call(Call::Sync(Box::new(call))) {
        (Reply::Sync(synced), _) => synced,
        (other, _) => panic!("{other:?} answers SyncGroup"),
    }
}

fn beat(world: &mut World, member: &str, generation: i32) -> ErrorCode {
    let call = Heartbeat {
        group: group(),
        generation,
        member: member.to_owned(),
        instance: None,
    };
    match world.call(Call::Heartbeat(call)) {
        (Reply::Heartbeat(error), _) => error,
        (other, _) => panic!("{other:?} answers Heartbeat"),
    }
}

fn joined(member: &str, generation: i32) -> Joined {
    Joined {
        error: ErrorCode::None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        leader: String::new(),
        skip_assignment: false,
        member: member.to_owned(),
        members: Vec::new(),
    }
}

fn turned_away(member: &str, error: ErrorCode) -> Joined {
    Joined {
        error,
        generation: -1,
        protocol_type: None,
        protocol: None,
        ..joined(member, -1)
    }
}

fn synced(assignment: Bytes) -> Synced {
    Synced {
        error: ErrorCode::None,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignment,
    }
}

#[test]
fn a_classic_member_comes_in_and_gets_its_part() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    // First it is told its id.
    let id = Uuid::from_u128(3).to_string();
    assert_eq!(
        join_reply(&mut world, &joins("", &["t"], &[])),
        turned_away(&id, ErrorCode::MemberIdRequired)
    );
    assert_eq!(world.group().unwrap().members.len(), 1);
    let call = joins(&id, &["t"], &[]);
    assert_eq!(join_reply(&mut world, &call), joined(&id, 3));
    assert_eq!(sync_reply(&mut world, &id, 3), synced(empty_assignment()));
    assert_eq!(beat(&mut world, &id, 3), ErrorCode::None, "it waits for the other");
    world.beat(&heartbeat("a", 2));
    let kept: Vec<i32> = world.group().unwrap().targets["a"]
        .values()
        .flatten()
        .copied()
        .collect();
    let gave_up = ConsumerHeartbeat {
        owned: Some(partitions(&[(1, &kept)])),
        ..heartbeat("a", 2)
    };
    assert_eq!(world.beat(&gave_up).member_epoch, 3);
    assert_eq!(beat(&mut world, &id, 3), ErrorCode::RebalanceInProgress);
    assert_eq!(join_reply(&mut world, &call), joined(&id, 3));
    let rest: Vec<i32> = (0..4).filter(|partition| !kept.contains(partition)).collect();
    assert_eq!(sync_reply(&mut world, &id, 3), synced(assignment("t", &rest)));
    assert_eq!(
        sync_reply(&mut world, &id, 3),
        synced(assignment("t", &rest)),
        "asked twice"
    );
    assert_eq!(beat(&mut world, &id, 3), ErrorCode::None);
    assert_eq!(world.group().unwrap().state(), "Stable");
}

fn empty_assignment() -> Bytes {
    encode_versioned(&ConsumerProtocolAssignment::default(), 1).unwrap()
}

/// `a` speaks the new protocol and reads u, `old` the classic one and has all of t.
fn mixed() -> World {
    let mut world = world();
    world.beat(&join("a", &["u"]));
    join_reply(&mut world, &joins("old", &["t"], &[]));
    sync_reply(&mut world, "old", 3);
    world.beat(&heartbeat("a", 2));
    assert_eq!(world.group().unwrap().state(), "Stable");
    world
}

#[test]
fn a_classic_member_gives_up_by_joining_again() {
    let mut world = mixed();
    world.beat(&join("b", &["t"]));
    assert_eq!(beat(&mut world, "old", 3), ErrorCode::RebalanceInProgress);
    assert_eq!(sync_reply(&mut world, "old", 3).error, ErrorCode::RebalanceInProgress);
    // A cooperative one still owns what it has.
    let owns = joins("old", &["t"], &[("t", &[0, 1, 2, 3])]);
    assert_eq!(join_reply(&mut world, &owns), joined("old", 3));
    let mine: Vec<i32> = world.group().unwrap().targets["old"]
        .values()
        .flatten()
        .copied()
        .collect();
    assert_eq!(mine.len(), 2);
    assert_eq!(sync_reply(&mut world, "old", 3), synced(assignment("t", &mine)));
    assert_eq!(beat(&mut world, "old", 3), ErrorCode::RebalanceInProgress);
    let gave_up = joins("old", &["t"], &[("t", &mine)]);
    assert_eq!(join_reply(&mut world, &gave_up), joined("old", 4));
    assert_eq!(sync_reply(&mut world, "old", 4), synced(assignment("t", &mine)));
    let reply = world.beat(&heartbeat("b", 4));
    assert_eq!(reply.assignment.unwrap().values().flatten().count(), 2);
    world.beat(&heartbeat("a", 3));
    assert_eq!(world.group().unwrap().state(), "Stable");
}

#[test]
fn what_classic_members_are_refused() {
    let mut world = mixed();
    let other_type = Join {
        protocol_type: "connect".to_owned(),
        ..joins("x", &["t"], &[])
    };
    let expected = turned_away("x", ErrorCode::InconsistentGroupProtocol);
    assert_eq!(join_reply(&mut world, &other_type), expected);
    let other_protocol = Join {
        protocols: vec![("sticky".to_owned(), metadata(&["t"], &[]))],
        ..joins("x", &["t"], &[])
    };
    assert_eq!(join_reply(&mut world, &other_protocol), expected);
    let unreadable = Join {
        protocols: vec![("range".to_owned(), Bytes::from_static(b"\0"))],
        ..joins("x", &["t"], &[])
    };
    assert_eq!(join_reply(&mut world, &unreadable), expected);
    let unknown = Join {
        instance: Some("i".to_owned()),
        ..joins("x", &["t"], &[])
    };
    assert_eq!(join_reply(&mut world, &unknown).error, ErrorCode::UnknownMemberId);
    assert_eq!(sync_reply(&mut world, "x", 3).error, ErrorCode::UnknownMemberId);
    assert_eq!(sync_reply(&mut world, "a", 3).error, ErrorCode::UnknownMemberId);
    assert_eq!(sync_reply(&mut world, "old", 2).error, ErrorCode::IllegalGeneration);
    assert_eq!(beat(&mut world, "x", 3), ErrorCode::UnknownMemberId);
    assert_eq!(beat(&mut world, "a", 3), ErrorCode::UnknownMemberId);
    assert_eq!(beat(&mut world, "old", 2), ErrorCode::IllegalGeneration);
    let group = world.group().unwrap();
    assert_eq!(group.validate_commit("old", 4, 2), Err(ErrorCode::IllegalGeneration));
    assert_eq!(group.validate_commit("old", 3, 2), Ok(super::CommitScope::All));
}

#[test]
fn a_classic_member_has_its_own_times() {
    let mut world = mixed();
    world.pass(Duration::from_secs(9));
    beat(&mut world, "old", 3);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.group().unwrap().members.len(), 2);
    world.beat(&heartbeat("a", 3));
    world.pass(Duration::from_secs(1));
    assert_eq!(
        world.group().unwrap().members.keys().collect::<Vec<_>>(),
        vec!["a"],
        "its session of 10 s"
    );

    let mut world = mixed();
    world.beat(&join("b", &["t"]));
    assert_eq!(beat(&mut world, "old", 3), ErrorCode::RebalanceInProgress);
    world.pass(Duration::from_secs(4));
    assert_eq!(beat(&mut world, "old", 3), ErrorCode::RebalanceInProgress);
    world.pass(Duration::from_secs(2));
    assert_eq!(
        beat(&mut world, "old", 3),
        ErrorCode::UnknownMemberId,
        "6 s to join again"
    );

    let mut world = mixed();
    join_reply(&mut world, &joins("old", &["t"], &[("t", &[0, 1, 2, 3])]));
    world.pass(Duration::from_secs(5));
    beat(&mut world, "old", 3);
    world.pass(Duration::from_secs(1));
    assert_eq!(
        beat(&mut world, "old", 3),
        ErrorCode::UnknownMemberId,
        "6 s to fetch its assignment"
    );
}

#[test]
fn classic_members_leave() {
    let mut world = mixed();
    let leaving = |member: &str, instance: Option<&str>| LeavingMember {
        member: member.to_owned(),
        instance: instance.map(str::to_owned),
        reason: None,
    };
    let call = Leave {
        group: group(),
        members: vec![
            leaving("a", None),
            leaving("old", None),
            leaving("old", None),
            leaving("", Some("i")),
        ],
    };
    let (reply, _) = world.call(Call::Leave(call));
    let left = |member: &str, instance: Option<&str>, error| LeftMember {
        member: member.to_owned(),
        instance: instance.map(str::to_owned),
        error,
    };
    assert_eq!(
        reply,
        Reply::Leave(Left {
            error: ErrorCode::None,
            members: vec![
                left("a", None, ErrorCode::UnknownMemberId),
                left("old", None, ErrorCode::None),
                left("old", None, ErrorCode::UnknownMemberId),
                left("", Some("i"), ErrorCode::UnknownMemberId),
            ],
        })
    );
    assert_eq!(world.group().unwrap().members.keys().collect::<Vec<_>>(), vec!["a"]);
    assert_eq!(world.group().unwrap().epoch, 4);
}

fn classic_group() -> Record {
    let member = |id: &str, assignment: Bytes| ClassicMember {
        member: id.to_owned(),
        instance: None,
        client_id: "old".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 6000,
        session_timeout_ms: 10_000,
        subscription: metadata(&["t"], &[]),
        assignment,
    };
    Record::ClassicGroup {
        group: group(),
        value: Some(ClassicGroup {
            protocol_type: "consumer".to_owned(),
            generation: 7,
            protocol: Some("range".to_owned()),
            leader: Some("x".to_owned()),
            state_timestamp: 5,
            members: vec![
                member("x", assignment("t", &[0, 1])),
                member("y", assignment("t", &[2, 3])),
            ],
        }),
    }
}

#[test]
fn a_classic_group_is_converted_when_a_consumer_member_comes() {
    let mut world = world();
    world.write(classic_group());
    let written = records(&mut world, &join("a", &["t"]));
    let classic = ConsumerMember {
        client_id: "old".to_owned(),
        rebalance_timeout_ms: 6000,
        classic: Some(ClassicMemberMetadata {
            session_timeout_ms: 10_000,
            protocols: vec![("range".to_owned(), metadata(&["t"], &[]))],
        }),
        ..described_member(&["t"])
    };
    let at_7 = |assigned| ConsumerCurrent {
        epoch: 7,
        previous_epoch: 7,
        state: 0,
        assigned,
        pending_revocation: AssignedPartitions::new(),
    };
    let tombstone = Record::ClassicGroup {
        group: group(),
        value: None,
    };
    let epochs = |epoch| ConsumerGroup {
        epoch,
        metadata_hash: 0,
    };
    assert_eq!(
        written[..9],
        [
            tombstone,
            subscription("x", Some(classic.clone())),
            subscription("y", Some(classic)),
            Record::ConsumerGroup {
                group: group(),
                value: Some(epochs(7))
            },
            target("x", Some(partitions(&[(1, &[0, 1])]))),
            target("y", Some(partitions(&[(1, &[2, 3])]))),
            Record::ConsumerTargetEpoch {
                group: group(),
                value: Some(ConsumerTargetEpoch { epoch: 7, timestamp: 0 })
            },
            current("x", Some(at_7(since(&[(1, &[(0, 7), (1, 7)])])))),
            current("y", Some(at_7(since(&[(1, &[(2, 7), (3, 7)])])))),
        ]
    );
    assert_eq!(world.group().unwrap().state(), "Reconciling");
    assert_eq!(beat(&mut world, "x", 7), ErrorCode::RebalanceInProgress);
    // Eager: it owns nothing when it joins.
    assert_eq!(join_reply(&mut world, &joins("x", &["t"], &[])), joined("x", 8));
    assert_eq!(join_reply(&mut world, &joins("y", &["t"], &[])), joined("y", 8));
    let reply = world.beat(&heartbeat("a", 8));
    assert_eq!(reply.assignment.unwrap().values().flatten().count(), 1);
    assert_eq!(world.group().unwrap().state(), "Stable");
}

#[test]
fn a_classic_group_that_cannot_be_converted_stays() {
    let mut world = world();
    let Record::ClassicGroup { value: Some(value), .. } = classic_group() else {
        panic!("a group");
    };
    let with = |protocol_type: &str, subscription: Bytes| {
        let mut value = value.clone();
        value.protocol_type = protocol_type.to_owned();
        value.members[1].subscription = subscription;
        Record::ClassicGroup {
            group: group(),
            value: Some(value),
        }
    };
    for record in [
        with("connect", metadata(&["t"], &[])),
        with("consumer", Bytes::from_static(b"\0\0\0")),
    ] {
        world.write(record);
        assert_eq!(refused(&mut world, &join("a", &["t"])), ErrorCode::GroupIdNotFound);
        assert!(matches!(world.shard.group(GROUP), Some(AnyGroup::Classic(_))));
    }
    assert_eq!(refused(&mut world, &heartbeat("x", 7)), ErrorCode::GroupIdNotFound);
}

/// JoinGroups that wait in the classic group are answered, and their senders come again.
#[test]
fn who_waits_in_a_classic_group_is_told_to_join_again() {
    let mut world = world();
    world.write(classic_group());
    let at = world.at();
    let waits = crate::call::CallId(1000);
    let call = Call::Join(Box::new(joins("x", &["t"], &[])));
    let decision = world.shard.decide(at, crate::shard::Event::Call(waits, call));
    world.shard.apply(at, &decision.changes);
    assert!(decision.replies.is_empty());
    let call = Call::ConsumerHeartbeat(Box::new(join("a", &["t"])));
    let decision = world.happen(crate::shard::Event::Call(crate::call::CallId(1001), call));
    let (first, Reply::Join(reply)) = &decision.replies[0] else {
        panic!("{:?}", decision.replies);
    };
    assert_eq!((*first, reply.error), (waits, ErrorCode::RebalanceInProgress));
    assert_eq!(join_reply(&mut world, &joins("x", &["t"], &[])), joined("x", 8));
}

#[test]
fn the_group_is_a_classic_one_again_when_the_last_consumer_member_is_gone() {
    let mut world = mixed();
    let written = records(&mut world, &heartbeat("a", -1));
    let Some(Record::ClassicGroup { value: Some(value), .. }) = written.last() else {
        panic!("{written:?}");
    };
    assert_eq!(
        *value,
        ClassicGroup {
            protocol_type: "consumer".to_owned(),
            generation: 3,
            protocol: Some("range".to_owned()),
            leader: Some("old".to_owned()),
            state_timestamp: world.at().wall.0,
            members: vec![ClassicMember {
                member: "old".to_owned(),
                instance: None,
                client_id: "old".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                rebalance_timeout_ms: 6000,
                session_timeout_ms: 10_000,
                subscription: metadata(&["t"], &[]),
                assignment: assignment("t", &[0, 1, 2, 3]),
            }],
        }
    );
    let Some(AnyGroup::Classic(group)) = world.shard.group(GROUP) else {
        panic!("a classic group");
    };
    assert_eq!(group.state_name(), "PreparingRebalance");
    assert_eq!(beat(&mut world, "old", 3), ErrorCode::RebalanceInProgress);
    world.reload(&mut Dice(3));
    // It finds the generation of the log, and its member goes on.
    assert_eq!(beat(&mut world, "old", 3), ErrorCode::None);
}

#[test]
fn it_is_so_too_when_the_last_consumer_member_falls_silent() {
    let mut world = mixed();
    for _ in 0..5 {
        world.pass(Duration::from_secs(9));
        beat(&mut world, "old", 3);
    }
    assert!(matches!(world.shard.group(GROUP), Some(AnyGroup::Classic(_))));
}

/// The last consumer member is a static one, and comes back as a classic one.
#[test]
fn a_static_member_changes_its_protocol() {
    let mut world = world();
    let of_instance = |request: ConsumerHeartbeat| ConsumerHeartbeat {
        instance: Some("i".to_owned()),
        ..request
    };
    world.beat(&of_instance(join("a", &["t"])));
    join_reply(&mut world, &joins("old", &["u"], &[]));
    world.beat(&of_instance(heartbeat("a", 2)));
    let call = Join {
        instance: Some("i".to_owned()),
        ..joins("", &["t"], &[])
    };
    let reply = join_reply(&mut world, &call);
    assert_eq!((reply.error, reply.generation), (ErrorCode::None, 3));
    let Some(AnyGroup::Classic(group)) = world.shard.group(GROUP) else {
        panic!("a classic group");
    };
    assert_eq!((group.member_count(), group.state_name()), (2, "Stable"));
    // And back again.
    let reply = world.beat(&of_instance(join("c", &["t"])));
    assert_eq!(reply.error, ErrorCode::None);
    assert_eq!(world.group().unwrap().static_member("i").map(|(id, _)| id), Some("c"));
}

#[test]
fn an_empty_group_of_the_other_kind_is_removed() {
    let mut world = world();
    world.beat(&join("a", &["t"]));
    world.beat(&heartbeat("a", -1));
    let before = world.log.len();
    let id = crate::call::CallId(500);
    let at = world.at();
    let call = Call::Join(Box::new(Join {
        member_id_rule: MemberIdRule::Given,
        ..joins("", &["t"], &[])
    }));
    let decision = world.shard.decide(at, crate::shard::Event::Call(id, call));
    world.shard.apply(at, &decision.changes);
    assert!(matches!(world.shard.group(GROUP), Some(AnyGroup::Classic(_))));
    world.log.truncate(before);

    let mut world = self::world();
    let Record::ClassicGroup { value: Some(value), .. } = classic_group() else {
        panic!("a group");
    };
    world.write(Record::ClassicGroup {
        group: group(),
        value: Some(ClassicGroup {
            protocol: None,
            leader: None,
            members: Vec::new(),
            ..value
        }),
    });
    assert_eq!(
        world.beat(&join("a", &["t"])),
        told("a", 2, 5000, Some(partitions(&[(1, &[0, 1, 2, 3])])))
    );
    world.reload(&mut Dice(1));
    assert_eq!(world.beat(&heartbeat("a", 2)), told("a", 2, 5000, None));
}
