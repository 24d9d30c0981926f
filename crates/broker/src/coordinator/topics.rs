//! The metadata's topics as groups see them.

use std::collections::BTreeSet;

use klamm_coordinator::Topics;
use klamm_coordinator::topics::Topic;
use klamm_metadata::Image;

/// Every topic with the racks of its replicas.
pub(super) fn from_image(image: &Image) -> Topics {
    let mut topics = Topics::default();
    topics.set_version(i64::try_from(image.applied_index()).unwrap_or(i64::MAX));
    for topic in image.topics().values() {
        let racks = |replicas: &[klamm_types::NodeId]| -> BTreeSet<String> {
            let rack = |&node: &klamm_types::NodeId| image.broker(node)?.rack.clone();
            replicas.iter().filter_map(rack).collect()
        };
        let partitions = topic.partitions.iter().map(|state| racks(&state.replicas)).collect();
        let known = Topic {
            id: topic.id,
            partitions,
        };
        topics.insert(topic.name.to_string(), known);
    }
    topics
}
