//! The history as records of a snapshot, and back. Each record replaces what the image has of the same, so that what
//! the other records of a snapshot seem to tell (registrations) does not stay.

use std::collections::VecDeque;
use std::sync::Arc;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, BrokerStep, MetadataRecord};
use klamm_schema::{Bytes, id_bytes};
use klamm_types::{BrokerEpoch, NodeId, PartitionId, TopicId};

use super::partitions::Ring;
use super::{BROKER_ENTRIES_MAX, BrokerEntry, CONTROLLER_ENTRIES_MAX, ControllerEntry, History, Reason};
use crate::record;

/// A record of a snapshot that holds no such history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

impl History {
    /// Texts before the entries that refer to them; a record, if an empty one, for each of `registered`.
    pub(crate) fn to_records(&self, registered: impl Iterator<Item = NodeId>, records: &mut Vec<MetadataRecord>) {
        for (number, text) in self.texts.iter() {
            let text = text.to_owned();
            records.push(record(Record::HistoryText(schema::HistoryText { number, text })));
        }
        for (topic, rings) in &self.partitions {
            for (partition, ring) in rings.iter() {
                records.push(record(Record::PartitionHistory(schema::PartitionHistory {
                    topic_id: id_bytes(topic.as_bytes()),
                    partition: partition.0,
                    entries: Bytes::from(ring.to_bytes()),
                })));
            }
        }
        let without = registered.filter(|id| !self.brokers.contains_key(id));
        for broker in without {
            let (broker, entries) = (broker.0, Vec::new());
            records.push(record(Record::BrokerHistory(schema::BrokerHistory { broker, entries })));
        }
        for (id, entries) in &self.brokers {
            records.push(record(Record::BrokerHistory(schema::BrokerHistory {
                broker: id.0,
                entries: entries.iter().map(BrokerEntry::to_message).collect(),
            })));
        }
        if !self.controllers.is_empty() {
            records.push(record(Record::ControllerHistory(schema::ControllerHistory {
                entries: self.controllers.iter().map(ControllerEntry::to_message).collect(),
            })));
        }
    }

    pub(crate) fn set_text(&mut self, message: &schema::HistoryText) -> Result<(), Unreadable> {
        if message.number == 0 || message.text.is_empty() || !self.texts.get(message.number).is_empty() {
            return Err(Unreadable("has no number or text of its own"));
        }
        self.texts.insert(message.number, &message.text);
        Ok(())
    }

    pub(crate) fn set_partition(
        &mut self,
        topic: TopicId,
        message: &schema::PartitionHistory,
    ) -> Result<(), Unreadable> {
        let ring = Ring::from_bytes(&message.entries).ok_or(Unreadable("has malformed entries"))?;
        let rings = Arc::make_mut(self.partitions.entry(topic).or_default());
        let partition = PartitionId(message.partition);
        if rings.contains_key(&partition) {
            return Err(Unreadable("is the partition's second"));
        }
        for entry in ring.entries() {
            if !self.texts.hold_again(entry.text) {
                return Err(Unreadable("refers to a text that is not there"));
            }
        }
        rings.insert(partition, ring);
        Ok(())
    }

    pub(crate) fn set_broker(&mut self, message: &schema::BrokerHistory) -> Result<(), Unreadable> {
        let id = NodeId(message.broker);
        self.brokers.remove(&id);
        if message.entries.len() > BROKER_ENTRIES_MAX {
            return Err(Unreadable("has too many entries"));
        }
        let entries: VecDeque<_> = message.entries.iter().map(BrokerEntry::from_message).collect();
        if !entries.is_empty() {
            self.brokers.insert(id, Arc::new(entries));
        }
        Ok(())
    }

    pub(crate) fn set_controllers(&mut self, message: &schema::ControllerHistory) -> Result<(), Unreadable> {
        if message.entries.len() > CONTROLLER_ENTRIES_MAX {
            return Err(Unreadable("has too many entries"));
        }
        self.controllers = Arc::new(message.entries.iter().map(ControllerEntry::from_message).collect());
        Ok(())
    }
}

impl BrokerEntry {
    fn to_message(&self) -> schema::BrokerHistoryEntry {
        schema::BrokerHistoryEntry {
            step: self.step.into(),
            broker_epoch: self.broker_epoch.0,
            decision: Some(self.reason.to_message()),
        }
    }

    fn from_message(message: &schema::BrokerHistoryEntry) -> BrokerEntry {
        BrokerEntry {
            reason: Reason::from_message(message.decision.as_ref()),
            broker_epoch: BrokerEpoch(message.broker_epoch),
            step: BrokerStep::try_from(message.step).unwrap_or_default(),
        }
    }
}

impl ControllerEntry {
    fn to_message(&self) -> schema::ControllerChange {
        schema::ControllerChange {
            controller: self.controller.0,
            term: self.term,
            decision: Some(self.reason.to_message()),
        }
    }

    pub(crate) fn from_message(message: &schema::ControllerChange) -> ControllerEntry {
        ControllerEntry {
            reason: Reason::from_message(message.decision.as_ref()),
            controller: NodeId(message.controller),
            term: message.term,
        }
    }
}
