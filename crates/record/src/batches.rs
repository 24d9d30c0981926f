//! Walking a buffer that holds batches one after another, as fetch answers and segment files do.

use bytes::Bytes;

use crate::batch::Batch;
use crate::error::BatchError;
use crate::header::BatchHeader;

/// Takes the first batch off `bytes`; `None` if nothing is left.
///
/// # Errors
/// As [`Batch::parse`]; `bytes` then stay as they are. [`BatchError::Truncated`] means that the tail is part of a
/// batch, which is ordinary at the end of a fetch answer.
pub fn split_first(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let header = BatchHeader::parse(bytes)?;
    let (needed, available) = (header.size(), bytes.len());
    if available < needed {
        return Err(BatchError::Truncated { needed, available });
    }
    Ok(Some(Batch {
        bytes: bytes.split_to(needed),
        header,
    }))
}

/// Iterates over the whole batches of a buffer. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    pub fn new(bytes: Bytes) -> Batches {
        Batches {
            rest: bytes,
            failed: false,
        }
    }

    /// What has not been taken as a batch: after an error, the bytes that begin with the fault.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = split_first(&mut self.rest);
        self.failed = step.is_err();
        step.transpose()
    }
}
