//! A client for Kafka clusters in pure Rust: producer, consumer, administration. Klamm's SDK, and it speaks nothing
//! but the Kafka protocol, so it works with every Kafka cluster.
//!
//! * [`Client`]: one per cluster. Knows brokers, topics and leaders, and makes the other three.
//! * [`Producer`]: batches, compresses, retries. Idempotent and acknowledged by all in-sync replicas by default.
//! * [`Consumer`]: reads partitions, fetching ahead within bounded memory. The program assigns them, or a group of
//!   consumers shares them, by either of Kafka's group protocols, and commits how far it got.
//! * [`admin::Admin`]: topics, settings, offsets, groups, the cluster and its quorum.
//!
//! ```
//! use klamm_client::{Client, ClientConfig, ConsumerConfig, ProducerConfig, ProducerRecord, Start};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let cluster = klamm_testkit::Cluster::start().await?;
//! let client = Client::connect(ClientConfig::new(cluster.bootstrap())).await?;
//!
//! let producer = client.producer(ProducerConfig::default())?;
//! let delivered = producer.send(ProducerRecord::to("orders").key("7").value("one apple")).await?.await?;
//! producer.close().await;
//!
//! let mut consumer = client.consumer(ConsumerConfig::default());
//! consumer.assign_topic("orders", Start::Earliest).await?;
//! let record = consumer.recv().await?;
//! assert_eq!(record.offset, delivered.offset);
//! # cluster.stop().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//! Each operation has its own enum. All of them answer `is_retriable()`, whether the same call may succeed later, and
//! `may_have_had_effect()`, whether the failed attempt may have changed the cluster all the same. What a retry mends is
//! retried inside, within the configured time, as long as that cannot do a thing twice.
//!
//! # Failover
//! When a broker dies, its partitions are produced to and fetched from their new leaders as soon as any living broker
//! knows them: it is asked every 20 ms, and silent ones are passed over. Batches that were on their way are sent again
//! in order, under the same sequences, so that none is written twice.
//!
//! # Units
//! Times are [`std::time::Duration`]s, sizes are bytes, [`Timestamp`]s are milliseconds since 1970. Offsets named as an
//! end are exclusive. Everything that is kept waiting is bounded by a setting.

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
    Assigned, Assignor, CommitError, CommittedOffset, ConsumeError, Consumer, ConsumerConfig, ConsumerRecord,
    GroupConfig, GroupError, GroupMembership, GroupProtocol, IsolationLevel, Obstacle, OffsetReset, PendingCommit,
    RebalanceListener, Revoked, Start, TopicPartition,
};
pub use error::*;
pub use klamm_record::{BatchError, Compression, CompressionLevel, Header, TimestampType};
pub use klamm_types::{
    ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionId, Timestamp, TopicId,
};
pub use metadata::{Broker, Cluster, Partition, Topic};
pub use producer::*;
