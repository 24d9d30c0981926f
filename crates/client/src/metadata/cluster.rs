//! The picture of the cluster, and how answers and hints change it. Pure.
//!
//! Brokers learn of a change at different times, so answers may be older than what is known already. A partition's
//! leader epoch decides: what carries a lower epoch is not taken over.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_types::{ErrorCode, LeaderEpoch, NodeId, PartitionId, TopicId};

use crate::net::HostPort;

/// A broker as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: NodeId,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

impl Broker {
    pub(crate) fn address(&self) -> HostPort {
        HostPort {
            host: self.host.clone(),
            port: self.port,
        }
    }
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    /// Zero if the cluster is too old to have topic ids.
    pub id: TopicId,
    pub internal: bool,
    /// Why there are no partitions, if there are none.
    pub error: Option<ErrorCode>,
    /// In order of their numbers, without gaps.
    pub partitions: Vec<Partition>,
}

impl Topic {
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(usize::try_from(id.0).ok()?)
    }
}

/// One partition's replicas and leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: PartitionId,
    /// None while the partition has no live leader.
    pub leader: Option<NodeId>,
    /// -1 if the broker does not tell.
    pub leader_epoch: LeaderEpoch,
    /// The first is the preferred leader.
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub offline_replicas: Vec<NodeId>,
    pub error: Option<ErrorCode>,
}

/// What is known of the cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub cluster_id: Option<String>,
    /// The broker to send administrative requests to.
    pub controller: Option<NodeId>,
    pub brokers: BTreeMap<NodeId, Broker>,
    /// The topics that somebody has asked for.
    pub topics: BTreeMap<Arc<str>, Arc<Topic>>,
}

/// What a Metadata answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterUpdate {
    pub cluster_id: Option<String>,
    pub controller: Option<NodeId>,
    pub brokers: Vec<Broker>,
    pub topics: Vec<Topic>,
}

/// What a broker that is not the leader says in its refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaderHint {
    pub topic: Arc<str>,
    pub partition: PartitionId,
    pub leader: NodeId,
    pub leader_epoch: LeaderEpoch,
    /// The leader's address, if the refusal named it.
    pub broker: Option<Broker>,
}

impl Cluster {
    /// Takes over an answer.
    pub(crate) fn apply(&mut self, update: ClusterUpdate) {
        if update.cluster_id.is_some() {
            self.cluster_id = update.cluster_id;
        }
        self.controller = update.controller;
        if !update.brokers.is_empty() {
            self.brokers = update.brokers.into_iter().map(|broker| (broker.id, broker)).collect();
        }
        for mut topic in update.topics {
            if let Some(known) = self.topics.get(&topic.name)
                && known.id == topic.id
            {
                keep_newer(known, &mut topic);
            }
            self.topics.insert(Arc::clone(&topic.name), Arc::new(topic));
        }
    }

    /// Takes over a hint; says whether it was news.
    pub(crate) fn apply_hint(&mut self, hint: LeaderHint) -> bool {
        let Some(topic) = self.topics.get_mut(&hint.topic) else {
            return false;
        };
        let known = topic.partition(hint.partition);
        if known.is_none_or(|partition| partition.leader_epoch >= hint.leader_epoch) {
            return false;
        }
        if !self.brokers.contains_key(&hint.leader) && hint.broker.is_none() {
            return false;
        }
        let index = hint.partition.0 as usize;
        if let Some(partition) = Arc::make_mut(topic).partitions.get_mut(index) {
            partition.leader = Some(hint.leader);
            partition.leader_epoch = hint.leader_epoch;
            partition.error = None;
        }
        if let Some(broker) = hint.broker {
            self.brokers.insert(broker.id, broker);
        }
        true
    }

    /// A topic by its name, if it was asked for and exists.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name).filter(|topic| topic.error.is_none())
    }

    /// Who leads a partition, if that is known.
    pub fn leader(&self, topic: &str, partition: PartitionId) -> Option<&Broker> {
        self.brokers.get(&self.topic(topic)?.partition(partition)?.leader?)
    }
}

fn keep_newer(known: &Topic, topic: &mut Topic) {
    for partition in &mut topic.partitions {
        if let Some(old) = known.partition(partition.id)
            && old.leader_epoch > partition.leader_epoch
        {
            *partition = old.clone();
        }
    }
    // An answer from before partitions were added.
    if topic.error.is_none() && known.partitions.len() > topic.partitions.len() {
        topic
            .partitions
            .extend_from_slice(&known.partitions[topic.partitions.len()..]);
    }
}
