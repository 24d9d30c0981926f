//! The values in effect, in types: a topic's own, else the cluster's default, else the built-in one.
//!
//! Stored values were checked when they were given; one that this program cannot read (written by a newer one)
//! counts as not given.

use std::str::FromStr;

use klamm_types::NodeId;

use super::table;
use crate::image::{Image, PartitionState, Resource, Topic};

/// When a write counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Acknowledged = flushed to the disk of every in-sync replica.
    Fsync,
    /// Acknowledged = written to the file of every in-sync replica.
    Replicated,
}

/// The codec that batches are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they came.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Whose clock stamps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// A topic's settings in effect. Times are in milliseconds; -1 means "no limit" where Kafka says so.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// Whether old segments are dropped by age and size. If not, `retention_ms` and `retention_bytes` are -1 here.
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    pub compression: Compression,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub durability: Durability,
    pub file_delete_delay_ms: i64,
    pub index_interval_bytes: i32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    /// As set; what counts for a partition is never more than its replicas.
    pub min_insync_replicas: i32,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
}

/// The cluster's settings in effect that are no topic's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    pub auto_create_topics_enable: bool,
    pub auto_leader_rebalance_enable: bool,
    pub broker_session_timeout_ms: i32,
    pub default_replication_factor: i32,
    pub delete_topic_enable: bool,
    pub group_initial_rebalance_delay_ms: i32,
    pub num_partitions: i32,
    pub replica_lag_time_max_ms: i64,
}

impl Image {
    /// The settings in effect for a topic of this name, whether or not it exists.
    pub fn effective_config(&self, topic: &str) -> TopicConfig {
        let resource = Resource::Topic(topic.into());
        let lookup = Lookup {
            image: self,
            resource: Some(&resource),
        };
        lookup.topic_config()
    }

    /// The settings in effect for the cluster.
    pub fn cluster_config(&self) -> ClusterConfig {
        let lookup = Lookup {
            image: self,
            resource: None,
        };
        ClusterConfig {
            auto_create_topics_enable: lookup.cluster("auto.create.topics.enable", true),
            auto_leader_rebalance_enable: lookup.cluster("auto.leader.rebalance.enable", true),
            broker_session_timeout_ms: lookup.cluster("broker.session.timeout.ms", 2_000),
            default_replication_factor: lookup.cluster("default.replication.factor", 3),
            delete_topic_enable: lookup.cluster("delete.topic.enable", true),
            group_initial_rebalance_delay_ms: lookup.cluster("group.initial.rebalance.delay.ms", 3_000),
            num_partitions: lookup.cluster("num.partitions", 1),
            replica_lag_time_max_ms: lookup.cluster("replica.lag.time.max.ms", 2_000),
        }
    }

    /// How many in-sync replicas this partition needs: the setting, but never more than there are replicas.
    pub fn effective_min_isr(&self, topic: &Topic, state: &PartitionState) -> usize {
        min_isr_for(self.min_insync_replicas(&topic.name), &state.replicas)
    }

    /// `min.insync.replicas` of a topic as set.
    pub fn min_insync_replicas(&self, topic: &str) -> i32 {
        self.topic_value(topic, "min.insync.replicas").unwrap_or(1)
    }

    /// `unclean.leader.election.enable` of a topic.
    pub fn allows_unclean_election(&self, topic: &str) -> bool {
        self.topic_value(topic, "unclean.leader.election.enable")
            .unwrap_or(false)
    }

    /// `klamm.durability` of a topic, `flush.messages=1` included.
    pub fn durability(&self, topic: &str) -> Durability {
        let resource = Resource::Topic(topic.into());
        let lookup = Lookup {
            image: self,
            resource: Some(&resource),
        };
        lookup.durability()
    }

    fn topic_value<T: FromStr>(&self, topic: &str, name: &str) -> Option<T> {
        let resource = Resource::Topic(topic.into());
        let lookup = Lookup {
            image: self,
            resource: Some(&resource),
        };
        lookup.text(name).parse().ok()
    }
}

pub(crate) fn min_isr_for(min_insync_replicas: i32, replicas: &[NodeId]) -> usize {
    usize::try_from(min_insync_replicas.max(1)).map_or(replicas.len(), |min| min.min(replicas.len()))
}

