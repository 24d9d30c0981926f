//! What the image keeps of why it changed. The history itself is [`crate::history`]'s; here is when it is written.

use std::collections::VecDeque;
use std::sync::Arc;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{BrokerStep, Decision};
use klamm_schema::uuid;
use klamm_types::{BrokerEpoch, NodeId, PartitionId, TopicId};

use super::Image;
use super::apply::{Applied, Misfit};
use crate::history::{BrokerEntry, Changed, ControllerEntry, History, PartitionEntry, Reason, Unreadable};

impl Image {
    /// The last changes of a partition, oldest first. Empty also if nothing has changed since it was created.
    pub fn partition_history(&self, topic: TopicId, partition: PartitionId) -> Vec<PartitionEntry> {
        self.history.partition(topic, partition)
    }

    /// The last changes of each broker's standing, oldest first, broker by broker; also of some that are no more.
    pub fn broker_history(&self) -> impl Iterator<Item = (NodeId, &BrokerEntry)> {
        self.history.brokers()
    }

    /// Which nodes were the active controller, oldest first.
    pub fn controller_history(&self) -> &VecDeque<ControllerEntry> {
        self.history.controllers()
    }

    /// For measurements: the bytes of all entries of partitions, and how many partitions have some.
    pub fn partition_history_size(&self) -> (usize, usize) {
        self.history.packed()
    }

    pub(super) fn note_partition(&mut self, topic: TopicId, partition: PartitionId, changed: &Changed<'_>) {
        if self.keeps_history() && changed.is_one() {
            self.history_mut().partition_changed(topic, partition, changed);
        }
    }

    pub(super) fn note_broker(
        &mut self,
        broker: NodeId,
        broker_epoch: BrokerEpoch,
        step: Option<BrokerStep>,
        decision: Option<&Decision>,
    ) {
        let Some(step) = step.filter(|_| self.keeps_history()) else {
            return;
        };
        let entry = BrokerEntry {
            reason: Reason::from_message(decision),
            broker_epoch,
            step,
        };
        self.history_mut().broker_changed(broker, entry);
    }

    pub(super) fn note_departure(&mut self) {
        let brokers = Arc::clone(&self.brokers);
        self.history_mut().broker_departed(&brokers);
    }

    pub(super) fn note_removal(&mut self, topic: TopicId) {
        self.history_mut().topic_removed(topic);
    }

    /// A change of controller; and what only snapshots hold, once it is clear that the level has histories.
    pub(super) fn apply_history(&mut self, record: &Record) -> Applied {
        let unreadable = |kind| move |Unreadable(what)| Misfit::Kind(kind, what);
        if !self.keeps_history() {
            return Err(Misfit::Kind("a history", "is of a higher level than the cluster's"));
        }
        match record {
            Record::ControllerChange(change) => {
                let entry = ControllerEntry::from_message(change);
                self.history_mut().controller_changed(entry);
                Ok(())
            }
            Record::HistoryText(text) => self.history_mut().set_text(text).map_err(unreadable("HistoryText")),
            Record::PartitionHistory(message) => {
                let kind = "PartitionHistory";
                let topic = TopicId(uuid("topic_id", &message.topic_id)?);
                if self.partition(topic, PartitionId(message.partition)).is_none() {
                    return Err(Misfit::Kind(kind, "names no partition"));
                }
                self.history_mut()
                    .set_partition(topic, message)
                    .map_err(unreadable(kind))
            }
            Record::BrokerHistory(message) => self
                .history_mut()
                .set_broker(message)
                .map_err(unreadable("BrokerHistory")),
            Record::ControllerHistory(message) => {
                let kind = "ControllerHistory";
                self.history_mut().set_controllers(message).map_err(unreadable(kind))
            }
            _ => Err(Misfit::Unknown),
        }
    }

    fn history_mut(&mut self) -> &mut History {
        Arc::make_mut(&mut self.history)
    }
}
