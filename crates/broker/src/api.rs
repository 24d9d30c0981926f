//! The broker's own words for what a front end asks of it: values in, values out, no Kafka bytes.
//!
//! The Kafka front end translates requests into these and answers back. Everything here names a partition by
//! topic id; names are resolved by the front end against the metadata image.

use std::time::Duration;

use bytes::Bytes;
use klamm_types::{
    ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionId, Timestamp, TopicId,
    TopicPartition,
};

/// How many replicas must hold a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// acks=0: nobody waits and nobody is told.
    None,
    /// acks=1: the leader alone, at the topic's durability level.
    Leader,
    /// acks=all: every in-sync replica, at the topic's durability level.
    All,
}

/// One batch for one partition.
#[derive(Clone, Debug)]
pub struct ProduceRequest {
    pub partition: TopicPartition,
    /// The bytes as the client sent them: exactly one batch, or the request is refused.
    pub records: Bytes,
    pub acks: Acks,
    pub timeout: Duration,
}

/// An acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: Offset,
    /// Set when the topic stamps batches with the time of the append.
    pub log_append_time: Timestamp,
    pub log_start_offset: LogStartOffset,
}

/// Why a batch was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceError {
    pub error: PartitionError,
    /// Where the batch is if it was appended all the same (REQUEST_TIMED_OUT); else `Offset::NONE`.
    pub base_offset: Offset,
    /// The log start where the error was found at the log; else -1.
    pub log_start_offset: LogStartOffset,
}

impl From<PartitionError> for ProduceError {
    fn from(error: PartitionError) -> Self {
        Self {
            error,
            base_offset: Offset::NONE,
            log_start_offset: LogStartOffset(-1),
        }
    }
}

/// Who leads a partition, as far as this broker knows: sent along with errors so that clients need not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
}

/// Why one partition's part of a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionError {
    pub code: ErrorCode,
    /// A sentence for people, where it tells more than the code.
    pub message: Option<String>,
    /// Records of the batch that were refused, by index, with a sentence each.
    pub record_errors: Vec<(i32, String)>,
    /// The leader, where `code` says that this broker is not it or that the epoch is stale.
    pub leader: Option<LeaderHint>,
}

impl From<ErrorCode> for PartitionError {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            record_errors: Vec::new(),
            leader: None,
        }
    }
}

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// One fetch over several partitions.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    pub partitions: Vec<FetchPartition>,
    pub max_wait: Duration,
    /// Answer as soon as so many bytes can be had.
    pub min_bytes: usize,
    /// Bound for all partitions together; the first batch is whole even if it is larger.
    pub max_bytes: usize,
    pub isolation: Isolation,
    /// Whether a replica that does not lead may answer (Kafka: from version 11 of Fetch on).
    pub followers: FollowerReads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerReads {
    Allowed,
    Refused,
}

/// What is wanted of one partition.
#[derive(Clone, Copy, Debug)]
pub struct FetchPartition {
    pub partition: TopicPartition,
    pub fetch_offset: Offset,
    /// `LeaderEpoch::NONE`: the client does not know it, nothing is checked.
    pub current_leader_epoch: LeaderEpoch,
    /// `LeaderEpoch::NONE`: no divergence check.
    pub last_fetched_epoch: LeaderEpoch,
    pub max_bytes: usize,
}

/// What one partition answers; in the order of the request.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    pub partition: TopicPartition,
    pub result: Result<FetchedData, PartitionError>,
}

#[derive(Clone, Debug, Default)]
pub struct FetchedData {
    pub high_watermark: HighWatermark,
    pub last_stable_offset: Offset,
    pub log_start_offset: LogStartOffset,
    /// Whole batches, in pieces so that nothing is copied to join them.
    pub records: Vec<Bytes>,
    /// Set instead of records where the client's log has diverged: (epoch, its end offset here).
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// What ListOffsets asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    Latest,
    Earliest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    EarliestPendingUpload,
    AtOrAfter(Timestamp),
}

#[derive(Clone, Copy, Debug)]
pub struct ListOffsetRequest {
    pub partition: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub spec: OffsetSpec,
    pub isolation: Isolation,
    /// Whether a follower may answer (replica id -2, for debugging).
    pub followers: FollowerReads,
}

/// The answer to ListOffsets; all "none" if nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug)]
pub struct EpochEndRequest {
    pub partition: TopicPartition,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
}

/// The end of an epoch in this leader's log; both -1 if it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub leader_epoch: LeaderEpoch,
    pub end_offset: Offset,
}

/// One replica of this broker as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    pub partition: TopicPartition,
    pub role: PartitionRole,
    /// As the newest image names them.
    pub leader: LeaderHint,
    pub log_start_offset: LogStartOffset,
    pub log_end_offset: Offset,
    /// Of the last record; `NONE` in an empty log, and while the log is not open.
    pub last_epoch: LeaderEpoch,
    pub flushed_offset: Offset,
    pub high_watermark: HighWatermark,
    pub size_bytes: u64,
    /// Produce requests that wait for an acknowledgement.
    pub waiting_produces: usize,
    pub isr: Vec<NodeId>,
    pub replicas: usize,
    /// In-sync replicas that an acknowledgement needs.
    pub min_isr: usize,
    /// Of a leader: how far each follower has written; `None` if it has not told yet.
    pub followers: Vec<(NodeId, Option<Offset>)>,
    /// Bytes that a loss of power would take from this replica.
    pub unflushed_bytes: u64,
}

/// What this broker is to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionRole {
    /// Opening, without a leader, or mending itself.
    None,
    Leader,
    Follower,
    /// The disk failed.
    Stopped,
}

/// A shorthand used all over the broker.
pub fn topic_partition(topic: TopicId, partition: i32) -> TopicPartition {
    TopicPartition {
        topic,
        partition: PartitionId(partition),
    }
}
