//! What tests compare with: answers and records as they must be.

use klamm_types::ErrorCode;

use crate::call::{Call, ConsumerHeartbeat, PartitionsByTopic};
use crate::record::{AssignedPartitions, ConsumerCurrent, ConsumerGroup, ConsumerMember, ConsumerTargetEpoch, Record};
use crate::reply::ConsumerHeartbeatReply;

use super::world::{GROUP, World, topic_id};

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
