//! How brokers came to stand as they stand, and which nodes were the active controller.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use klamm_schema::metadata::BrokerStep;
use klamm_types::{BrokerEpoch, NodeId};

use super::{History, Reason};
use crate::image::BrokerState;

/// Changes that a broker keeps.
pub const BROKER_ENTRIES_MAX: usize = 64;
/// Changes of controller that are kept.
pub const CONTROLLER_ENTRIES_MAX: usize = 64;
/// Brokers that are no more and have a history all the same: those that registered last.
pub const DEPARTED_MAX: usize = 16;

/// One change of one broker's standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEntry {
    pub reason: Reason,
    pub broker_epoch: BrokerEpoch,
    pub step: BrokerStep,
}

/// A node began to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerEntry {
    pub reason: Reason,
    pub controller: NodeId,
    /// As DescribeQuorum tells it.
    pub term: u64,
}

impl BrokerEntry {
    /// What the difference is between two standings of one registration.
    pub(crate) fn step(old: &BrokerState, new: &BrokerState) -> Option<BrokerStep> {
        match (old.fenced, new.fenced) {
            (false, true) => Some(BrokerStep::Fenced),
            (true, false) => Some(BrokerStep::Unfenced),
            _ if !old.in_controlled_shutdown && new.in_controlled_shutdown => Some(BrokerStep::Stopping),
            _ if old.directories != new.directories => Some(BrokerStep::DirectoryFailed),
            _ => None,
        }
    }
}

impl History {
    pub(crate) fn broker_changed(&mut self, broker: NodeId, entry: BrokerEntry) {
        let entries = Arc::make_mut(self.brokers.entry(broker).or_default());
        push(entries, entry, BROKER_ENTRIES_MAX);
    }

    /// A broker is no more; `registered` are those that are. Of too many that went, the one whose registration is the
    /// oldest is forgotten.
    pub(crate) fn broker_departed<T>(&mut self, registered: &BTreeMap<NodeId, T>) {
        let departed = || self.brokers.iter().filter(|(id, _)| !registered.contains_key(id));
        if departed().count() <= DEPARTED_MAX {
            return;
        }
        let registration = |entries: &VecDeque<BrokerEntry>| entries.back().map(|entry| entry.broker_epoch);
        let oldest = departed().min_by_key(|(_, entries)| registration(entries));
        if let Some(id) = oldest.map(|(&id, _)| id) {
            self.brokers.remove(&id);
        }
    }

    pub(crate) fn controller_changed(&mut self, entry: ControllerEntry) {
        push(Arc::make_mut(&mut self.controllers), entry, CONTROLLER_ENTRIES_MAX);
    }

    /// By broker, oldest first.
    pub(crate) fn brokers(&self) -> impl Iterator<Item = (NodeId, &BrokerEntry)> {
        let all = self.brokers.iter();
        all.flat_map(|(&id, entries)| entries.iter().map(move |entry| (id, entry)))
    }

    /// Oldest first.
    pub(crate) fn controllers(&self) -> &VecDeque<ControllerEntry> {
        &self.controllers
    }
}

fn push<T>(entries: &mut VecDeque<T>, entry: T, max: usize) {
    if entries.len() >= max {
        entries.pop_front();
    }
    entries.push_back(entry);
}
