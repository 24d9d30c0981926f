//! Classic members in a group of this kind.

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
use crate::reply::{Joined, Left, LeftMember, Reply, Synced};

use super::exact::group;
use super::world::{World, heartbeat, join, partitions, settings, topics};

pub fn world() -> World {
    World::new(settings(), topics(&[("t", 1, 4), ("u", 2, 2)]))
}

/// A subscription in version 1, which names what is owned.
pub fn metadata(names: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
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

pub fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
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

pub fn joins(member: &str, names: &[&str], owned: &[(&str, &[i32])]) -> Join {
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

pub fn join_reply(world: &mut World, call: &Join) -> Joined {
    match world.call(Call::Join(Box::new(call.clone()))) {
        (Reply::Join(joined), _) => *joined,
        (other, _) => panic!("{other:?} answers JoinGroup"),
    }
}

pub fn sync_reply(world: &mut World, member: &str, generation: i32) -> Synced {
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

pub fn beat(world: &mut World, member: &str, generation: i32) -> ErrorCode {
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

pub fn joined(member: &str, generation: i32) -> Joined {
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

pub fn turned_away(member: &str, error: ErrorCode) -> Joined {
    Joined {
        error,
        generation: -1,
        protocol_type: None,
        protocol: None,
        ..joined(member, -1)
    }
}

pub fn synced(assignment: Bytes) -> Synced {
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

pub fn empty_assignment() -> Bytes {
    encode_versioned(&ConsumerProtocolAssignment::default(), 1).unwrap()
}

/// `a` speaks the new protocol and reads u, `old` the classic one and has all of t.
pub fn mixed() -> World {
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
        members: vec![leaving("old", None), leaving("old", None), leaving("", Some("i"))],
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
                left("old", None, ErrorCode::None),
                left("old", None, ErrorCode::UnknownMemberId),
                left("", Some("i"), ErrorCode::UnknownMemberId),
            ],
        })
    );
    assert_eq!(world.group().unwrap().members.keys().collect::<Vec<_>>(), vec!["a"]);
    assert_eq!(world.group().unwrap().epoch, 4);
    // Administrators take members of the other protocol out in the same way.
    let call = Leave {
        group: group(),
        members: vec![leaving("a", None)],
    };
    let (reply, _) = world.call(Call::Leave(call));
    let expected = Left {
        error: ErrorCode::None,
        members: vec![left("a", None, ErrorCode::None)],
    };
    assert_eq!(reply, Reply::Leave(expected));
    assert_eq!(world.group().unwrap().state(), "Empty");
}
