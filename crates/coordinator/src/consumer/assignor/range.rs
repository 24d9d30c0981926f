//! Range: per topic, neighbouring partitions to one member, in the same order of members for every topic.
//!
//! Topics with equal partition counts and subscribers are thus co-partitioned. Static members come first, by their
//! instance ids, so that a restarted one gets its partitions back. Not sticky otherwise.

use crate::call::PartitionsByTopic;

use super::{Input, number};

pub fn assign(input: &Input<'_>) -> Vec<PartitionsByTopic> {
    let mut order: Vec<usize> = (0..input.members.len()).collect();
    order.sort_by_key(|index| {
        let member = &input.members[*index];
        (member.instance.is_none(), member.instance.unwrap_or(member.id))
    });
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); input.topics.len()];
    for member in order {
        for topic in input.subscription(member) {
            subscribers[*topic].push(member);
        }
    }
    let mut targets = vec![PartitionsByTopic::new(); input.members.len()];
    for (topic, subscribers) in subscribers.iter().enumerate() {
        let partitions = input.topics[topic].racks.len();
        let mut first = 0;
        for (place, member) in subscribers.iter().enumerate() {
            let share = partitions / subscribers.len() + usize::from(place < partitions % subscribers.len());
            if share > 0 {
                let range = (first..first + share).map(number).collect();
                targets[*member].insert(input.topics[topic].id, range);
            }
            first += share;
        }
    }
    targets
}
