//! Orders to requests, answers to what the core understands. Repeating is the core's business.

use std::sync::Arc;
use std::time::Duration;

use klamm_types::{LeaderEpoch, NodeId, Offset, PartitionId, ProducerId, TopicId};
use klamm_wire::fetch_request::{FetchPartition, FetchTopic};
use klamm_wire::fetch_response::{NodeEndpoint, PartitionData};
use klamm_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use klamm_wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use klamm_wire::{ApiKey, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};

use super::config::IsolationLevel;
use super::core::{
    Aborted, EpochPart, FetchAnswer, FetchOrder, FetchPart, FetchedPart, ListPart, ListedPart, ValidatePart,
};
use super::record::TopicPartition;
use crate::error::{RequestError, code_from_wire};
use crate::metadata::{Broker, LeaderHint};
use crate::net::{Connection, Reply};

/// From this version on topics are named by their ids.
const TOPIC_IDS_FROM: i16 = 13;
/// The isolation level is said from this version on.
const LIST_ISOLATION_FROM: i16 = 2;
/// Consumers are no replicas.
const NO_REPLICA: i32 = -1;
/// No fetch session: every request names everything.
const NO_SESSION: (i32, i32) = (0, -1);

/// What all fetches have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExchangeConfig {
    pub isolation: IsolationLevel,
    pub bytes_min: usize,
    pub wait_max: Duration,
    pub request_timeout: Duration,
}

/// An answer, and what it says of leaders.
pub(super) struct Fetched {
    pub answer: FetchAnswer,
    pub hints: Vec<LeaderHint>,
}

fn to_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) async fn fetch(
    connection: &Connection,
    order: &FetchOrder,
    config: ExchangeConfig,
) -> Result<Fetched, RequestError> {
    let nameless = order.parts.iter().any(|part| part.topic_id == TopicId::ZERO);
    let version = connection.version::<FetchRequest<'_>>(if nameless { TOPIC_IDS_FROM - 1 } else { i16::MAX })?;
    let (session_id, session_epoch) = NO_SESSION;
    let request = FetchRequest {
        max_wait_ms: i32::try_from(config.wait_max.as_millis()).unwrap_or(i32::MAX),
        min_bytes: to_i32(config.bytes_min),
        max_bytes: to_i32(order.bytes_max),
        isolation_level: config.isolation.code(),
        session_id,
        session_epoch,
        topics: fetch_topics(order, version),
        ..Default::default()
    };
    let reply = connection
        .call_in(
            &request,
            version,
            config.wait_max.saturating_add(config.request_timeout),
        )
        .await?;
    read_fetch(&reply, order).map_err(|cause| RequestError::Decode {
        api: ApiKey::Fetch,
        cause,
    })
}

/// Neighbours of one topic become one entry. A topic may have several: the order of the partitions is what counts.
fn fetch_topics(order: &FetchOrder, version: i16) -> Vec<FetchTopic<'_>> {
    let by_id = version >= TOPIC_IDS_FROM;
    let mut topics: Vec<FetchTopic<'_>> = Vec::new();
    let mut last: Option<&str> = None;
    for part in &order.parts {
        let name = &*part.partition.topic;
        if last != Some(name) {
            last = Some(name);
            topics.push(FetchTopic {
                topic: if by_id { "" } else { name },
                topic_id: if by_id { part.topic_id.0 } else { TopicId::ZERO.0 },
                ..Default::default()
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(FetchPartition {
                partition: part.partition.partition.0,
                current_leader_epoch: part.leader_epoch.0,
                fetch_offset: part.offset.0,
                partition_max_bytes: to_i32(order.partition_bytes_max),
                ..Default::default()
            });
        }
    }
    topics
}

fn read_fetch(reply: &Reply, order: &FetchOrder) -> Result<Fetched, klamm_wire::DecodeError> {
    let response = reply.decode::<FetchRequest<'_>>()?;
    let (mut parts, mut hints) = (Vec::new(), Vec::new());
    for topic in response.responses {
        let asked = |part: &&FetchPart| match reply.version >= TOPIC_IDS_FROM {
            true => part.topic_id.0 == topic.topic_id,
            false => &*part.partition.topic == topic.topic,
        };
        let Some(name) = order.parts.iter().find(asked).map(|part| &part.partition.topic) else {
            continue;
        };
        for data in topic.partitions {
            hints.extend(hint(name, &data, &response.node_endpoints));
            parts.push(read_part(name, data));
        }
    }
    let answer = FetchAnswer {
        code: code_from_wire(response.error_code),
        throttle: Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0)),
        bytes: reply.frame.len(),
        parts,
    };
    Ok(Fetched { answer, hints })
}

