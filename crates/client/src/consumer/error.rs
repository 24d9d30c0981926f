//! Why reading stopped or does not get on.

use std::sync::Arc;
use std::time::Duration;

use klamm_record::BatchError;
use klamm_types::{ErrorCode, LeaderEpoch, LogStartOffset, Offset};

use super::group::GroupError;
use super::record::TopicPartition;
use crate::error::{MetadataError, RequestError};

/// Why [`Consumer::poll`](crate::Consumer::poll) has no records, or a question about offsets no answer.
///
/// Reading has no effect on the cluster, and a failure moves no position: the position tells where reading goes on.
///
/// ```
/// use klamm_client::{ConsumeError, TopicPartition};
///
/// let failure = ConsumeError::TopicReplaced { partition: TopicPartition::new("orders", 0) };
/// assert!(!failure.is_retriable() && !failure.may_have_had_effect());
/// assert_eq!(failure.partition().map(|partition| partition.partition.0), Some(0));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The log does not hold the position. Seek to go on, or set [`OffsetReset`](crate::OffsetReset).
    #[error("reading {partition}: the log does not hold offset {position}{}", starts(.log_start))]
    OffsetOutOfRange {
        partition: TopicPartition,
        position: Offset,
        log_start: Option<LogStartOffset>,
    },
    /// The log was cut below the position: records that were read before are not in it any more, and others may stand
    /// at their offsets. It happens only where replicas that were not in sync may lead, or where disks lost what they
    /// had. Seek to go on.
    #[error("reading {partition}: the log was cut at {} below position {position}, read under leader epoch {read_under}", text(.divergence))]
    Truncated {
        partition: TopicPartition,
        position: Offset,
        read_under: LeaderEpoch,
        /// The first offset that may have changed, if the leader can tell.
        divergence: Option<Offset>,
    },
    /// The topic was deleted, and another of the same name was created. Seek to go on in the new one.
    #[error("reading {partition}: the topic was replaced by another of the same name")]
    TopicReplaced { partition: TopicPartition },
    /// A batch is damaged, or opens to more than is allowed. It is fetched again at each poll; seek to `next_offset`
    /// to pass it.
    #[error("reading {partition}: the batch at offset {position} is damaged")]
    Damaged {
        partition: TopicPartition,
        position: Offset,
        /// Where the batch after the damaged one starts, if its header can be read.
        next_offset: Option<Offset>,
        #[source]
        cause: BatchError,
    },
    /// The cluster refuses, for a reason that waiting does not mend. Seek to try again.
    #[error("reading {partition}: refused by the broker")]
    Refused {
        partition: TopicPartition,
        #[source]
        code: ErrorCode,
    },
    /// The broker cannot be talked to in a way that waiting mends. Seek to try again.
    #[error("reading {partition}")]
    Request {
        partition: TopicPartition,
        #[source]
        cause: Arc<RequestError>,
    },
    /// The partition could not be read for `waited` (the client's `api_timeout`). The consumer goes on trying, and
    /// says so again after as long a time.
    #[error("reading {partition}: unavailable for {waited:?}")]
    Unavailable {
        partition: TopicPartition,
        waited: Duration,
        #[source]
        cause: Obstacle,
    },
    /// The operation needs the partition to be assigned.
    #[error("{partition} is not assigned to this consumer")]
    NotAssigned { partition: TopicPartition },
    /// The group has committed no offset for a partition, and [`OffsetReset`](crate::OffsetReset) does not say where to
    /// begin. Seek to go on.
    #[error("reading {partition}: the group has committed no offset for it, and no offset reset is set")]
    NoCommittedOffset { partition: TopicPartition },
    /// This consumer takes no part in its group. It comes back with each call until the program subscribes anew.
    #[error("taking part in the group")]
    Group(#[source] GroupError),
    /// A topic could not be looked up.
    #[error("looking up a topic to read")]
    Topic(#[source] Arc<MetadataError>),
}

/// What keeps a partition from being read, for the time being.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Obstacle {
    #[error("the topic or partition is not known to the cluster")]
    UnknownPartition,
    #[error("the partition has no leader")]
    NoLeader,
    #[error("the broker refuses")]
    Refused(#[source] ErrorCode),
    #[error("the broker does not answer")]
    Request(#[source] Arc<RequestError>),
    #[error("the broker sends no whole batch from the position on")]
    NoWholeBatch,
}

fn starts(log_start: &Option<LogStartOffset>) -> String {
    log_start
        .map(|start| format!(", it starts at {start}"))
        .unwrap_or_default()
}

fn text(divergence: &Option<Offset>) -> String {
    divergence.map_or_else(|| "an unknown offset".to_owned(), |offset| format!("offset {offset}"))
}

impl ConsumeError {
    /// Whether going on without doing anything may succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            ConsumeError::Unavailable { .. } => true,
            // The broker reads it again, or another broker does.
            ConsumeError::Damaged { cause, .. } => matches!(cause, BatchError::BadCrc { .. }),
            ConsumeError::Topic(cause) => cause.is_retriable(),
            ConsumeError::OffsetOutOfRange { .. }
            | ConsumeError::Truncated { .. }
            | ConsumeError::TopicReplaced { .. }
            | ConsumeError::Refused { .. }
            | ConsumeError::Request { .. }
            | ConsumeError::NoCommittedOffset { .. }
            | ConsumeError::Group(_)
            | ConsumeError::NotAssigned { .. } => false,
        }
    }

    /// Never: reading changes nothing.
    pub fn may_have_had_effect(&self) -> bool {
        false
    }

    /// The partition that it is about, if it is about one.
    pub fn partition(&self) -> Option<&TopicPartition> {
        match self {
            ConsumeError::OffsetOutOfRange { partition, .. }
            | ConsumeError::Truncated { partition, .. }
            | ConsumeError::TopicReplaced { partition }
            | ConsumeError::Damaged { partition, .. }
            | ConsumeError::Refused { partition, .. }
            | ConsumeError::Request { partition, .. }
            | ConsumeError::Unavailable { partition, .. }
            | ConsumeError::NoCommittedOffset { partition }
            | ConsumeError::NotAssigned { partition } => Some(partition),
            ConsumeError::Topic(_) | ConsumeError::Group(_) => None,
        }
    }
}
