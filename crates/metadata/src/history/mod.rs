//! Why leaders, in-sync replicas and brokers changed: the last changes of each, with their causes.
//!
//! It is a part of the image: the records' decisions fill it, as they are applied, on every node alike; snapshots hold
//! it. So it outlives controllers, nodes and the log's beginning. It is bounded, and nothing is decided by it.
//! Kept from metadata level 2 on: at one and the same entry on every node.
//!
//! * `partitions`: the changes of partitions, packed, because there are many;
//! * `brokers`: the standing of brokers, and who was the controller;
//! * `texts`: evidence that many entries share;
//! * `snapshot`: as records, and back;
//! * `render`: entries for people.

mod brokers;
mod partitions;
pub mod render;
mod snapshot;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use klamm_schema::metadata::{self as schema, Cause};
use klamm_types::{NodeId, PartitionId, Timestamp, TopicId};

pub use brokers::{BROKER_ENTRIES_MAX, BrokerEntry, CONTROLLER_ENTRIES_MAX, ControllerEntry, DEPARTED_MAX};
pub(crate) use partitions::Changed;
pub use partitions::{Leadership, PARTITION_ENTRIES_MAX, PartitionEntry};
pub use snapshot::Unreadable;

use partitions::Ring;
use texts::Texts;

/// Why something changed, as the record of it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub at: Timestamp,
    pub cause: Cause,
    /// The broker that it is about.
    pub broker: Option<NodeId>,
    /// When that broker was last known to work, if it worked no more.
    pub last_contact: Option<Timestamp>,
    /// What the controller had seen; may be empty.
    pub evidence: String,
}

/// All histories of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    texts: Texts,
    partitions: BTreeMap<TopicId, Arc<BTreeMap<PartitionId, Ring>>>,
    brokers: BTreeMap<NodeId, Arc<VecDeque<BrokerEntry>>>,
    controllers: Arc<VecDeque<ControllerEntry>>,
}

impl Reason {
    pub(crate) fn from_message(decision: Option<&schema::Decision>) -> Reason {
        let missing = schema::Decision::default();
        let decision = decision.unwrap_or(&missing);
        Reason {
            at: Timestamp(decision.decided_at_ms),
            cause: decision.cause(),
            broker: decision.broker.map(NodeId),
            last_contact: decision.last_contact_at_ms.map(Timestamp),
            evidence: decision.evidence.clone(),
        }
    }

    fn to_message(&self) -> schema::Decision {
        schema::Decision {
            cause: self.cause.into(),
            evidence: self.evidence.clone(),
            decided_at_ms: self.at.0,
            broker: self.broker.map(|broker| broker.0),
            last_contact_at_ms: self.last_contact.map(|at| at.0),
        }
    }
}

impl History {
    /// What does not add up, if anything: bounds, and the texts' uses.
    pub(crate) fn violation(&self) -> Option<&'static str> {
        let mut uses: BTreeMap<u32, u32> = BTreeMap::new();
        for ring in self.partitions.values().flat_map(|rings| rings.values()) {
            let entries = ring.entries();
            if !(2..=PARTITION_ENTRIES_MAX + 1).contains(&entries.len()) {
                return Some("a partition has entries, and no more than it may");
            }
            for entry in entries.iter().filter(|entry| entry.text > 0) {
                *uses.entry(entry.text).or_default() += 1;
            }
        }
        if !self.texts.are_used(&uses) {
            return Some("the texts are those that entries refer to");
        }
        let broker_entries_max = self.brokers.values().map(|entries| entries.len()).max();
        if broker_entries_max.is_some_and(|entries| !(1..=BROKER_ENTRIES_MAX).contains(&entries)) {
            return Some("a broker has entries, and no more than it may");
        }
        (self.controllers.len() > CONTROLLER_ENTRIES_MAX).then_some("no more controllers than there may be")
    }

    /// How many bytes the packed entries of partitions take, and how many partitions have some.
    pub(crate) fn packed(&self) -> (usize, usize) {
        let rings = self.partitions.values().flat_map(|rings| rings.values());
        rings.fold((0, 0), |(bytes, count), ring| (bytes + ring.size(), count + 1))
    }
}