fn read_part(topic: &Arc<str>, data: PartitionData) -> FetchedPart {
    let aborted = data
        .aborted_transactions
        .unwrap_or_default()
        .into_iter()
        .map(|aborted| Aborted {
            first_offset: Offset(aborted.first_offset),
            producer_id: ProducerId(aborted.producer_id),
        });
    FetchedPart {
        partition: TopicPartition {
            topic: Arc::clone(topic),
            partition: PartitionId(data.partition_index),
        },
        code: code_from_wire(data.error_code),
        high_watermark: Offset(data.high_watermark),
        last_stable: Offset(data.last_stable_offset),
        log_start: Offset(data.log_start_offset),
        aborted: aborted.collect(),
        records: data.records.unwrap_or_default(),
    }
}

fn hint(topic: &Arc<str>, data: &PartitionData, nodes: &[NodeEndpoint<'_>]) -> Option<LeaderHint> {
    let leader = &data.current_leader;
    if leader.leader_id < 0 {
        return None;
    }
    let node = nodes.iter().find(|node| node.node_id == leader.leader_id);
    let broker = node.and_then(|node| {
        Some(Broker {
            id: NodeId(node.node_id),
            host: node.host.to_owned(),
            port: u16::try_from(node.port).ok()?,
            rack: node.rack.map(str::to_owned),
        })
    });
    Some(LeaderHint {
        topic: Arc::clone(topic),
        partition: PartitionId(data.partition_index),
        leader: NodeId(leader.leader_id),
        leader_epoch: LeaderEpoch(leader.leader_epoch),
        broker,
    })
}

/// Asks a leader for offsets by time, or for the ends of logs.
pub(super) async fn list_offsets(
    connection: &Connection,
    parts: &[ListPart],
    isolation: IsolationLevel,
    timeout: Duration,
) -> Result<Vec<ListedPart>, RequestError> {
    let version = connection.version::<ListOffsetsRequest<'_>>(i16::MAX)?;
    let mut topics: Vec<ListOffsetsTopic<'_>> = Vec::new();
    for part in parts {
        let name = &*part.partition.topic;
        if topics.last().is_none_or(|last| last.name != name) {
            topics.push(ListOffsetsTopic {
                name,
                ..Default::default()
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(ListOffsetsPartition {
                partition_index: part.partition.partition.0,
                current_leader_epoch: part.leader_epoch.0,
                timestamp: part.timestamp.0,
            });
        }
    }
    let request = ListOffsetsRequest {
        replica_id: NO_REPLICA,
        isolation_level: if version >= LIST_ISOLATION_FROM {
            isolation.code()
        } else {
            0
        },
        topics,
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
    };
    let reply = connection.call_in(&request, version, timeout).await?;
    let malformed = |cause| RequestError::Decode {
        api: ApiKey::ListOffsets,
        cause,
    };
    let response = reply.decode::<ListOffsetsRequest<'_>>().map_err(malformed)?;
    let mut listed = Vec::with_capacity(parts.len());
    for topic in &response.topics {
        let name: Arc<str> = Arc::from(topic.name);
        listed.extend(topic.partitions.iter().map(|found| ListedPart {
            partition: TopicPartition {
                topic: Arc::clone(&name),
                partition: PartitionId(found.partition_index),
            },
            code: code_from_wire(found.error_code),
            offset: Offset(found.offset),
        }));
    }
    Ok(listed)
}

/// Asks a leader where the epochs end in which positions were read.
pub(super) async fn epoch_ends(
    connection: &Connection,
    parts: &[ValidatePart],
    timeout: Duration,
) -> Result<Vec<EpochPart>, RequestError> {
    let mut topics: Vec<OffsetForLeaderTopic<'_>> = Vec::new();
    for part in parts {
        let name = &*part.partition.topic;
        if topics.last().is_none_or(|last| last.topic != name) {
            topics.push(OffsetForLeaderTopic {
                topic: name,
                ..Default::default()
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(OffsetForLeaderPartition {
                partition: part.partition.partition.0,
                current_leader_epoch: part.leader_epoch.0,
                leader_epoch: part.epoch.0,
            });
        }
    }
    let request = OffsetForLeaderEpochRequest {
        replica_id: NO_REPLICA,
        topics,
    };
    let reply = connection.call(&request, timeout).await?;
    let malformed = |cause| RequestError::Decode {
        api: ApiKey::OffsetForLeaderEpoch,
        cause,
    };
    let response = reply.decode::<OffsetForLeaderEpochRequest<'_>>().map_err(malformed)?;
    let mut ends = Vec::with_capacity(parts.len());
    for topic in &response.topics {
        let name: Arc<str> = Arc::from(topic.topic);
        ends.extend(topic.partitions.iter().map(|found| EpochPart {
            partition: TopicPartition {
                topic: Arc::clone(&name),
                partition: PartitionId(found.partition),
            },
            code: code_from_wire(found.error_code),
            epoch: LeaderEpoch(found.leader_epoch),
            end: Offset(found.end_offset),
        }));
    }
    Ok(ends)
}
