//! Walking the batches of a segment file from front to back: whole and checked, or headers only.
//!
//! Both walks trust nothing that they read: a length is held against the file and the largest batch allowed before
//! anything is allocated for it. What a fault means (torn end or damage) is for the caller to say.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use klamm_record::{Batch, BatchError, BatchHeader, CheckRules, HEADER_SIZE, split_first};
use klamm_types::Offset;

use crate::disk::DiskFile;
use crate::error::DamageKind;

/// Whether a read may wait for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Allowed,
    Never,
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum ScanError {
    Io(io::Error),
    /// What is at this place is not the batch that belongs here.
    Invalid {
        position: u64,
        /// The offset that belongs here, if the walk has come past a batch already.
        offset: Option<Offset>,
        kind: DamageKind,
    },
    /// It is not in memory, and waiting is not allowed.
    WouldBlock,
}

/// The part of a file that holds batches.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub file: Arc<dyn DiskFile>,
    pub start: u64,
    /// Exclusive. Bytes behind it are not looked at.
    pub end: u64,
    pub batch_bytes_max: usize,
}

impl Extent {
    /// Reads at most `size` bytes at `position`, never past the end of the extent.
    pub fn read(&self, position: u64, size: usize, wait: Wait) -> Result<Vec<u8>, ScanError> {
        let rest = self.end.saturating_sub(position);
        let mut bytes = vec![0; usize::try_from(rest).map_or(size, |rest| rest.min(size))];
        let count = match wait {
            Wait::Allowed => self.file.read_at(&mut bytes, position).map_err(ScanError::Io)?,
            Wait::Never => match self.file.read_at_nowait(&mut bytes, position).map_err(ScanError::Io)? {
                Some(count) => count,
                None => return Err(ScanError::WouldBlock),
            },
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Reads a header out of `bytes` and holds what it says against what there can be: the length against the file
    /// and the largest batch, the offset against the one that follows.
    pub fn admit(&self, place: Expected, bytes: &[u8]) -> Result<BatchHeader, ScanError> {
        let header = BatchHeader::parse(bytes).map_err(|cause| place.invalid(DamageKind::Batch(cause)))?;
        let size = header.size();
        if size > self.batch_bytes_max {
            return Err(place.invalid(DamageKind::TooLarge { size }));
        }
        let rest = self.end.saturating_sub(place.position);
        if size as u64 > rest {
            let available = usize::try_from(rest).unwrap_or(usize::MAX);
            let cause = BatchError::Truncated {
                needed: size,
                available,
            };
            return Err(place.invalid(DamageKind::Batch(cause)));
        }
        if let Some(expected) = place.offset
            && expected != header.base_offset
        {
            let found = header.base_offset;
            return Err(place.invalid(DamageKind::Gap { expected, found }));
        }
        Ok(header)
    }
}

/// Where a walk stands, and which offset belongs there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub position: u64,
    pub offset: Option<Offset>,
}

impl Expected {
    pub fn invalid(self, kind: DamageKind) -> ScanError {
        ScanError::Invalid {
            position: self.position,
            offset: self.offset,
            kind,
        }
    }

    fn advance(&mut self, header: &BatchHeader) {
        self.position += header.size() as u64;
        self.offset = Some(header.next_offset());
    }
}

const BATCHES_CHUNK: usize = 1 << 20;
const HEADERS_CHUNK: usize = 8 << 10;

/// Whole batches, each with its checksum checked and its offset following the last one's.
#[derive(Debug)]
pub(crate) struct BatchScan {
    extent: Extent,
    at: Expected,
    /// What has been read from there on.
    chunk: Bytes,
}

impl BatchScan {
    /// `first` is the offset of the first batch, if that is known.
    pub fn new(extent: Extent, first: Option<Offset>) -> BatchScan {
        let at = Expected {
            position: extent.start,
            offset: first,
        };
        BatchScan {
            extent,
            at,
            chunk: Bytes::new(),
        }
    }

    /// The next batch and where it begins; `None` at the end of the extent.
    pub fn next(&mut self) -> Result<Option<(u64, Batch)>, ScanError> {
        let at = self.at;
        if at.position >= self.extent.end {
            return Ok(None);
        }
        if self.chunk.len() < HEADER_SIZE {
            self.fill(BATCHES_CHUNK)?;
        }
        let header = self.extent.admit(at, &self.chunk)?;
        if self.chunk.len() < header.size() {
            self.fill(BATCHES_CHUNK.max(header.size()))?;
        }
        let invalid = |cause| at.invalid(DamageKind::Batch(cause));
        let Some(batch) = split_first(&mut self.chunk).map_err(invalid)? else {
            return Ok(None);
        };
        batch.check(&CheckRules::stored()).map_err(invalid)?;
        self.at.advance(&header);
        Ok(Some((at.position, batch)))
    }

    fn fill(&mut self, size: usize) -> Result<(), ScanError> {
        self.chunk = Bytes::from(self.extent.read(self.at.position, size, Wait::Allowed)?);
        Ok(())
    }
}

/// Headers only: cheap, and no proof that the records are whole.
#[derive(Debug)]
pub(crate) struct HeaderWalk {
    extent: Extent,
    at: Expected,
    chunk: Vec<u8>,
    chunk_start: u64,
    wait: Wait,
}

impl HeaderWalk {
    /// `first` is the offset of the first batch, if that is known.
    pub fn new(extent: Extent, first: Option<Offset>, wait: Wait) -> HeaderWalk {
        HeaderWalk {
            at: Expected {
                position: extent.start,
                offset: first,
            },
            chunk: Vec::new(),
            chunk_start: extent.start,
            extent,
            wait,
        }
    }

    /// The next header and where its batch begins; `None` at the end of the extent.
    pub fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, ScanError> {
        let at = self.at;
        if at.position >= self.extent.end {
            return Ok(None);
        }
        let start = usize::try_from(at.position - self.chunk_start).unwrap_or(usize::MAX);
        let mut ready = self.chunk.get(start..).unwrap_or_default();
        if ready.len() < HEADER_SIZE {
            self.chunk = self.extent.read(at.position, HEADERS_CHUNK, self.wait)?;
            self.chunk_start = at.position;
            let more = at.position + (HEADER_SIZE as u64) <= self.extent.end;
            if self.wait == Wait::Never && self.chunk.len() < HEADER_SIZE && more {
                return Err(ScanError::WouldBlock);
            }
            ready = &self.chunk;
        }
        let header = self.extent.admit(at, ready)?;
        self.at.advance(&header);
        Ok(Some((at.position, header)))
    }
}
