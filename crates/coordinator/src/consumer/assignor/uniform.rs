//! Uniform, when all members subscribe to the same topics: everyone has the same number of partitions but for one,
//! and as few partitions move as that allows.
//!
//! Those that must move go to a member in the rack of a replica where there is room for them. Neither balance nor
//! stickiness is given up for a rack.

use std::collections::{BTreeMap, VecDeque};

use crate::call::PartitionsByTopic;

use super::{Input, number};

/// (topic index, partition)
type Place = (usize, usize);

pub fn assign(input: &Input<'_>) -> Vec<PartitionsByTopic> {
    let members = input.members.len();
    let topics = input.subscriptions.first().map_or(&[][..], Vec::as_slice);
    let mut taken: Vec<Vec<bool>> = input
        .topics
        .iter()
        .map(|topic| vec![false; topic.racks.len()])
        .collect();
    let total: usize = topics.iter().map(|topic| input.topics[*topic].racks.len()).sum();
    let mut kept: Vec<Vec<Place>> = (0..members)
        .map(|member| {
            let mut former = input.former(member);
            former.retain(|(topic, partition)| !std::mem::replace(&mut taken[*topic][*partition], true));
            former
        })
        .collect();
    let quotas = quotas(total, &kept);
    for (member, kept) in kept.iter_mut().enumerate() {
        for (topic, partition) in trim(input, member, kept, quotas[member]) {
            taken[topic][partition] = false;
        }
    }
    let mut free = Vec::new();
    for topic in topics {
        let partitions = taken[*topic].iter().enumerate().filter(|(_, taken)| !**taken);
        free.extend(partitions.map(|(partition, _)| (*topic, partition)));
    }
    let mut room: Vec<usize> = quotas
        .iter()
        .zip(&kept)
        .map(|(quota, kept)| quota - kept.len())
        .collect();
    let free = place_by_rack(input, free, &mut room, &mut kept);
    place_in_turn(free, &mut room, &mut kept);
    kept.into_iter().map(|places| target(input, places)).collect()
}

/// How many each may have. Who has more than its share already gets one of the remainder first.
fn quotas(total: usize, kept: &[Vec<Place>]) -> Vec<usize> {
    if kept.is_empty() {
        return Vec::new();
    }
    let share = total / kept.len();
    let mut remainder = total % kept.len();
    let mut quotas = vec![share; kept.len()];
    for claims in [true, false] {
        for (quota, kept) in quotas.iter_mut().zip(kept) {
            if remainder > 0 && (kept.len() > share) == claims {
                *quota += 1;
                remainder -= 1;
            }
        }
    }
    quotas
}

/// Cuts down to the quota and returns what was cut: first what lies in other racks, then evenly from all topics.
fn trim(input: &Input<'_>, member: usize, kept: &mut Vec<Place>, quota: usize) -> Vec<Place> {
    if kept.len() <= quota {
        return Vec::new();
    }
    let rack = input.members[member].rack;
    let mut rank: BTreeMap<usize, usize> = BTreeMap::new();
    let mut keyed: Vec<(bool, usize, Place)> = kept
        .iter()
        .map(|(topic, partition)| {
            let rank = rank.entry(*topic).or_default();
            *rank += 1;
            let away = rack.is_some() && !input.topics[*topic].in_rack(*partition, rack);
            (away, *rank, (*topic, *partition))
        })
        .collect();
    keyed.sort_unstable();
    let cut = keyed.split_off(quota).into_iter().map(|(_, _, place)| place).collect();
    *kept = keyed.into_iter().map(|(_, _, place)| place).collect();
    cut
}

/// Gives what it can to members in the rack of a replica; returns the rest.
fn place_by_rack(input: &Input<'_>, free: Vec<Place>, room: &mut [usize], kept: &mut [Vec<Place>]) -> Vec<Place> {
    let mut queues: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (member, room) in room.iter().enumerate() {
        if let Some(rack) = input.members[member].rack
            && *room > 0
        {
            queues.entry(rack).or_default().push_back(member);
        }
    }
    if queues.is_empty() {
        return free;
    }
    let mut rest = Vec::new();
    for (topic, partition) in free {
        let racks = &input.topics[topic].racks[partition];
        let widest = racks
            .iter()
            .filter_map(|rack| Some((queues.get(rack.as_str())?.len(), rack.as_str())))
            .max_by_key(|(members, _)| *members);
        let queue = widest.and_then(|(_, rack)| queues.get_mut(rack));
        let Some((queue, member)) = queue.and_then(|queue| queue.pop_front().map(|member| (queue, member))) else {
            rest.push((topic, partition));
            continue;
        };
        kept[member].push((topic, partition));
        room[member] -= 1;
        if room[member] > 0 {
            queue.push_back(member);
        }
    }
    rest
}

fn place_in_turn(free: Vec<Place>, room: &mut [usize], kept: &mut [Vec<Place>]) {
    let mut queue: VecDeque<usize> = (0..room.len()).filter(|member| room[*member] > 0).collect();
    for place in free {
        let Some(member) = queue.pop_front() else {
            return;
        };
        kept[member].push(place);
        room[member] -= 1;
        if room[member] > 0 {
            queue.push_back(member);
        }
    }
}

fn target(input: &Input<'_>, mut places: Vec<Place>) -> PartitionsByTopic {
    places.sort_unstable();
    let mut target = PartitionsByTopic::new();
    for (topic, partition) in places {
        target
            .entry(input.topics[topic].id)
            .or_default()
            .insert(number(partition));
    }
    target
}
