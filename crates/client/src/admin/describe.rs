//! What there is: topics, partitions, brokers.

use klamm_types::{NodeId, TopicId};
use klamm_wire::metadata_request::MetadataRequestTopic;
use klamm_wire::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use klamm_wire::{DescribeClusterRequest, MetadataRequest};

use super::{Admin, AdminError, Kind, accept, decode, refused};
use crate::error::code_from_wire;

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    pub name: String,
    pub id: TopicId,
    pub internal: bool,
    pub partitions: usize,
    /// Replicas of the partition that has most.
    pub replication_factor: usize,
}

/// A topic with its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    pub id: TopicId,
    pub internal: bool,
    /// In order of their numbers.
    pub partitions: Vec<PartitionDescription>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    pub partition: i32,
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub offline: Vec<NodeId>,
}

/// The cluster and its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: String,
    /// The broker that takes administrative requests first; in Kafka's newer clusters any of them.
    pub controller: Option<NodeId>,
    pub brokers: Vec<ClusterBroker>,
}

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterBroker {
    pub id: NodeId,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
    /// Registered, but not serving.
    pub fenced: bool,
}

impl Admin {
    /// Every topic, in order of names.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, AdminError> {
        let topics = self.topics_from_metadata(None).await?;
        let mut listed: Vec<_> = topics.into_iter().filter_map(Result::ok).map(listing).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// One topic with its partitions, leaders and in-sync replicas. Never creates it.
    ///
    /// # Errors
    /// The topic is not known, or the cluster cannot be reached.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, AdminError> {
        let mut topics = self.topics_from_metadata(Some(&[name])).await?;
        let missing = AdminError::Missing {
            api: klamm_wire::ApiKey::Metadata,
            what: name.to_owned(),
        };
        topics.pop().unwrap_or(Err(missing))
    }

    /// Every topic with its partitions, leaders and in-sync replicas, in order of names.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub async fn describe_all_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let topics = self.topics_from_metadata(None).await?;
        let mut described: Vec<_> = topics.into_iter().filter_map(Result::ok).collect();
        described.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(described)
    }

    async fn topics_from_metadata<'n>(
        &self,
        names: Option<&[&'n str]>,
    ) -> Result<Vec<Result<TopicDescription, AdminError>>, AdminError> {
        let topic = |name: &&'n str| MetadataRequestTopic {
            name: Some(*name),
            ..Default::default()
        };
        let topics = names.map(|names| names.iter().map(topic).collect());
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let reply = self.call_any(Kind::Read, &request).await?;
        let response = decode::<MetadataRequest<'_>>(&reply)?;
        Ok(response.topics.iter().map(description).collect())
    }

    /// The cluster's id and its brokers, fenced ones too where the cluster tells of them.
    ///
    /// # Errors
    /// The cluster cannot be reached or does not know the request (Kafka before 2.8).
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let request = DescribeClusterRequest {
            include_fenced_brokers: true,
            ..Default::default()
        };
        let reply = self.call_any(Kind::Read, &request).await?;
        let response = decode::<DescribeClusterRequest>(&reply)?;
        accept("describing the cluster", response.error_code, response.error_message)?;
        let brokers = response.brokers.iter().map(|broker| ClusterBroker {
            id: NodeId(broker.broker_id),
            host: broker.host.to_owned(),
            port: broker.port,
            rack: broker.rack.map(str::to_owned),
            fenced: broker.is_fenced,
        });
        Ok(ClusterDescription {
            cluster_id: response.cluster_id.to_owned(),
            controller: (response.controller_id >= 0).then_some(NodeId(response.controller_id)),
            brokers: brokers.collect(),
        })
    }
}

fn listing(topic: TopicDescription) -> TopicListing {
    let replicas = topic.partitions.iter().map(|partition| partition.replicas.len());
    TopicListing {
        replication_factor: replicas.max().unwrap_or(0),
        partitions: topic.partitions.len(),
        name: topic.name,
        id: topic.id,
        internal: topic.internal,
    }
}

fn description(topic: &MetadataResponseTopic<'_>) -> Result<TopicDescription, AdminError> {
    let name = topic.name.unwrap_or_default().to_owned();
    let code = code_from_wire(topic.error_code);
    if code.is_error() {
        return Err(refused(&format!("describing topic {name}"), code, None));
    }
    let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
    partitions.sort_by_key(|partition| partition.partition);
    Ok(TopicDescription {
        name,
        id: TopicId(topic.topic_id),
        internal: topic.is_internal,
        partitions,
    })
}

fn partition(partition: &MetadataResponsePartition) -> PartitionDescription {
    let nodes = |ids: &[i32]| ids.iter().map(|&id| NodeId(id)).collect();
    PartitionDescription {
        partition: partition.partition_index,
        leader: (partition.leader_id >= 0).then_some(NodeId(partition.leader_id)),
        leader_epoch: partition.leader_epoch,
        replicas: nodes(&partition.replica_nodes),
        isr: nodes(&partition.isr_nodes),
        offline: nodes(&partition.offline_replicas),
    }
}
