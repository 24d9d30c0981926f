//! Reading whole batches by offset, from memory, from the page cache, or from the disk where waiting is allowed.
//!
//! Every batch that passes through here has its checksum checked. An index entry or a remembered place is only a
//! hint: it counts once the batch found there is the one looked for, otherwise the segment is walked from its front.

use std::sync::Arc;

use bytes::Bytes;
use klamm_record::{BatchError, BatchHeader, CheckRules, HEADER_SIZE, split_first};
use klamm_types::Offset;

use crate::compaction::trim::trim;
use crate::disk::DiskFile;
use crate::error::{Damage, DamageKind, DiskError, ReadError};
use crate::files::Part;
use crate::flush::Shared;
use crate::scan::{Expected, Extent, HeaderWalk, ScanError, Wait};
use crate::segment::{Hint, ReadFault, SegmentView};
use crate::tail::BatchBytes;

/// What a read came to.
#[derive(Debug)]
pub enum Read {
    Ready(BatchBytes),
    /// The bytes are not in memory: run this where waiting is allowed.
    Cold(ColdRead),
}

/// A read that may wait for the disk.
#[derive(Debug)]
pub struct ColdRead {
    pub(crate) shared: Arc<Shared>,
    pub(crate) layout: u64,
    pub(crate) segment: SegmentView,
    pub(crate) hint: Hint,
    pub(crate) offset: Offset,
    pub(crate) max_bytes: usize,
    pub(crate) up_to: Offset,
}

/// A part of a closed segment of which every batch has been checked: it can be sent by `sendfile`.
#[derive(Clone, Debug)]
pub struct SegmentSlice {
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    pub size: u64,
    /// The offset after the last batch.
    pub next_offset: Offset,
}

/// A batch's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub position: u64,
    pub header: BatchHeader,
}

impl ColdRead {
    /// Reads, and waits for the disk if need be.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] is to be reported as damage of this replica; [`ReadError::Changed`] to be asked again.
    pub fn run(self) -> Result<BatchBytes, ReadError> {
        match self.attempt(Wait::Allowed) {
            Ok(batches) => Ok(batches),
            Err(fault) => Err(self.explain(fault)),
        }
    }

    /// Reads without waiting.
    pub(crate) fn try_now(self) -> Result<Read, ReadError> {
        match self.attempt(Wait::Never) {
            Ok(batches) => Ok(Read::Ready(batches)),
            Err(ReadFault::Scan(ScanError::WouldBlock)) => Ok(Read::Cold(self)),
            Err(fault) => Err(self.explain(fault)),
        }
    }

    fn explain(&self, fault: ReadFault) -> ReadError {
        explain(fault, &self.shared, self.layout, &self.segment, self.offset)
    }

    fn attempt(&self, wait: Wait) -> Result<BatchBytes, ReadFault> {
        let position = match self.segment.files.cursor(self.offset) {
            Some(position) if position < self.segment.size => position,
            _ => locate(&self.segment, self.hint, self.offset, wait)?.position,
        };
        match self.read_from(position, wait) {
            // The remembered place was wrong; the batches themselves may be fine.
            Err(ReadFault::Scan(ScanError::Invalid { .. })) => {
                let place = locate(&self.segment, self.hint, self.offset, wait)?;
                self.read_from(place.position, wait)
            }
            other => other,
        }
    }

    fn read_from(&self, position: u64, wait: Wait) -> Result<BatchBytes, ReadFault> {
        let extent = self.segment.extent(position, wait)?;
        let size = self.max_bytes.clamp(HEADER_SIZE, self.segment.batch_bytes_max);
        let mut bytes = Bytes::from(extent.read(position, size, wait)?);
        if bytes.len() < HEADER_SIZE && wait == Wait::Never {
            return Err(ScanError::WouldBlock.into());
        }
        let at = Expected { position, offset: None };
        let first = extent.admit(at, &bytes)?;
        if self.offset < first.base_offset || first.next_offset() <= self.offset {
            let kind = DamageKind::Gap {
                expected: self.offset,
                found: first.base_offset,
            };
            return Err(at.invalid(kind).into());
        }
        if first.next_offset() > self.up_to {
            return Ok(BatchBytes::empty(self.offset));
        }
        if first.size() > bytes.len() {
            bytes = Bytes::from(extent.read(position, first.size(), wait)?);
            if bytes.len() < first.size() && wait == Wait::Never {
                return Err(ScanError::WouldBlock.into());
            }
        }
        self.take(&bytes, position)
    }

