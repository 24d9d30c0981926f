//! Reading the records out of a batch. Compressed batches are opened here and nowhere else.

use bytes::Bytes;
use klamm_types::{Offset, Timestamp};

use crate::batch::Batch;
use crate::compression::{Compression, decompress};
use crate::error::{BatchError, RecordError};
use crate::header::{HEADER_SIZE, TimestampType};
use crate::record::{RawRecord, Record};

impl Batch {
    /// The records, in offset order. Decompresses the whole block at once if it is compressed.
    ///
    /// `decompressed_size_max` bounds what decompression may bring out, in bytes; see
    /// [`DECOMPRESSED_SIZE_MAX`](crate::DECOMPRESSED_SIZE_MAX).
    ///
    /// # Errors
    /// The codec is unknown, or its data is corrupt or too large. A malformed record is reported by the iterator.
    pub fn records(&self, decompressed_size_max: usize) -> Result<Records, BatchError> {
        Ok(Records {
            block: self.block(decompressed_size_max)?,
            at: 0,
            index: 0,
            count: self.header.records_count,
            base_offset: self.header.base_offset,
            base_timestamp: self.header.base_timestamp,
            append_time: match self.header.attributes.timestamp_type() {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(self.header.max_timestamp),
            },
        })
    }

    /// The records' bytes, decompressed.
    pub(crate) fn block(&self, size_max: usize) -> Result<Bytes, BatchError> {
        let stored = self.bytes.slice(HEADER_SIZE..);
        match self.header.attributes.compression()? {
            Compression::None => Ok(stored),
            codec => decompress(codec, &stored, size_max)
                .map(Bytes::from)
                .map_err(BatchError::Decompress),
        }
    }
}

/// Iterates over the records of one batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    block: Bytes,
    at: usize,
    index: i32,
    count: i32,
    base_offset: Offset,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
}

impl Records {
    fn read(&mut self) -> Result<Record, BatchError> {
        let index = self.index;
        let malformed = |cause: RecordError| BatchError::BadRecord { index, cause };
        let raw = RawRecord::parse(&self.block, self.at).map_err(malformed)?;
        let created = self.base_timestamp.0.checked_add(raw.timestamp_delta).map(Timestamp);
        let record = Record {
            offset: Offset(self.base_offset.0.saturating_add(i64::from(raw.offset_delta))),
            timestamp: self.append_time.or(created).ok_or(BatchError::BadTimestamp { index })?,
            headers: raw.headers(&self.block).map_err(malformed)?,
            key: raw.key.map(|range| self.block.slice(range)),
            value: raw.value.map(|range| self.block.slice(range)),
        };
        self.at = raw.end;
        self.index += 1;
        Ok(record)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let step = self.read();
        if step.is_err() {
            self.count = self.index;
        }
        Some(step)
    }
}
