//! One change to one partition: from what must be different to the whole new leadership. Value in, record out.
//!
//! The rules, in the order in which they are applied:
//! * **ISR**: the target that the caller asks for, without disqualified replicas.
//! * **Leader**: stays if it may; else the first replica in the ISR that may lead, else the first in the ELR, else
//!   (see [`Draft::elect_with_loss`]) one that may have lost records, else nobody.
//! * **ELR** (KIP-966): empty while the ISR has the minimum. Below it the high watermark stands still, so whoever
//!   leaves the ISR still holds every committed record and stays eligible; disqualified replicas do not.
//! * **Epochs**: the leader epoch grows with each change of leader and whenever a leadership is taken away, even if
//!   the same broker is elected again; the partition epoch grows with every change.

use std::collections::BTreeMap;

use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{Cause, PartitionChange};
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{DirectoryId, LeaderEpoch, NodeId, PartitionId, TopicId};

use super::overlay::{Overlay, Why};
use crate::image::{Image, LastKnown, LogEnd, PartitionState, Topic, directory_bytes};

/// What must change in one partition. Starts as "nothing".
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The ISR asked for.
    pub isr: Vec<NodeId>,
    /// Replicas that leave ISR and ELR because their logs may be incomplete, with the end of their logs where it
    /// may count in an election of last resort.
    pub disqualified: BTreeMap<NodeId, Option<LogEnd>>,
    /// The leader loses the lead, even if it is elected again.
    pub depose: bool,
    /// This replica shall lead if it is in the ISR.
    pub prefer: Option<NodeId>,
    /// An operator's word: this replica leads, whatever it lacks.
    pub force: Option<NodeId>,
    /// min.insync.replicas was lowered: the high watermark may pass what ELR members hold, so they are forgotten.
    /// While the ISR is empty nobody leads and no high watermark moves, so they are kept.
    pub empty_elr: bool,
    /// No epoch up to this one may be used again.
    pub epoch_floor: LeaderEpoch,
    pub directories: Vec<DirectoryId>,
    /// These may have been in the ISR too, for all that is known: they become eligible where the ISR falls short, whatever
    /// was known of their logs.
    pub recalled: Vec<NodeId>,
    /// The partition epoch rises even if nothing else is different: whatever rests on the old one is refused then.
    pub settle: bool,
}

/// How the leader of a draft was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elected {
    Clean(Option<NodeId>),
    WithLoss(NodeId, Cause),
}

/// A finished change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub state: PartitionState,
    pub possible_loss: bool,
    /// The cause, where the election itself is one.
    pub cause: Option<Cause>,
}

impl Draft {
    pub fn new(old: &PartitionState) -> Draft {
        Draft {
            isr: old.isr.clone(),
            disqualified: BTreeMap::new(),
            depose: false,
            prefer: None,
            force: None,
            empty_elr: false,
            epoch_floor: LeaderEpoch::NONE,
            directories: old.directories.clone(),
            recalled: Vec::new(),
            settle: false,
        }
    }

    /// Without this broker in the ISR.
    pub fn leave_isr(mut self, broker: NodeId) -> Draft {
        self.isr.retain(|&member| member != broker);
        self
    }

    /// Whether this broker may be given the lead.
    fn may_lead(&self, image: &Image, broker: NodeId) -> bool {
        image.may_lead(broker) && !self.disqualified.contains_key(&broker)
    }

