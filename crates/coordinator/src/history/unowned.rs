//! Partitions that a group reads, and that none of its members has had for a while.
//!
//! A rebalance that does not end, a member that does not give its partitions up, an assignment that forgets some: the
//! group looks alive and lag grows. A group without members is left alone: its consumers were stopped, which an
//! operator knows, and so is one whose subscriptions cannot be read.
//!
//! What is seen is remembered here, not in the shard: after a change of coordinator the time begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::Timestamp;
use klamm_wire::{ConsumerProtocolAssignment, decode_consumer_protocol};

use super::{Entry, Happened};
use crate::classic;
use crate::group::Group;
use crate::shard::{At, Shard};
use crate::topics::Topics;

/// Watches one shard.
#[derive(Clone, Debug)]
pub struct Watch {
    /// How long a partition may be without an owner before it is told.
    patience: Duration,
    /// By group, topic and partition.
    seen: BTreeMap<(String, String, i32), Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    since: At,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl Watch {
    pub fn new(patience: Duration) -> Watch {
        Watch {
            patience,
            seen: BTreeMap::new(),
        }
    }

    /// To be asked every now and then. Entries of [`Happened::Unowned`] for the partitions that have had no owner for
    /// too long, each told once until it has had one again.
    pub fn observe(&mut self, at: At, shard: &Shard) -> Vec<Entry> {
        let unowned = unowned(shard);
        self.seen.retain(|key, _| unowned.contains(key));
        for key in unowned {
            let seen = Seen {
                since: at,
                told: Told::No,
            };
            self.seen.entry(key).or_insert(seen);
        }
        let mut entries: BTreeMap<(&str, &str), (Vec<i32>, Timestamp)> = BTreeMap::new();
        for ((group, topic, partition), seen) in &mut self.seen {
            if seen.told == Told::No && at.moment.since(seen.since.moment) >= self.patience {
                seen.told = Told::Yes;
                let entry = entries.entry((group, topic)).or_insert((Vec::new(), seen.since.wall));
                entry.0.push(*partition);
                entry.1 = entry.1.min(seen.since.wall);
            }
        }
        let entries = entries.into_iter().map(|((group, topic), (partitions, since))| Entry {
            group: group.to_owned(),
            at: at.wall,
            happened: Happened::Unowned {
                topic: topic.to_owned(),
                partitions,
                since,
            },
        });
        entries.collect()
    }

    /// How many partitions have had no owner for too long: a gauge.
    pub fn unowned(&self) -> usize {
        self.seen.values().filter(|seen| seen.told == Told::Yes).count()
    }
}

/// Partitions with committed offsets, of topics that a group with members subscribes to, that no member has now.
fn unowned(shard: &Shard) -> BTreeSet<(String, String, i32)> {
    let mut unowned = BTreeSet::new();
    for (name, group) in shard.groups() {
        let Some(owned) = owned(group, shard.topics()) else {
            continue;
        };
        for (topic, partition, _) in shard.offsets().of_group(name) {
            let exists = shard.topics().by_name(topic).is_some_and(|topic| topic.has(partition));
            let subscribed = match group {
                Group::Classic(group) => group.subscribed_topics().is_some_and(|topics| topics.contains(topic)),
                Group::Consumer(group) => group.is_subscribed(topic),
            };
            if exists && subscribed && !owned.contains(&(topic.to_owned(), partition)) {
                unowned.insert((name.to_owned(), topic.to_owned(), partition));
            }
        }
    }
    unowned
}

/// What the members of the group have; `None` if there are none, or it cannot be known.
fn owned(group: &Group, topics: &Topics) -> Option<BTreeSet<(String, i32)>> {
    match group {
        Group::Classic(group) => assigned(group),
        Group::Consumer(group) if group.is_empty() => None,
        Group::Consumer(group) => {
            let mut owned = BTreeSet::new();
            for (name, topic) in topics.iter().filter(|(name, _)| group.is_subscribed(name)) {
                for partition in (0..).take(topic.partitions.len()) {
                    if group.owner(topic.id, partition).is_some() {
                        owned.insert((name.to_owned(), partition));
                    }
                }
            }
            Some(owned)
        }
    }
}

fn assigned(group: &classic::Group) -> Option<BTreeSet<(String, i32)>> {
    if group.is_empty() || !group.uses_consumer_protocol() {
        return None;
    }
    let mut owned = BTreeSet::new();
    // While the group rebalances, what members had before counts no more: that is the time which is watched.
    if group.is_stable() {
        for member in group.members().filter(|member| !member.assignment.is_empty()) {
            let assignment: ConsumerProtocolAssignment<'_> = decode_consumer_protocol(&member.assignment).ok()?;
            for topic in assignment.assigned_partitions {
                owned.extend(
                    topic
                        .partitions
                        .iter()
                        .map(|partition| (topic.topic.to_owned(), *partition)),
                );
            }
        }
    }
    Some(owned)
}
