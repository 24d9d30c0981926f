//! What an operator may set for one partition's log. Values are taken as they are; bounds are checked where settings
//! are read.

/// The settings of one log. They can be replaced while it runs; what was written stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it would grow past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed once its first batch is this old.
    pub segment_ms: i64,
    /// `segment.index.bytes`: a segment is closed once an index of it is this large.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`: how many bytes of batches lie between two index entries, at least.
    pub index_interval_bytes: u64,
    /// `retention.ms`; `None` keeps segments of any age.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` keeps any number of bytes.
    pub retention_bytes: Option<u64>,
    /// `file.delete.delay.ms`: how long a deleted segment's files stay under another name.
    pub file_delete_delay_ms: u64,
    /// How many bytes the memory tail may pin. 0 switches it off.
    pub tail_bytes_max: usize,
    /// How the log is compacted, if `cleanup.policy` says so.
    pub compaction: Option<CompactionRules>,
    /// No batch may be larger: also the bound on what one damaged length field can make a read allocate.
    pub batch_bytes_max: usize,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            file_delete_delay_ms: 60_000,
            tail_bytes_max: 4 << 20,
            compaction: None,
            batch_bytes_max: 100 << 20,
        }
    }
}

/// The settings of compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionRules {
    /// `min.cleanable.dirty.ratio`, in thousandths: so much of what can be compacted is not, before it is worth it.
    pub dirty_ratio_min_permille: u32,
    /// `min.compaction.lag.ms`: segments with younger records are left alone.
    pub lag_min_ms: i64,
    /// `max.compaction.lag.ms`: what has waited so long is compacted however little it is.
    pub lag_max_ms: i64,
    /// `delete.retention.ms`: how long a tombstone is kept after it could first be removed, for readers to see it.
    pub delete_retention_ms: i64,
    /// How long a producer that is heard of no more is remembered by its last batch.
    pub producer_expiration_ms: i64,
    /// How much memory the keys of one run may take. What does not fit is for the next run.
    pub keys_bytes_max: usize,
}

impl Default for CompactionRules {
    /// Kafka's defaults, but for the memory, which is a fraction of its.
    fn default() -> CompactionRules {
        CompactionRules {
            dirty_ratio_min_permille: 500,
            lag_min_ms: 0,
            lag_max_ms: i64::MAX,
            delete_retention_ms: 24 * 3600 * 1000,
            producer_expiration_ms: 24 * 3600 * 1000,
            keys_bytes_max: 16 << 20,
        }
    }
}
