//! One whole batch over reference-counted bytes.

use bytes::Bytes;
use klamm_types::{LeaderEpoch, Offset};

use crate::error::BatchError;
use crate::header::BatchHeader;

/// One whole batch: its header has been read and its length agrees with its bytes.
///
/// Cloning is cheap and copies no bytes. That the checksum is right and the records can be read is known only after
/// [`Batch::check`].
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) header: BatchHeader,
}

impl Batch {
    /// Takes bytes that hold exactly one batch.
    ///
    /// # Errors
    /// See [`BatchHeader::parse`]; also [`BatchError::Truncated`] and [`BatchError::TrailingBytes`] if the length
    /// field disagrees with the buffer.
    pub fn parse(bytes: Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let (needed, available) = (header.size(), bytes.len());
        if available < needed {
            return Err(BatchError::Truncated { needed, available });
        }
        if available > needed {
            return Err(BatchError::TrailingBytes {
                count: available - needed,
            });
        }
        Ok(Batch { bytes, header })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch as it goes to disk and over the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn base_offset(&self) -> Offset {
        self.header.base_offset
    }

    pub fn last_offset(&self) -> Offset {
        self.header.last_offset()
    }

    /// The offset that the batch after this one gets.
    pub fn next_offset(&self) -> Offset {
        self.header.next_offset()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.header.partition_leader_epoch
    }

    /// Bytes of the whole batch, header included: what `max.message.bytes` limits.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn records_count(&self) -> i32 {
        self.header.records_count
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The records are left out: a log line with a megabyte of payload helps nobody.
        f.debug_struct("Batch")
            .field("header", &self.header)
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
