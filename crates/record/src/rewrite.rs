//! Changing a batch after it was built: what the leader stamps on it, and recompression.
//!
//! A batch whose bytes nobody else holds is changed in place; otherwise it is copied first.

use bytes::{Bytes, BytesMut};
use klamm_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::batch::Batch;
use crate::compression::{Compression, CompressionLevel, compress};
use crate::crc::crc32c;
use crate::error::{BatchError, BuildError};
use crate::header::{
    AT_ATTRIBUTES, AT_BASE_SEQUENCE, AT_CRC, AT_LEADER_EPOCH, AT_MAX_TIMESTAMP, AT_PRODUCER_EPOCH, AT_PRODUCER_ID,
    Attributes, BatchHeader, HEADER_SIZE, LOG_OVERHEAD,
};

/// Whose batch it is: the identity under which brokers recognise duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; the others follow without gaps.
    pub base_sequence: Sequence,
}

impl ProducerStamp {
    /// Not idempotent.
    pub const NONE: ProducerStamp = ProducerStamp {
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
    };
}

enum Checksum {
    Keep,
    Renew,
}

impl Batch {
    /// The batch with the offset and leader epoch that the leader gives it. Both lie outside the checksum.
    #[must_use]
    pub fn assigned(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Batch {
        self.edit(Checksum::Keep, |bytes| {
            put(bytes, 0, &base_offset.0.to_be_bytes());
            put(bytes, AT_LEADER_EPOCH, &leader_epoch.0.to_be_bytes());
        })
    }

    /// The batch with `timestamp` for all its records, as LogAppendTime topics want it. Renews the checksum.
    #[must_use]
    pub fn with_log_append_time(self, timestamp: Timestamp) -> Batch {
        let attributes = self.header.attributes.0 | Attributes::LOG_APPEND_TIME;
        self.edit(Checksum::Renew, |bytes| {
            put(bytes, AT_ATTRIBUTES, &attributes.to_be_bytes());
            put(bytes, AT_MAX_TIMESTAMP, &timestamp.0.to_be_bytes());
        })
    }

    /// The batch with the producer's own timestamps in force, the largest of which is `max_timestamp`. Does nothing,
    /// and computes no checksum, if the header says so already.
    #[must_use]
    pub fn with_create_time(self, max_timestamp: Timestamp) -> Batch {
        let attributes = self.header.attributes.0 & !Attributes::LOG_APPEND_TIME;
        if attributes == self.header.attributes.0 && max_timestamp == self.header.max_timestamp {
            return self;
        }
        self.edit(Checksum::Renew, |bytes| {
            put(bytes, AT_ATTRIBUTES, &attributes.to_be_bytes());
            put(bytes, AT_MAX_TIMESTAMP, &max_timestamp.0.to_be_bytes());
        })
    }

    /// The batch under another producer identity. Renews the checksum.
    #[must_use]
    pub fn with_producer(self, stamp: ProducerStamp) -> Batch {
        self.edit(Checksum::Renew, |bytes| {
            put(bytes, AT_PRODUCER_ID, &stamp.producer_id.0.to_be_bytes());
            put(bytes, AT_PRODUCER_EPOCH, &stamp.producer_epoch.0.to_be_bytes());
            put(bytes, AT_BASE_SEQUENCE, &stamp.base_sequence.0.to_be_bytes());
        })
    }

    fn edit(self, checksum: Checksum, change: impl FnOnce(&mut [u8])) -> Batch {
        let mut bytes = match self.bytes.try_into_mut() {
            Ok(owned) => owned,
            Err(shared) => BytesMut::from(&shared[..]),
        };
        change(&mut bytes);
        if let Checksum::Renew = checksum {
            let crc = crc32c(&bytes[AT_ATTRIBUTES..]);
            put(&mut bytes, AT_CRC, &crc.to_be_bytes());
        }
        let header = bytes
            .first_chunk::<HEADER_SIZE>()
            .expect("a batch is at least as large as its header");
        let header = BatchHeader::decode(header);
        Batch {
            bytes: bytes.freeze(),
            header,
        }
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Puts header and records together. Length, checksum and codec bits of `header` are computed here.
pub(crate) fn assemble(mut header: BatchHeader, codec: Compression, records: &[u8]) -> Result<Batch, BuildError> {
    let length = HEADER_SIZE - LOG_OVERHEAD + records.len();
    header.batch_length = i32::try_from(length).map_err(|_| BuildError::TooLarge)?;
    header.attributes = Attributes((header.attributes.0 & !Attributes::CODEC) | i16::from(codec.id()));
    let mut bytes = Vec::with_capacity(HEADER_SIZE + records.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(records);
    header.crc = crc32c(&bytes[AT_ATTRIBUTES..]);
    put(&mut bytes, AT_CRC, &header.crc.to_be_bytes());
    Ok(Batch {
        bytes: Bytes::from(bytes),
        header,
    })
}

/// The batch with its records under another codec, for topics whose `compression.type` is not `producer`.
///
/// Offsets, producer and timestamps stay; length and checksum change. A batch that has the codec already is returned
/// as it is.
///
/// # Errors
/// The records cannot be decompressed within `decompressed_size_max` bytes, or compressing failed, which reads as
/// corrupt data of the new codec.
pub fn recompress(
    batch: Batch,
    codec: Compression,
    level: CompressionLevel,
    decompressed_size_max: usize,
) -> Result<Batch, BatchError> {
    if batch.header.attributes.compression()? == codec {
        return Ok(batch);
    }
    let block = batch.block(decompressed_size_max)?;
    let built = compress(codec, level, &block)
        .map_err(|cause| BuildError::Compress { codec, cause })
        .and_then(|records| assemble(batch.header, codec, &records));
    built.map_err(BatchError::Rebuild)
}
