//! Who of a classic group gets which partitions: the decision of the group's leader. Pure.
//!
//! All members of a group offer their assignors in order of preference, the coordinator picks one that all offer, and
//! the leader applies it. So these must give what Kafka's own give for the same name, or members of different clients
//! could not be told what to expect: range and round robin do so to the partition; cooperative-sticky keeps the same
//! promises (balance, stickiness, nobody is given what another still holds). Racks are not considered.

mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::consumer::record::TopicPartition;

/// How the leader of a classic group shares the partitions out. Members may offer several; the group uses one that all
/// of them offer.
///
/// A change from one to another is rolled out in two rounds: first all members offer both, then only the new one.
///
/// ```
/// use klamm_client::{Assignor, GroupConfig};
///
/// let config = GroupConfig { assignors: vec![Assignor::CooperativeSticky], ..GroupConfig::new("billing") };
/// assert_eq!(config.assignors[0].name(), "cooperative-sticky");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// Topic by topic: each member gets a run of neighbouring partitions, and of all topics the same ones. Good for
    /// joining topics; uneven when there are many topics with few partitions.
    Range,
    /// All partitions of all topics in turn, one member after another.
    RoundRobin,
    /// Balanced, and members keep what they have. If it is the only one that a member offers, only partitions that
    /// change hands stop: what a member keeps is read on during a rebalance.
    CooperativeSticky,
}

impl Assignor {
    /// All of them.
    pub const ALL: [Assignor; 3] = [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky];

    /// As Kafka's members call it among each other.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }
}

/// Whether members keep what they have while the group rebalances: only if all that they offer allows it.
pub(crate) fn is_cooperative(assignors: &[Assignor]) -> bool {
    !assignors.is_empty()
        && assignors
            .iter()
            .all(|assignor| *assignor == Assignor::CooperativeSticky)
}

/// What the leader knows of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberFacts {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub topics: BTreeSet<Arc<str>>,
    /// What the member says it still holds.
    pub owned: BTreeSet<TopicPartition>,
    /// The generation in which it was given that; -1: it does not say.
    pub generation: i32,
}

/// How many partitions each topic has.
pub(crate) type PartitionCounts = BTreeMap<Arc<str>, i32>;

/// What each member gets, by member id. All members are in it.
pub(crate) type Assignment = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Shares out all partitions of the subscribed topics that exist.
pub(crate) fn assign(assignor: Assignor, members: &[MemberFacts], counts: &PartitionCounts) -> Assignment {
    match assignor {
        Assignor::Range => range::assign(members, counts),
        Assignor::RoundRobin => round_robin::assign(members, counts),
        Assignor::CooperativeSticky => sticky::assign(members, counts),
    }
}

/// Static members first, by their instance ids, which survive restarts; then the others, by member id.
fn in_order(members: &[MemberFacts]) -> Vec<&MemberFacts> {
    let mut sorted: Vec<&MemberFacts> = members.iter().collect();
    sorted.sort_by(|one, other| {
        let key = |member: &MemberFacts| (member.instance_id.is_none(), member.instance_id.clone());
        key(one)
            .cmp(&key(other))
            .then_with(|| one.member_id.cmp(&other.member_id))
    });
    sorted
}

fn nothing_yet(members: &[MemberFacts]) -> Assignment {
    members
        .iter()
        .map(|member| (member.member_id.clone(), BTreeSet::new()))
        .collect()
}

/// The topics that somebody subscribes to and that exist.
fn subscribed<'a>(members: &[MemberFacts], counts: &'a PartitionCounts) -> Vec<(&'a Arc<str>, i32)> {
    let wanted: BTreeSet<&Arc<str>> = members.iter().flat_map(|member| &member.topics).collect();
    counts
        .iter()
        .filter(|(topic, _)| wanted.contains(topic))
        .map(|(topic, &count)| (topic, count))
        .collect()
}

fn partition(topic: &Arc<str>, number: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::clone(topic),
        partition: klamm_types::PartitionId(number),
    }
}
