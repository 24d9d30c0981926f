//! FindCoordinator, OffsetCommit and OffsetFetch as requests; members and administration both use them. One try each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionId};
use klamm_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use klamm_wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use klamm_wire::{ApiKey, DecodeError, FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest};

use super::core::Identity;
use super::listener::CommittedOffset;
use super::protocol::by_topic;
use crate::consumer::record::TopicPartition;
use crate::error::{RequestError, code_from_wire};
use crate::net::Connection;

/// Later versions name topics by their ids, which a commit by name does not know.
const NAMES_VERSION_MAX: i16 = 9;
/// From here on several coordinators can be asked for at once.
const COORDINATORS_VERSION: i16 = 4;
/// From here on several groups can be asked about at once.
const GROUPS_VERSION: i16 = 8;
/// From here on the broker can be told to wait for transactions that are open.
const STABLE_VERSION: i16 = 7;

pub(crate) struct FoundCoordinator {
    pub code: ErrorCode,
    pub node: NodeId,
    pub message: String,
}

/// What became of each partition, and with which offset, if it has one.
pub(crate) struct FoundOffsets {
    pub code: ErrorCode,
    pub parts: Vec<(TopicPartition, ErrorCode, Option<CommittedOffset>)>,
}

fn malformed(api: ApiKey) -> impl Fn(DecodeError) -> RequestError {
    move |cause| RequestError::Decode { api, cause }
}

pub(crate) async fn find_coordinator(
    connection: &Connection,
    group_id: &str,
    timeout: Duration,
) -> Result<FoundCoordinator, RequestError> {
    let version = connection.version::<FindCoordinatorRequest<'_>>(i16::MAX)?;
    let request = if version < COORDINATORS_VERSION {
        FindCoordinatorRequest {
            key: group_id,
            ..Default::default()
        }
    } else {
        FindCoordinatorRequest {
            coordinator_keys: vec![group_id],
            ..Default::default()
        }
    };
    let reply = connection.call_in(&request, version, timeout).await?;
    let answer = reply
        .decode::<FindCoordinatorRequest<'_>>()
        .map_err(malformed(ApiKey::FindCoordinator))?;
    let (code, node, message) = match answer.coordinators.first() {
        Some(found) => (found.error_code, found.node_id, found.error_message),
        None => (answer.error_code, answer.node_id, answer.error_message),
    };
    Ok(FoundCoordinator {
        code: code_from_wire(code),
        node: NodeId(node),
        message: message.unwrap_or_default().to_owned(),
    })
}

pub(crate) async fn commit(
    connection: &Connection,
    group_id: &str,
    identity: &Identity,
    offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    timeout: Duration,
) -> Result<Vec<(TopicPartition, ErrorCode)>, RequestError> {
    let mut topics: Vec<OffsetCommitRequestTopic<'_>> = Vec::new();
    for (key, committed) in offsets {
        let partition = OffsetCommitRequestPartition {
            partition_index: key.partition.0,
            committed_offset: committed.offset.0,
            committed_leader_epoch: committed.leader_epoch.0,
            committed_metadata: Some(&committed.metadata),
        };
        match topics.last_mut().filter(|last| *last.name == *key.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(OffsetCommitRequestTopic {
                name: &key.topic,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    let request = OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: identity.generation,
        member_id: &identity.member_id,
        group_instance_id: identity.instance_id.as_deref(),
        topics,
        ..Default::default()
    };
    let reply = connection.call_up_to(&request, NAMES_VERSION_MAX, timeout).await?;
    let answer = reply
        .decode::<OffsetCommitRequest<'_>>()
        .map_err(malformed(ApiKey::OffsetCommit))?;
    let mut parts = Vec::with_capacity(offsets.len());
    for topic in &answer.topics {
        let name: Arc<str> = Arc::from(topic.name);
        parts.extend(topic.partitions.iter().map(|partition| {
            let key = TopicPartition {
                topic: Arc::clone(&name),
                partition: PartitionId(partition.partition_index),
            };
            (key, code_from_wire(partition.error_code))
        }));
    }
    // What the answer leaves out is not known to be stored.
    let told: BTreeSet<&TopicPartition> = parts.iter().map(|(key, _)| key).collect();
    let untold: Vec<_> = offsets.keys().filter(|key| !told.contains(key)).cloned().collect();
    parts.extend(untold.into_iter().map(|key| (key, ErrorCode::RequestTimedOut)));
    Ok(parts)
}

/// Asks for committed offsets; without `partitions`, for all that the group has.
pub(crate) async fn committed(
    connection: &Connection,
    group_id: &str,
    identity: &Identity,
    partitions: Option<&BTreeSet<TopicPartition>>,
    timeout: Duration,
) -> Result<FoundOffsets, RequestError> {
    let version = connection.version::<OffsetFetchRequest<'_>>(NAMES_VERSION_MAX)?;
    let topics = partitions.map(by_topic);
    let request = if version < GROUPS_VERSION {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopic {
            name,
            partition_indexes,
        };
        OffsetFetchRequest {
            group_id,
            topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
            require_stable: version >= STABLE_VERSION,
            ..Default::default()
        }
    } else {
        let topic = |(name, partition_indexes)| OffsetFetchRequestTopics {
            name,
            partition_indexes,
            ..Default::default()
        };
        let group = OffsetFetchRequestGroup {
            group_id,
            member_id: Some(identity.member_id.as_str()).filter(|_| identity.generation >= 0),
            member_epoch: identity.generation,
            topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
        };
        OffsetFetchRequest {
            groups: vec![group],
            require_stable: true,
            ..Default::default()
        }
    };
    let reply = connection.call_in(&request, version, timeout).await?;
    let answer = reply
        .decode::<OffsetFetchRequest<'_>>()
        .map_err(malformed(ApiKey::OffsetFetch))?;
    let mut found = FoundOffsets {
        code: code_from_wire(answer.error_code),
        parts: Vec::new(),
    };
    for topic in &answer.topics {
        for part in &topic.partitions {
            let key = TopicPartition::new(topic.name, part.partition_index);
            let offset = offset(part.committed_offset, part.committed_leader_epoch, part.metadata);
            found.parts.push((key, code_from_wire(part.error_code), offset));
        }
    }
    if let Some(group) = answer.groups.first() {
        found.code = code_from_wire(group.error_code);
        for topic in &group.topics {
            for part in &topic.partitions {
                let key = TopicPartition::new(topic.name, part.partition_index);
                let offset = offset(part.committed_offset, part.committed_leader_epoch, part.metadata);
                found.parts.push((key, code_from_wire(part.error_code), offset));
            }
        }
    }
    Ok(found)
}

fn offset(offset: i64, leader_epoch: i32, metadata: Option<&str>) -> Option<CommittedOffset> {
    (offset >= 0).then(|| CommittedOffset {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(leader_epoch),
        metadata: metadata.unwrap_or_default().to_owned(),
    })
}
