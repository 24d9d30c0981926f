//! The controller quorum: who votes, how far each copy of the metadata log is, and changing the voters.

use klamm_types::{DirectoryId, NodeId, Offset, Timestamp};
use klamm_wire::add_raft_voter_request::Listener;
use klamm_wire::describe_quorum_request::{PartitionData, TopicData};
use klamm_wire::describe_quorum_response::ReplicaState;
use klamm_wire::{AddRaftVoterRequest, ApiKey, DescribeQuorumRequest, RemoveRaftVoterRequest};

use super::{Admin, AdminError, Kind, accept, decode};

/// Kafka's name for the log that the quorum keeps.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The active controller.
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    /// The end of what is committed in the metadata log.
    pub high_watermark: Offset,
    pub voters: Vec<QuorumReplica>,
    pub observers: Vec<QuorumReplica>,
    /// Where controllers are reached, where the cluster tells.
    pub nodes: Vec<QuorumNode>,
}

/// One copy of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    pub node: NodeId,
    pub directory: DirectoryId,
    /// -1 if it is not known.
    pub log_end_offset: Offset,
    pub last_fetch: Timestamp,
    pub last_caught_up: Timestamp,
}

/// A controller's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumNode {
    pub node: NodeId,
    /// `NAME://HOST:PORT`
    pub listeners: Vec<String>,
}

/// A controller that is to become a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub node: NodeId,
    /// Zero where the node is to say it itself.
    pub directory: DirectoryId,
    pub host: String,
    pub port: u16,
}

impl Admin {
    /// Describes the controller quorum.
    ///
    /// # Errors
    /// There is no active controller just now, or the cluster cannot be reached.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, AdminError> {
        let asked = PartitionData { partition_index: 0 };
        let topic = TopicData {
            topic_name: METADATA_TOPIC,
            partitions: vec![asked],
        };
        let request = DescribeQuorumRequest { topics: vec![topic] };
        let reply = self.call_any(Kind::Read, &request).await?;
        let response = decode::<DescribeQuorumRequest<'_>>(&reply)?;
        let what = "describing the quorum";
        accept(what, response.error_code, response.error_message)?;
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let missing = || AdminError::Missing {
            api: ApiKey::DescribeQuorum,
            what: METADATA_TOPIC.to_owned(),
        };
        let partition = partition.ok_or_else(missing)?;
        accept(what, partition.error_code, partition.error_message)?;
        let nodes = response.nodes.iter().map(|node| {
            let listeners = node.listeners.iter();
            let show = listeners.map(|listener| format!("{}://{}:{}", listener.name, listener.host, listener.port));
            QuorumNode {
                node: NodeId(node.node_id),
                listeners: show.collect(),
            }
        });
        Ok(QuorumDescription {
            leader: (partition.leader_id >= 0).then_some(NodeId(partition.leader_id)),
            leader_epoch: partition.leader_epoch,
            high_watermark: Offset(partition.high_watermark),
            voters: partition.current_voters.iter().map(replica).collect(),
            observers: partition.observers.iter().map(replica).collect(),
            nodes: nodes.collect(),
        })
    }

    /// Makes a running controller a voter; returns when the new set of voters is committed.
    ///
    /// # Errors
    /// It is one already (`DUPLICATE_VOTER`), it cannot be reached, or the quorum has no majority.
    pub async fn add_voter(&self, voter: &Voter) -> Result<(), AdminError> {
        let listener = Listener {
            name: "CONTROLLER",
            host: &voter.host,
            port: voter.port,
        };
        let cluster = self.client.cluster();
        let request = AddRaftVoterRequest {
            cluster_id: cluster.cluster_id.as_deref(),
            timeout_ms: self.timeout_ms(),
            voter_id: voter.node.0,
            voter_directory_id: voter.directory.0,
            listeners: vec![listener],
            ..Default::default()
        };
        let reply = self.call_any(Kind::Change, &request).await?;
        let response = decode::<AddRaftVoterRequest<'_>>(&reply)?;
        accept(
            &format!("adding voter {}", voter.node),
            response.error_code,
            response.error_message,
        )
    }

    /// Takes a voter out of the quorum.
    ///
    /// # Errors
    /// There is no such voter (`VOTER_NOT_FOUND`), or the quorum has no majority.
    pub async fn remove_voter(&self, node: NodeId, directory: DirectoryId) -> Result<(), AdminError> {
        let cluster = self.client.cluster();
        let request = RemoveRaftVoterRequest {
            cluster_id: cluster.cluster_id.as_deref(),
            voter_id: node.0,
            voter_directory_id: directory.0,
        };
        let reply = self.call_any(Kind::Change, &request).await?;
        let response = decode::<RemoveRaftVoterRequest<'_>>(&reply)?;
        accept(
            &format!("removing voter {node}"),
            response.error_code,
            response.error_message,
        )
    }
}

fn replica(state: &ReplicaState) -> QuorumReplica {
    QuorumReplica {
        node: NodeId(state.replica_id),
        directory: DirectoryId(state.replica_directory_id),
        log_end_offset: Offset(state.log_end_offset),
        last_fetch: Timestamp(state.last_fetch_timestamp),
        last_caught_up: Timestamp(state.last_caught_up_timestamp),
    }
}
