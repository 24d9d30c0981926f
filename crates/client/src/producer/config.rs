//! How a producer behaves.

use std::time::Duration;

use klamm_record::{Compression, CompressionLevel};

/// Which replicas must have a batch before it counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// All in-sync replicas, at least `min.insync.replicas` of them. The default, and the only one that survives the
    /// loss of a broker.
    #[default]
    All,
    /// The leader alone. What it acknowledged is lost if it dies before its followers have it.
    Leader,
    /// Nobody: a batch counts as delivered when it is written to the connection, with offset -1.
    NoneUnsafe,
}

impl Acks {
    pub(super) fn code(self) -> i16 {
        match self {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::NoneUnsafe => 0,
        }
    }
}

/// What happens when it is not known whether a batch was written, because a connection was lost or a broker gave up
/// waiting for its replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// The batch is sent again under the same sequence, and the brokers recognise it. Neither duplicates nor changes
    /// of order. The default; needs [`Acks::All`].
    #[default]
    Idempotent,
    /// The batch fails with an error that says that it may have been written. No duplicates.
    AtMostOnce,
    /// The batch is sent again, and may be written twice.
    AtLeastOnce,
}

/// Settings of a [`Producer`](crate::Producer). The defaults lose nothing and double nothing.
///
/// ```
/// use std::time::Duration;
/// use klamm_client::{Compression, ProducerConfig};
///
/// let config = ProducerConfig {
///     compression: Compression::Zstd,
///     linger: Duration::from_millis(5),
///     ..ProducerConfig::default()
/// };
/// assert_eq!(config.delivery_timeout, Duration::from_secs(120));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Default [`Acks::All`].
    pub acks: Acks,
    /// Default [`Guarantee::Idempotent`].
    pub guarantee: Guarantee,
    /// Default none. A topic's `compression.type` may overrule it.
    pub compression: Compression,
    /// Default: the codec's own.
    pub compression_level: CompressionLevel,
    /// Bytes at which a batch is full, by estimate after compression. Default 64 KiB. A larger record travels alone.
    pub batch_size: usize,
    /// How long a batch that is not full waits for more records. Default 0: it is sent as soon as the broker has room,
    /// so batches grow by themselves under load. More makes larger batches at the price of latency.
    pub linger: Duration,
    /// Bytes of one request, and of one record. Default 1 MiB; brokers refuse more than `max.message.bytes` anyway.
    pub request_size_max: usize,
    /// Bytes of records that may wait for delivery. Default 32 MiB. [`Producer::send`](crate::Producer::send) waits
    /// when they are used up.
    pub buffer_memory: usize,
    /// How long [`Producer::send`](crate::Producer::send) may wait for room or for a topic. Default 60 s.
    pub max_block: Duration,
    /// From `send` to success or failure, retries included. Default 120 s.
    pub delivery_timeout: Duration,
    /// Requests that may be unanswered per broker. Default 5.
    pub in_flight_max: usize,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: Acks::All,
            guarantee: Guarantee::Idempotent,
            compression: Compression::None,
            compression_level: CompressionLevel::Default,
            batch_size: 64 * 1024,
            linger: Duration::ZERO,
            request_size_max: 1024 * 1024,
            buffer_memory: 32 * 1024 * 1024,
            max_block: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            in_flight_max: 5,
        }
    }
}

/// Settings that contradict each other. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerConfigError {
    #[error("an idempotent producer needs acks=all; choose another guarantee for fewer acknowledgements")]
    IdempotenceNeedsAllAcks,
    #[error("the batch size must be at least 1 byte and not above the request size of {request_size_max} bytes")]
    BatchSize { request_size_max: usize },
    #[error("the buffer of {buffer_memory} bytes must hold at least one request of {request_size_max} bytes")]
    BufferMemory {
        buffer_memory: usize,
        request_size_max: usize,
    },
    #[error("a request may not be larger than 64 MiB")]
    RequestSize,
    #[error("between 1 and 5 requests may be in flight: brokers recognise no more than 5 repeated batches")]
    InFlight,
}

const REQUEST_SIZE_MAX: usize = 64 * 1024 * 1024;

impl ProducerConfig {
    pub(super) fn validate(&self) -> Result<(), ProducerConfigError> {
        let request_size_max = self.request_size_max;
        if self.guarantee == Guarantee::Idempotent && self.acks != Acks::All {
            return Err(ProducerConfigError::IdempotenceNeedsAllAcks);
        }
        if request_size_max > REQUEST_SIZE_MAX {
            return Err(ProducerConfigError::RequestSize);
        }
        if self.batch_size == 0 || self.batch_size > request_size_max {
            return Err(ProducerConfigError::BatchSize { request_size_max });
        }
        if self.buffer_memory < request_size_max || u32::try_from(self.buffer_memory).is_err() {
            return Err(ProducerConfigError::BufferMemory {
                buffer_memory: self.buffer_memory,
                request_size_max,
            });
        }
        if !(1..=5).contains(&self.in_flight_max) {
            return Err(ProducerConfigError::InFlight);
        }
        Ok(())
    }
}
