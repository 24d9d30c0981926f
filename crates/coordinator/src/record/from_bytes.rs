//! Bytes to records, in all versions that Kafka reads.
//!
//! What cannot be read is an error that the reader of the log counts and passes over: one strange record must not keep
//! a coordinator from loading.

use bytes::Bytes;
use klamm_types::TopicId;
use klamm_wire::consumer_group_current_member_assignment_value::TopicPartitions;
use klamm_wire::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue, Decode, DecodeError,
    GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue, OffsetCommitKey,
    OffsetCommitValue, RecordKey, RecordValue, decode_record_key, decode_record_value, record_type,
};

use super::{
    AssignedPartitions, ClassicGroup, ClassicMember, ClassicMemberMetadata, Committed, ConsumerCurrent, ConsumerGroup,
    ConsumerMember, ConsumerRegex, ConsumerTargetEpoch, EXPIRE_BY_RULE, Record,
};
use crate::call::PartitionsByTopic;

/// A record that cannot be read. The reader counts it and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("a record has no key")]
    NoKey,
    /// Of share or streams groups, or of a later time.
    #[error("record type {0} is not known")]
    UnknownType(i16),
    #[error("the record's key or value is malformed, or of an unknown version")]
    Malformed(#[from] DecodeError),
}

/// One record of a batch; `None` for a kind that is read and means nothing any more.
pub fn from_batch_record(key: Option<&Bytes>, value: Option<&Bytes>) -> Result<Option<Record>, Unreadable> {
    let key = key.ok_or(Unreadable::NoKey)?;
    let record = match record_type(key)? {
        LegacyOffsetCommitKey::TYPE => legacy_offset(key, value)?,
        OffsetCommitKey::TYPE => offset(key, value)?,
        GroupMetadataKey::TYPE => classic_group(key, value)?,
        ConsumerGroupMetadataKey::TYPE => consumer_group(key, value)?,
        // Kafka 4.0 kept the partition counts of subscribed topics here; later ones keep a hash in the group's record.
        ConsumerGroupPartitionMetadataKey::TYPE => return Ok(None),
        ConsumerGroupMemberMetadataKey::TYPE => consumer_member(key, value)?,
        ConsumerGroupTargetAssignmentMetadataKey::TYPE => target_epoch(key, value)?,
        ConsumerGroupTargetAssignmentMemberKey::TYPE => target(key, value)?,
        ConsumerGroupCurrentMemberAssignmentKey::TYPE => current(key, value)?,
        ConsumerGroupRegularExpressionKey::TYPE => regex(key, value)?,
        unknown => return Err(Unreadable::UnknownType(unknown)),
    };
    Ok(Some(record))
}

fn decoded<'a, V: RecordValue + Decode<'a>>(value: Option<&'a Bytes>) -> Result<Option<V>, DecodeError> {
    value.map(decode_record_value).transpose()
}

fn legacy_offset(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: LegacyOffsetCommitKey<'_> = decode_record_key(key)?;
    let value: Option<LegacyOffsetCommitValue<'_>> = decoded(value)?;
    Ok(Record::Offset {
        group: key.group.to_owned(),
        topic: key.topic.to_owned(),
        partition: key.partition,
        value: value.map(|value| Committed {
            offset: value.offset,
            leader_epoch: -1,
            metadata: value.metadata.to_owned(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: EXPIRE_BY_RULE,
            topic_id: TopicId::ZERO,
        }),
    })
}

fn offset(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: OffsetCommitKey<'_> = decode_record_key(key)?;
    let value: Option<OffsetCommitValue<'_>> = decoded(value)?;
    Ok(Record::Offset {
        group: key.group.to_owned(),
        topic: key.topic.to_owned(),
        partition: key.partition,
        value: value.map(|value| Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.to_owned(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: value.expire_timestamp,
            topic_id: TopicId(value.topic_id),
        }),
    })
}

fn classic_group(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: GroupMetadataKey<'_> = decode_record_key(key)?;
    let value: Option<GroupMetadataValue<'_>> = decoded(value)?;
    let value = value.map(|value| {
        let members = value.members.into_iter().map(|member| ClassicMember {
            member: member.member_id.to_owned(),
            instance: member.group_instance_id.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            client_host: member.client_host.to_owned(),
            // Version 0 knew one time-out only.
            rebalance_timeout_ms: match member.rebalance_timeout {
                -1 => member.session_timeout,
                given => given,
            },
            session_timeout_ms: member.session_timeout,
            subscription: member.subscription,
            assignment: member.assignment,
        });
        ClassicGroup {
            protocol_type: value.protocol_type.to_owned(),
            generation: value.generation,
            protocol: value.protocol.map(str::to_owned),
            leader: value.leader.map(str::to_owned),
            state_timestamp: value.current_state_timestamp,
            members: members.collect(),
        }
    });
    Ok(Record::ClassicGroup {
        group: key.group.to_owned(),
        value,
    })
}

fn consumer_group(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: ConsumerGroupMetadataKey<'_> = decode_record_key(key)?;
    let value: Option<ConsumerGroupMetadataValue> = decoded(value)?;
    Ok(Record::ConsumerGroup {
        group: key.group_id.to_owned(),
        value: value.map(|value| ConsumerGroup {
            epoch: value.epoch,
            metadata_hash: value.metadata_hash,
        }),
    })
}

fn consumer_member(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: ConsumerGroupMemberMetadataKey<'_> = decode_record_key(key)?;
    let value: Option<ConsumerGroupMemberMetadataValue<'_>> = decoded(value)?;
    let value = value.map(|value| {
        let classic = value.classic_member_metadata.map(|classic| ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .into_iter()
                .map(|protocol| (protocol.name.to_owned(), protocol.metadata))
                .collect(),
        });
        ConsumerMember {
            instance: value.instance_id.map(str::to_owned),
            rack: value.rack_id.map(str::to_owned),
            client_id: value.client_id.to_owned(),
            client_host: value.client_host.to_owned(),
            subscribed_names: value.subscribed_topic_names.into_iter().map(str::to_owned).collect(),
            subscribed_regex: value.subscribed_topic_regex.map(str::to_owned),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            server_assignor: value.server_assignor.map(str::to_owned),
            classic,
        }
    });
    Ok(Record::ConsumerMember {
        group: key.group_id.to_owned(),
        member: key.member_id.to_owned(),
        value,
    })
}

