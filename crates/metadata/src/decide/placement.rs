//! Where new replicas go: evenly over brokers, each partition over as many racks as there are.
//!
//! Replicas go to live brokers first; broker counts decide, and a random starting point breaks ties, so that many
//! small topics do not all begin on the same broker.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::{DirectoryId, ErrorCode, LeaderEpoch, NodeId, PartitionEpoch};

use super::overlay::{Overlay, Refusal};
use crate::image::{Image, PartitionState};

/// Partitions that one request may create.
pub const PARTITIONS_PER_REQUEST_MAX: i32 = 10_000;

/// How many new replicas are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub partitions: usize,
    pub replication_factor: usize,
}

#[derive(Clone, Debug, Default)]
struct Load {
    /// Of the topic in hand.
    topic_leaders: usize,
    topic_replicas: usize,
    leaders: usize,
    replicas: usize,
}

#[derive(Clone, Debug)]
struct Candidate {
    broker: NodeId,
    rack: Option<String>,
    may_lead: bool,
    load: Load,
}

/// Replica lists for new partitions, beside those that the topic has. `None` if no broker may lead or there are
/// fewer brokers than replicas wanted.
pub(super) fn place(overlay: &mut Overlay, existing: &[Vec<NodeId>], wanted: Wanted) -> Option<Vec<Vec<NodeId>>> {
    let mut candidates = candidates(overlay.image(), existing);
    let live = candidates.iter().filter(|candidate| candidate.may_lead).count();
    if live == 0 || candidates.len() < wanted.replication_factor {
        return None;
    }
    let start = overlay.random() % candidates.len() as u64;
    candidates.rotate_left(usize::try_from(start).unwrap_or(0));
    let mut placed = Vec::with_capacity(wanted.partitions);
    for _ in 0..wanted.partitions {
        placed.push(place_one(&mut candidates, wanted.replication_factor));
    }
    Some(placed)
}

fn candidates(image: &Image, existing: &[Vec<NodeId>]) -> Vec<Candidate> {
    let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
    for (_, _, state) in image.partitions() {
        for (position, &replica) in state.replicas.iter().enumerate() {
            let load = loads.entry(replica).or_default();
            load.replicas += 1;
            load.leaders += usize::from(position == 0);
        }
    }
    for replicas in existing {
        for (position, &replica) in replicas.iter().enumerate() {
            let load = loads.entry(replica).or_default();
            load.topic_replicas += 1;
            load.topic_leaders += usize::from(position == 0);
        }
    }
    let brokers = image.brokers().iter();
    brokers
        .map(|(&broker, state)| Candidate {
            broker,
            rack: state.rack.clone(),
            may_lead: image.may_lead(broker),
            load: loads.remove(&broker).unwrap_or_default(),
        })
        .collect()
}

fn place_one(candidates: &mut [Candidate], replication_factor: usize) -> Vec<NodeId> {
    let mut chosen: Vec<NodeId> = Vec::with_capacity(replication_factor);
    let mut racks: BTreeMap<Option<String>, usize> = BTreeMap::new();
    while chosen.len() < replication_factor {
        let leads = chosen.is_empty();
        let free = candidates
            .iter_mut()
            .filter(|candidate| !chosen.contains(&candidate.broker));
        let best = free.min_by_key(|candidate| {
            let in_rack = racks.get(&candidate.rack).copied().unwrap_or(0);
            let load = &candidate.load;
            let counts = if leads {
                [load.topic_leaders, load.topic_replicas, load.leaders, load.replicas]
            } else {
                [load.topic_replicas, load.replicas, load.topic_leaders, load.leaders]
            };
            (!candidate.may_lead, in_rack, counts)
        });
        let Some(best) = best else {
            break;
        };
        best.load.topic_replicas += 1;
        best.load.replicas += 1;
        best.load.topic_leaders += usize::from(leads);
        best.load.leaders += usize::from(leads);
        *racks.entry(best.rack.clone()).or_default() += 1;
        chosen.push(best.broker);
    }
    chosen
}

/// Checks replica lists that a request gives: known brokers, none twice, equally long, one alive in each.
pub(super) fn check_assignment(image: &Image, replicas: &[NodeId], expected: Option<usize>) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
    let distinct: BTreeSet<NodeId> = replicas.iter().copied().collect();
    if replicas.is_empty() || distinct.len() != replicas.len() {
        return refuse("a replica list is empty or names a broker twice".into());
    }
    if let Some(unknown) = replicas.iter().find(|&&broker| image.broker(broker).is_none()) {
        return refuse(format!("there is no broker {unknown}"));
    }
    if expected.is_some_and(|expected| expected != replicas.len()) {
        return refuse("the replica lists are not equally long".into());
    }
    if !replicas.iter().any(|&broker| image.may_lead(broker)) {
        return refuse("no broker of a replica list is alive".into());
    }
    Ok(())
}

/// A new partition: every live replica is in sync, for all logs are empty, and the first of them leads.
pub(super) fn new_partition(overlay: &mut Overlay, replicas: Vec<NodeId>) -> PartitionState {
    let directories = replicas.iter().map(|&broker| pick_directory(overlay, broker)).collect();
    let isr: Vec<NodeId> = replicas
        .iter()
        .copied()
        .filter(|&id| overlay.image().may_lead(id))
        .collect();
    PartitionState {
        directories,
        leader: isr.first().copied(),
        isr,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        replicas,
    }
}

/// One of the broker's directories; several fill evenly in the long run.
fn pick_directory(overlay: &mut Overlay, broker: NodeId) -> DirectoryId {
    let random = overlay.random();
    let directories = overlay
        .image()
        .broker(broker)
        .map_or(&[][..], |state| &state.directories);
    match directories.len() as u64 {
        0 => DirectoryId::ZERO,
        count => usize::try_from(random % count)
            .ok()
            .and_then(|position| directories.get(position).copied())
            .unwrap_or(DirectoryId::ZERO),
    }
}
