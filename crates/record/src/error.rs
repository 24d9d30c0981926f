//! What can be wrong with a batch, and which Kafka error code says it to a client.
//!
//! The variants are fine-grained because three readers judge them differently: the front end maps them to error
//! codes, recovery cuts a torn tail but not a damaged middle, and a consumer skips an incomplete last batch.

use klamm_types::{ErrorCode, Offset, Timestamp};

use crate::compression::Compression;

/// Why bytes are no acceptable batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The buffer ends before the batch does. At the end of a file this is a torn write.
    #[error("the batch needs {needed} bytes and {available} are there")]
    Truncated { needed: usize, available: usize },
    /// The length field is too small for a header, or negative.
    #[error("the batch length {batch_length} is impossible")]
    BadLength { batch_length: i32 },
    /// One whole batch was expected and more bytes follow.
    #[error("{count} bytes follow the batch")]
    TrailingBytes { count: usize },
    /// Formats 0 and 1 are history; there is none above 2.
    #[error("the batch has magic {magic}, only 2 is supported")]
    UnsupportedMagic { magic: i8 },
    /// The bytes are not those that were written.
    #[error("the batch carries checksum {stored:#010x}, its bytes have {computed:#010x}")]
    BadCrc { stored: u32, computed: u32 },
    /// Negative, or past the largest offset.
    #[error("the base offset {base_offset} and last offset delta {last_offset_delta} are impossible together")]
    BadOffsets {
        base_offset: Offset,
        last_offset_delta: i32,
    },
    /// The number of records does not fit the offsets that the batch takes.
    #[error("{records_count} records do not fit last offset delta {last_offset_delta}")]
    BadCount { records_count: i32, last_offset_delta: i32 },
    /// Producer id, epoch and sequence do not fit each other.
    #[error("producer id {producer_id}, epoch {producer_epoch} and base sequence {base_sequence} do not fit together")]
    BadProducer {
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
    },
    /// Codecs 5, 6 and 7 do not exist.
    #[error("there is no compression codec {codec}")]
    UnknownCompression { codec: u8 },
    /// A producer's batch starts at 0; the leader gives it its offset.
    #[error("a producer's batch must have base offset 0, not {base_offset}")]
    BaseOffsetNotZero { base_offset: Offset },
    /// Control batches are written by brokers only.
    #[error("a producer must not write control batches")]
    ControlNotAllowed,
    /// A timestamp cannot be represented.
    #[error("record {index} has a timestamp outside the numbers")]
    BadTimestamp { index: i32 },
    /// The topic does not take timestamps so far from now. `index` is 0 when only the header was looked at.
    #[error("record {index} has timestamp {timestamp}, outside what the topic accepts")]
    TimestampOutOfBounds { index: i32, timestamp: Timestamp },
    /// Compacted topics take only records with keys.
    #[error("record {index} has no key and the topic is compacted")]
    KeyMissing { index: i32 },
    /// A record cannot be read.
    #[error("record {index} is malformed")]
    BadRecord {
        index: i32,
        #[source]
        cause: RecordError,
    },
    /// Offset deltas must be 0, 1, 2, ... from a producer, and rise within the batch always.
    #[error("record {index} has offset delta {found}")]
    BadOffsetDelta { index: i32, found: i32 },
    /// Bytes are left when all records of the header's count are read.
    #[error("{count} bytes follow the last record")]
    RecordsLeftOver { count: usize },
    /// The records could not be decompressed.
    #[error("decompressing the records failed")]
    Decompress(#[source] DecompressError),
    /// The records could not be put under another codec.
    #[error("recompressing the records failed")]
    Rebuild(#[source] BuildError),
}

impl BatchError {
    /// The code that a Produce answer carries for this batch.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::BadCrc { .. } | BatchError::BadLength { .. } => ErrorCode::CorruptMessage,
            BatchError::UnsupportedMagic { magic } if !(0..=2).contains(magic) => ErrorCode::CorruptMessage,
            BatchError::TimestampOutOfBounds { .. } => ErrorCode::InvalidTimestamp,
            BatchError::Rebuild(_) => ErrorCode::UnknownServerError,
            _ => ErrorCode::InvalidRecord,
        }
    }

    /// The record to name in a Produce answer's record errors, if the fault lies in one.
    pub fn record_index(&self) -> Option<i32> {
        match self {
            BatchError::BadTimestamp { index }
            | BatchError::TimestampOutOfBounds { index, .. }
            | BatchError::KeyMissing { index }
            | BatchError::BadRecord { index, .. }
            | BatchError::BadOffsetDelta { index, .. } => Some(*index),
            _ => None,
        }
    }
}

/// Why one record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record ends too early")]
    Truncated,
    #[error("a variable-length number is too long")]
    BadVarint,
    #[error("the length {0} is impossible")]
    BadLength(i32),
    #[error("the header count {0} is impossible")]
    BadHeaderCount(i32),
    #[error("a header has no key")]
    NullHeaderKey,
}

/// Why a block of records could not be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// More came out, or was announced, than the caller allows. Reading stopped there.
    #[error("the {codec} data expands to more than {size_max} bytes")]
    TooLarge { codec: Compression, size_max: usize },
    /// The bytes are no data of this codec.
    #[error("the {codec} data is corrupt")]
    Corrupt {
        codec: Compression,
        #[source]
        cause: CodecFailure,
    },
}

/// What a codec's library said, as text: its own errors can be neither compared nor cloned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecFailure(pub String);

/// Why a batch could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("a batch holds at least one record")]
    Empty,
    #[error("the batch would be larger than 2 GiB")]
    TooLarge,
    #[error("the timestamp {timestamp} is too far from the batch's first")]
    BadTimestamp { timestamp: Timestamp },
    #[error("compressing with {codec} failed")]
    Compress {
        codec: Compression,
        #[source]
        cause: CodecFailure,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_for_clients() {
        let code = |error: BatchError| error.error_code();
        assert_eq!(
            code(BatchError::UnsupportedMagic { magic: 1 }),
            ErrorCode::InvalidRecord
        );
        assert_eq!(
            code(BatchError::UnsupportedMagic { magic: 3 }),
            ErrorCode::CorruptMessage
        );
        assert_eq!(
            code(BatchError::UnsupportedMagic { magic: -1 }),
            ErrorCode::CorruptMessage
        );
        assert_eq!(
            code(BatchError::BadCrc { stored: 1, computed: 2 }),
            ErrorCode::CorruptMessage
        );
        assert_eq!(
            code(BatchError::Truncated {
                needed: 61,
                available: 0
            }),
            ErrorCode::InvalidRecord
        );
        let late = BatchError::TimestampOutOfBounds {
            index: 4,
            timestamp: Timestamp(9),
        };
        assert_eq!(
            (late.error_code(), late.record_index()),
            (ErrorCode::InvalidTimestamp, Some(4))
        );
    }
}
