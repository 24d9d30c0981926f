//! Groups that change their kind with members in them.

use std::time::Duration;

use bytes::Bytes;
use klamm_types::ErrorCode;

use crate::call::{Call, ConsumerHeartbeat, Join, MemberIdRule};
use crate::group::Group as AnyGroup;
use crate::record::{
    AssignedPartitions, ClassicGroup, ClassicMember, ClassicMemberMetadata, ConsumerCurrent, ConsumerGroup,
    ConsumerMember, ConsumerTargetEpoch, Record,
};
use crate::reply::Reply;

use super::exact::{current, described_member, group, records, refused, since, subscription, target, told};
use super::world::{Dice, GROUP, heartbeat, join, partitions};

use super::classic_test::{assignment, beat, join_reply, joined, joins, metadata, mixed, world};

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
    let unreadable = Bytes::from_static(b"\0\0\0");
    let with = |protocol_type: &str, subscription: Bytes, assignment: Bytes| {
        let mut value = value.clone();
        value.protocol_type = protocol_type.to_owned();
        value.members[1].subscription = subscription;
        value.members[1].assignment = assignment;
        Record::ClassicGroup {
            group: group(),
            value: Some(value),
        }
    };
    for record in [
        with("connect", metadata(&["t"], &[]), Bytes::new()),
        with("consumer", unreadable.clone(), Bytes::new()),
        with("consumer", metadata(&["t"], &[]), unreadable.clone()),
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
