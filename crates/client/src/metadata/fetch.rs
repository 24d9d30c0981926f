//! Asking one broker for metadata, and reading what it says.

use std::sync::Arc;
use std::time::Duration;

use klamm_types::{ErrorCode, LeaderEpoch, NodeId, PartitionId, TopicId};
use klamm_wire::metadata_request::MetadataRequestTopic;
use klamm_wire::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use klamm_wire::{ApiKey, MetadataRequest, MetadataResponse};

use super::cluster::{Broker, ClusterUpdate, Partition, Topic};
use crate::error::{RequestError, code_from_wire};
use crate::net::Connection;

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataQuery {
    /// None: all topics.
    pub topics: Option<Vec<Arc<str>>>,
    pub create_topics: bool,
}

/// Asks over this connection.
pub(crate) async fn fetch(
    connection: &Connection,
    query: &MetadataQuery,
    timeout: Duration,
) -> Result<ClusterUpdate, RequestError> {
    let version = connection.version::<MetadataRequest<'_>>(i16::MAX)?;
    let topic = |name| MetadataRequestTopic {
        name: Some(name),
        ..Default::default()
    };
    let topics = query
        .topics
        .as_ref()
        .map(|names| names.iter().map(|name| topic(&**name)).collect());
    let request = MetadataRequest {
        topics: match (topics, version) {
            // In version 0 an empty list means all topics, and there is no null.
            (None, 0) => Some(Vec::new()),
            (topics, _) => topics,
        },
        // Versions below 4 always create; the flag cannot be said there.
        allow_auto_topic_creation: query.create_topics || version < 4,
        ..Default::default()
    };
    let reply = connection.call_in(&request, version, timeout).await?;
    let answer = reply
        .decode::<MetadataRequest<'_>>()
        .map_err(|cause| RequestError::Decode {
            api: ApiKey::Metadata,
            cause,
        })?;
    Ok(read(&answer))
}

fn read(answer: &MetadataResponse<'_>) -> ClusterUpdate {
    ClusterUpdate {
        cluster_id: answer.cluster_id.map(str::to_owned),
        controller: node(answer.controller_id),
        brokers: answer.brokers.iter().filter_map(read_broker).collect(),
        topics: answer.topics.iter().filter_map(read_topic).collect(),
    }
}

/// A node's number; negative means that there is none.
fn node(id: i32) -> Option<NodeId> {
    (id >= 0).then_some(NodeId(id))
}

fn read_broker(broker: &MetadataResponseBroker<'_>) -> Option<Broker> {
    Some(Broker {
        id: node(broker.node_id)?,
        host: broker.host.to_owned(),
        port: u16::try_from(broker.port).ok()?,
        rack: broker.rack.map(str::to_owned),
    })
}

fn read_topic(topic: &MetadataResponseTopic<'_>) -> Option<Topic> {
    let code = code_from_wire(topic.error_code);
    let mut partitions: Vec<Partition> = topic.partitions.iter().map(read_partition).collect();
    partitions.sort_by_key(|partition| partition.id);
    let complete = partitions
        .iter()
        .enumerate()
        .all(|(index, partition)| partition.id.0 as usize == index);
    let error = match code {
        ErrorCode::None if !complete || partitions.is_empty() => Some(ErrorCode::UnknownTopicOrPartition),
        ErrorCode::None => None,
        code => Some(code),
    };
    Some(Topic {
        name: Arc::from(topic.name?),
        id: TopicId(topic.topic_id),
        internal: topic.is_internal,
        partitions: if error.is_some() { Vec::new() } else { partitions },
        error,
    })
}

fn read_partition(partition: &MetadataResponsePartition) -> Partition {
    let nodes = |ids: &[i32]| ids.iter().map(|&id| NodeId(id)).collect();
    let code = code_from_wire(partition.error_code);
    Partition {
        id: PartitionId(partition.partition_index),
        leader: node(partition.leader_id),
        leader_epoch: LeaderEpoch(partition.leader_epoch),
        replicas: nodes(&partition.replica_nodes),
        isr: nodes(&partition.isr_nodes),
        offline_replicas: nodes(&partition.offline_replicas),
        error: code.is_error().then_some(code),
    }
}