    /// The whole batches below the bound at the front of `bytes`. Only the first one's faults are errors: the others
    /// end the answer, and are met again as the first one of the next read.
    fn take(&self, bytes: &Bytes, position: u64) -> Result<BatchBytes, ReadFault> {
        let mut rest = bytes.clone();
        let mut next: Option<Offset> = None;
        while !rest.is_empty() {
            match take_one(&mut rest, next, self.up_to) {
                Ok(Some(after)) => next = Some(after),
                Ok(None) => break,
                Err(cause) if next.is_none() => {
                    let at = Expected { position, offset: None };
                    return Err(at.invalid(DamageKind::Batch(cause)).into());
                }
                Err(_) => break,
            }
        }
        let Some(next) = next else {
            return Ok(BatchBytes::empty(self.offset));
        };
        let taken = bytes.len() - rest.len();
        self.segment.files.remember(self.offset, next, position + taken as u64);
        Ok(trim(BatchBytes::one(bytes.slice(..taken), next), self.offset))
    }
}

/// Takes the next batch off `rest` if it follows and lies below the bound; gives the offset after it.
fn take_one(rest: &mut Bytes, expected: Option<Offset>, up_to: Offset) -> Result<Option<Offset>, BatchError> {
    let header = BatchHeader::parse(rest)?;
    let next = header.next_offset();
    if next > up_to || expected.is_some_and(|expected| expected != header.base_offset) {
        return Ok(None);
    }
    let mut ahead = rest.clone();
    if let Some(batch) = split_first(&mut ahead)? {
        batch.check(&CheckRules::stored())?;
    }
    *rest = ahead;
    Ok(Some(next))
}

/// Finds the batch that holds `offset`.
pub(crate) fn locate(segment: &SegmentView, hint: Hint, offset: Offset, wait: Wait) -> Result<Place, ReadFault> {
    let start = match hint {
        Hint::Position(position) => position,
        Hint::IndexFile => segment.look_up(offset, wait)?,
    };
    if start > 0 && start < segment.size {
        match walk_to(segment.extent(start, wait)?, None, offset, wait) {
            Err(ReadFault::Scan(ScanError::Invalid { .. })) => {
                tracing::warn!(segment = %segment.base, %offset, "an index entry led nowhere, reading from the front");
            }
            other => return other,
        }
    }
    walk_to(segment.extent(0, wait)?, Some(segment.base), offset, wait)
}

fn walk_to(extent: Extent, first: Option<Offset>, offset: Offset, wait: Wait) -> Result<Place, ReadFault> {
    let end = extent.end;
    let mut walk = HeaderWalk::new(extent, first, wait);
    let mut expected = first;
    while let Some((position, header)) = walk.next()? {
        if header.base_offset > offset {
            let kind = DamageKind::Gap {
                expected: offset,
                found: header.base_offset,
            };
            return Err(Expected { position, offset: None }.invalid(kind).into());
        }
        if offset < header.next_offset() {
            return Ok(Place { position, header });
        }
        expected = Some(header.next_offset());
    }
    let kind = DamageKind::Gap {
        expected: offset,
        found: Offset::NONE,
    };
    let at = Expected {
        position: end,
        offset: expected,
    };
    Err(at.invalid(kind).into())
}

/// Turns what stopped a read into what the caller can act on.
pub(crate) fn explain(
    fault: ReadFault,
    shared: &Shared,
    layout: u64,
    segment: &SegmentView,
    offset: Offset,
) -> ReadError {
    if shared.layout() != layout {
        return ReadError::Changed;
    }
    let disk = |act, source| DiskError {
        act,
        path: segment.files.path(Part::Log),
        source,
    };
    match fault {
        // Retention renames a segment's files before it forgets them.
        ReadFault::Disk(error) if error.source.kind() == std::io::ErrorKind::NotFound => ReadError::Changed,
        ReadFault::Disk(error) => ReadError::Disk(error),
        ReadFault::Scan(ScanError::Io(source)) => ReadError::Disk(disk("reading", source)),
        ReadFault::Scan(ScanError::WouldBlock) => {
            ReadError::Disk(disk("reading without waiting", std::io::ErrorKind::WouldBlock.into()))
        }
        ReadFault::Scan(ScanError::Invalid {
            position,
            offset: expected,
            kind,
        }) => ReadError::Corrupt(Damage {
            offset: expected.map_or(offset, |expected| expected.min(offset)),
            segment: segment.base,
            position,
            kind,
        }),
    }
}
