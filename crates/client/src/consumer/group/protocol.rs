//! What members of a classic group tell each other: subscriptions and assignments, to bytes and from bytes. Pure. The
//! coordinator does not read them, so they come from members of any client and are read with care.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use klamm_types::PartitionId;
use klamm_wire::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use klamm_wire::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use klamm_wire::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DecodeError, EncodeError, decode_consumer_protocol,
    encode_versioned,
};

use super::assignor::{Assignor, MemberFacts};
use crate::consumer::record::TopicPartition;

/// The version we write; all fields that we know are in it.
const VERSION: i16 = 3;
/// What Kafka calls the protocol type of consumers.
pub(crate) const PROTOCOL_TYPE: &str = "consumer";

/// What a member wants, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub topics: BTreeSet<Arc<str>>,
    pub owned: BTreeSet<TopicPartition>,
    /// The generation in which the member was given what it holds; -1: none.
    pub generation: i32,
    pub rack: Option<String>,
}

/// The bytes of a subscription as a member offers it with one assignor.
pub(crate) fn write_subscription(assignor: Assignor, subscribed: &Subscribed) -> Result<Bytes, EncodeError> {
    // Where the sticky assignor of older clients looks for the generation.
    let user_data =
        (assignor == Assignor::CooperativeSticky).then(|| Bytes::copy_from_slice(&subscribed.generation.to_be_bytes()));
    let owned_partitions = by_topic(&subscribed.owned)
        .into_iter()
        .map(|(topic, partitions)| OwnedTopic { topic, partitions })
        .collect();
    let message = ConsumerProtocolSubscription {
        topics: subscribed.topics.iter().map(|topic| &**topic).collect(),
        user_data,
        owned_partitions,
        generation_id: subscribed.generation,
        rack_id: subscribed.rack.as_deref(),
    };
    encode_versioned(&message, VERSION)
}

/// What a member told the leader.
pub(crate) fn read_subscription(
    member_id: &str,
    instance_id: Option<&str>,
    bytes: &Bytes,
) -> Result<MemberFacts, DecodeError> {
    let message: ConsumerProtocolSubscription<'_> = decode_consumer_protocol(bytes)?;
    let generation = match (message.generation_id, &message.user_data) {
        (-1, Some(data)) => data.as_ref().try_into().map_or(-1, i32::from_be_bytes),
        (generation, _) => generation,
    };
    let owned = message
        .owned_partitions
        .iter()
        .flat_map(|owned| partitions(owned.topic, &owned.partitions))
        .collect();
    Ok(MemberFacts {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
        topics: message.topics.iter().map(|&topic| Arc::from(topic)).collect(),
        owned,
        generation,
    })
}

/// The bytes of an assignment.
pub(crate) fn write_assignment(assigned: &BTreeSet<TopicPartition>) -> Result<Bytes, EncodeError> {
    let assigned_partitions = by_topic(assigned)
        .into_iter()
        .map(|(topic, partitions)| AssignedTopic { topic, partitions })
        .collect();
    let message = ConsumerProtocolAssignment {
        assigned_partitions,
        user_data: None,
    };
    encode_versioned(&message, VERSION)
}

/// What the leader gave. No bytes at all mean nothing.
pub(crate) fn read_assignment(bytes: &Bytes) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let message: ConsumerProtocolAssignment<'_> = decode_consumer_protocol(bytes)?;
    let assigned = message.assigned_partitions.iter();
    Ok(assigned
        .flat_map(|assigned| partitions(assigned.topic, &assigned.partitions))
        .collect())
}

fn partitions(topic: &str, numbers: &[i32]) -> Vec<TopicPartition> {
    let topic: Arc<str> = Arc::from(topic);
    let partition = |&number: &i32| TopicPartition {
        topic: Arc::clone(&topic),
        partition: PartitionId(number),
    };
    numbers.iter().map(partition).collect()
}

/// The partition numbers of each topic.
pub(crate) fn by_topic<'k>(keys: impl IntoIterator<Item = &'k TopicPartition>) -> BTreeMap<&'k str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for key in keys {
        topics.entry(&*key.topic).or_default().push(key.partition.0);
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_and_assignments_come_back() {
        let subscribed = Subscribed {
            topics: [Arc::from("orders"), Arc::from("bills")].into(),
            owned: [TopicPartition::new("orders", 3), TopicPartition::new("orders", 1)].into(),
            generation: 7,
            rack: Some("cellar".to_owned()),
        };
        for assignor in Assignor::ALL {
            let bytes = write_subscription(assignor, &subscribed).unwrap();
            let facts = read_subscription("m", Some("i"), &bytes).unwrap();
            let expected = MemberFacts {
                member_id: "m".to_owned(),
                instance_id: Some("i".to_owned()),
                topics: subscribed.topics.clone(),
                owned: subscribed.owned.clone(),
                generation: 7,
            };
            assert_eq!(facts, expected);
        }
        let bytes = write_assignment(&subscribed.owned).unwrap();
        assert_eq!(read_assignment(&bytes).unwrap(), subscribed.owned);
        assert_eq!(read_assignment(&Bytes::new()).unwrap(), BTreeSet::new());
    }

    #[test]
    fn the_generation_of_an_older_sticky_member_stands_in_its_user_data() {
        let message = ConsumerProtocolSubscription {
            topics: vec!["t"],
            user_data: Some(Bytes::copy_from_slice(&5i32.to_be_bytes())),
            ..Default::default()
        };
        let bytes = encode_versioned(&message, 1).unwrap();
        assert_eq!(read_subscription("m", None, &bytes).unwrap().generation, 5);
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b""[..], b"\0", b"\0\0\xff\xff\xff\xff", b"\0\0\0\0\0\x01\0\x09ab"] {
            assert!(read_subscription("m", None, &Bytes::copy_from_slice(bytes)).is_err());
        }
        assert!(read_assignment(&Bytes::from_static(b"\0\0\0\0\0\x09")).is_err());
    }
}
