//! OffsetFetch, of one group.
//!
//! A group, topic or partition without an offset is no error: the answer says -1.

use klamm_types::{ErrorCode, TopicId};

use super::store::Offsets;
use crate::call::{CallId, FetchOffsets, Stability};
use crate::draft::Draft;
use crate::group::Group;
use crate::record::Committed;
use crate::reply::{FetchedOffsets, FetchedPartition, FetchedTopic, Reply};

pub fn fetch(draft: &mut Draft<'_>, offsets: &Offsets, id: CallId, call: &FetchOffsets) {
    let allowed = match draft.group() {
        Some(Group::Consumer(group)) => group.validate_fetch(call.member.as_deref(), call.member_epoch),
        // Only the epochs of KIP-848 members mean something here.
        Some(Group::Classic(_)) | None => Ok(()),
    };
    let reply = match allowed {
        Err(error) => FetchedOffsets {
            error,
            topics: Vec::new(),
        },
        Ok(()) => FetchedOffsets {
            error: ErrorCode::None,
            topics: match &call.topics {
                Some(_) => named(offsets, call),
                None => all(draft, offsets, call),
            },
        },
    };
    draft.reply(id, Reply::FetchOffsets(reply));
}

fn named(offsets: &Offsets, call: &FetchOffsets) -> Vec<FetchedTopic> {
    let topics = call.topics.iter().flatten().map(|topic| {
        let committed = offsets.by_topic(&call.group).and_then(|topics| topics.get(&topic.name));
        let partitions = topic.partitions.iter().map(|&partition| {
            let found = committed.and_then(|offsets| offsets.get(&partition));
            answer(offsets, call, &topic.name, (partition, found))
        });
        FetchedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: partitions.collect(),
        }
    });
    topics.collect()
}

/// A partition with nothing but an offset of an open transaction is left out.
fn all(draft: &Draft<'_>, offsets: &Offsets, call: &FetchOffsets) -> Vec<FetchedTopic> {
    let topics = offsets.by_topic(&call.group).into_iter().flatten();
    let topics = topics.map(|(name, committed)| FetchedTopic {
        name: name.clone(),
        id: draft.topics.by_name(name).map_or(TopicId::ZERO, |topic| topic.id),
        partitions: committed
            .iter()
            .map(|(&partition, found)| answer(offsets, call, name, (partition, Some(found))))
            .collect(),
    });
    topics.collect()
}

fn answer(
    offsets: &Offsets,
    call: &FetchOffsets,
    topic: &str,
    (partition, found): (i32, Option<&Committed>),
) -> FetchedPartition {
    let unstable = call.stability == Stability::Required && offsets.pending().contains(&call.group, topic, partition);
    match found {
        Some(committed) if !unstable => FetchedPartition {
            partition,
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.clone(),
            error: ErrorCode::None,
        },
        _ => FetchedPartition {
            partition,
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
            error: if unstable {
                ErrorCode::UnstableOffsetCommit
            } else {
                ErrorCode::None
            },
        },
    }
}
