//! Who should have which partition: the assignors of the coordinator.
//!
//! A pure function of members, subscriptions, topics and the targets so far. It knows nothing of who holds what now.

mod heterogeneous;
mod range;
mod uniform;

use std::collections::BTreeSet;

use klamm_types::TopicId;

use crate::call::PartitionsByTopic;

/// The assignor of a group whose members name none.
pub const DEFAULT: &str = "uniform";

/// Those that a member may name.
pub const NAMES: [&str; 2] = ["uniform", "range"];

/// What an assignor sees.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// In order of their ids.
    pub members: Vec<Assignee<'a>>,
    /// In order of their ids.
    pub topics: Vec<Subject<'a>>,
    /// The different subscriptions: indexes into `topics`, ascending.
    pub subscriptions: Vec<Vec<usize>>,
}

/// A member.
#[derive(Clone, Copy, Debug)]
pub struct Assignee<'a> {
    pub id: &'a str,
    pub instance: Option<&'a str>,
    pub rack: Option<&'a str>,
    /// Index into [`Input::subscriptions`].
    pub subscription: usize,
    /// Its target so far.
    pub target: &'a PartitionsByTopic,
}

/// A topic that at least one member subscribes to.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub id: TopicId,
    /// By partition: the racks that hold a replica.
    pub racks: &'a [BTreeSet<String>],
}

/// The new target of each member. A name that is not known is the default.
pub fn assign(name: &str, input: &Input<'_>) -> Vec<PartitionsByTopic> {
    match name {
        "range" => range::assign(input),
        _ if input.subscriptions.len() == 1 => uniform::assign(input),
        _ => heterogeneous::assign(input),
    }
}

impl Subject<'_> {
    fn in_rack(&self, partition: usize, rack: Option<&str>) -> bool {
        rack.is_some_and(|rack| self.racks.get(partition).is_some_and(|racks| racks.contains(rack)))
    }
}

impl<'a> Input<'a> {
    fn subscription(&self, member: usize) -> &[usize] {
        let found = self.subscriptions.get(self.members[member].subscription);
        found.map_or(&[], Vec::as_slice)
    }

    /// The valid part of a member's target so far, as (topic index, partition).
    fn former(&self, member: usize) -> Vec<(usize, usize)> {
        let subscription = self.subscription(member);
        let mut former = Vec::new();
        for (id, partitions) in self.members[member].target {
            let Ok(topic) = self.topics.binary_search_by_key(id, |subject| subject.id) else {
                continue;
            };
            if subscription.binary_search(&topic).is_err() {
                continue;
            }
            let known = self.topics[topic].racks.len();
            let partitions = partitions
                .iter()
                .filter_map(|partition| usize::try_from(*partition).ok());
            former.extend(
                partitions
                    .filter(|partition| *partition < known)
                    .map(|partition| (topic, partition)),
            );
        }
        former
    }
}

/// Partition numbers are those of Kafka: 32 bits with a sign.
fn number(partition: usize) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod assignor_test;
