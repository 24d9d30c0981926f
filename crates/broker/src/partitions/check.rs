//! What a produced batch must pass before it reaches its partition, and what the topic's settings make of it.
//!
//! This runs in the task of the connection, so that checksums and recompression use all cores and a worker only
//! appends. Leadership, the ISR and the producer's sequence are not looked at here: the partition's core knows them.

use bytes::Bytes;
use klamm_record::{
    Batch, BatchError, CheckRules, Checked, Compression, CompressionLevel, DECOMPRESSED_SIZE_MAX, HEADER_SIZE,
    LOG_OVERHEAD, TimestampBounds, TimestampType, recompress, split_first,
};
use klamm_types::{ErrorCode, Timestamp};

use crate::api::PartitionError;

/// What `compression.type` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicCompression {
    /// The producer's codec is kept.
    Producer,
    Codec(Compression, CompressionLevel),
}

/// Whether the topic's batches may lack keys: compacted topics need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKeys {
    Optional,
    Required,
}

/// The settings of a topic that decide what may be produced to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceRules {
    pub message_bytes_max: usize,
    pub segment_bytes: usize,
    pub timestamp_type: TimestampType,
    /// How far behind and ahead of this broker's clock a record may be, in milliseconds.
    pub timestamp_before_ms_max: i64,
    pub timestamp_after_ms_max: i64,
    pub compression: TopicCompression,
    pub keys: TopicKeys,
}

/// A batch that may be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub batch: Batch,
    /// Set where the topic stamps batches itself.
    pub log_append_time: Timestamp,
}

/// Checks `records` by the topic's rules at the wall time `now`, and brings them into the form that is stored.
pub fn accept(records: Bytes, rules: &ProduceRules, now: Timestamp) -> Result<Accepted, PartitionError> {
    let batch = only_batch(records)?;
    check_size(&batch, rules)?;
    if rules.timestamp_type == TimestampType::LogAppendTime
        && batch.header().attributes.timestamp_type() == TimestampType::LogAppendTime
    {
        let text = "a producer must not set the log append time";
        return Err(PartitionError {
            record_errors: vec![(0, text.to_owned())],
            ..refused(ErrorCode::InvalidTimestamp, text)
        });
    }
    let checked = batch
        .check(&check_rules(rules, now))
        .map_err(|error| from_batch(&error))?;
    let batch = convert(batch, rules)?;
    Ok(stamp(batch, checked, rules, now))
}

/// Whether there is one batch, whatever is wrong in it. A leader alone may say what is; anyone may say that there is none.
pub fn is_one_batch(mut records: Bytes) -> bool {
    match split_first(&mut records) {
        Ok(Some(_)) => records.len() < REMAINDER_BYTES,
        Err(BatchError::BadOffsets { .. }) => true,
        Ok(None) | Err(_) => false,
    }
}

/// So many bytes behind a batch are taken for the beginning of another.
const REMAINDER_BYTES: usize = LOG_OVERHEAD + 5;
/// Where a batch has its length, and the shortest that any format has.
const LENGTH_AT: usize = 8;
const SHORTEST_LENGTH: i32 = 14;

/// The one batch that must be there. A remainder too short for a header is cut off, as Kafka does.
fn only_batch(mut records: Bytes) -> Result<Batch, PartitionError> {
    let batch = split_first(&mut records).map_err(|error| from_batch(&error))?;
    let Some(batch) = batch else {
        return Err(refused(
            ErrorCode::InvalidRecord,
            "a produce request needs one batch per partition",
        ));
    };
    if records.len() >= REMAINDER_BYTES {
        let length = records.slice(LENGTH_AT..LOG_OVERHEAD);
        if length.as_ref().try_into().map_or(0, i32::from_be_bytes) < SHORTEST_LENGTH {
            return Err(refused(
                ErrorCode::CorruptMessage,
                "bytes that are no batch follow the batch",
            ));
        }
        return Err(refused(
            ErrorCode::InvalidRecord,
            "a produce request takes only one batch per partition",
        ));
    }
    debug_assert!(batch.size() >= HEADER_SIZE);
    Ok(batch)
}

fn check_size(batch: &Batch, rules: &ProduceRules) -> Result<(), PartitionError> {
    let size = batch.size();
    if size > rules.message_bytes_max {
        let text = format!(
            "the batch has {size} bytes and max.message.bytes is {}",
            rules.message_bytes_max
        );
        return Err(refused(ErrorCode::MessageTooLarge, &text));
    }
    if size > rules.segment_bytes {
        let text = format!(
            "the batch has {size} bytes and segment.bytes is {}",
            rules.segment_bytes
        );
        return Err(refused(ErrorCode::RecordListTooLarge, &text));
    }
    Ok(())
}

fn check_rules(rules: &ProduceRules, now: Timestamp) -> CheckRules {
    let base = match rules.keys {
        TopicKeys::Optional => CheckRules::produced(),
        TopicKeys::Required => CheckRules::produced_compacted(DECOMPRESSED_SIZE_MAX),
    };
    match rules.timestamp_type {
        TimestampType::LogAppendTime => base,
        TimestampType::CreateTime => base.within(TimestampBounds {
            min: Timestamp(now.0.saturating_sub(rules.timestamp_before_ms_max)),
            max: Timestamp(now.0.saturating_add(rules.timestamp_after_ms_max)),
        }),
    }
}

