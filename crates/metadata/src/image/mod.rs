//! The image: the metadata as all applied entries leave it. [`Image::apply_batch`] is the only writer; leader,
//! follower, broker, restart and snapshot use the same one.
//!
//! A clone is cheap (shared maps, copied only where they change), so an image can be handed to many readers.
//! The image decides nothing. What records say about why goes to its [history](crate::history), and nowhere else.

mod apply;
mod broker;
mod delta;
mod history;
mod partition;
mod snapshot;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_types::{BrokerEpoch, ClusterId, NodeId, PartitionId, ProducerId, TopicId};

use crate::history::History;

pub use apply::ApplyError;
pub use broker::{BrokerState, FeatureRange, Listener};
pub use delta::{BrokerDelta, Delta, PartitionDelta};
pub(crate) use partition::directory_bytes;
pub use partition::{LastKnown, LogEnd, PartitionState, Topic};
pub use snapshot::{SNAPSHOT_PART_BYTES, SnapshotError};
pub(crate) use snapshot::{config_message, partition_message};
pub use validate::Violation;

/// Whose settings: a topic's by name, one broker's, or the defaults of the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Topic(Arc<str>),
    Broker(NodeId),
    ClusterDefaults,
}

/// Settings as they were given, by name.
pub type Settings = BTreeMap<String, String>;

/// The metadata as of one entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    applied_index: u64,
    applied_term: u64,
    cluster_id: Option<ClusterId>,
    features: Arc<BTreeMap<String, u32>>,
    brokers: Arc<BTreeMap<NodeId, Arc<BrokerState>>>,
    highest_broker_epoch: BrokerEpoch,
    topics: Arc<BTreeMap<TopicId, Arc<Topic>>>,
    topic_ids: Arc<BTreeMap<Arc<str>, TopicId>>,
    configs: Arc<BTreeMap<Resource, Arc<Settings>>>,
    next_producer_id: ProducerId,
    history: Arc<History>,
}

impl Image {
    /// Nothing applied yet.
    pub fn new() -> Image {
        Image::default()
    }

    /// The last entry applied; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    pub fn applied_term(&self) -> u64 {
        self.applied_term
    }

    /// `None` until the first controller has written it.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// Finalized levels by feature name.
    pub fn features(&self) -> &BTreeMap<String, u32> {
        &self.features
    }

    /// Registered brokers, fenced ones too.
    pub fn brokers(&self) -> &BTreeMap<NodeId, Arc<BrokerState>> {
        &self.brokers
    }

    pub fn broker(&self, id: NodeId) -> Option<&BrokerState> {
        self.brokers.get(&id).map(Arc::as_ref)
    }

    /// Registered and not fenced.
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    /// Alive and not about to stop: it may be given leaders and may join an ISR.
    pub fn may_lead(&self, id: NodeId) -> bool {
        self.broker(id)
            .is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown)
    }

    /// The highest broker epoch ever granted; 0 before the first.
    pub fn highest_broker_epoch(&self) -> BrokerEpoch {
        self.highest_broker_epoch
    }

    pub fn topics(&self) -> &BTreeMap<TopicId, Arc<Topic>> {
        &self.topics
    }

    /// Topic names in order, with their ids.
    pub fn topic_ids(&self) -> &BTreeMap<Arc<str>, TopicId> {
        &self.topic_ids
    }

    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    pub fn partition(&self, topic: TopicId, partition: PartitionId) -> Option<&Arc<PartitionState>> {
        self.topics.get(&topic)?.partition(partition)
    }

    /// Every partition, by topic id and number.
    pub fn partitions(&self) -> impl Iterator<Item = (&Topic, PartitionId, &PartitionState)> {
        self.topics.values().flat_map(|topic| {
            topic
                .partitions
                .iter()
                .zip(0..)
                .map(|(state, number)| (topic.as_ref(), PartitionId(number), state.as_ref()))
        })
    }

    /// All settings that were given, by resource.
    pub fn configs(&self) -> &BTreeMap<Resource, Arc<Settings>> {
        &self.configs
    }

    /// One setting as it was given to this very resource.
    pub fn config(&self, resource: &Resource, name: &str) -> Option<&str> {
        self.configs.get(resource)?.get(name).map(String::as_str)
    }

    /// The first producer id that was never given out.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }
}
