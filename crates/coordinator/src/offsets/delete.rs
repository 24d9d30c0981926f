//! OffsetDelete and DeleteGroups.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::ErrorCode;

use super::store::Offsets;
use crate::call::{CallId, DeleteOffsets};
use crate::draft::Draft;
use crate::group::Group;
use crate::record::Record;
use crate::reply::{DeletedOffsets, Reply};

/// OffsetDelete.
pub fn delete(draft: &mut Draft<'_>, offsets: &Offsets, id: CallId, call: &DeleteOffsets) {
    // Each is deleted once, however often it is named.
    let mut told = BTreeMap::<&str, BTreeSet<i32>>::new();
    let reply = match check_delete(draft, offsets, call) {
        Err(error) => DeletedOffsets {
            error,
            topics: Vec::new(),
        },
        Ok(()) => DeletedOffsets {
            error: ErrorCode::None,
            topics: call
                .topics
                .iter()
                .map(|(topic, partitions)| {
                    let told = told.entry(topic).or_default();
                    (topic.clone(), delete_topic(draft, offsets, told, (topic, partitions)))
                })
                .collect(),
        },
    };
    draft.reply(id, Reply::DeleteOffsets(reply));
}

fn check_delete(draft: &mut Draft<'_>, offsets: &Offsets, call: &DeleteOffsets) -> Result<(), ErrorCode> {
    if call.group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    match draft.group() {
        None if offsets.has_group(&call.group) => Ok(()),
        None => Err(ErrorCode::GroupIdNotFound),
        // What its members read is not known.
        Some(Group::Classic(group)) if !group.is_empty() && !group.uses_consumer_protocol() => {
            Err(ErrorCode::NonEmptyGroup)
        }
        Some(_) => Ok(()),
    }
}

fn delete_topic(
    draft: &mut Draft<'_>,
    offsets: &Offsets,
    told: &mut BTreeSet<i32>,
    (topic, partitions): (&str, &[i32]),
) -> Vec<(i32, ErrorCode)> {
    let group = draft.name();
    let known = draft.topics.by_name(topic);
    let subscribed = draft.group().is_some_and(|group| is_subscribed(group, topic));
    let mut answer = Vec::with_capacity(partitions.len());
    for &partition in partitions {
        let error = if !known.is_some_and(|topic| topic.has(partition)) {
            ErrorCode::UnknownTopicOrPartition
        } else if subscribed {
            ErrorCode::GroupSubscribedToTopic
        } else {
            ErrorCode::None
        };
        answer.push((partition, error));
        let exists =
            offsets.get(group, topic, partition).is_some() || offsets.pending().contains(group, topic, partition);
        if error == ErrorCode::None && exists && told.insert(partition) {
            draft.record(tombstone(group, topic, partition));
        }
    }
    answer
}

/// DeleteGroups, of one group: the group and all its offsets.
pub fn delete_group(draft: &mut Draft<'_>, offsets: &Offsets, id: CallId) {
    let name = draft.name();
    let group = match draft.group() {
        None if offsets.has_group(name) => Ok(Vec::new()),
        None => Err(ErrorCode::GroupIdNotFound),
        Some(group) if is_empty(group) => Ok(tombstones(group, name)),
        Some(_) => Err(ErrorCode::NonEmptyGroup),
    };
    let error = match group {
        Err(error) => error,
        Ok(records) => {
            let committed = offsets.of_group(name).map(|(topic, partition, _)| (topic, partition));
            let every: BTreeSet<(&str, i32)> = committed.chain(offsets.pending().of_group(name)).collect();
            for (topic, partition) in every {
                draft.record(tombstone(name, topic, partition));
            }
            for record in records {
                draft.record(record);
            }
            ErrorCode::None
        }
    };
    draft.reply(id, Reply::DeleteGroup(error));
}

/// Removes one offset.
pub(super) fn tombstone(group: &str, topic: &str, partition: i32) -> Record {
    Record::Offset {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
        value: None,
    }
}

/// Removes a group that has no members.
pub(super) fn tombstones(group: &Group, name: &str) -> Vec<Record> {
    match group {
        Group::Classic(_) => vec![Record::ClassicGroup {
            group: name.to_owned(),
            value: None,
        }],
        Group::Consumer(group) => group.tombstones(name),
    }
}

/// Whether nobody is in it.
pub(super) fn is_empty(group: &Group) -> bool {
    match group {
        Group::Classic(group) => group.is_empty(),
        Group::Consumer(group) => group.is_empty(),
    }
}

/// Whether a member reads the topic.
pub(super) fn is_subscribed(group: &Group, topic: &str) -> bool {
    match group {
        Group::Classic(group) => !group.is_empty() && group.is_subscribed_to(topic),
        Group::Consumer(group) => group.is_subscribed(topic),
    }
}
