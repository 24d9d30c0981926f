//! What a partition of `__consumer_offsets` holds: one variant per record type, in owned words, to and from bytes.
//!
//! Written in the versions that Kafka writes; read in all that it reads. A `None` value is a tombstone.

mod from_bytes;
mod partition;
#[cfg(test)]
mod record_test;
mod to_bytes;

use bytes::Bytes;
use klamm_types::TopicId;

pub use from_bytes::{Unreadable, from_batch_record};
pub use partition::partition_for;

use crate::call::PartitionsByTopic;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Types 0 and 1.
    Offset {
        group: String,
        topic: String,
        partition: i32,
        value: Option<Committed>,
    },
    /// Type 2.
    ClassicGroup { group: String, value: Option<ClassicGroup> },
    /// Type 3.
    ConsumerGroup {
        group: String,
        value: Option<ConsumerGroup>,
    },
    /// Type 5.
    ConsumerMember {
        group: String,
        member: String,
        value: Option<ConsumerMember>,
    },
    /// Type 6.
    ConsumerTargetEpoch {
        group: String,
        value: Option<ConsumerTargetEpoch>,
    },
    /// Type 7.
    ConsumerTarget {
        group: String,
        member: String,
        value: Option<PartitionsByTopic>,
    },
    /// Type 8.
    ConsumerCurrent {
        group: String,
        member: String,
        value: Option<ConsumerCurrent>,
    },
    /// Type 16.
    ConsumerRegex {
        group: String,
        regex: String,
        value: Option<ConsumerRegex>,
    },
}

/// An `expire_timestamp`: by the coordinator's own rule, whatever that is then.
pub const EXPIRE_BY_RULE: i64 = -1;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    pub commit_timestamp: i64,
    /// Or [`EXPIRE_BY_RULE`].
    pub expire_timestamp: i64,
    pub topic_id: TopicId,
}

/// A classic group in a stable or empty generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroup {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group entered its state.
    pub state_timestamp: i64,
    pub members: Vec<ClassicMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroup {
    pub epoch: i32,
    pub metadata_hash: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMember {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_names: Vec<String>,
    pub subscribed_regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<String>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<ClassicMemberMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberMetadata {
    pub session_timeout_ms: i32,
    pub protocols: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerTargetEpoch {
    pub epoch: i32,
    pub timestamp: i64,
}

/// Where a member stands on its way to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerCurrent {
    pub epoch: i32,
    pub previous_epoch: i32,
    /// 0 stable, 1 has partitions to revoke, 2 waits for partitions of others.
    pub state: i8,
    pub assigned: AssignedPartitions,
    pub pending_revocation: AssignedPartitions,
}

/// Partitions with the member epoch at which each was assigned.
pub type AssignedPartitions = std::collections::BTreeMap<TopicId, std::collections::BTreeMap<i32, i32>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRegex {
    pub topics: Vec<String>,
    /// Of the metadata at which the pattern was resolved.
    pub version: i64,
    pub timestamp: i64,
}

impl Record {
    /// The group that the record belongs to.
    pub fn group(&self) -> &str {
        match self {
            Record::Offset { group, .. }
            | Record::ClassicGroup { group, .. }
            | Record::ConsumerGroup { group, .. }
            | Record::ConsumerMember { group, .. }
            | Record::ConsumerTargetEpoch { group, .. }
            | Record::ConsumerTarget { group, .. }
            | Record::ConsumerCurrent { group, .. }
            | Record::ConsumerRegex { group, .. } => group,
        }
    }
}
