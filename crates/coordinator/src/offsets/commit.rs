//! OffsetCommit.
//!
//! A partition that is not known, or whose metadata is too long, is refused for itself; whether the member may commit
//! is answered for the whole, also where a KIP-848 member has lost one partition of those it names: that is how
//! Kafka 4.3 does it.

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{ErrorCode, TopicId};

use super::store::Offsets;
use crate::call::{CallId, CommitOffsets, CommitPartition, CommitTopic};
use crate::classic;
use crate::draft::Draft;
use crate::group::Group;
use crate::record::{Committed, EXPIRE_BY_RULE, Record};
use crate::reply::{CommittedTopic, Reply};
use crate::settings::Settings;
use crate::topics::Topics;

/// The `retention_time_ms` of a client that leaves expiry to the coordinator.
const RETENTION_BY_RULE: i64 = -1;
/// Of the names in all records of one commit.
const NAMES_BYTES_MAX: usize = 8 << 20;

pub fn commit(draft: &mut Draft<'_>, offsets: &Offsets, id: CallId, call: &CommitOffsets) {
    let topics = draft.topics;
    let settings = draft.settings;
    let mut answer: Vec<CommittedTopic> = call
        .topics
        .iter()
        .map(|topic| CommittedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| (partition.partition, own_error(topics, settings, &topic.name, partition)))
                .collect(),
        })
        .collect();
    // Kafka's front end drops unknown partitions first; a request without any other never reaches the group.
    let reaches = |error: ErrorCode| error != ErrorCode::UnknownTopicOrPartition;
    if answer
        .iter()
        .flat_map(|topic| &topic.partitions)
        .any(|(_, error)| reaches(*error))
    {
        match check_size(call).and_then(|()| validate(draft, offsets, call, &answer)) {
            Ok(()) => accept(draft, call, &answer),
            Err(refused) => {
                let partitions = answer.iter_mut().flat_map(|topic| &mut topic.partitions);
                for (_, error) in partitions.filter(|(_, error)| reaches(*error)) {
                    *error = refused;
                }
            }
        }
    }
    draft.reply(id, Reply::CommitOffsets(answer));
}

/// Every record repeats the names of group and topic, so a small request can ask for very much.
fn check_size(call: &CommitOffsets) -> Result<(), ErrorCode> {
    let of_topic = |topic: &CommitTopic| topic.partitions.len() * (call.group.len() + topic.name.len());
    match call.topics.iter().map(of_topic).sum::<usize>() > NAMES_BYTES_MAX {
        true => Err(ErrorCode::InvalidCommitOffsetSize),
        false => Ok(()),
    }
}

/// What is wrong with one partition, whoever commits it.
fn own_error(topics: &Topics, settings: &Settings, topic: &str, partition: &CommitPartition) -> ErrorCode {
    if !topics
        .by_name(topic)
        .is_some_and(|topic| topic.has(partition.partition))
    {
        return ErrorCode::UnknownTopicOrPartition;
    }
    // Kafka counts what Java calls characters.
    let metadata = partition.metadata.as_deref().unwrap_or_default();
    if metadata.encode_utf16().count() > settings.offset_metadata_bytes_max {
        return ErrorCode::OffsetMetadataTooLarge;
    }
    ErrorCode::None
}

/// Whether the member may commit the partitions with no error of their own.
fn validate(
    draft: &mut Draft<'_>,
    offsets: &Offsets,
    call: &CommitOffsets,
    answer: &[CommittedTopic],
) -> Result<(), ErrorCode> {
    let name = draft.name();
    let topics = draft.topics;
    match draft.group() {
        // A client without membership: the group exists from now on, and only has offsets.
        None if call.generation < 0 => Ok(()),
        None if offsets.has_group(name) => Err(ErrorCode::UnknownMemberId),
        None if call.version >= 9 => Err(ErrorCode::GroupIdNotFound),
        None => Err(ErrorCode::IllegalGeneration),
        Some(Group::Classic(group)) => {
            group.validate_commit(&call.member, call.instance.as_deref(), call.generation)?;
            classic::seen_in_commit(draft, &call.member);
            Ok(())
        }
        Some(Group::Consumer(group)) => {
            let scope = group.validate_commit(&call.member, call.generation, call.version)?;
            for topic in answer {
                let id = topic_id(topics, &topic.name);
                for (partition, error) in &topic.partitions {
                    if *error == ErrorCode::None {
                        match scope.check(id, *partition) {
                            ErrorCode::None => {}
                            refused => return Err(refused),
                        }
                    }
                }
            }
            Ok(())
        }
    }
}

fn accept(draft: &mut Draft<'_>, call: &CommitOffsets, answer: &[CommittedTopic]) {
    if is_planted(Bug::AnswerUnwrittenCommit) {
        return;
    }
    let now = draft.at.wall.0;
    let expire_timestamp = match call.retention_ms {
        RETENTION_BY_RULE => EXPIRE_BY_RULE,
        retention => now.saturating_add(retention).max(0),
    };
    for (topic, answered) in call.topics.iter().zip(answer) {
        let id = topic_id(draft.topics, &topic.name);
        for (partition, (_, error)) in topic.partitions.iter().zip(&answered.partitions) {
            if *error != ErrorCode::None {
                continue;
            }
            // A record with an expiry has room for neither epoch nor topic id; what is kept is what is written.
            let explicit = expire_timestamp != EXPIRE_BY_RULE;
            let value = Committed {
                offset: partition.offset,
                leader_epoch: if explicit { -1 } else { partition.leader_epoch },
                metadata: partition.metadata.clone().unwrap_or_default(),
                commit_timestamp: now,
                expire_timestamp,
                topic_id: if explicit { TopicId::ZERO } else { id },
            };
            draft.record(Record::Offset {
                group: call.group.clone(),
                topic: topic.name.clone(),
                partition: partition.partition,
                value: Some(value),
            });
        }
    }
}

fn topic_id(topics: &Topics, name: &str) -> TopicId {
    topics.by_name(name).map_or(TopicId::ZERO, |topic| topic.id)
}
