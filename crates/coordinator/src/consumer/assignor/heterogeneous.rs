//! Uniform, when members subscribe to different topics: as even as the subscriptions allow, and sticky.
//!
//! What is still wanted stays; what nobody has goes to the subscriber with the least; then partitions move along
//! chains from members with many to members with few until no chain makes the loads more even. Loads are then optimal
//! (Harvey et al., Semi-matchings for bipartite graphs, 2003), except that the search has a bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::call::PartitionsByTopic;

use super::{Input, number};

/// So many steps of the search are spent; the loads are even enough long before in all but contrived groups.
const STEPS_MAX: usize = 20_000_000;

pub fn assign(input: &Input<'_>) -> Vec<PartitionsByTopic> {
    let mut board = Board::new(input);
    board.keep();
    board.place();
    board.even_out();
    board.targets()
}

struct Board<'a> {
    input: &'a Input<'a>,
    subscribers: Vec<Vec<usize>>,
    /// By topic: what each member has of it.
    held: Vec<BTreeMap<usize, Vec<usize>>>,
    /// By topic and partition: whose target it was.
    former: Vec<Vec<Option<usize>>>,
    load: Vec<usize>,
}

impl<'a> Board<'a> {
    fn new(input: &'a Input<'a>) -> Board<'a> {
        let topics = input.topics.len();
        let mut subscribers = vec![Vec::new(); topics];
        for member in 0..input.members.len() {
            for topic in input.subscription(member) {
                subscribers[*topic].push(member);
            }
        }
        Board {
            input,
            subscribers,
            held: vec![BTreeMap::new(); topics],
            former: input.topics.iter().map(|topic| vec![None; topic.racks.len()]).collect(),
            load: vec![0; input.members.len()],
        }
    }

    fn keep(&mut self) {
        for member in 0..self.input.members.len() {
            for (topic, partition) in self.input.former(member) {
                if self.former[topic][partition].is_none() {
                    self.former[topic][partition] = Some(member);
                    self.give(topic, partition, member);
                }
            }
        }
    }

    /// Topics with most partitions per subscriber first: they leave least choice.
    fn place(&mut self) {
        let mut order: Vec<usize> = (0..self.input.topics.len())
            .filter(|topic| !self.subscribers[*topic].is_empty())
            .collect();
        let density = |topic: &usize| self.input.topics[*topic].racks.len() * 1024 / self.subscribers[*topic].len();
        order.sort_by_key(|topic| (usize::MAX - density(topic), *topic));
        for topic in order {
            let mut by_load: BTreeSet<(usize, usize)> = self.subscribers[topic]
                .iter()
                .map(|member| (self.load[*member], *member))
                .collect();
            for partition in 0..self.former[topic].len() {
                if self.former[topic][partition].is_some() {
                    continue;
                }
                let Some(least) = by_load.first().copied() else {
                    break;
                };
                let subject = &self.input.topics[topic];
                let near = by_load
                    .iter()
                    .take_while(|(load, _)| *load == least.0)
                    .find(|(_, member)| subject.in_rack(partition, self.input.members[*member].rack));
                let chosen = near.copied().unwrap_or(least);
                by_load.remove(&chosen);
                self.give(topic, partition, chosen.1);
                by_load.insert((self.load[chosen.1], chosen.1));
            }
        }
    }

    fn even_out(&mut self) {
        let mut steps = 0;
        let mut again = true;
        while again {
            again = false;
            let mut order: Vec<usize> = (0..self.load.len()).collect();
            order.sort_by_key(|member| (usize::MAX - self.load[*member], *member));
            for from in order {
                while let Some(chain) = self.chain(from, &mut steps) {
                    self.carry_out(&chain);
                    again = true;
                }
                if steps > STEPS_MAX {
                    return;
                }
            }
        }
    }

    /// The chain from this member to the one with least that it can reach, if that has at least two fewer: members,
    /// each with the topic of which the one before gives it a partition.
    fn chain(&self, from: usize, steps: &mut usize) -> Option<Vec<(usize, usize, usize)>> {
        let lightest = self.load.iter().min()?;
        if self.load[from] < lightest + 2 {
            return None;
        }
        let mut came_by: Vec<Option<(usize, usize)>> = vec![None; self.load.len()];
        let mut topic_seen = vec![false; self.held.len()];
        let mut queue = VecDeque::from([from]);
        let mut best: Option<usize> = None;
        while let Some(member) = queue.pop_front() {
            for topic in self.input.subscription(member) {
                if topic_seen[*topic] || !self.held[*topic].contains_key(&member) {
                    continue;
                }
                topic_seen[*topic] = true;
                *steps += self.subscribers[*topic].len();
                for next in &self.subscribers[*topic] {
                    if *next == from || came_by[*next].is_some() {
                        continue;
                    }
                    came_by[*next] = Some((member, *topic));
                    queue.push_back(*next);
                    let lighter = best.is_none_or(|best| self.load[*next] < self.load[best]);
                    if lighter && self.load[*next] + 2 <= self.load[from] {
                        best = Some(*next);
                    }
                }
            }
        }
        let mut chain = Vec::new();
        let mut to = best?;
        while let Some((giver, topic)) = came_by[to] {
            chain.push((giver, topic, to));
            to = giver;
        }
        Some(chain)
    }

    fn carry_out(&mut self, chain: &[(usize, usize, usize)]) {
        for (giver, topic, taker) in chain {
            let Some(held) = self.held[*topic].get_mut(giver) else {
                continue;
            };
            let cost = |partition: &usize| match self.former[*topic][*partition] {
                Some(former) if former == *taker => 0,
                Some(former) if former == *giver => 2,
                _ => 1,
            };
            let cheapest = (0..held.len()).min_by_key(|index| cost(&held[*index]));
            let Some(partition) = cheapest.map(|index| held.swap_remove(index)) else {
                continue;
            };
            if held.is_empty() {
                self.held[*topic].remove(giver);
            }
            self.load[*giver] -= 1;
            self.give(*topic, partition, *taker);
        }
    }

    fn give(&mut self, topic: usize, partition: usize, member: usize) {
        self.held[topic].entry(member).or_default().push(partition);
        self.load[member] += 1;
    }

    fn targets(&self) -> Vec<PartitionsByTopic> {
        let mut targets = vec![PartitionsByTopic::new(); self.load.len()];
        for (topic, held) in self.held.iter().enumerate() {
            for (member, partitions) in held {
                let partitions = partitions.iter().map(|partition| number(*partition)).collect();
                targets[*member].insert(self.input.topics[topic].id, partitions);
            }
        }
        targets
    }
}
