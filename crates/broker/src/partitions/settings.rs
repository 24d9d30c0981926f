//! A topic's settings in effect, sorted by who needs them: the produce checks, the log, the replication core.

use std::time::Duration;

use klamm_log::{CompactionRules, LogConfig};
use klamm_metadata::Image;
use klamm_metadata::config::{Compression as TopicCodec, Durability, TimestampType as TopicTimestamps, TopicConfig};
use klamm_record::{Compression, CompressionLevel, TimestampType};
use klamm_replication::Settings;

use super::check::{ProduceRules, TopicCompression, TopicKeys};

/// What the partitions of one topic are run by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    pub produce: ProduceRules,
    pub log: LogConfig,
    pub replication: Settings,
}

impl TopicSettings {
    /// The settings of the topic `name` in `image`; `tail_bytes_max` is the node's own.
    pub fn of(image: &Image, name: &str, tail_bytes_max: usize) -> TopicSettings {
        let topic = image.effective_config(name);
        let lag = image.cluster_config().replica_lag_time_max_ms;
        TopicSettings {
            produce: produce_rules(&topic),
            log: log_config(&topic, tail_bytes_max),
            replication: Settings {
                min_insync_replicas: usize::try_from(topic.min_insync_replicas).unwrap_or(1),
                durability: match topic.durability {
                    Durability::Fsync => klamm_replication::Durability::Fsync,
                    Durability::Replicated => klamm_replication::Durability::Replicated,
                },
                lag_time_max: Duration::from_millis(u64::try_from(lag).unwrap_or(0)),
                ..Settings::default()
            },
        }
    }
}

fn produce_rules(topic: &TopicConfig) -> ProduceRules {
    let codec = |codec, level| TopicCompression::Codec(codec, CompressionLevel::Level(level));
    ProduceRules {
        // No log takes a larger batch, whatever the topic says.
        message_bytes_max: size(topic.max_message_bytes).min(LogConfig::default().batch_bytes_max),
        segment_bytes: size(topic.segment_bytes),
        timestamp_type: match topic.message_timestamp_type {
            TopicTimestamps::CreateTime => TimestampType::CreateTime,
            TopicTimestamps::LogAppendTime => TimestampType::LogAppendTime,
        },
        timestamp_before_ms_max: topic.message_timestamp_before_max_ms,
        timestamp_after_ms_max: topic.message_timestamp_after_max_ms,
        compression: match topic.compression {
            TopicCodec::Producer => TopicCompression::Producer,
            TopicCodec::Uncompressed => TopicCompression::Codec(Compression::None, CompressionLevel::Default),
            TopicCodec::Gzip if topic.compression_gzip_level == -1 => {
                TopicCompression::Codec(Compression::Gzip, CompressionLevel::Default)
            }
            TopicCodec::Gzip => codec(Compression::Gzip, topic.compression_gzip_level),
            TopicCodec::Snappy => TopicCompression::Codec(Compression::Snappy, CompressionLevel::Default),
            TopicCodec::Lz4 => codec(Compression::Lz4, topic.compression_lz4_level),
            TopicCodec::Zstd => codec(Compression::Zstd, topic.compression_zstd_level),
        },
        keys: if topic.cleanup_compact {
            TopicKeys::Required
        } else {
            TopicKeys::Optional
        },
    }
}

fn log_config(topic: &TopicConfig, tail_bytes_max: usize) -> LogConfig {
    LogConfig {
        segment_bytes: size(topic.segment_bytes) as u64,
        segment_ms: topic.segment_ms,
        segment_index_bytes: size(topic.segment_index_bytes) as u64,
        index_interval_bytes: size(topic.index_interval_bytes) as u64,
        retention_ms: (topic.retention_ms >= 0).then_some(topic.retention_ms),
        retention_bytes: u64::try_from(topic.retention_bytes).ok(),
        file_delete_delay_ms: u64::try_from(topic.file_delete_delay_ms).unwrap_or(0),
        tail_bytes_max,
        compaction: topic.cleanup_compact.then(|| compaction_rules(topic)),
        ..LogConfig::default()
    }
}

fn compaction_rules(topic: &TopicConfig) -> CompactionRules {
    CompactionRules {
        dirty_ratio_min_permille: (topic.min_cleanable_dirty_ratio.clamp(0.0, 1.0) * 1000.0).round() as u32,
        lag_min_ms: topic.min_compaction_lag_ms,
        lag_max_ms: topic.max_compaction_lag_ms,
        delete_retention_ms: topic.delete_retention_ms,
        ..CompactionRules::default()
    }
}

fn size(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}