    /// The change as a whole; `None` if nothing is different and nothing is to be settled.
    pub fn finish(&self, image: &Image, topic: &Topic, old: &PartitionState) -> Option<Outcome> {
        let mut new = old.clone();
        new.directories.clone_from(&self.directories);
        new.isr = self.isr.clone();
        new.isr.retain(|member| !self.disqualified.contains_key(member));
        let min_isr = image.effective_min_isr(topic, old);
        self.settle_elr(old, &mut new, min_isr);
        let (possible_loss, cause) = match self.elect(image, topic, old, &new) {
            Elected::Clean(leader) => {
                new.leader = leader;
                if let Some(leader) = leader.filter(|leader| !new.isr.contains(leader)) {
                    new.isr.push(leader);
                    self.settle_elr(old, &mut new, min_isr);
                }
                (false, None)
            }
            Elected::WithLoss(leader, cause) => {
                // The others' logs are measured against this leader's from here on; older claims mean nothing.
                new.leader = Some(leader);
                new.isr = vec![leader];
                new.elr.clear();
                new.last_known_elr.clear();
                (true, Some(cause))
            }
        };
        if new.leader != old.leader || (self.depose && old.leader.is_some()) {
            new.leader_epoch = old.leader_epoch.next();
        }
        if self.epoch_floor > old.leader_epoch {
            new.leader_epoch = self.epoch_floor.next();
        }
        if new == *old && !self.settle {
            return None;
        }
        new.partition_epoch = old.partition_epoch.next();
        Some(Outcome {
            state: new,
            possible_loss,
            cause,
        })
    }

    fn settle_elr(&self, old: &PartitionState, new: &mut PartitionState, min_isr: usize) {
        new.elr.clear();
        new.last_known_elr.clear();
        let has_minimum = new.isr.len() >= min_isr && !is_planted(Bug::KeepEligibleAboveMinimum);
        if has_minimum || (self.empty_elr && !new.isr.is_empty()) {
            return;
        }
        for &member in old.elr.iter().chain(&old.isr).chain(&self.recalled) {
            let gone = new.isr.contains(&member) || new.elr.contains(&member);
            if !gone && !self.disqualified.contains_key(&member) {
                new.elr.push(member);
            }
        }
        for known in &old.last_known_elr {
            let log_end = match self.disqualified.get(&known.broker) {
                Some(&log_end) => log_end,
                None => known.log_end,
            };
            if !new.isr.contains(&known.broker) && !self.recalled.contains(&known.broker) {
                let broker = known.broker;
                new.last_known_elr.push(LastKnown { broker, log_end });
            }
        }
        for (&broker, &log_end) in &self.disqualified {
            if old.isr.contains(&broker) || old.elr.contains(&broker) {
                new.last_known_elr.push(LastKnown { broker, log_end });
            }
        }
    }

    fn elect(&self, image: &Image, topic: &Topic, old: &PartitionState, new: &PartitionState) -> Elected {
        if let Some(chosen) = self.force {
            if new.isr.contains(&chosen) || new.elr.contains(&chosen) {
                return Elected::Clean(Some(chosen));
            }
            return Elected::WithLoss(chosen, Cause::OperatorElection);
        }
        let in_isr = |broker: &NodeId| new.isr.contains(broker);
        if let Some(preferred) = self
            .prefer
            .filter(|broker| in_isr(broker) && self.may_lead(image, *broker))
        {
            return Elected::Clean(Some(preferred));
        }
        let stays = old.leader.filter(|leader| in_isr(leader) && !self.depose);
        if let Some(leader) = stays.filter(|&leader| self.may_lead(image, leader)) {
            return Elected::Clean(Some(leader));
        }
        let in_elr = |broker: &NodeId| new.elr.contains(broker);
        let mut may_lead = new
            .replicas
            .iter()
            .copied()
            .filter(|&broker| self.may_lead(image, broker));
        if let Some(leader) = may_lead.clone().find(in_isr).or_else(|| may_lead.find(in_elr)) {
            return Elected::Clean(Some(leader));
        }
        let anybody = new
            .replicas
            .iter()
            .copied()
            .find(|&broker| self.may_lead(image, broker));
        if let Some(leader) = anybody.filter(|_| is_planted(Bug::ElectAnybody)) {
            return Elected::Clean(Some(leader));
        }
        // A leader that is shutting down goes on leading while nobody can take over.
        if stays.is_some_and(|leader| image.is_alive(leader)) {
            return Elected::Clean(stays);
        }
        self.elect_with_loss(image, topic, new)
    }

