//! The Klamm SDK.

pub mod admin;
mod client;
mod config;
mod consumer;
mod error;
mod metadata;
mod net;
mod producer;

pub use client::Client;
pub use config::ClientConfig;
pub use consumer::{Consumer, ConsumeError, ConsumerConfig, ConsumerRecord, IsolationLevel, Obstacle, OffsetReset, Start, TopicPartition};
pub use klamm_record::{Compression, CompressionLevel, Header};
pub use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, NodeId, Offset, PartitionId, Timestamp, TopicId};
pub use producer::*;
pub use error::*;
pub use metadata::{Broker, Cluster, Partition, Topic};
