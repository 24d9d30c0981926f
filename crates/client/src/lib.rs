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
pub use consumer::{
    ConsumeError, Consumer, ConsumerConfig, ConsumerRecord, IsolationLevel, Obstacle, OffsetReset, Start,
    TopicPartition,
};
pub use error::*;
pub use klamm_record::{Compression, CompressionLevel, Header};
pub use klamm_types::{ErrorCode, HighWatermark, LeaderEpoch, NodeId, Offset, PartitionId, Timestamp, TopicId};
pub use metadata::{Broker, Cluster, Partition, Topic};
pub use producer::*;
