//! DescribeQuorum (55): the controller quorum, as the metadata partition that Kafka's tools take it for.

use klamm_broker::backend::{Endpoint, QuorumDescription, QuorumNode, QuorumReplica};
use klamm_types::{ErrorCode, Uuid};
use klamm_wire::describe_quorum_request::DescribeQuorumRequest;
use klamm_wire::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

use crate::context::Client;
use crate::net::request::{Answer, Request};

/// Kafka's name for the metadata log; it has one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// Directory ids and nodes stand in answers from this version on.
const NODES_FROM: i16 = 2;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DescribeQuorumRequest<'_> = request.decode(&body)?;
    if !asks_for_metadata(&asked) {
        return request.answer(&unknown(&asked));
    }
    match client.backend().describe_quorum().await {
        Ok(quorum) => request.answer(&described(&quorum, request.version)),
        Err(error) => request.answer(&DescribeQuorumResponse {
            error_code: error.code.code(),
            error_message: Some(&error.message),
            ..Default::default()
        }),
    }
}

/// Kafka answers only a request for exactly this one partition.
fn asks_for_metadata(asked: &DescribeQuorumRequest<'_>) -> bool {
    let [topic] = asked.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else {
        return false;
    };
    topic.topic_name == METADATA_TOPIC && partition.partition_index == 0
}

fn unknown<'a>(asked: &DescribeQuorumRequest<'a>) -> DescribeQuorumResponse<'a> {
    let topics = asked.topics.iter().map(|topic| TopicData {
        topic_name: topic.topic_name,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                error_message: Some(ErrorCode::UnknownTopicOrPartition.sentence()),
                ..Default::default()
            })
            .collect(),
    });
    DescribeQuorumResponse {
        error_message: Some(""),
        topics: topics.collect(),
        ..Default::default()
    }
}

fn described(quorum: &QuorumDescription, version: i16) -> DescribeQuorumResponse<'_> {
    let replicas = |replicas: &[QuorumReplica]| replicas.iter().map(|one| replica(one, version)).collect();
    let partition = PartitionData {
        partition_index: 0,
        error_code: 0,
        error_message: Some(""),
        leader_id: quorum.leader.map_or(-1, |leader| leader.0),
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark.0,
        current_voters: replicas(&quorum.voters),
        observers: replicas(&quorum.observers),
    };
    let nodes = if version >= NODES_FROM {
        quorum.nodes.iter().map(node).collect()
    } else {
        Vec::new()
    };
    DescribeQuorumResponse {
        error_code: 0,
        error_message: Some(""),
        topics: vec![TopicData {
            topic_name: METADATA_TOPIC,
            partitions: vec![partition],
        }],
        nodes,
    }
}

fn replica(replica: &QuorumReplica, version: i16) -> ReplicaState {
    ReplicaState {
        replica_id: replica.node.0,
        replica_directory_id: if version >= NODES_FROM {
            replica.directory.0
        } else {
            Uuid::ZERO
        },
        log_end_offset: replica.log_end_offset.0,
        last_fetch_timestamp: replica.last_fetch.0,
        last_caught_up_timestamp: replica.last_caught_up.0,
    }
}

fn node(node: &QuorumNode) -> Node<'_> {
    Node {
        node_id: node.node.0,
        listeners: node.listeners.iter().map(listener).collect(),
    }
}

fn listener(endpoint: &Endpoint) -> Listener<'_> {
    Listener {
        name: &endpoint.name,
        host: &endpoint.host,
        port: endpoint.port,
    }
}