    /// Nobody holds all committed records for certain and may lead. If ISR and ELR are empty, all their last members
    /// are back (each left by registering or reporting), and the one whose log reaches furthest leads as soon as it
    /// is alive. A topic that allows it does not wait for that.
    fn elect_with_loss(&self, image: &Image, topic: &Topic, new: &PartitionState) -> Elected {
        let furthest = furthest_log(new, |_| true).filter(|_| new.isr.is_empty() && new.elr.is_empty());
        if let Some(leader) = furthest.filter(|&leader| image.may_lead(leader)) {
            return Elected::WithLoss(leader, Cause::LastKnownElection);
        }
        if image.allows_unclean_election(&topic.name) || is_planted(Bug::ElectUncleanUnasked) {
            // A replica whose log is known to count goes before one of which nothing is known. One whose log counts
            // for nothing (damaged, new, restored) is never elected but by an operator.
            let known = furthest_log(new, |broker| image.may_lead(broker));
            let counts = |broker: &NodeId| new.last_known_elr.iter().all(|known| known.broker != *broker);
            let mut others = new.replicas.iter().copied();
            let leader = known.or_else(|| others.find(|broker| self.may_lead(image, *broker) && counts(broker)));
            if let Some(leader) = leader {
                return Elected::WithLoss(leader, Cause::UncleanElection);
            }
        }
        Elected::Clean(None)
    }
}

/// The last known member whose log counts and reaches furthest; the first in the replica list among equals.
pub(super) fn furthest_log(state: &PartitionState, eligible: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    let mut best: Option<(LogEnd, NodeId)> = None;
    for replica in &state.replicas {
        let known = state.last_known_elr.iter().find(|known| known.broker == *replica);
        let Some(log_end) = known.and_then(|known| known.log_end) else {
            continue;
        };
        if eligible(*replica) && best.is_none_or(|(end, _)| log_end > end) {
            best = Some((log_end, *replica));
        }
    }
    best.map(|(_, broker)| broker)
}

/// Names one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub topic: TopicId,
    pub partition: PartitionId,
}

impl Overlay {
    /// Finishes a draft and writes its record. Gives what came of it; `None` if there was nothing to write.
    /// An election with loss puts its own cause in the place of the given one.
    pub(super) fn write_draft(&mut self, place: Place, draft: &Draft, why: Why<'_>) -> Option<Outcome> {
        let topic = self.image().topic(place.topic)?;
        let old = topic.partition(place.partition)?;
        let outcome = draft.finish(self.image(), topic, old)?;
        let directories = if outcome.state.directories == old.directories {
            Vec::new()
        } else {
            directory_bytes(&outcome.state.directories)
        };
        let change = PartitionChange {
            topic_id: id_bytes(place.topic.as_bytes()),
            partition: place.partition.0,
            leadership: Some(outcome.state.to_leadership()),
            directories,
            possible_loss: outcome.possible_loss,
            decision: Some(self.decision(Why {
                cause: outcome.cause.unwrap_or(why.cause),
                ..why
            })),
        };
        self.write(Record::PartitionChange(change));
        Some(outcome)
    }

    /// The places of all partitions that `wanted` picks, so that drafts can be written while going through them.
    pub(super) fn places(&self, wanted: impl Fn(&Topic, &PartitionState) -> bool) -> Vec<Place> {
        let picked = self
            .image()
            .partitions()
            .filter(|(topic, _, state)| wanted(topic, state));
        picked
            .map(|(topic, partition, _)| Place {
                topic: topic.id,
                partition,
            })
            .collect()
    }

    /// A draft of no change for a partition that exists.
    pub(super) fn draft(&self, place: Place) -> Option<Draft> {
        self.image()
            .partition(place.topic, place.partition)
            .map(|state| Draft::new(state))
    }
}
