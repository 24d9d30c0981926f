//! What comes out of a consumer.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use klamm_record::{Header, TimestampType};
use klamm_types::{LeaderEpoch, Offset, PartitionId, Timestamp};

/// A record as it was read.
///
/// Key, value and headers are slices of the fetch answer, or of a decompressed batch, and keep all of it in memory.
/// Copy what is kept for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: Arc<str>,
    pub partition: PartitionId,
    pub offset: Offset,
    /// Milliseconds since 1970; -1 if there is none.
    pub timestamp: Timestamp,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    pub key: Option<Bytes>,
    /// None is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// In the producer's order; names may repeat.
    pub headers: Vec<Header>,
    /// Under which leader the record was written.
    pub leader_epoch: LeaderEpoch,
}

/// A partition by the name of its topic.
///
/// ```
/// use klamm_client::TopicPartition;
///
/// assert_eq!(TopicPartition::new("orders", 3).to_string(), "orders-3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: PartitionId,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition: PartitionId(partition),
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