fn convert(batch: Batch, rules: &ProduceRules) -> Result<Batch, PartitionError> {
    let TopicCompression::Codec(codec, level) = rules.compression else {
        return Ok(batch);
    };
    let batch = recompress(batch, codec, level, DECOMPRESSED_SIZE_MAX).map_err(|error| from_batch(&error))?;
    check_size(&batch, rules)?;
    Ok(batch)
}

fn stamp(batch: Batch, checked: Checked, rules: &ProduceRules, now: Timestamp) -> Accepted {
    if rules.timestamp_type == TimestampType::LogAppendTime {
        return Accepted {
            batch: batch.with_log_append_time(now),
            log_append_time: now,
        };
    }
    let max = checked.max_timestamp.unwrap_or(batch.header().max_timestamp);
    Accepted {
        batch: batch.with_create_time(max),
        log_append_time: Timestamp::NONE,
    }
}

fn refused(code: ErrorCode, text: &str) -> PartitionError {
    PartitionError {
        message: Some(text.to_owned()),
        ..PartitionError::from(code)
    }
}

fn from_batch(error: &BatchError) -> PartitionError {
    let text = error.to_string();
    let record_errors = error
        .record_index()
        .map(|index| (index, text.clone()))
        .into_iter()
        .collect();
    PartitionError {
        message: Some(text),
        record_errors,
        ..PartitionError::from(error.error_code())
    }
}

#[cfg(test)]
mod tests {
    use klamm_record::{BatchBuilder, BatchOptions};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn rules() -> ProduceRules {
        ProduceRules {
            message_bytes_max: 1000,
            segment_bytes: 10_000,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: 3_600_000,
            compression: TopicCompression::Producer,
            keys: TopicKeys::Optional,
        }
    }

    fn batch_of(timestamp: Timestamp, value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(timestamp, None, Some(value), &[]).unwrap();
        builder.build().unwrap().into_bytes()
    }

    fn code(records: Bytes, rules: &ProduceRules) -> ErrorCode {
        accept(records, rules, NOW).map_or_else(|error| error.code, |_| ErrorCode::None)
    }

    #[test]
    fn takes_exactly_one_batch() {
        let one = batch_of(NOW, b"value");
        assert_eq!(accept(one.clone(), &rules(), NOW).unwrap().batch.bytes(), &one);
        assert_eq!(code(Bytes::new(), &rules()), ErrorCode::InvalidRecord);
        assert_eq!(code(one.slice(..70), &rules()), ErrorCode::InvalidRecord);
        assert_eq!(
            code([&one[..], &one[..]].concat().into(), &rules()),
            ErrorCode::InvalidRecord
        );
        assert_eq!(code([&one[..], &[0; 5]].concat().into(), &rules()), ErrorCode::None);
        assert_eq!(
            code([&one[..], &[0; 20]].concat().into(), &rules()),
            ErrorCode::CorruptMessage
        );
    }

    #[test]
    fn one_batch_is_one_whatever_is_wrong_in_it() {
        let one = batch_of(NOW, b"value");
        let mut changed = one.to_vec();
        changed[0] = 0xff; // a negative base offset
        let begins = [&one[..], &[0; 20]].concat();
        for (records, expected) in [
            (one.clone(), true),
            (changed.into(), true),
            (Bytes::new(), false),
            (one.slice(..70), false),
            (begins.into(), false),
        ] {
            assert_eq!(is_one_batch(records.clone()), expected, "{records:?}");
        }
    }

    #[test]
    fn codes_of_refusals() {
        assert_eq!(code(batch_of(NOW, &[7; 2000]), &rules()), ErrorCode::MessageTooLarge);
        let small = ProduceRules {
            segment_bytes: 90,
            ..rules()
        };
        assert_eq!(code(batch_of(NOW, &[7; 200]), &small), ErrorCode::RecordListTooLarge);
        let late = accept(batch_of(Timestamp(NOW.0 + 3_600_001), b""), &rules(), NOW).unwrap_err();
        assert_eq!((late.code, late.record_errors.len()), (ErrorCode::InvalidTimestamp, 1));
        let mut broken = batch_of(NOW, b"value").to_vec();
        broken[65] ^= 1;
        assert_eq!(code(broken.into(), &rules()), ErrorCode::CorruptMessage);
        let compacted = ProduceRules {
            keys: TopicKeys::Required,
            ..rules()
        };
        assert_eq!(code(batch_of(NOW, b"no key"), &compacted), ErrorCode::InvalidRecord);
    }

    #[test]
    fn stamps_and_recompresses() {
        let stamping = ProduceRules {
            timestamp_type: TimestampType::LogAppendTime,
            ..rules()
        };
        let accepted = accept(batch_of(Timestamp(5), b"value"), &stamping, NOW).unwrap();
        assert_eq!(
            (accepted.log_append_time, accepted.batch.header().max_timestamp),
            (NOW, NOW)
        );
        assert_eq!(
            code(accepted.batch.into_bytes(), &stamping),
            ErrorCode::InvalidTimestamp
        );

        let codec = TopicCompression::Codec(Compression::Lz4, CompressionLevel::default());
        let accepted = accept(
            batch_of(NOW, &[7; 800]),
            &ProduceRules {
                compression: codec,
                ..rules()
            },
            NOW,
        )
        .unwrap();
        assert_eq!(accepted.batch.header().attributes.compression(), Ok(Compression::Lz4));
        assert!(accepted.batch.size() < 200 && accepted.batch.check(&CheckRules::produced()).is_ok());
    }
}
