//! Round robin: all partitions in order, one member after another; those who do not subscribe are passed over.

use super::{Assignment, MemberFacts, PartitionCounts, in_order, nothing_yet, partition, subscribed};

pub(super) fn assign(members: &[MemberFacts], counts: &PartitionCounts) -> Assignment {
    let mut assignment = nothing_yet(members);
    let sorted = in_order(members);
    let mut turn = 0;
    for (topic, count) in subscribed(members, counts) {
        for number in 0..count {
            // Somebody subscribes to every topic here, so one round finds a taker.
            let found = (0..sorted.len())
                .map(|step| (turn + step) % sorted.len())
                .find(|&index| sorted[index].topics.contains(topic));
            let Some(index) = found else { break };
            if let Some(given) = assignment.get_mut(&sorted[index].member_id) {
                given.insert(partition(topic, number));
            }
            turn = (index + 1) % sorted.len();
        }
    }
    assignment
}