fn target_epoch(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: ConsumerGroupTargetAssignmentMetadataKey<'_> = decode_record_key(key)?;
    let value: Option<ConsumerGroupTargetAssignmentMetadataValue> = decoded(value)?;
    Ok(Record::ConsumerTargetEpoch {
        group: key.group_id.to_owned(),
        value: value.map(|value| ConsumerTargetEpoch {
            epoch: value.assignment_epoch,
            timestamp: value.assignment_timestamp,
        }),
    })
}

fn target(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: ConsumerGroupTargetAssignmentMemberKey<'_> = decode_record_key(key)?;
    let value: Option<ConsumerGroupTargetAssignmentMemberValue> = decoded(value)?;
    let value = value.map(|value| {
        let mut partitions = PartitionsByTopic::new();
        for topic in value.topic_partitions {
            let of_topic = partitions.entry(TopicId(topic.topic_id)).or_default();
            of_topic.extend(topic.partitions);
        }
        partitions
    });
    Ok(Record::ConsumerTarget {
        group: key.group_id.to_owned(),
        member: key.member_id.to_owned(),
        value,
    })
}

fn current(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: ConsumerGroupCurrentMemberAssignmentKey<'_> = decode_record_key(key)?;
    let value: Option<ConsumerGroupCurrentMemberAssignmentValue> = decoded(value)?;
    Ok(Record::ConsumerCurrent {
        group: key.group_id.to_owned(),
        member: key.member_id.to_owned(),
        value: value.map(|value| ConsumerCurrent {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: value.state,
            assigned: with_epochs(value.assigned_partitions, value.member_epoch),
            pending_revocation: with_epochs(value.partitions_pending_revocation, value.member_epoch),
        }),
    })
}

/// Before 4.3 partitions had no epochs of their own: they count as assigned at the member's.
fn with_epochs(topics: Vec<TopicPartitions>, member_epoch: i32) -> AssignedPartitions {
    let mut assigned = AssignedPartitions::new();
    for topic in topics {
        let epochs = topic.assignment_epochs.unwrap_or_default();
        let complete = epochs.len() == topic.partitions.len();
        let of_topic = assigned.entry(TopicId(topic.topic_id)).or_default();
        for (index, partition) in topic.partitions.into_iter().enumerate() {
            let epoch = match epochs.get(index) {
                Some(&epoch) if complete => epoch,
                _ => member_epoch.max(0),
            };
            of_topic.insert(partition, epoch);
        }
    }
    assigned
}

fn regex(key: &Bytes, value: Option<&Bytes>) -> Result<Record, DecodeError> {
    let key: ConsumerGroupRegularExpressionKey<'_> = decode_record_key(key)?;
    let value: Option<ConsumerGroupRegularExpressionValue<'_>> = decoded(value)?;
    Ok(Record::ConsumerRegex {
        group: key.group_id.to_owned(),
        regex: key.regular_expression.to_owned(),
        value: value.map(|value| ConsumerRegex {
            topics: value.topics.into_iter().map(str::to_owned).collect(),
            version: value.version,
            timestamp: value.timestamp,
        }),
    })
}
