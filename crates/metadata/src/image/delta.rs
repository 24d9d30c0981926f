//! What changed between two images. Effects come from comparing images, never from reading records, so that a
//! snapshot and a run of entries that lead to the same image have the same effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use klamm_types::{NodeId, PartitionId, TopicId};

use super::{BrokerState, Image, PartitionState, Resource, Topic};

/// The difference of two images; empty where they agree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    pub brokers: Vec<BrokerDelta>,
    /// Topics that only the new image has. Their partitions are not in `partitions`.
    pub topics_created: Vec<Arc<Topic>>,
    /// Topics that only the old image had.
    pub topics_deleted: Vec<Arc<Topic>>,
    /// Partitions of topics that both images have.
    pub partitions: Vec<PartitionDelta>,
    /// Resources whose settings differ, deleted topics included.
    pub configs: BTreeSet<Resource>,
    pub features_changed: bool,
    pub cluster_id_changed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BrokerDelta {
    pub broker: NodeId,
    pub before: Option<Arc<BrokerState>>,
    pub after: Option<Arc<BrokerState>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDelta {
    pub topic: TopicId,
    pub partition: PartitionId,
    /// `None`: the partition was added.
    pub before: Option<Arc<PartitionState>>,
    pub after: Arc<PartitionState>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }
}

impl Image {
    /// What is different here from `old`. Shared parts are told by their address and skipped.
    pub fn changes_since(&self, old: &Image) -> Delta {
        let mut delta = Delta {
            features_changed: self.features != old.features,
            cluster_id_changed: self.cluster_id != old.cluster_id,
            ..Delta::default()
        };
        if !Arc::ptr_eq(&self.brokers, &old.brokers) {
            for (broker, before, after) in differences(&old.brokers, &self.brokers) {
                delta.brokers.push(BrokerDelta { broker, before, after });
            }
        }
        if !Arc::ptr_eq(&self.topics, &old.topics) {
            for (_, before, after) in differences(&old.topics, &self.topics) {
                match (before, after) {
                    (Some(before), Some(after)) => partition_differences(&before, &after, &mut delta.partitions),
                    (Some(before), None) => delta.topics_deleted.push(before),
                    (None, Some(after)) => delta.topics_created.push(after),
                    (None, None) => {}
                }
            }
        }
        if !Arc::ptr_eq(&self.configs, &old.configs) {
            delta.configs = differences(&old.configs, &self.configs)
                .into_iter()
                .map(|(resource, _, _)| resource)
                .collect();
        }
        delta
    }
}

type Difference<K, V> = (K, Option<Arc<V>>, Option<Arc<V>>);

fn differences<K: Clone + Ord, V: PartialEq>(
    old: &BTreeMap<K, Arc<V>>,
    new: &BTreeMap<K, Arc<V>>,
) -> Vec<Difference<K, V>> {
    let mut found = Vec::new();
    for (key, after) in new {
        match old.get(key) {
            Some(before) if Arc::ptr_eq(before, after) || before == after => {}
            before => found.push((key.clone(), before.cloned(), Some(Arc::clone(after)))),
        }
    }
    for (key, before) in old {
        if !new.contains_key(key) {
            found.push((key.clone(), Some(Arc::clone(before)), None));
        }
    }
    found
}

fn partition_differences(before: &Topic, after: &Topic, found: &mut Vec<PartitionDelta>) {
    for (position, state) in after.partitions.iter().enumerate() {
        let old = before.partitions.get(position);
        if old.is_some_and(|old| Arc::ptr_eq(old, state) || old == state) {
            continue;
        }
        found.push(PartitionDelta {
            topic: after.id,
            partition: PartitionId(i32::try_from(position).unwrap_or(i32::MAX)),
            before: old.cloned(),
            after: Arc::clone(state),
        });
    }
}
