//! Targets: who should have what in the newest epoch of the group, and the records that say so.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::TopicId;

use crate::call::PartitionsByTopic;
use crate::draft::Draft;
use crate::record::{ConsumerTargetEpoch, Record};
use crate::topics::Topics;

use super::assignor::{self, Assignee, Input, Subject};
use super::group::Group;
use super::heartbeat::consumer;
use super::member::Member;

/// Computes new targets if the group's epoch has none yet, unless the last were made just before.
pub(super) fn update(draft: &mut Draft<'_>) {
    let interval = draft.settings.consumer_assignment_interval;
    let (topics, now) = (draft.topics, draft.at.wall.0);
    let name = draft.name().to_owned();
    let Some(group) = consumer(draft) else {
        return;
    };
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let is_too_soon = group.target_timestamp != 0 && now < group.target_timestamp.saturating_add(interval_ms);
    if group.epoch <= group.target_epoch || (interval_ms > 0 && is_too_soon) {
        return;
    }
    let mut records: Vec<Record> = compute(group, topics)
        .into_iter()
        .filter(|(member, target)| group.targets.get(member).is_none_or(|former| **former != *target))
        .map(|(member, target)| Record::ConsumerTarget {
            group: name.clone(),
            member,
            value: Some(target),
        })
        .collect();
    records.push(Record::ConsumerTargetEpoch {
        group: name.clone(),
        value: Some(ConsumerTargetEpoch {
            epoch: group.epoch,
            timestamp: now,
        }),
    });
    for record in records {
        draft.record(record);
    }
}

/// The targets of all members by the assignor with most votes.
pub(super) fn compute(group: &Group, topics: &Topics) -> Vec<(String, PartitionsByTopic)> {
    let ids: BTreeSet<(TopicId, &str)> = group
        .subscribed_topics()
        .filter_map(|name| Some((topics.by_name(name)?.id, name)))
        .collect();
    let subjects: Vec<Subject<'_>> = ids
        .iter()
        .filter_map(|(id, name)| {
            let racks = &topics.by_name(name)?.partitions;
            Some(Subject { id: *id, racks })
        })
        .collect();
    let index: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(at, (_, name))| (*name, at)).collect();
    let mut numbers: BTreeMap<(&BTreeSet<String>, &str), usize> = BTreeMap::new();
    let mut subscriptions: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let none = PartitionsByTopic::new();
    let mut members = Vec::with_capacity(group.members.len());
    for (id, member) in &group.members {
        let key = (&member.subscribed_names, member.subscribed_regex.as_str());
        let subscription = *numbers.entry(key).or_insert_with(|| {
            let wanted = names(group, member).filter_map(|name| index.get(name).copied());
            let wanted: BTreeSet<usize> = wanted.collect();
            let next = subscriptions.len();
            *subscriptions.entry(wanted.into_iter().collect()).or_insert(next)
        });
        members.push(Assignee {
            id,
            instance: member.instance.as_deref(),
            rack: member.rack.as_deref(),
            subscription,
            target: group.targets.get(id).map_or(&none, |target| target),
        });
    }
    let mut ordered = vec![Vec::new(); subscriptions.len()];
    for (subscription, number) in subscriptions {
        ordered[number] = subscription;
    }
    let input = Input {
        members,
        topics: subjects,
        subscriptions: ordered,
    };
    let targets = assignor::assign(group.assignor(), &input);
    group.members.keys().cloned().zip(targets).collect()
}

/// The topics of a member's subscription, some perhaps twice.
pub(super) fn names<'a>(group: &'a Group, member: &'a Member) -> impl Iterator<Item = &'a str> {
    let pattern = member.pattern().and_then(|pattern| group.patterns.get(pattern));
    let matched = pattern.into_iter().flat_map(|resolved| resolved.topics.iter());
    member.subscribed_names.iter().chain(matched).map(String::as_str)
}

/// The same, as the ids of those that exist.
pub(super) fn subscribed_ids(group: &Group, member: &Member, topics: &Topics) -> BTreeSet<TopicId> {
    names(group, member)
        .filter_map(|name| Some(topics.by_name(name)?.id))
        .collect()
}

/// One number for all that targets depend on in the subscribed topics: ids, partitions, racks. 0 without topics.
/// Ours alone: Kafka's is made in another way, which costs one more epoch when a group moves from there.
pub(super) fn metadata_hash(group: &Group, topics: &Topics) -> i64 {
    let mut hash = Fnv::default();
    let mut found = false;
    for (name, topic) in group
        .subscribed_topics()
        .filter_map(|name| Some((name, topics.by_name(name)?)))
    {
        found = true;
        hash.field(name.as_bytes());
        hash.field(&topic.id.0.0);
        for racks in &topic.partitions {
            for rack in racks {
                hash.field(rack.as_bytes());
            }
            hash.field(b"");
        }
    }
    if found {
        i64::from_be_bytes(hash.0.to_be_bytes())
    } else {
        0
    }
}

/// FNV-1a, 64 bits; every field ends with its length.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn field(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let length = bytes.len().to_be_bytes();
        for byte in bytes.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
}
