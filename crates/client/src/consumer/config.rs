//! How a consumer behaves, and where in a partition it begins.

use std::time::Duration;

use klamm_record::DECOMPRESSED_SIZE_MAX;
use klamm_types::{Offset, Timestamp};

use super::group::GroupConfig;

/// Where in a partition to begin, or to go on.
///
/// ```
/// use klamm_client::{Offset, Start, Timestamp};
///
/// let noon = Start::Timestamp(Timestamp(1_700_000_000_000));
/// let after_the_last = Start::Offset(Offset(41 + 1));
/// assert_ne!(noon, after_the_last);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first record that the log still holds.
    Earliest,
    /// After the last record that is readable now: only what comes later is seen.
    Latest,
    /// This offset. If the log does not hold it, [`OffsetReset`] decides.
    Offset(Offset),
    /// The first record with this timestamp (milliseconds since 1970) or a later one; the end if there is none.
    Timestamp(Timestamp),
}

/// What happens when the log does not hold the position any more (its records were deleted, or the log was cut), and
/// when a group has committed no offset for a partition yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// [`poll`](crate::Consumer::poll) fails until the program seeks. The default: nothing is skipped or read again
    /// unless the program says so. Kafka calls it `none`.
    #[default]
    Error,
    /// Go on with the first record that the log holds. If the log was cut, with the first offset that changed.
    Earliest,
    /// Go on at the end, skipping what lies between. If the log was cut, with the first offset that changed.
    Latest,
}

/// Which records of transactions are seen. Records outside transactions always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All, whatever becomes of their transaction. The default, as in Kafka.
    #[default]
    ReadUncommitted,
    /// Only those of committed transactions. Reading stops before the first transaction that is still open.
    ReadCommitted,
}

impl IsolationLevel {
    pub(super) fn code(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

/// Settings of a [`Consumer`](crate::Consumer).
///
/// ```
/// use klamm_client::{ConsumerConfig, OffsetReset};
///
/// let config = ConsumerConfig { offset_reset: OffsetReset::Earliest, ..ConsumerConfig::default() };
/// assert_eq!(config.buffer_memory, 32 * 1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Default [`OffsetReset::Error`].
    pub offset_reset: OffsetReset,
    /// Default [`IsolationLevel::ReadUncommitted`].
    pub isolation: IsolationLevel,
    /// Bytes that may be fetched ahead or be on their way, over all partitions, as they come over the wire. Default
    /// 32 MiB. It is exceeded only by batches that are larger than what was asked for, one per fetch. Records that were
    /// handed out do not count.
    pub buffer_memory: usize,
    /// Bytes of one fetch answer. Default 8 MiB. A first batch that is larger comes whole all the same.
    pub fetch_bytes_max: usize,
    /// Bytes of one partition in a fetch answer. Default 1 MiB. A first batch that is larger comes whole all the same.
    pub partition_fetch_bytes_max: usize,
    /// How many bytes a broker gathers before it answers, within `fetch_wait_max`. Default 1: it answers at once when
    /// there is anything. More means fewer requests at the price of latency.
    pub fetch_bytes_min: usize,
    /// How long a broker may wait for `fetch_bytes_min`. Default 500 ms.
    pub fetch_wait_max: Duration,
    /// How many records one [`poll`](crate::Consumer::poll) returns at most. Default 1000. It returns early once the
    /// records take `fetch_bytes_max` bytes.
    pub poll_records_max: usize,
    /// Bytes that the records of one batch may take when decompressed. Default 100 MiB. A batch with more is reported
    /// as damaged.
    pub decompressed_bytes_max: usize,
    /// The group to share partitions and commit offsets in. Default none: partitions are assigned by the program, and
    /// nothing is committed.
    pub group: Option<GroupConfig>,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            offset_reset: OffsetReset::Error,
            isolation: IsolationLevel::ReadUncommitted,
            buffer_memory: 32 * 1024 * 1024,
            fetch_bytes_max: 8 * 1024 * 1024,
            partition_fetch_bytes_max: 1024 * 1024,
            fetch_bytes_min: 1,
            fetch_wait_max: Duration::from_millis(500),
            poll_records_max: 1000,
            decompressed_bytes_max: DECOMPRESSED_SIZE_MAX,
            group: None,
        }
    }
}
