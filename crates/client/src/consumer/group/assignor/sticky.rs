//! Cooperative-sticky: as balanced as the subscriptions allow, with as few partitions changing hands as that needs;
//! and what changes hands is first taken from its holder, and given to the next one round later.
//!
//! It is a matching problem: partitions to members, each loaded as little as can be. Members start with what they hold;
//! free partitions go to the least loaded subscriber; then, as long as there is a way to shift load from a member to
//! one that has at least two less (directly, or over others: A gives to B, B to C), it is taken. When no such way is
//! left, the assignment is an optimal semi-matching (Harvey, Ladner, Lovász, Tamir 2003): no other one is more even.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Assignment, MemberFacts, PartitionCounts, in_order, nothing_yet, partition, subscribed};
use crate::consumer::record::TopicPartition;

pub(super) fn assign(members: &[MemberFacts], counts: &PartitionCounts) -> Assignment {
    let mut plan = Plan::new(members, counts);
    plan.give_out_the_free();
    plan.even_out();
    plan.into_assignment()
}

/// Who says to hold a partition.
#[derive(Clone, Debug, Default)]
struct Claims {
    /// The one who was given it last; nobody if two say so of the same generation.
    holder: Option<usize>,
    generation: i32,
}

struct Plan<'a> {
    members: Vec<&'a MemberFacts>,
    topics: Vec<(&'a Arc<str>, i32)>,
    /// Who subscribes to each topic.
    takers: BTreeMap<&'a Arc<str>, Vec<usize>>,
    claims: BTreeMap<TopicPartition, Claims>,
    /// By member, what it gets of each topic.
    held: Vec<BTreeMap<Arc<str>, BTreeSet<i32>>>,
    loads: Vec<usize>,
    free: Vec<TopicPartition>,
}

/// One step of a way: this member gives one partition of the topic to the next.
#[derive(Clone, Debug)]
struct Hop {
    giver: usize,
    topic: Arc<str>,
    taker: usize,
}

