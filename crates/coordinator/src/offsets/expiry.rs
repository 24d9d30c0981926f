//! Offsets that nobody needs any more: those that have not been used for `offsets.retention.minutes`, and those of
//! topics that were deleted. A group that is left with neither members nor offsets goes, too.
//!
//! One decision holds a bounded number of records; the shard asks again until nothing is left.

use crate::change::Change;
use crate::draft::{Decision, Ground};
use crate::group::Group;
use crate::offsets::delete::{is_empty, is_subscribed, tombstone, tombstones};
use crate::record::{Committed, EXPIRE_BY_RULE, Record};
use crate::shard::Shard;

/// So many records one decision of this module holds, but for the last group's own few.
pub const RECORDS_PER_DECISION_MAX: usize = 1000;

/// Since when an offset has not been in use.
#[derive(Clone, Copy)]
enum Unused {
    /// The group is in use, and what it uses cannot be told.
    Never,
    SinceCommit,
    /// The group fell empty then.
    Since(i64),
}

/// Removes offsets whose time is over.
pub fn expire(shard: &Shard, ground: Ground<'_>) -> Decision {
    let mut records = Vec::new();
    for name in shard.offsets().groups() {
        if records.len() >= RECORDS_PER_DECISION_MAX {
            return decision(records);
        }
        let group = shard.group(name);
        if expire_offsets(shard, ground, name, &mut records) {
            records.extend(
                group
                    .filter(|group| is_over(group))
                    .map(|group| tombstones(group, name))
                    .into_iter()
                    .flatten(),
            );
        }
    }
    for (name, group) in shard.groups() {
        if records.len() >= RECORDS_PER_DECISION_MAX {
            break;
        }
        if !shard.offsets().has_group(name) && is_over(group) {
            records.extend(tombstones(group, name));
        }
    }
    decision(records)
}

/// Removes offsets of topics that do not exist any more.
pub fn forget_deleted_topics(shard: &Shard, ground: Ground<'_>) -> Decision {
    let gone = shard.offsets().of_deleted_topics(ground.topics);
    let records = gone
        .take(RECORDS_PER_DECISION_MAX)
        .map(|(group, topic, partition)| tombstone(group, topic, partition));
    decision(records.collect())
}

/// Whether no offset of the group is left.
fn expire_offsets(shard: &Shard, ground: Ground<'_>, name: &str, records: &mut Vec<Record>) -> bool {
    let offsets = shard.offsets();
    let group = shard.group(name);
    let unused = match group {
        Some(group) => unused(group),
        None => Unused::SinceCommit,
    };
    let mut none_left = !offsets.pending().has_group(name);
    for (topic, committed) in offsets.by_topic(name).into_iter().flatten() {
        if group.is_some_and(|group| is_subscribed(group, topic)) {
            none_left = false;
            continue;
        }
        for (&partition, committed) in committed {
            if records.len() >= RECORDS_PER_DECISION_MAX {
                return false;
            }
            if is_expired(ground, unused, committed) && !offsets.pending().contains(name, topic, partition) {
                records.push(tombstone(name, topic, partition));
            } else {
                none_left = false;
            }
        }
    }
    none_left
}

fn unused(group: &Group) -> Unused {
    match group {
        Group::Consumer(_) => Unused::SinceCommit,
        Group::Classic(group) if group.protocol_type().is_none() => Unused::SinceCommit,
        Group::Classic(group) if group.is_empty() && !group.state_since().is_none() => {
            Unused::Since(group.state_since().0)
        }
        Group::Classic(group) if group.is_empty() => Unused::SinceCommit,
        Group::Classic(group) if group.is_stable() && group.subscribed_topics().is_some() => Unused::SinceCommit,
        Group::Classic(_) => Unused::Never,
    }
}

fn is_expired(ground: Ground<'_>, unused: Unused, committed: &Committed) -> bool {
    let now = ground.at.wall.0;
    let since = match unused {
        Unused::Never => return false,
        Unused::SinceCommit => committed.commit_timestamp,
        Unused::Since(since) => since,
    };
    if committed.expire_timestamp != EXPIRE_BY_RULE {
        return now >= committed.expire_timestamp;
    }
    let retention = i64::try_from(ground.settings.offsets_retention.as_millis()).unwrap_or(i64::MAX);
    now.saturating_sub(since) >= retention
}

/// Whether nothing keeps the group but its offsets. A member id that was given out keeps it, too.
fn is_over(group: &Group) -> bool {
    let awaited = match group {
        Group::Classic(group) => group.pending_count() > 0,
        Group::Consumer(_) => false,
    };
    is_empty(group) && !awaited
}

fn decision(records: Vec<Record>) -> Decision {
    Decision {
        changes: records.into_iter().map(Change::Record).collect(),
        ..Decision::default()
    }
}
