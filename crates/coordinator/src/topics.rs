//! The topics of the cluster as groups see them: names, ids, partitions, racks.
//!
//! The broker makes one from each metadata image that changes a topic; nothing here is written.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::TopicId;

/// All topics of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: BTreeMap<TopicId, String>,
    version: i64,
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    /// By partition number: the racks that hold a replica.
    pub partitions: Vec<BTreeSet<String>>,
}

impl Topics {
    pub fn insert(&mut self, name: String, topic: Topic) {
        let id = topic.id;
        if let Some(former) = self.by_name.insert(name.clone(), topic) {
            self.names.remove(&former.id);
        }
        self.names.insert(id, name);
    }

    /// Of the metadata that these topics are of; grows with every change.
    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn set_version(&mut self, version: i64) {
        self.version = version;
    }

    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub fn by_id(&self, id: TopicId) -> Option<(&str, &Topic)> {
        let name = self.names.get(&id)?;
        Some((name, self.by_name.get(name)?))
    }

    /// In order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name.iter().map(|(name, topic)| (name.as_str(), topic))
    }
}

impl Topic {
    pub fn has(&self, partition: i32) -> bool {
        usize::try_from(partition).is_ok_and(|index| index < self.partitions.len())
    }
}
