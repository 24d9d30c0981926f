//! A member's way to its target: what it keeps, what it must give up, what it gets.
//!
//! A partition is given to a member only when no other holds it, and a member enters an epoch only when it has given up
//! what the epoch takes from it. So at any time a partition has one owner. This rests on one thing outside: heartbeats
//! of one member are processed in the order in which it sent them (lost and repeated ones do no harm).

use std::collections::BTreeSet;

use klamm_types::TopicId;

use crate::call::PartitionsByTopic;
use crate::record::AssignedPartitions;

use super::member::{Member, MemberState};

/// What the next step of a member depends on.
pub struct Situation<'a> {
    pub target_epoch: i32,
    pub target: &'a PartitionsByTopic,
    /// The topics of the member's subscription as it is now; targets of an older one are not followed.
    pub subscribed: &'a BTreeSet<TopicId>,
    /// What the member says it holds; `None` if it does not say.
    pub owned: Option<&'a PartitionsByTopic>,
    /// Whether another member holds the partition.
    pub held_by_other: &'a dyn Fn(TopicId, i32) -> bool,
    pub subscription: Subscription,
}

/// Whether the member's subscription changes with this very heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    Same,
    Changed,
}

/// The member after its next step; `None` if it stays as it is.
pub fn next(member: &Member, situation: &Situation<'_>) -> Option<Member> {
    let changed = situation.subscription == Subscription::Changed;
    let after = match member.state {
        MemberState::Stable if member.epoch == situation.target_epoch => {
            changed.then(|| drop_unsubscribed(member, situation))?
        }
        MemberState::Unrevoked if owns_any(situation.owned, &member.pending) => {
            changed.then(|| drop_unsubscribed(member, situation))?
        }
        // What it was about to do is not known, so nothing of it is taken for done until it says that it owns nothing.
        MemberState::Unknown(_) if situation.owned.is_none_or(|owned| !owned.is_empty()) => return None,
        MemberState::Stable | MemberState::Unrevoked | MemberState::Unreleased | MemberState::Unknown(_) => {
            advance(member, situation)
        }
    };
    (after != *member).then_some(after)
}

fn advance(member: &Member, situation: &Situation<'_>) -> Member {
    let mut kept = AssignedPartitions::new();
    let mut pending = AssignedPartitions::new();
    for (topic, partitions) in &member.assigned {
        let target = situation
            .target
            .get(topic)
            .filter(|_| situation.subscribed.contains(topic));
        for (partition, since) in partitions {
            let stays = target.is_some_and(|target| target.contains(partition));
            let side = if stays { &mut kept } else { &mut pending };
            side.entry(*topic).or_default().insert(*partition, *since);
        }
    }
    let mut after = member.clone();
    if !pending.is_empty() && owns_any(situation.owned, &pending) {
        after.state = MemberState::Unrevoked;
        after.assigned = kept;
        after.pending = pending;
        return after;
    }
    let mut state = MemberState::Stable;
    for (topic, partitions) in situation.target {
        if !situation.subscribed.contains(topic) {
            continue;
        }
        for partition in partitions {
            if kept.get(topic).is_some_and(|kept| kept.contains_key(partition)) {
                continue;
            }
            if (situation.held_by_other)(*topic, *partition) {
                state = MemberState::Unreleased;
            } else {
                let since = situation.target_epoch;
                kept.entry(*topic).or_default().insert(*partition, since);
            }
        }
    }
    enter(&mut after, situation.target_epoch);
    after.state = state;
    after.assigned = kept;
    after.pending = AssignedPartitions::new();
    after
}

/// The previous epoch is the last one that differs, so that a member that misses several answers of one epoch is
/// still known by the epoch before.
fn enter(member: &mut Member, epoch: i32) {
    if member.epoch != epoch {
        member.previous_epoch = member.epoch;
        member.epoch = epoch;
    }
}

/// The targets are not there yet, but partitions of topics it no longer subscribes to need not wait.
fn drop_unsubscribed(member: &Member, situation: &Situation<'_>) -> Member {
    let mut after = member.clone();
    after.assigned.retain(|topic, _| situation.subscribed.contains(topic));
    for (topic, partitions) in &member.assigned {
        if !situation.subscribed.contains(topic) {
            after.pending.entry(*topic).or_default().extend(partitions);
        }
    }
    if after.pending.is_empty() {
        return after;
    }
    if owns_any(situation.owned, &after.pending) {
        after.state = MemberState::Unrevoked;
    } else {
        after.pending.clear();
    }
    after
}

/// Silence is no release.
fn owns_any(owned: Option<&PartitionsByTopic>, pending: &AssignedPartitions) -> bool {
    let Some(owned) = owned else {
        return true;
    };
    pending.iter().any(|(topic, partitions)| {
        let owned = owned.get(topic);
        owned.is_some_and(|owned| partitions.keys().any(|partition| owned.contains(partition)))
    })
}

/// What a member is told to hold.
pub fn without_epochs(assigned: &AssignedPartitions) -> PartitionsByTopic {
    assigned
        .iter()
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect()
}
