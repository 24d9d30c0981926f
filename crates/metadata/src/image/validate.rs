//! The orderings of an image, as inequalities. Run after each step in tests and simulation; changes nothing.

use std::collections::BTreeSet;

use klamm_types::{BrokerEpoch, NodeId, PartitionId};

use super::{Image, PartitionState, Resource, Topic};

/// A broken invariant, told with the place where it broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Violation {
    pub place: String,
    pub what: &'static str,
}

impl Image {
    /// Checks what must hold after every applied entry.
    pub fn validate(&self) -> Result<(), Violation> {
        for (id, broker) in self.brokers() {
            let violation = |what| violation(format!("broker {id}"), what);
            if broker.epoch > self.highest_broker_epoch() {
                return Err(violation("broker epoch <= highest broker epoch"));
            }
            if broker.last_unfenced_epoch > broker.epoch {
                return Err(violation("last unfenced epoch <= broker epoch"));
            }
            if !broker.fenced && broker.last_unfenced_epoch != broker.epoch {
                return Err(violation("an unfenced broker's last unfenced epoch is its epoch"));
            }
            if broker.epoch <= BrokerEpoch(0) {
                return Err(violation("broker epoch > 0"));
            }
        }
        if self.topics.len() != self.topic_ids.len() {
            return Err(violation("topics".into(), "one name per topic"));
        }
        for topic in self.topics.values() {
            if self.topic_ids.get(&topic.name) != Some(&topic.id) {
                return Err(violation(format!("topic {}", topic.name), "the name leads to the id"));
            }
        }
        for (topic, partition, state) in self.partitions() {
            self.validate_partition(topic, partition, state)?;
        }
        for resource in self.configs.keys() {
            if let Resource::Topic(name) = resource
                && !self.topic_ids.contains_key(name)
            {
                return Err(violation(format!("settings of {name}"), "settings belong to a topic"));
            }
        }
        match self.history.violation() {
            Some(what) => Err(violation("history".into(), what)),
            None => Ok(()),
        }
    }

    fn validate_partition(
        &self,
        topic: &Topic,
        partition: PartitionId,
        state: &PartitionState,
    ) -> Result<(), Violation> {
        let violation = |what| violation(format!("{}-{partition}", topic.name), what);
        let replicas: BTreeSet<NodeId> = state.replicas.iter().copied().collect();
        let isr: BTreeSet<NodeId> = state.isr.iter().copied().collect();
        let elr: BTreeSet<NodeId> = state.elr.iter().copied().collect();
        let last_known: BTreeSet<NodeId> = state.last_known_elr.iter().map(|known| known.broker).collect();
        if replicas.len() != state.replicas.len() || replicas.is_empty() {
            return Err(violation("replicas are some and differ"));
        }
        if isr.len() != state.isr.len()
            || elr.len() != state.elr.len()
            || last_known.len() != state.last_known_elr.len()
        {
            return Err(violation("ISR, ELR and last known ELR name nobody twice"));
        }
        if state.directories.len() != state.replicas.len() {
            return Err(violation("one directory per replica"));
        }
        if !isr.is_subset(&replicas) || !elr.is_subset(&replicas) || !last_known.is_subset(&replicas) {
            return Err(violation("ISR, ELR and last known ELR are replicas"));
        }
        if !isr.is_disjoint(&elr) || !isr.is_disjoint(&last_known) || !elr.is_disjoint(&last_known) {
            return Err(violation("ISR, ELR and last known ELR are disjoint"));
        }
        if isr.is_empty() && elr.is_empty() && last_known.is_empty() {
            return Err(violation("somebody of the last ISR is remembered"));
        }
        if isr.iter().any(|&member| !self.is_alive(member)) {
            return Err(violation("every ISR member is registered and not fenced"));
        }
        if state.leader.is_some_and(|leader| !isr.contains(&leader)) {
            return Err(violation("the leader is in the ISR"));
        }
        if state.leader_epoch.0 < 0 || state.partition_epoch.0 < 0 {
            return Err(violation("epochs >= 0"));
        }
        let min_isr = self.effective_min_isr(topic, state);
        if isr.len() >= min_isr && !(elr.is_empty() && last_known.is_empty()) {
            return Err(violation("no ELR while the ISR has min.insync.replicas members"));
        }
        Ok(())
    }
}

fn violation(place: String, what: &'static str) -> Violation {
    Violation { place, what }
}
