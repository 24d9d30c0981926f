//! The words every other crate speaks: ids, offsets, epochs, times, sizes and Kafka's error table.
//!
//! Nothing here does I/O, and nothing here knows a protocol. A word that Kafka has keeps Kafka's name.

mod error_code;
mod ids;
mod monotonic;
mod offsets;
pub mod planted;
mod time;
mod topic_name;

pub use error_code::ErrorCode;
pub use ids::{
    BrokerEpoch, BrokerId, ClusterId, DirectoryId, Incarnation, NodeId, PartitionId, ProducerEpoch, ProducerId,
    TopicId, TopicPartition, Uuid, UuidError,
};
pub use monotonic::Monotonic;
pub use offsets::{HighWatermark, LeaderEpoch, LogEndOffset, LogStartOffset, Offset, PartitionEpoch, Sequence};
pub use time::{Moment, Timestamp};
pub use topic_name::{TopicNameError, names_collide, validate_topic_name};