/// Finds values for one topic, or for the cluster alone.
struct Lookup<'a> {
    image: &'a Image,
    resource: Option<&'a Resource>,
}

impl Lookup<'_> {
    /// A topic setting in effect, as text.
    fn text(&self, name: &str) -> &str {
        if let Some(own) = self.resource.and_then(|resource| self.image.config(resource, name)) {
            return own;
        }
        let Some(setting) = table::topic_setting(name) else {
            return "";
        };
        setting
            .cluster_name
            .and_then(|name| self.image.config(&Resource::ClusterDefaults, name))
            .unwrap_or(setting.default)
    }

    fn value<T: FromStr>(&self, name: &str, fallback: T) -> T {
        let default = || table::topic_setting(name).and_then(|setting| setting.default.parse().ok());
        self.text(name).parse().ok().or_else(default).unwrap_or(fallback)
    }

    fn cluster<T: FromStr>(&self, name: &str, fallback: T) -> T {
        let given = self.image.config(&Resource::ClusterDefaults, name);
        let default = || table::cluster_setting(name).and_then(|setting| setting.default.parse().ok());
        given
            .and_then(|text| text.parse().ok())
            .or_else(default)
            .unwrap_or(fallback)
    }

    /// The topic's own word first, in either form; then the cluster's.
    fn durability(&self) -> Durability {
        for resource in self.resource.into_iter().chain([&Resource::ClusterDefaults]) {
            let flush = match resource {
                Resource::ClusterDefaults => "log.flush.interval.messages",
                Resource::Topic(_) | Resource::Broker(_) => "flush.messages",
            };
            match self.image.config(resource, "klamm.durability") {
                Some("replicated") => return Durability::Replicated,
                Some(_) => return Durability::Fsync,
                None if self.image.config(resource, flush) == Some("1") => return Durability::Fsync,
                None => {}
            }
        }
        Durability::Fsync
    }

    fn topic_config(&self) -> TopicConfig {
        let policies = self.text("cleanup.policy");
        let cleanup_delete = policies.split(',').any(|policy| policy == "delete");
        let limit = |name| if cleanup_delete { self.value(name, -1) } else { -1 };
        TopicConfig {
            cleanup_delete,
            cleanup_compact: policies.split(',').any(|policy| policy == "compact"),
            compression: match self.text("compression.type") {
                "uncompressed" => Compression::Uncompressed,
                "gzip" => Compression::Gzip,
                "snappy" => Compression::Snappy,
                "lz4" => Compression::Lz4,
                "zstd" => Compression::Zstd,
                _ => Compression::Producer,
            },
            compression_gzip_level: self.value("compression.gzip.level", -1),
            compression_lz4_level: self.value("compression.lz4.level", 9),
            compression_zstd_level: self.value("compression.zstd.level", 3),
            delete_retention_ms: self.value("delete.retention.ms", 86_400_000),
            durability: self.durability(),
            file_delete_delay_ms: self.value("file.delete.delay.ms", 60_000),
            index_interval_bytes: self.value("index.interval.bytes", 4_096),
            max_compaction_lag_ms: self.value("max.compaction.lag.ms", i64::MAX),
            max_message_bytes: self.value("max.message.bytes", 1_048_588),
            message_timestamp_after_max_ms: self.value("message.timestamp.after.max.ms", 3_600_000),
            message_timestamp_before_max_ms: self.value("message.timestamp.before.max.ms", i64::MAX),
            message_timestamp_type: match self.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: self.value("min.cleanable.dirty.ratio", 0.5),
            min_compaction_lag_ms: self.value("min.compaction.lag.ms", 0),
            min_insync_replicas: self.value("min.insync.replicas", 1),
            retention_bytes: limit("retention.bytes"),
            retention_ms: limit("retention.ms"),
            segment_bytes: self.value("segment.bytes", 1_073_741_824),
            segment_index_bytes: self.value("segment.index.bytes", 10_485_760),
            segment_jitter_ms: self.value("segment.jitter.ms", 0),
            segment_ms: self.value("segment.ms", 604_800_000),
            unclean_leader_election_enable: self.value("unclean.leader.election.enable", false),
        }
    }
}
