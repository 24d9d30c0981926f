//! The 61 bytes in front of a batch's records, as plain values.
//!
//! Reading a header checks what the header alone can prove (magic, length, offsets). The checksum and the records
//! are the business of `check`.

use klamm_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::compression::Compression;
use crate::error::BatchError;

/// Bytes before the first record; also the size of the smallest batch.
pub const HEADER_SIZE: usize = 61;
/// Base offset and length field: what `batch_length` does not count.
pub const LOG_OVERHEAD: usize = 12;
/// The only supported format.
pub(crate) const MAGIC: i8 = 2;

pub(crate) const AT_LENGTH: usize = 8;
pub(crate) const AT_LEADER_EPOCH: usize = 12;
pub(crate) const AT_MAGIC: usize = 16;
pub(crate) const AT_CRC: usize = 17;
/// The checksum covers everything from here to the end.
pub(crate) const AT_ATTRIBUTES: usize = 21;
pub(crate) const AT_LAST_OFFSET_DELTA: usize = 23;
pub(crate) const AT_BASE_TIMESTAMP: usize = 27;
pub(crate) const AT_MAX_TIMESTAMP: usize = 35;
pub(crate) const AT_PRODUCER_ID: usize = 43;
pub(crate) const AT_PRODUCER_EPOCH: usize = 51;
pub(crate) const AT_BASE_SEQUENCE: usize = 53;
pub(crate) const AT_RECORDS_COUNT: usize = 57;

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, one per record.
    #[default]
    CreateTime,
    /// The leader when it appended the batch; one for all records.
    LogAppendTime,
}

/// The 16 attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(crate) const CODEC: i16 = 0b111;
    pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
    pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
    pub(crate) const CONTROL: i16 = 1 << 5;
    pub(crate) const DELETE_HORIZON: i16 = 1 << 6;

    /// The codec, or an error for the three numbers that no codec has.
    pub fn compression(self) -> Result<Compression, BatchError> {
        let codec = (self.0 & Self::CODEC) as u8;
        Compression::from_id(codec).ok_or(BatchError::UnknownCompression { codec })
    }

    pub fn timestamp_type(self) -> TimestampType {
        match self.0 & Self::LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Compaction stored in the base timestamp the time from which tombstones may go.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record as first written; producers send 0. Outside the checksum.
    pub base_offset: Offset,
    /// Bytes after this field: the whole batch less [`LOG_OVERHEAD`].
    pub batch_length: i32,
    /// Under which leader the batch was appended; producers send -1. Outside the checksum.
    pub partition_leader_epoch: LeaderEpoch,
    pub magic: i8,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    pub attributes: Attributes,
    /// Kept by compaction, even if the last records are gone.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from; the delete horizon if there is one.
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// -1 if the producer is not idempotent, and in control batches.
    pub base_sequence: Sequence,
    /// 0 only after compaction.
    pub records_count: i32,
}

fn array<const N: usize>(bytes: &[u8; HEADER_SIZE], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the fields lie inside the header")
}

impl BatchHeader {
    /// Reads the header of the batch that `bytes` begin with; the rest of the batch need not be there.
    ///
    /// # Errors
    /// Too few bytes, another format, or a length or offsets that no batch can have.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if let Some(&magic) = bytes.get(AT_MAGIC)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::UnsupportedMagic { magic: magic as i8 });
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(BatchError::Truncated {
                needed: HEADER_SIZE,
                available: bytes.len(),
            });
        };
        let header = BatchHeader::decode(bytes);
        if header.batch_length < (HEADER_SIZE - LOG_OVERHEAD) as i32 {
            return Err(BatchError::BadLength {
                batch_length: header.batch_length,
            });
        }
        // The offset after the last one must exist too.
        let next = header
            .base_offset
            .0
            .checked_add(i64::from(header.last_offset_delta))
            .and_then(|o| o.checked_add(1));
        if header.base_offset.0 < 0 || header.last_offset_delta < 0 || next.is_none() {
            return Err(BatchError::BadOffsets {
                base_offset: header.base_offset,
                last_offset_delta: header.last_offset_delta,
            });
        }
        Ok(header)
    }

    /// The fields as they stand, unchecked.
    pub(crate) fn decode(bytes: &[u8; HEADER_SIZE]) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(i64::from_be_bytes(array(bytes, 0))),
            batch_length: i32::from_be_bytes(array(bytes, AT_LENGTH)),
            partition_leader_epoch: LeaderEpoch(i32::from_be_bytes(array(bytes, AT_LEADER_EPOCH))),
            magic: bytes[AT_MAGIC] as i8,
            crc: u32::from_be_bytes(array(bytes, AT_CRC)),
            attributes: Attributes(i16::from_be_bytes(array(bytes, AT_ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(array(bytes, AT_LAST_OFFSET_DELTA)),
            base_timestamp: Timestamp(i64::from_be_bytes(array(bytes, AT_BASE_TIMESTAMP))),
            max_timestamp: Timestamp(i64::from_be_bytes(array(bytes, AT_MAX_TIMESTAMP))),
            producer_id: ProducerId(i64::from_be_bytes(array(bytes, AT_PRODUCER_ID))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(array(bytes, AT_PRODUCER_EPOCH))),
            base_sequence: Sequence(i32::from_be_bytes(array(bytes, AT_BASE_SEQUENCE))),
            records_count: i32::from_be_bytes(array(bytes, AT_RECORDS_COUNT)),
        }
    }

    /// The inverse of `decode`.
    pub(crate) fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut out = [0u8; HEADER_SIZE];
        let mut put = |at: usize, field: &[u8]| out[at..at + field.len()].copy_from_slice(field);
        put(0, &self.base_offset.0.to_be_bytes());
        put(AT_LENGTH, &self.batch_length.to_be_bytes());
        put(AT_LEADER_EPOCH, &self.partition_leader_epoch.0.to_be_bytes());
        put(AT_MAGIC, &self.magic.to_be_bytes());
        put(AT_CRC, &self.crc.to_be_bytes());
        put(AT_ATTRIBUTES, &self.attributes.0.to_be_bytes());
        put(AT_LAST_OFFSET_DELTA, &self.last_offset_delta.to_be_bytes());
        put(AT_BASE_TIMESTAMP, &self.base_timestamp.0.to_be_bytes());
        put(AT_MAX_TIMESTAMP, &self.max_timestamp.0.to_be_bytes());
        put(AT_PRODUCER_ID, &self.producer_id.0.to_be_bytes());
        put(AT_PRODUCER_EPOCH, &self.producer_epoch.0.to_be_bytes());
        put(AT_BASE_SEQUENCE, &self.base_sequence.0.to_be_bytes());
        put(AT_RECORDS_COUNT, &self.records_count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch, header included.
    pub fn size(&self) -> usize {
        usize::try_from(self.batch_length).unwrap_or(0) + LOG_OVERHEAD
    }

    /// The offset of the last record as first written.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The offset that the batch after this one gets.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// Whether the batch is an idempotent producer's.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// The sequence of the last record; wraps to 0 after `i32::MAX`.
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence.0 < 0 {
            return Sequence::NONE;
        }
        self.base_sequence.plus(self.last_offset_delta)
    }
}
