//! What classic consumers say and hear in bytes of their own: subscriptions and assignments of the consumer protocol.
//!
//! In a group of this kind the coordinator takes the part of the leader, so it reads the ones and writes the others.

use std::collections::BTreeSet;

use bytes::Bytes;
use klamm_wire::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Encode};
use klamm_wire::{consumer_protocol_assignment, decode_consumer_protocol, encode_versioned};

use crate::call::PartitionsByTopic;
use crate::topics::Topics;

/// A subscription, as far as the coordinator needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    pub topics: BTreeSet<String>,
    /// Of topics that exist. An eager consumer names none, for it gives all up before it joins.
    pub owned: PartitionsByTopic,
    pub rack: Option<String>,
}

/// `None` if the bytes are no subscription.
pub fn subscription(metadata: &Bytes, topics: &Topics) -> Option<Subscription> {
    let subscription: ConsumerProtocolSubscription<'_> = decode_consumer_protocol(metadata).ok()?;
    let owned = subscription.owned_partitions.iter();
    Some(Subscription {
        topics: subscription.topics.iter().map(|topic| (*topic).to_owned()).collect(),
        owned: by_topic_id(owned.map(|owned| (owned.topic, owned.partitions.as_slice())), topics),
        rack: subscription.rack_id.filter(|rack| !rack.is_empty()).map(str::to_owned),
    })
}

/// The partitions of an assignment that exist; of no bytes none, as of a member that has not got one yet. `None` if the
/// bytes are no assignment.
pub fn assigned(assignment: &Bytes, topics: &Topics) -> Option<PartitionsByTopic> {
    if assignment.is_empty() {
        return Some(PartitionsByTopic::new());
    }
    let assignment = decode_consumer_protocol::<ConsumerProtocolAssignment<'_>>(assignment).ok()?;
    let partitions = assignment.assigned_partitions.iter();
    let mut assigned = by_topic_id(
        partitions.map(|assigned| (assigned.topic, assigned.partitions.as_slice())),
        topics,
    );
    for (id, partitions) in &mut assigned {
        partitions.retain(|partition| topics.by_id(*id).is_some_and(|(_, topic)| topic.has(*partition)));
    }
    assigned.retain(|_, partitions| !partitions.is_empty());
    Some(assigned)
}

/// An assignment in the version in which the member wrote its subscription.
pub fn assignment(partitions: &PartitionsByTopic, metadata: &Bytes, topics: &Topics) -> Bytes {
    let highest = <ConsumerProtocolAssignment<'_> as Encode>::VERSIONS.max;
    let version = match metadata.as_ref() {
        [high, low, ..] => i16::from_be_bytes([*high, *low]).clamp(0, highest),
        _ => 0,
    };
    let assigned_partitions = partitions
        .iter()
        .filter_map(|(id, partitions)| {
            let (topic, _) = topics.by_id(*id)?;
            Some(consumer_protocol_assignment::TopicPartition {
                topic,
                partitions: partitions.iter().copied().collect(),
            })
        })
        .collect();
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions,
        user_data: None,
    };
    // Every version of an assignment can be written; names of topics are short.
    encode_versioned(&assignment, version).unwrap_or_default()
}

fn by_topic_id<'a>(named: impl Iterator<Item = (&'a str, &'a [i32])>, topics: &Topics) -> PartitionsByTopic {
    let mut by_id = PartitionsByTopic::new();
    for (name, partitions) in named {
        if let Some(topic) = topics.by_name(name) {
            by_id.entry(topic.id).or_default().extend(partitions);
        }
    }
    by_id
}
