//! Records to batch. Offsets are dense from 0; what is known only later (producer, offsets) can be stamped afterwards.

use klamm_types::{LeaderEpoch, Offset, Timestamp};

use crate::batch::Batch;
use crate::compression::{Compression, CompressionLevel, compress};
use crate::error::BuildError;
use crate::header::{Attributes, BatchHeader, HEADER_SIZE, MAGIC};
use crate::record::Header;
use crate::rewrite::{ProducerStamp, assemble};
use crate::varint::{varlong_size, write_varlong};

/// What a batch is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchOptions {
    pub compression: Compression,
    pub level: CompressionLevel,
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub producer: ProducerStamp,
    /// The batch belongs to the open transaction of `producer`.
    pub transactional: bool,
    /// Only brokers write control batches.
    pub control: bool,
    /// Expected compressed size over uncompressed size, for estimates; 1.0 promises nothing.
    pub compression_ratio: f32,
}

impl Default for BatchOptions {
    /// An uncompressed batch as a producer without idempotence sends it.
    fn default() -> BatchOptions {
        BatchOptions {
            compression: Compression::None,
            level: CompressionLevel::Default,
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch::NONE,
            producer: ProducerStamp::NONE,
            transactional: false,
            control: false,
            compression_ratio: 1.0,
        }
    }
}

/// An upper bound on the bytes that one record takes inside an uncompressed batch.
pub fn record_size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    // The length, timestamp delta and offset delta are taken at their longest: 5, 10 and 5 bytes, 1 for attributes.
    21 + payload_size(key, value, headers)
}

fn payload_size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    let headers_size: usize = headers
        .iter()
        .map(|header| field_size(Some(&header.key)) + field_size(header.value.as_deref()))
        .sum();
    field_size(key) + field_size(value) + varlong_size(headers.len() as i64) + headers_size
}

fn field_size(field: Option<&[u8]>) -> usize {
    match field {
        None => 1,
        Some(bytes) => varlong_size(bytes.len() as i64) + bytes.len(),
    }
}

fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => write_varlong(out, -1),
        Some(bytes) => {
            write_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Collects records and makes a batch of them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    records: Vec<u8>,
    records_count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

impl BatchBuilder {
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            records: Vec::new(),
            records_count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
        }
    }

    /// Adds a record and says its offset delta, counted from 0. The first record's timestamp is the batch's base.
    ///
    /// # Errors
    /// The batch would exceed 2 GiB, or the timestamp lies too far from the first one. Nothing is added then.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<i32, BuildError> {
        let base = if self.records_count == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let delta = timestamp
            .0
            .checked_sub(base.0)
            .ok_or(BuildError::BadTimestamp { timestamp })?;
        let offset_delta = self.records_count;
        let payload = payload_size(key, value, headers);
        let length = 1 + varlong_size(delta) + varlong_size(i64::from(offset_delta)) + payload;
        if HEADER_SIZE + self.records.len() + length + 5 > i32::MAX as usize {
            return Err(BuildError::TooLarge);
        }
        let out = &mut self.records;
        out.reserve(length + 5);
        write_varlong(out, length as i64);
        out.push(0);
        write_varlong(out, delta);
        write_varlong(out, i64::from(offset_delta));
        write_field(out, key);
        write_field(out, value);
        write_varlong(out, headers.len() as i64);
        for header in headers {
            write_field(out, Some(&header.key));
            write_field(out, header.value.as_deref());
        }
        self.base_timestamp = base;
        self.max_timestamp = if offset_delta == 0 {
            timestamp
        } else {
            self.max_timestamp.max(timestamp)
        };
        self.records_count += 1;
        Ok(offset_delta)
    }

    /// Names the producer, if that was not known when the batch was begun.
    pub fn set_producer(&mut self, producer: ProducerStamp) {
        self.options.producer = producer;
    }

    pub fn records_count(&self) -> i32 {
        self.records_count
    }

    pub fn is_empty(&self) -> bool {
        self.records_count == 0
    }

    /// Bytes of the batch if it were not compressed, header included.
    pub fn uncompressed_size(&self) -> usize {
        HEADER_SIZE + self.records.len()
    }

    /// Bytes that the batch will probably take, by the expected compression ratio.
    pub fn estimated_size(&self) -> usize {
        self.estimate(self.records.len())
    }

    /// Whether a record of `record_size` bytes probably fits into a batch of `batch_size_max` bytes. The first record
    /// always fits: a record larger than the limit travels alone.
    pub fn has_room(&self, record_size: usize, batch_size_max: usize) -> bool {
        self.is_empty() || self.estimate(self.records.len() + record_size) <= batch_size_max
    }

    fn estimate(&self, records_size: usize) -> usize {
        let ratio = match self.options.compression {
            Compression::None => 1.0,
            _ => f64::from(self.options.compression_ratio),
        };
        HEADER_SIZE + (records_size as f64 * ratio) as usize
    }

    /// Compresses the records and makes the batch.
    ///
    /// # Errors
    /// There is no record, the batch exceeds 2 GiB, or the codec failed.
    pub fn build(self) -> Result<Batch, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let options = self.options;
        let mut attributes = 0;
        if options.transactional {
            attributes |= Attributes::TRANSACTIONAL;
        }
        if options.control {
            attributes |= Attributes::CONTROL;
        }
        let header = BatchHeader {
            base_offset: options.base_offset,
            batch_length: 0,
            partition_leader_epoch: options.leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(attributes),
            last_offset_delta: self.records_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: options.producer.producer_id,
            producer_epoch: options.producer.producer_epoch,
            base_sequence: options.producer.base_sequence,
            records_count: self.records_count,
        };
        let codec = options.compression;
        if codec == Compression::None {
            return assemble(header, codec, &self.records);
        }
        let compressed =
            compress(codec, options.level, &self.records).map_err(|cause| BuildError::Compress { codec, cause })?;
        assemble(header, codec, &compressed)
    }
}