impl<'a> Plan<'a> {
    fn new(facts: &'a [MemberFacts], counts: &'a PartitionCounts) -> Plan<'a> {
        let members = in_order(facts);
        let topics = subscribed(facts, counts);
        let takers_of = |topic: &Arc<str>| {
            let indexed = members.iter().enumerate();
            indexed
                .filter(|(_, member)| member.topics.contains(topic))
                .map(|(index, _)| index)
                .collect()
        };
        let takers = topics.iter().map(|&(topic, _)| (topic, takers_of(topic))).collect();
        let claims = claims(&members);
        let mut plan = Plan {
            held: vec![BTreeMap::new(); members.len()],
            loads: vec![0; members.len()],
            free: Vec::new(),
            members,
            topics,
            takers,
            claims,
        };
        plan.keep_what_is_held();
        plan
    }

    fn keep_what_is_held(&mut self) {
        for (topic, count) in self.topics.clone() {
            for number in 0..count {
                let key = partition(topic, number);
                let holder = self.claims.get(&key).and_then(|claims| claims.holder);
                match holder.filter(|&holder| self.members[holder].topics.contains(topic)) {
                    Some(holder) => self.give(holder, topic, number),
                    None => self.free.push(key),
                }
            }
        }
    }

    fn give(&mut self, member: usize, topic: &Arc<str>, number: i32) {
        self.held[member].entry(Arc::clone(topic)).or_default().insert(number);
        self.loads[member] += 1;
    }

    /// Those that fewest can take come first.
    fn give_out_the_free(&mut self) {
        let mut free = std::mem::take(&mut self.free);
        free.sort_by_key(|key| self.takers.get(&key.topic).map_or(0, Vec::len));
        for key in free {
            let takers = self.takers.get(&key.topic).into_iter().flatten();
            if let Some(&least) = takers.min_by_key(|&&member| self.loads[member]) {
                self.give(least, &key.topic, key.partition.0);
            }
        }
    }

    /// Every way taken makes the sum of the squared loads smaller, so this ends.
    fn even_out(&mut self) {
        loop {
            let mut givers: Vec<usize> = (0..self.members.len()).collect();
            givers.sort_by_key(|&member| std::cmp::Reverse(self.loads[member]));
            let least = self.loads.iter().copied().min().unwrap_or(0);
            let way = givers
                .into_iter()
                .take_while(|&giver| self.loads[giver] >= least + 2)
                .find_map(|giver| self.way_from(giver));
            let Some(way) = way else { return };
            for hop in way {
                self.hand_over(&hop);
            }
        }
    }

    /// The shortest way to the least loaded member that can be reached, if it has at least two less than the giver.
    fn way_from(&self, giver: usize) -> Option<Vec<Hop>> {
        let mut reached: BTreeMap<usize, Option<Hop>> = BTreeMap::from([(giver, None)]);
        let mut opened: BTreeSet<&Arc<str>> = BTreeSet::new();
        let mut queue = VecDeque::from([giver]);
        let mut best: Option<usize> = None;
        while let Some(member) = queue.pop_front() {
            if best.is_none_or(|best| self.loads[member] < self.loads[best]) {
                best = Some(member);
            }
            for topic in self.held[member].keys() {
                if !opened.insert(topic) {
                    continue;
                }
                for &taker in self.takers.get(topic).into_iter().flatten() {
                    if let std::collections::btree_map::Entry::Vacant(place) = reached.entry(taker) {
                        place.insert(Some(Hop {
                            giver: member,
                            topic: Arc::clone(topic),
                            taker,
                        }));
                        queue.push_back(taker);
                    }
                }
            }
        }
        let mut at = best.filter(|&best| self.loads[best] + 2 <= self.loads[giver])?;
        let mut way = Vec::new();
        while let Some(Some(hop)) = reached.get(&at) {
            at = hop.giver;
            way.push(hop.clone());
        }
        Some(way)
    }

    /// Gives what costs least: a partition that the taker holds now, else one that the giver does not hold yet.
    fn hand_over(&mut self, hop: &Hop) {
        let Some(numbers) = self.held[hop.giver].get(&hop.topic) else {
            return;
        };
        let cost = |number: &&i32| {
            let holder = self
                .claims
                .get(&partition(&hop.topic, **number))
                .and_then(|claims| claims.holder);
            match holder {
                Some(holder) if holder == hop.taker => 0,
                Some(holder) if holder == hop.giver => 2,
                _ => 1,
            }
        };
        // Of several the last one, so that the giver's run of partitions stays whole.
        let Some(&number) = numbers.iter().rev().min_by_key(cost) else {
            return;
        };
        if let Some(numbers) = self.held[hop.giver].get_mut(&hop.topic) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.held[hop.giver].remove(&hop.topic);
            }
        }
        self.loads[hop.giver] -= 1;
        self.give(hop.taker, &hop.topic, number);
    }

    /// Leaves out what another member still says to hold; the next round gives it.
    fn into_assignment(self) -> Assignment {
        let facts: Vec<MemberFacts> = self.members.iter().map(|&member| member.clone()).collect();
        let mut assignment = nothing_yet(&facts);
        for (index, topics) in self.held.iter().enumerate() {
            let keys = topics
                .iter()
                .flat_map(|(topic, numbers)| numbers.iter().map(|&number| partition(topic, number)));
            let may_take =
                |key: &TopicPartition| self.claims.get(key).is_none_or(|claims| claims.holder == Some(index));
            if let Some(given) = assignment.get_mut(&self.members[index].member_id) {
                given.extend(keys.filter(may_take));
            }
        }
        assignment
    }
}

/// A later generation counts over an earlier one. Two claims of one generation contradict each other: both members
/// have to let go.
fn claims(members: &[&MemberFacts]) -> BTreeMap<TopicPartition, Claims> {
    let mut all: BTreeMap<TopicPartition, Claims> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        for key in &member.owned {
            match all.get_mut(key) {
                None => {
                    let claims = Claims {
                        holder: Some(index),
                        generation: member.generation,
                    };
                    all.insert(key.clone(), claims);
                }
                Some(claims) if claims.generation == member.generation => claims.holder = None,
                Some(claims) if claims.generation < member.generation => {
                    (claims.holder, claims.generation) = (Some(index), member.generation);
                }
                Some(_) => {}
            }
        }
    }
    all
}
