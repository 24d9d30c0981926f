//! The requests of classic members, as clients send them.

use bytes::{BufMut, Bytes, BytesMut};
use klamm_wire::join_group_request::JoinGroupRequestProtocol;
use klamm_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use klamm_wire::sync_group_request::SyncGroupRequestAssignment;
use klamm_wire::{DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest};

use super::living::Member;

pub fn described(group: &str) -> DescribeGroupsRequest<'_> {
    DescribeGroupsRequest {
        groups: vec![group],
        ..Default::default()
    }
}

/// A consumer's subscription as clients write it, version 0.
pub fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

pub fn protocol<'a>(name: &'a str, topics: &[&str]) -> JoinGroupRequestProtocol<'a> {
    JoinGroupRequestProtocol {
        name,
        metadata: subscription(topics),
    }
}

/// A consumer's request to join, with one protocol.
pub fn join<'a>(group: &'a str, member: &'a str, topics: &[&str]) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id: group,
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member,
        protocol_type: "consumer",
        protocols: vec![protocol("range", topics)],
        ..Default::default()
    }
}

/// What a member sends once it has joined; leaders give everyone two bytes to do.
pub fn sync<'a>(group: &'a str, member: &'a Member, assigned: &[&'a Member]) -> SyncGroupRequest<'a> {
    let assignment = |to: &&'a Member| SyncGroupRequestAssignment {
        member_id: &to.id,
        assignment: Bytes::from_static(b"do"),
    };
    SyncGroupRequest {
        group_id: group,
        generation_id: member.generation,
        member_id: &member.id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: assigned.iter().map(assignment).collect(),
        ..Default::default()
    }
}

pub fn heartbeat<'a>(group: &'a str, member: &'a Member) -> HeartbeatRequest<'a> {
    HeartbeatRequest {
        group_id: group,
        generation_id: member.generation,
        member_id: &member.id,
        ..Default::default()
    }
}

/// One offset of the topic's first partition.
pub fn commit<'a>(group: &'a str, member: &'a Member, topic: &'a str, offset: i64) -> OffsetCommitRequest<'a> {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group,
        generation_id_or_member_epoch: member.generation,
        member_id: &member.id,
        topics: vec![OffsetCommitRequestTopic {
            name: topic,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}
