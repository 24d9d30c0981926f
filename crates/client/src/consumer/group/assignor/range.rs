//! Range: topic by topic, neighbouring partitions to each member in order.

use super::{Assignment, MemberFacts, PartitionCounts, in_order, nothing_yet, partition, subscribed};

pub(super) fn assign(members: &[MemberFacts], counts: &PartitionCounts) -> Assignment {
    let mut assignment = nothing_yet(members);
    let sorted = in_order(members);
    for (topic, count) in subscribed(members, counts) {
        let takers: Vec<&&MemberFacts> = sorted.iter().filter(|member| member.topics.contains(topic)).collect();
        let takers_count = i32::try_from(takers.len()).unwrap_or(i32::MAX).max(1);
        let (share, more) = (count / takers_count, count % takers_count);
        let mut next = 0;
        for (index, member) in (0..).zip(takers) {
            // The first ones take what does not divide evenly.
            let end = next + share + i32::from(index < more);
            if let Some(given) = assignment.get_mut(&member.member_id) {
                given.extend((next..end).map(|number| partition(topic, number)));
            }
            next = end;
        }
    }
    assignment
}
