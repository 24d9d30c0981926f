//! Records to bytes, in the versions that Kafka 4.3 writes.
//!
//! Decides no order: lists are written as the record holds them.

use bytes::Bytes;
use klamm_wire::consumer_group_current_member_assignment_value as current;
use klamm_wire::consumer_group_member_metadata_value as member_metadata;
use klamm_wire::consumer_group_target_assignment_member_value as target;
use klamm_wire::group_metadata_value as classic_group;
use klamm_wire::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, EncodeError, GroupMetadataKey, GroupMetadataValue, OffsetCommitKey,
    OffsetCommitValue, RecordKey, RecordValue, encode_record_key, encode_record_value,
};

use super::{
    AssignedPartitions, ClassicGroup, Committed, ConsumerCurrent, ConsumerGroup, ConsumerMember, ConsumerRegex,
    ConsumerTargetEpoch, EXPIRE_BY_RULE, Record,
};
use crate::call::PartitionsByTopic;

/// What carries an explicit expiry; later versions cannot.
const OFFSET_WITH_EXPIRY: i16 = 1;
const OFFSET: i16 = 4;
/// Version 4 is flexible and otherwise the same; Kafka reads it and writes 3.
const CLASSIC_GROUP: i16 = 3;
/// All values of KIP-848 groups.
const CONSUMER: i16 = 0;

/// A record's key and value; no value is a tombstone.
type Encoded = (Bytes, Option<Bytes>);

impl Record {
    /// Key and value as they stand in the log. Fails if a string is longer than the protocol can say.
    pub fn to_bytes(&self) -> Result<Encoded, EncodeError> {
        match self {
            Record::Offset {
                group,
                topic,
                partition,
                value,
            } => {
                let key = OffsetCommitKey {
                    group,
                    topic,
                    partition: *partition,
                };
                encoded(&key, value.as_ref().map(offset))
            }
            Record::ClassicGroup { group, value } => {
                encoded(&GroupMetadataKey { group }, value.as_ref().map(classic_group))
            }
            Record::ConsumerGroup { group, value } => {
                let key = ConsumerGroupMetadataKey { group_id: group };
                encoded(&key, value.as_ref().map(consumer_group))
            }
            Record::ConsumerMember { group, member, value } => {
                let key = ConsumerGroupMemberMetadataKey {
                    group_id: group,
                    member_id: member,
                };
                encoded(&key, value.as_ref().map(consumer_member))
            }
            Record::ConsumerTargetEpoch { group, value } => {
                let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: group };
                encoded(&key, value.as_ref().map(target_epoch))
            }
            Record::ConsumerTarget { group, member, value } => {
                let key = ConsumerGroupTargetAssignmentMemberKey {
                    group_id: group,
                    member_id: member,
                };
                encoded(&key, value.as_ref().map(target))
            }
            Record::ConsumerCurrent { group, member, value } => {
                let key = ConsumerGroupCurrentMemberAssignmentKey {
                    group_id: group,
                    member_id: member,
                };
                encoded(&key, value.as_ref().map(current))
            }
            Record::ConsumerRegex { group, regex, value } => {
                let key = ConsumerGroupRegularExpressionKey {
                    group_id: group,
                    regular_expression: regex,
                };
                encoded(&key, value.as_ref().map(regex_value))
            }
        }
    }
}

fn encoded<K: RecordKey, V: RecordValue>(key: &K, value: Option<(V, i16)>) -> Result<Encoded, EncodeError> {
    let value = match value {
        Some((value, version)) => Some(encode_record_value(&value, version)?),
        None => None,
    };
    Ok((encode_record_key(key)?, value))
}

fn offset(value: &Committed) -> (OffsetCommitValue<'_>, i16) {
    let version = match value.expire_timestamp {
        EXPIRE_BY_RULE => OFFSET,
        _ => OFFSET_WITH_EXPIRY,
    };
    let value = OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: &value.metadata,
        commit_timestamp: value.commit_timestamp,
        expire_timestamp: value.expire_timestamp,
        topic_id: value.topic_id.0,
    };
    (value, version)
}

fn classic_group(value: &ClassicGroup) -> (GroupMetadataValue<'_>, i16) {
    let members = value.members.iter().map(|member| classic_group::MemberMetadata {
        member_id: &member.member,
        group_instance_id: member.instance.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    });
    let value = GroupMetadataValue {
        protocol_type: &value.protocol_type,
        generation: value.generation,
        protocol: value.protocol.as_deref(),
        leader: value.leader.as_deref(),
        current_state_timestamp: value.state_timestamp,
        members: members.collect(),
    };
    (value, CLASSIC_GROUP)
}

fn consumer_group(value: &ConsumerGroup) -> (ConsumerGroupMetadataValue, i16) {
    let value = ConsumerGroupMetadataValue {
        epoch: value.epoch,
        metadata_hash: value.metadata_hash,
    };
    (value, CONSUMER)
}

fn consumer_member(value: &ConsumerMember) -> (ConsumerGroupMemberMetadataValue<'_>, i16) {
    let classic = value
        .classic
        .as_ref()
        .map(|classic| member_metadata::ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic.protocols.iter().map(classic_protocol).collect(),
        });
    let value = ConsumerGroupMemberMetadataValue {
        instance_id: value.instance.as_deref(),
        rack_id: value.rack.as_deref(),
        client_id: &value.client_id,
        client_host: &value.client_host,
        subscribed_topic_names: value.subscribed_names.iter().map(String::as_str).collect(),
        subscribed_topic_regex: value.subscribed_regex.as_deref(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        server_assignor: value.server_assignor.as_deref(),
        classic_member_metadata: classic,
    };
    (value, CONSUMER)
}

fn classic_protocol(protocol: &(String, Bytes)) -> member_metadata::ClassicProtocol<'_> {
    let (name, metadata) = protocol;
    member_metadata::ClassicProtocol {
        name,
        metadata: metadata.clone(),
    }
}

fn target_epoch(value: &ConsumerTargetEpoch) -> (ConsumerGroupTargetAssignmentMetadataValue, i16) {
    let value = ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: value.epoch,
        assignment_timestamp: value.timestamp,
    };
    (value, CONSUMER)
}

fn target(value: &PartitionsByTopic) -> (ConsumerGroupTargetAssignmentMemberValue, i16) {
    let topics = value.iter().map(|(topic, partitions)| target::TopicPartition {
        topic_id: topic.0,
        partitions: partitions.iter().copied().collect(),
    });
    let value = ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: topics.collect(),
    };
    (value, CONSUMER)
}

fn current(value: &ConsumerCurrent) -> (ConsumerGroupCurrentMemberAssignmentValue, i16) {
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: value.epoch,
        previous_member_epoch: value.previous_epoch,
        state: value.state,
        assigned_partitions: with_epochs(&value.assigned),
        partitions_pending_revocation: with_epochs(&value.pending_revocation),
    };
    (value, CONSUMER)
}

fn with_epochs(assigned: &AssignedPartitions) -> Vec<current::TopicPartitions> {
    let topics = assigned.iter().map(|(topic, partitions)| current::TopicPartitions {
        topic_id: topic.0,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
    });
    topics.collect()
}

fn regex_value(value: &ConsumerRegex) -> (ConsumerGroupRegularExpressionValue<'_>, i16) {
    let value = ConsumerGroupRegularExpressionValue {
        topics: value.topics.iter().map(String::as_str).collect(),
        version: value.version,
        timestamp: value.timestamp,
    };
    (value, CONSUMER)
}
